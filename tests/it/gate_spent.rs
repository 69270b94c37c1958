//! A nonce pays for one wake: not for another of the same sleep's visitors, not after the next sleep, not in another
//! room, not after a restart. Whoever brings one that is spent gets a fresh one, and the page uses it by itself.

use std::sync::Arc;

use anteroom::engine::id::ServiceName;
use anteroom::engine::record::{Record, Stand};
use anteroom::engine::time::Span;
use anteroom::engine::view::Phase;
use anteroom::http::Limits;
use anteroom::store::Store;
use anteroom::store::file::FileStore;
use anteroom::store::memory::MemoryStore;

use crate::support::house::House;
use crate::support::visitor::Answer;

const FORM: &str = "accept: text/html\r\ncontent-type: application/x-www-form-urlencoded\r\n";
const SCRIPT: &str = "x-anteroom-page: 1\r\ncontent-type: application/x-www-form-urlencoded\r\n";

async fn room(store: &Arc<dyn Store>) -> House {
    House::on(Arc::clone(store), Limits::default(), |_| {}).await
}

async fn nonce(house: &House) -> String {
    let mut visitor = house.visitor().await;
    let page = visitor.get("/", "accept: text/html\r\n").await.body;
    let (_, after) = page.split_once("name=\"nonce\" value=\"").expect("a nonce");
    after.split('"').next().expect("a value").to_owned()
}

async fn press(house: &House, lines: &str, nonce: &str) -> Answer {
    let mut visitor = house.visitor().await;
    let body = format!("nonce={nonce}&by=click");
    visitor.post("/__anteroom/wake", lines, &body).await
}

/// The service has been woken and sleeps again, as its task writes it down.
async fn sleeps_again(house: &House, store: &dyn Store) {
    let name: ServiceName = "blog".parse().unwrap();
    let epoch = store.claim(&name, "test").await.unwrap().epoch;
    let record = Record {
        stand: Stand::Asleep,
        ..Record::default()
    };
    let saved = store.save(&name, epoch, &record, &[], u64::MAX).await;
    saved.unwrap();
    house.show(|view| view.phase = Phase::Asleep);
}

#[tokio::test]
async fn a_double_press_is_one_wake_and_no_error() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let mut house = room(&store).await;
    let nonce = nonce(&house).await;
    assert_eq!(press(&house, SCRIPT, &nonce).await.status, 202);
    let wake = house.admitted().await.wake;
    // While the store has it as wanted, and when the view shows it.
    for phase in [Phase::Asleep, Phase::Waking, Phase::Awake] {
        house.show(|view| view.phase = phase);
        for (lines, status) in [(SCRIPT, 202), (FORM, 303)] {
            assert_eq!(
                press(&house, lines, &nonce).await.status,
                status,
                "{phase:?}"
            );
            let again = house.admitted().await.wake;
            assert!(again == wake || again == 0, "{again} is the same wake");
        }
    }
}

#[tokio::test]
async fn a_nonce_is_not_good_after_the_next_sleep_and_the_page_goes_on_with_a_fresh_one() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let mut house = room(&store).await;
    let nonce = nonce(&house).await;
    assert_eq!(press(&house, SCRIPT, &nonce).await.status, 202);
    let _ = house.trigger().await;
    sleeps_again(&house, &*store).await;
    for _ in 0..3 {
        let answer = press(&house, SCRIPT, &nonce).await;
        assert_eq!(answer.status, 409);
        assert!(
            answer.body.contains("urn:anteroom:stale-page"),
            "{}",
            answer.body
        );
        let page = press(&house, FORM, &nonce).await;
        let way = (page.status, page.header("location"));
        assert_eq!(way, (303, "/"), "to a page with a fresh one");
        house.later(Span::mins(2));
    }
    assert!(house.is_left_alone());
    let answer = press(&house, SCRIPT, &nonce).await;
    let said: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
    let fresh = said["nonce"].as_str().expect("a fresh one");
    assert_ne!(fresh, nonce);
    assert_eq!(press(&house, SCRIPT, fresh).await.status, 202);
    let _ = house.trigger().await;
}

#[tokio::test]
async fn a_nonce_that_was_spent_in_one_room_is_spent_in_all() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let (mut first, mut second) = (room(&store).await, room(&store).await);
    let nonce = nonce(&first).await;
    assert_eq!(press(&first, SCRIPT, &nonce).await.status, 202);
    let _ = first.trigger().await;
    sleeps_again(&first, &*store).await;
    assert_eq!(press(&second, SCRIPT, &nonce).await.status, 409);
    assert_eq!(press(&second, FORM, &nonce).await.status, 303);
    assert!(second.is_left_alone());
}

#[tokio::test]
async fn a_restart_makes_no_nonce_good_again() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    let nonce = {
        let file = FileStore::open(&path).unwrap();
        let store: Arc<dyn Store> = Arc::new(file);
        let mut house = room(&store).await;
        let nonce = nonce(&house).await;
        assert_eq!(press(&house, SCRIPT, &nonce).await.status, 202);
        let _ = house.trigger().await;
        sleeps_again(&house, &*store).await;
        house.shutdown.cancel();
        crate::support::visitor::soon(house.serving).await.unwrap();
        nonce
    };
    let open = async || {
        loop {
            match FileStore::open(&path) {
                Ok(file) => break file,
                Err(_) => tokio::task::yield_now().await,
            }
        }
    };
    let store: Arc<dyn Store> = Arc::new(crate::support::visitor::soon(open()).await);
    let mut house = room(&store).await;
    assert_eq!(press(&house, SCRIPT, &nonce).await.status, 409);
    assert!(house.is_left_alone());
}

#[tokio::test]
async fn a_nonce_is_of_one_host() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let mut house = room(&store).await;
    let body = format!("nonce={}", nonce(&house).await);
    let mut visitor = house.visitor().await;
    visitor
        .send(&format!(
            "POST /__anteroom/wake HTTP/1.1\r\nhost: www.blog.test\r\ncontent-length: {}\r\n{SCRIPT}\r\n{body}",
            body.len()
        ))
        .await;
    assert_eq!(visitor.answer().await.status, 409);
    assert!(house.is_left_alone());
}

#[tokio::test]
async fn a_nonce_that_was_taken_while_the_store_was_asked_for_nothing_is_not_spent() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let mut house = room(&store).await;
    let nonce = nonce(&house).await;
    // The service is on its way by somebody else's wish.
    house.show(|view| view.phase = Phase::Waking);
    assert_eq!(press(&house, SCRIPT, &nonce).await.status, 202);
    let _ = house.trigger().await;
    house.show(|view| view.phase = Phase::Asleep);
    assert_eq!(press(&house, SCRIPT, &nonce).await.status, 202);
    let _ = house.trigger().await;
}
