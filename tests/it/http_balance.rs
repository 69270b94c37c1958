//! One service on several instances: who gets a request, and what becomes of it when one of them dies.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use anteroom::driver::handle::Command;
use anteroom::engine::contract::Upstream;
use anteroom::engine::id::{CloneId, InstanceId};
use anteroom::engine::view::Phase;
use tokio::task::JoinSet;

use crate::support::app::{self, App, raw, say};
use crate::support::house::House;
use crate::support::load;
use crate::support::real_app::{APP, RealApp};
use crate::support::wait::eventually;

const BROWSER: &str = "accept: text/html\r\n";
const SOON: Duration = Duration::from_secs(30);

fn upstreams(addresses: &[SocketAddr]) -> Vec<Upstream> {
    let instance = |slot: usize| match slot {
        0 => InstanceId::SEED,
        slot => InstanceId::Clone(CloneId::new(slot as u16, 1).unwrap()),
    };
    let upstream = |(slot, address): (usize, &SocketAddr)| Upstream {
        instance: instance(slot),
        address: *address,
    };
    addresses.iter().enumerate().map(upstream).collect()
}

/// A house whose service is at these addresses, the seed first.
async fn house(addresses: &[SocketAddr]) -> House {
    let house = House::asleep().await;
    house.show(|view| {
        view.phase = Phase::Awake;
        view.healthy = true;
        view.upstreams = upstreams(addresses);
    });
    house.open();
    house
}

#[tokio::test]
async fn each_instance_gets_as_much_as_it_can_take() {
    let mut apps = Vec::new();
    for (name, takes) in [("fast", 20), ("slow", 60), ("slower", 60)] {
        apps.push(RealApp::start(name, Duration::from_millis(takes)).await);
    }
    let addresses: Vec<_> = apps.iter().map(|app| app.address).collect();
    let house = house(&addresses).await;
    let mut visitors = JoinSet::new();
    for _ in 0..12 {
        let mut visitor = house.visitor().await;
        visitors.spawn(async move {
            let mut answers = Vec::new();
            for _ in 0..50 {
                let answer = visitor.get("/", BROWSER).await;
                assert_eq!(answer.status, 200);
                answers.push(answer.body);
            }
            answers
        });
    }
    let mut shares = BTreeMap::<_, u32>::new();
    for answer in visitors.join_all().await.concat() {
        *shares.entry(answer).or_default() += 1;
    }
    let share = |name: &str| shares[&format!("{APP} {name}")];
    // Four are at each of them at any time, so the fast one has three in five.
    let (fast, slow, slower) = (share("fast"), share("slow"), share("slower"));
    assert_eq!(fast + slow + slower, 600);
    assert!((300..=420).contains(&fast), "{shares:?}");
    assert!(slow.abs_diff(slower) < 40, "{shares:?}");
    for upstream in upstreams(&addresses) {
        assert_eq!(house.edge.busy_at(upstream.instance), 0);
    }
}

#[tokio::test]
async fn no_request_that_may_be_repeated_fails_when_an_instance_dies() {
    let mut apps = Vec::new();
    for name in ["one", "two", "three"] {
        apps.push(RealApp::start(name, Duration::from_millis(40)).await);
    }
    let addresses: Vec<_> = apps.iter().map(|app| app.address).collect();
    let mut house = house(&addresses).await;
    let load = load::start(house.address, "blog.test", 150, SOON, APP);
    let answered = || load.so_far().values().sum::<usize>();
    eventually(SOON, async || answered() >= 150).await;
    // Requests that are not to be repeated are under way as well.
    let mut posts = JoinSet::new();
    for number in 0..30 {
        let mut visitor = house.visitor().await;
        posts.spawn(async move { visitor.post(&format!("/{number}"), "", "x").await.status });
    }
    let dies = upstreams(&addresses)[1].instance;
    eventually(SOON, async || {
        let begun = apps[1].seen().iter().any(|it| it.starts_with("POST"));
        begun && house.edge.busy_at(dies) > 0
    })
    .await;
    apps[1].kill().await;
    let before = answered();
    eventually(SOON, async || answered() >= before + 300).await;
    let tally = load.stop().await;
    let whole: Vec<_> = tally.keys().collect();
    assert_eq!(whole, ["200 app"], "{tally:?}");
    assert_eq!(house.command().await, Command::Suspect(Some(dies)));
    let statuses = posts.join_all().await;
    assert!(
        statuses.iter().all(|it| matches!(it, 200 | 503)),
        "{statuses:?}"
    );
    assert!(statuses.contains(&503), "one was inside: {statuses:?}");
    let mut seen: Vec<_> = apps.iter().flat_map(RealApp::seen).collect();
    seen.retain(|it| it.starts_with("POST"));
    seen.sort();
    let all = seen.len();
    seen.dedup();
    assert_eq!(all, seen.len(), "a POST was sent twice");
    eventually(SOON, async || house.edge.busy_at(dies) == 0).await;
}

#[tokio::test]
async fn what_was_not_sent_goes_to_another_whatever_it_is() {
    let there = App::echo().await;
    let nowhere = app::nowhere().await;
    let mut house = house(&[nowhere, there.address]).await;
    let mut visitor = house.visitor().await;
    for number in 0..4 {
        let answer = visitor.post("/", "", "hello").await;
        assert_eq!(answer.status, 200, "{number}");
        assert!(answer.body.ends_with("hello"), "{}", answer.body);
    }
    assert_eq!(there.seen(), 4);
    // It was met once, and passed over then.
    let instance = upstreams(&[nowhere, there.address])[0].instance;
    assert_eq!(house.command().await, Command::Suspect(Some(instance)));
    assert!(house.is_left_alone());
    house.empties().await;
}

#[tokio::test]
async fn what_may_have_been_seen_is_sent_again_only_where_that_changes_nothing() {
    let breaks = raw(|mut stream| async move {
        let mut head = [0; 1024];
        let _ = tokio::io::AsyncReadExt::read(&mut stream, &mut head).await;
    })
    .await;
    let there = App::start(|_| async { say("app") }).await;
    let house = house(&[breaks, there.address]).await;
    let mut visitor = house.visitor().await;
    let mut ask = async |method: &str, lines: &str, body: &str| {
        let mut statuses = Vec::new();
        for _ in 0..2 {
            let head = format!("{method} / HTTP/1.1\r\nhost: blog.test\r\n{lines}\r\n{body}");
            visitor.send(&head).await;
            statuses.push(visitor.answer().await.status);
        }
        statuses.sort_unstable();
        statuses
    };
    for method in ["GET", "DELETE", "OPTIONS", "PUT"] {
        let length = "content-length: 0\r\n";
        assert_eq!(ask(method, length, "").await, [200, 200], "{method}");
    }
    for (method, lines, body) in [
        ("POST", "content-length: 0\r\n", ""),
        ("PATCH", "content-length: 1\r\n", "x"),
        ("PUT", "content-length: 1\r\n", "x"),
        ("GET", "connection: upgrade\r\nupgrade: websocket\r\n", ""),
    ] {
        let statuses = ask(method, lines, body).await;
        assert_eq!(statuses, [200, 503], "{method} {lines}");
    }
}

#[tokio::test]
async fn nobody_comes_to_an_instance_that_left() {
    let (stays, leaves) = (App::echo().await, App::echo().await);
    let house = house(&[stays.address, leaves.address]).await;
    let mut visitor = house.visitor().await;
    for _ in 0..10 {
        assert_eq!(visitor.get("/", BROWSER).await.status, 200);
    }
    assert_eq!((stays.seen(), leaves.seen()), (5, 5));
    house.show(|view| view.upstreams = upstreams(&[stays.address]));
    house.open();
    for _ in 0..10 {
        assert_eq!(visitor.get("/", BROWSER).await.status, 200);
    }
    assert_eq!((stays.seen(), leaves.seen()), (15, 5));
}
