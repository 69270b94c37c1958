//! The webhook, against a server that plays one.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anteroom::engine::machine::ErrorClass;
use anteroom::engine::time::Span;
use anteroom::provider::Provider;
use anteroom::provider::command::{Command, Control, Settings, Webhook};
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};

use super::{Platform, SEED, SOON, TOKEN, conforms};
use crate::support::ports::free_port;

/// What the server answers.
#[derive(Clone)]
enum Answers {
    /// As a machine would; the number of starts since the last stop.
    Machine(usize),
    /// Always this.
    Status(u16, &'static str),
    /// Reads the question and stays silent.
    Silence,
    /// Says "stopped" and does not answer orders.
    SilenceAtOrders,
}

#[derive(Clone)]
struct Hook {
    address: SocketAddr,
    answers: Arc<Mutex<Answers>>,
    heard: Arc<Mutex<Vec<(Value, String)>>>,
}

impl Hook {
    /// The server has a thread of its own, so that it lives as long as the test.
    fn start(answers: Answers) -> Hook {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback");
        listener.set_nonblocking(true).expect("a socket");
        let hook = Hook {
            address: listener.local_addr().expect("a bound port"),
            answers: Arc::new(Mutex::new(answers)),
            heard: Arc::default(),
        };
        tokio::spawn(hook.clone().serve(listener));
        hook
    }

    async fn serve(self, listener: std::net::TcpListener) {
        let listener = tokio::net::TcpListener::from_std(listener).expect("a socket");
        while let Ok((stream, _)) = listener.accept().await {
            let hook = self.clone();
            let service = hyper::service::service_fn(move |request| hook.clone().answer(request));
            let connection = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service);
            tokio::spawn(connection);
        }
    }

    async fn answer(self, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
        let token = request.headers().get("authorization").cloned();
        let token = token.map_or_else(String::new, |t| t.to_str().expect("text").to_owned());
        let body = request
            .into_body()
            .collect()
            .await
            .expect("a body")
            .to_bytes();
        let question: Value = serde_json::from_slice(&body).expect("JSON");
        let action = question["action"].as_str().expect("an action").to_owned();
        self.heard.lock().unwrap().push((question, token));
        let answers = self.answers.lock().unwrap().clone();
        let (status, text) = match answers {
            Answers::SilenceAtOrders if action == "state" => {
                (200, "{\"state\":\"stopped\"}".to_owned())
            }
            Answers::Silence | Answers::SilenceAtOrders => std::future::pending().await,
            Answers::Status(status, text) => (status, text.to_owned()),
            Answers::Machine(starts) => {
                let starts = match action.as_str() {
                    "start" => starts + 1,
                    "stop" => 0,
                    _ => starts,
                };
                *self.answers.lock().unwrap() = Answers::Machine(starts);
                let state = if starts == 0 { "stopped" } else { "running" };
                (
                    200,
                    json!({ "state": state, "address": "127.0.0.1:9" }).to_string(),
                )
            }
        };
        let response = Response::builder()
            .status(status)
            .header("retry-after", "7");
        let response = response.header("location", "http://127.0.0.1:9/elsewhere");
        Ok(response.body(Full::from(text)).expect("a response"))
    }

    fn command(&self, timeout: Duration) -> Command {
        Command::new(Settings {
            service: "blog".parse().expect("a name"),
            control: Control::Webhook(Webhook {
                url: format!("http://{}/hook", self.address),
                token: Some("s3cret".to_owned()),
            }),
            address: None,
            timeout,
        })
        .expect("good settings")
    }
}

impl Platform for Hook {
    fn provider(&self) -> Arc<dyn Provider> {
        Arc::new(self.command(SOON))
    }

    fn running(&self) -> usize {
        match *self.answers.lock().unwrap() {
            Answers::Machine(starts) => starts,
            _ => 0,
        }
    }

    fn missing(&self) -> Option<Arc<dyn Provider>> {
        Some(Hook::start(Answers::Status(404, "")).provider())
    }
}

conforms!(Hook::start(Answers::Machine(0)));

#[tokio::test]
async fn the_question_names_the_service_and_carries_the_token() {
    let hook = Hook::start(Answers::Machine(0));
    hook.provider().start(SEED, TOKEN).await.expect("it starts");
    let heard = hook.heard.lock().unwrap().clone();
    let question =
        |action: &str| json!({ "action": action, "service": "blog", "instance": "seed" });
    let token = || "Bearer s3cret".to_owned();
    assert_eq!(
        heard,
        [(question("state"), token()), (question("start"), token())]
    );
}

#[tokio::test]
async fn every_answer_has_its_class() {
    let wait = Some(Span::secs(7));
    for (status, text, class) in [
        (200, "{}", ErrorClass::BadRequest),
        (200, "{\"state\":\"asleep\"}", ErrorClass::BadRequest),
        (200, "running", ErrorClass::BadRequest),
        (302, "", ErrorClass::BadRequest),
        (400, "", ErrorClass::BadRequest),
        (401, "", ErrorClass::Auth),
        (403, "", ErrorClass::Forbidden),
        (409, "", ErrorClass::Busy),
        (429, "", ErrorClass::RateLimited(wait)),
        (503, "", ErrorClass::Transient),
    ] {
        let hook = Hook::start(Answers::Status(status, text));
        let trouble = hook.provider().inspect(SEED).await.expect_err(text);
        assert_eq!(trouble.class, class, "{trouble}");
        assert!(!trouble.detail.contains("s3cret") && !trouble.detail.contains("/hook"));
    }
}

#[tokio::test]
async fn an_order_without_an_answer_is_ambiguous_and_one_that_was_not_sent_is_not() {
    let short = Duration::from_millis(100);
    let silent = Hook::start(Answers::Silence).command(short);
    let trouble = silent.inspect(SEED).await.expect_err("silence");
    assert_eq!(
        trouble.class,
        ErrorClass::Transient,
        "a question: {trouble}"
    );

    let silent = Hook::start(Answers::SilenceAtOrders).command(short);
    let trouble = silent.start(SEED, TOKEN).await.expect_err("silence");
    assert_eq!(trouble.class, ErrorClass::Ambiguous, "{trouble}");

    let gone = Hook {
        address: SocketAddr::from(([127, 0, 0, 1], free_port())),
        ..Hook::start(Answers::Silence)
    };
    let trouble = gone
        .command(SOON)
        .start(SEED, TOKEN)
        .await
        .expect_err("nobody");
    assert_eq!(trouble.class, ErrorClass::Transient, "{trouble}");
}

#[tokio::test]
async fn a_checkup_tells_a_refused_token_from_a_machine_that_is_not_well() {
    let checkup = |status, text| async move {
        Hook::start(Answers::Status(status, text))
            .provider()
            .checkup()
            .await
    };
    let refused = checkup(401, "").await;
    assert!(refused.credential.is_err() && refused.seed.is_err());
    let broken = checkup(503, "").await;
    assert!(broken.credential.is_ok() && broken.seed.is_err());
    let well = checkup(200, "{\"state\":\"stopped\"}").await;
    assert!(well.credential.is_ok() && well.seed.is_ok());
}
