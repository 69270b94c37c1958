//! Visitors who wait with the manners of the page: each takes a number, asks for its turn at half of what it must wait, and
//! opens the site when it is let in.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::visitor::{Answer, Visitor};

/// What the page's script sends with each question.
pub(crate) const PAGE: &str = "x-anteroom-page: 1\r\nsec-fetch-site: same-origin\r\n";

/// How a browser opens a page.
pub(crate) const OPENS: &str =
    "accept: text/html\r\nsec-fetch-mode: navigate\r\nsec-fetch-dest: document\r\n";

/// How often somebody opens the site until it gives up.
const TRIES_MAX: usize = 10;

/// The line that says who asks.
pub(crate) fn from(person: usize) -> String {
    format!(
        "x-forwarded-for: 198.{}.{}.{}\r\n",
        18 + person / 65_536,
        person / 256 % 256,
        person % 256
    )
}

/// What the room says to a person about its turn.
pub(crate) async fn turn(visitor: &mut Visitor, person: usize, ticket: &str) -> Value {
    let lines = match ticket {
        "" => format!("{PAGE}{}", from(person)),
        ticket => format!("{PAGE}{}x-anteroom-ticket: {ticket}\r\n", from(person)),
    };
    let answer = visitor.post("/__anteroom/turn", &lines, "").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_ne!(answer.header("x-anteroom"), "");
    serde_json::from_str(&answer.body).unwrap()
}

/// The ticket in an answer.
pub(crate) fn ticket(told: &Value) -> &str {
    told["ticket"].as_str().unwrap_or_default()
}

/// Somebody whose first word from the room is given waits until it is let in; what it is told then.
pub(crate) async fn waits(room: SocketAddr, person: usize, told: Value) -> Value {
    let mut told = told;
    if told["turn"] == "go" {
        return told;
    }
    let mut wait = told["wait_ms"].as_u64().unwrap() / 2;
    let ticket = ticket(&told).to_owned();
    loop {
        sleep(Duration::from_millis(wait)).await;
        // A connection for each question: a thousand that are open are more than a test may have.
        told = turn(&mut Visitor::connect(room).await, person, &ticket).await;
        if told["turn"] == "go" {
            return told;
        }
        wait = (told["wait_ms"].as_u64().unwrap() / 2).max(1_000);
    }
}

/// Somebody who came.
#[derive(Debug)]
pub(crate) struct Came {
    pub(crate) person: usize,
    /// How often it opened the site.
    pub(crate) tries: usize,
    /// What it got in the end.
    pub(crate) answer: Answer,
}

/// So many people, whose first words from the room are given: they wait and come. Each opens `/<number>`, and again where the
/// app could not be reached, as the page does: thousands who come in one moment are more than an app's backlog holds.
pub(crate) fn come(room: SocketAddr, told: Vec<Value>) -> JoinSet<Came> {
    let mut crowd = JoinSet::new();
    for (person, told) in told.into_iter().enumerate() {
        crowd.spawn(async move {
            waits(room, person, told).await;
            let lines = format!("{OPENS}{}", from(person));
            let mut tries = 0;
            loop {
                tries += 1;
                let mut visitor = Visitor::connect(room).await;
                let answer = visitor.get(&format!("/{person}"), &lines).await;
                if answer.status == 200 || tries == TRIES_MAX {
                    return Came {
                        person,
                        tries,
                        answer,
                    };
                }
                sleep(Duration::from_secs(1)).await;
            }
        });
    }
    crowd
}
