//! The limits on wakes with the real binary: what was charged stays charged, however the process ends.

use std::time::Duration;

use crate::lifecycle::{client, let_in, press, service};
use crate::support::anteroom::Anteroom;
use crate::support::machine::Machine;

const SOON: Duration = Duration::from_secs(20);

/// One wake a day.
const ONE: &str = "wake = { per_service = \"1/1d\" }";

#[tokio::test]
async fn a_service_that_used_its_wakes_up_stays_asleep_until_an_admin_wakes_it() {
    let dir = tempfile::tempdir().expect("a folder");
    let machine = Machine::new(Duration::from_millis(50)).await;
    let mut anteroom = Anteroom::start(dir.path(), &service(&machine, ONE)).await;
    anteroom.phase("blog", "asleep", SOON).await;
    let client = client();
    assert_eq!(press(&client, &anteroom).await, 202);
    let_in(&client, &anteroom).await;
    anteroom.phase("blog", "asleep", SOON).await;
    assert_eq!(press(&client, &anteroom).await, 429);
    assert!(anteroom.terminate(SOON).await.success());
    let anteroom = anteroom.again().await;
    anteroom.phase("blog", "asleep", SOON).await;
    assert_eq!(press(&client, &anteroom).await, 429, "after a restart too");
    assert_eq!(machine.starts(), 1);
    anteroom.command("blog", "wake").await;
    let_in(&client, &anteroom).await;
    assert_eq!(machine.starts(), 2);
}

#[tokio::test]
async fn killed_at_any_step_it_gives_no_second_wake() {
    for step in [
        "waking",
        "the machine is starting",
        "ready in",
        "asleep, after",
    ] {
        let dir = tempfile::tempdir().expect("a folder");
        let machine = Machine::new(Duration::from_millis(50)).await;
        let mut anteroom = Anteroom::start(dir.path(), &service(&machine, ONE)).await;
        anteroom.phase("blog", "asleep", SOON).await;
        let client = client();
        let mark = anteroom.mark();
        assert_eq!(press(&client, &anteroom).await, 202);
        anteroom.log_after(mark, step, SOON).await;
        anteroom.kill().await;
        let anteroom = anteroom.again().await;
        anteroom.phase("blog", "asleep", SOON).await;
        // Killed before its record was written, the wake is wanted still, and is taken up by whoever comes next.
        if press(&client, &anteroom).await == 202 {
            let_in(&client, &anteroom).await;
            anteroom.phase("blog", "asleep", SOON).await;
        }
        assert_eq!(press(&client, &anteroom).await, 429, "killed at {step:?}");
        assert!(
            machine.starts() <= 2,
            "one wake, and one repeated call at most"
        );
    }
}
