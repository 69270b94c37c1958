//! The signal against a Traefik that says what the test wants.

use futures_util::FutureExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::engine::contract::{Input, Source};

/// Answers every request with the next of these counts; none is an answer that can't be read.
async fn metrics(counts: Vec<Option<u32>>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        for count in counts {
            let (mut stream, _) = listener.accept().await.unwrap();
            let _ = stream.read(&mut [0; 4096]).await;
            let body = count.map_or("503".to_owned(), |count| {
                format!(
                    "process_start_time_seconds 1\n\
                     traefik_router_requests_total{{router=\"blog@file\",service=\"blog@file\"}} {count}\n"
                )
            });
            let status = count.map_or("503 Service Unavailable", |_| "200 OK");
            let length = body.len();
            let answer = format!(
                "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
            );
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    format!("http://{address}")
}

async fn listening(counts: Vec<Option<u32>>) -> (TraefikSignal, ServiceName, Samples) {
    let signal = TraefikSignal::new(&metrics(counts).await).unwrap();
    let name = "blog".parse::<ServiceName>().unwrap();
    let samples = Samples::new(Source::Traefik);
    let watched = Watched {
        router: "blog".into(),
        service: "blog".into(),
    };
    signal.listen(name.clone(), watched, samples.clone());
    (signal, name, samples)
}

#[tokio::test]
async fn the_last_look_tells_of_use_that_an_earlier_scrape_saw() {
    let (signal, name, samples) = listening(vec![Some(5), Some(5), Some(6), Some(6)]).await;
    signal.scrape().await.unwrap();
    let lost = Input::SignalLost(Source::Traefik);
    assert_eq!(
        samples.recv().await,
        lost,
        "the first one compares with nothing"
    );
    signal.scrape().await.unwrap();
    let quiet = Input::Seen(Activity::quiet(Source::Traefik));
    assert_eq!(samples.recv().await, quiet);
    signal.scrape().await.unwrap();
    // The task is at something else, and its last look comes first.
    let looked = signal.look_now(&name).await.unwrap();
    assert!(
        looked.used,
        "the request between the second and the third scrape"
    );
    assert_eq!(samples.recv().now_or_never(), None, "told once");
}

#[tokio::test]
async fn a_look_that_can_compare_with_nothing_is_no_look_and_the_loss_is_told() {
    let (signal, name, samples) = listening(vec![Some(5), None, Some(6)]).await;
    signal.scrape().await.unwrap();
    let _ = samples.recv().await;
    assert!(signal.look_now(&name).await.is_err(), "no answer");
    assert!(
        signal.look_now(&name).await.is_err(),
        "nothing to compare with"
    );
    let lost = Input::SignalLost(Source::Traefik);
    assert_eq!(samples.recv().now_or_never(), Some(lost));
}
