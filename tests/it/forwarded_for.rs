//! `X-Forwarded-For` as clients forge it: a table of it, asked of the engine and of the room. It is never believed
//! beyond the hops that are trusted.

use std::fs;

use anteroom::config::WakeBy;
use anteroom::engine::client;
use anteroom::http::Limits;
use ipnet::IpNet;

use crate::support::house::House;

const TABLE: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/tests/data/forwarded_for/forged.txt"
);

/// The address that forgers want to be taken for.
const FORGED: &str = "6.6.6.6";

struct Row {
    peer: String,
    lines: Vec<String>,
    client: String,
}

fn rows() -> Vec<Row> {
    let table = fs::read_to_string(TABLE).expect("the table is there");
    let lines = table.lines();
    let rows = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    rows.map(row).collect()
}

fn row(line: &str) -> Row {
    let (said, client) = line.split_once(" | => ").expect("a client at the end");
    let mut said = said.split(" | ").map(|text| text.replace('␉', "\t"));
    Row {
        peer: said.next().expect("a peer"),
        lines: said.collect(),
        client: client.to_owned(),
    }
}

/// The text as it goes over the wire.
fn wire(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for c in text.chars() {
        match c {
            'ÿ' => bytes.push(0xff),
            c => bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    bytes
}

fn trusted() -> Vec<IpNet> {
    ["127.0.0.0/8", "::1/128", "10.0.0.0/8", "2001:db8:1::/48"]
        .map(|network| network.parse().unwrap())
        .to_vec()
}

#[test]
fn a_forged_chain_is_never_believed_beyond_the_trusted_hops() {
    let rows = rows();
    assert!(rows.len() >= 200, "{} rows", rows.len());
    for Row {
        peer,
        lines,
        client,
    } in rows
    {
        let found = client::address(peer.parse().unwrap(), &lines, &trusted());
        assert_eq!(found.to_string(), client, "{peer} {lines:?}");
        assert_ne!(client, FORGED, "{peer} {lines:?}");
    }
}

#[tokio::test]
async fn the_room_finds_the_client_that_the_table_says() {
    let mut house = House::with(Limits::default(), |site| site.wake_by = WakeBy::Request).await;
    house.room.set_trusted_proxies(trusted());
    let mut asked = 0;
    for row in rows().iter().filter(|row| row.peer == "127.0.0.1") {
        let lines = row.lines.iter();
        let lines: String = lines
            .map(|line| format!("x-forwarded-for: {line}\r\n"))
            .collect();
        let mut visitor = house.visitor().await;
        let head = format!("GET / HTTP/1.1\r\nhost: blog.test\r\naccept: text/html\r\n{lines}\r\n");
        visitor.send_bytes(&wire(&head)).await;
        let answer = visitor.answer().await;
        assert_eq!(answer.status, 503, "{lines}");
        let network = client::network(row.client.parse().unwrap());
        assert_eq!(house.trigger().await.who, network.to_string(), "{lines}");
        asked += 1;
    }
    assert!(asked >= 150, "{asked} rows");
}
