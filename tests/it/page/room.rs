//! A small room with the real page: it shows what the test says, and remembers what it was asked.

use std::net::SocketAddr;
use std::sync::Arc;

use anteroom::engine::contract::{Stage, Upstream};
use anteroom::engine::eta::Eta;
use anteroom::engine::id::InstanceId;
use anteroom::engine::time::{Span, Time};
use anteroom::engine::view::{Phase, View, WakeView};
use anteroom::page::{self, Ask, Asked, Lang, Page, Puzzle, Tried, WakeBy};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::support::visitor::soon;

const NOW: Time = Time(1_790_000_000_000);

/// How the room behaves.
#[derive(Clone, Copy)]
pub(super) struct Ways {
    pub(super) wake_by: WakeBy,
    /// Whether it tells changes by itself.
    pub(super) events: bool,
    /// Whether visitors of the awake app come to the room all the same.
    pub(super) throws_back: bool,
    /// Whether the answer to a wake is kept until the test lets it go. It tells how it was when it was asked.
    pub(super) answers_late: bool,
    /// Whether visitors meet the room until the test lets them in, however awake the app is.
    pub(super) shut: bool,
    /// Whether it asks for what only a person can solve: the script is told so, and a form gets the challenge's page.
    pub(super) asks: bool,
}

impl Default for Ways {
    fn default() -> Ways {
        Ways {
            wake_by: WakeBy::Page,
            events: true,
            throws_back: false,
            answers_late: false,
            shut: false,
            asks: false,
        }
    }
}

pub(super) struct Room {
    pub(super) address: SocketAddr,
    view: watch::Sender<View>,
    asked: watch::Sender<Vec<String>>,
    go: watch::Sender<bool>,
}

struct Shared {
    ways: Ways,
    go: watch::Receiver<bool>,
    view: watch::Receiver<View>,
    asked: watch::Sender<Vec<String>>,
}

impl Room {
    pub(super) async fn open(ways: Ways) -> Room {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (view, watched) = watch::channel(asleep());
        let (asked, _) = watch::channel(Vec::new());
        let (go, may_go) = watch::channel(false);
        let shared = Arc::new(Shared {
            ways,
            go: may_go,
            view: watched,
            asked: asked.clone(),
        });
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let shared = Arc::clone(&shared);
                // A browser may go away at any time.
                tokio::spawn(async move { drop(shared.serve(stream).await) });
            }
        });
        Room {
            address,
            view,
            asked,
            go,
        }
    }

    /// Lets go what was kept: the answer to a wake, the way in.
    pub(super) fn lets_go(&self) {
        self.go.send_replace(true);
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(super) fn wakes(&self, stage: Stage) {
        self.view.send_modify(|view| {
            view.version += 1;
            view.phase = Phase::Waking;
            view.wake = Some(WakeView {
                since: NOW - Span::secs(3),
                stage,
                deadline: NOW + Span::mins(5),
                after_crash: false,
            });
        });
    }

    pub(super) fn is_awake(&self) {
        self.view.send_modify(|view| {
            view.version += 1;
            view.phase = Phase::Awake;
            view.since = NOW + Span::millis(view.version);
            view.wake = None;
            view.healthy = true;
            view.upstreams = vec![Upstream {
                instance: InstanceId::SEED,
                address: self.address,
            }];
        });
    }

    pub(super) fn falls_asleep(&self) {
        self.view.send_modify(|view| {
            view.version += 1;
            view.phase = Phase::Asleep;
            view.wake = None;
            view.upstreams.clear();
        });
    }

    /// Waits until it was asked so this many times.
    pub(super) async fn was_asked(&self, line: &str, times: usize) {
        let mut asked = self.asked.subscribe();
        let enough = |asked: &Vec<String>| count(asked, line) >= times;
        soon(asked.wait_for(enough)).await.unwrap();
    }

    /// How often it was asked so until now.
    pub(super) fn count(&self, line: &str) -> usize {
        count(&self.asked.borrow(), line)
    }
}

fn count(asked: &[String], line: &str) -> usize {
    asked.iter().filter(|known| *known == line).count()
}

fn challenge() -> Page {
    let asked = Asked {
        nonce: "v1.a.c",
        back: "/deep",
        puzzle: Puzzle::None,
        or: "c1.w.1.2.3",
        wait: Span::secs(15),
        tried: Tried::Nothing,
    };
    page::challenge(Lang::ENGLISH, None, "blog.test", asked)
}

fn asleep() -> View {
    View {
        service: "blog".parse().unwrap(),
        version: 1,
        phase: Phase::Asleep,
        since: NOW,
        wake: None,
        woken: None,
        eta: Some(Eta {
            median: Span::secs(24),
            p90: Some(Span::secs(41)),
        }),
        failure: None,
        upstreams: Vec::new(),
        healthy: false,
        run_by: None,
        triggered_count: 0,
        last_activity: None,
        hold: None,
        blind: Vec::new(),
        sleeps_at: None,
        clones: Vec::new(),
        scale: None,
        why: String::new(),
    }
}

impl Shared {
    async fn serve(&self, mut stream: TcpStream) -> std::io::Result<()> {
        let (line, body) = read(&mut stream).await?;
        let said = match body.is_empty() {
            true => line.clone(),
            false => format!("{line} {body}"),
        };
        self.asked.send_modify(|asked| asked.push(said));
        let view = self.view.borrow().clone();
        let ask = Ask {
            theme: None,
            host: "blog.test".into(),
            nonce: "v1.a.b".into(),
            wake_by: self.ways.wake_by,
            lang: Lang::ENGLISH,
        };
        let mut go = self.go.clone();
        let may_go = *go.borrow();
        let awake = view.phase == Phase::Awake && (may_go || !self.ways.shut);
        let answer = match line.as_str() {
            "GET /__anteroom/events" if self.ways.events => return self.tell(stream).await,
            "GET /__anteroom/events" => ours("404 Not Found", "text/plain", b""),
            "GET /__anteroom/status" => {
                ours("200 OK", "application/json", &page::status_json(&view, NOW))
            }
            "POST /__anteroom/wake" if self.ways.asks => {
                // The script brings the page's nonce, and the form the one that the script was given.
                match body.contains("v1.a.c") {
                    true => html(&challenge()),
                    false => {
                        let body = br#"{"challenge":{"kind":"riddle"},"nonce":"v1.a.c"}"#;
                        ours("409 Conflict", "application/problem+json", body)
                    }
                }
            }
            "POST /__anteroom/turn" => ours(
                "200 OK",
                "application/json",
                b"{\"turn\":\"go\",\"open\":false}",
            ),
            "POST /__anteroom/wake" => {
                if self.ways.answers_late {
                    let _ = go.wait_for(|go| *go).await;
                }
                let status = page::status_json(&view, NOW);
                ours("202 Accepted", "application/json", &status)
            }
            "POST /form" if !awake => html(&page::unsent(&view, NOW, &ask)),
            line if awake && !(self.ways.throws_back && line != "GET /") => app(),
            "GET /write" => app(),
            _ => html(&page::render(&view, NOW, &ask)),
        };
        stream.write_all(&answer).await
    }

    async fn tell(&self, mut stream: TcpStream) -> std::io::Result<()> {
        let head = ours("200 OK", "text/event-stream", b"");
        stream.write_all(&head).await?;
        let mut view = self.view.clone();
        loop {
            let event = page::event(&view.borrow_and_update(), NOW);
            stream.write_all(&event).await?;
            if view.changed().await.is_err() {
                return Ok(());
            }
        }
    }
}

/// The method and path, and the body.
pub(super) async fn read(stream: &mut TcpStream) -> std::io::Result<(String, String)> {
    let mut text = Vec::new();
    loop {
        if stream.read_buf(&mut text).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        let seen = String::from_utf8_lossy(&text);
        let Some((head, body)) = seen.split_once("\r\n\r\n") else {
            continue;
        };
        let length = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            let fits = name.eq_ignore_ascii_case("content-length");
            fits.then(|| value.trim().parse::<usize>().unwrap())
        });
        if body.len() >= length.unwrap_or(0) {
            let line: Vec<&str> = head.split(' ').take(2).collect();
            return Ok((line.join(" "), body.to_owned()));
        }
    }
}

pub(super) fn ours(status: &str, kind: &str, body: &[u8]) -> Vec<u8> {
    answer(
        status,
        &format!("content-type: {kind}\r\nx-anteroom: here\r\n"),
        body,
    )
}

pub(super) fn html(page: &Page) -> Vec<u8> {
    let lines = format!(
        "content-type: text/html; charset=utf-8\r\nx-anteroom: here\r\ncontent-security-policy: {}\r\n",
        page.csp.to_str().unwrap()
    );
    answer("503 Service Unavailable", &lines, &page.html)
}

/// The app: a page with a form.
fn app() -> Vec<u8> {
    let body = "<!doctype html><title>The app</title><form method=post action=/form><input name=said value=hello><button>Send</button></form>";
    answer("200 OK", "content-type: text/html\r\n", body.as_bytes())
}

/// An answer that ends with the connection.
pub(super) fn answer(status: &str, lines: &str, body: &[u8]) -> Vec<u8> {
    let head =
        format!("HTTP/1.1 {status}\r\n{lines}cache-control: no-store\r\nconnection: close\r\n\r\n");
    [head.as_bytes(), body].concat()
}
