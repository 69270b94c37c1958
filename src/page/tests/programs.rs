//! What programs get in place of a page: the status, the event, the problem document, the time to ask again.

use super::*;

#[test]
fn the_status_tells_a_wake_in_full() {
    let status = json(&status_json(&waking(Stage::MachineUp, Span::secs(12)), NOW));
    let expected = serde_json::json!({
        "phase": "waking", "scene": "waking", "stage": "machine_up", "percent": 40, "elapsed_ms": 12_000,
        "eta": { "median_ms": 24_000, "p90_ms": 41_000 }, "retry_after": 12, "failure": null,
        "next_try_ms": null, "version": 7, "healthy": true, "since": 1_790_000_000_000_u64,
    });
    assert_eq!(status, expected);
    let status = json(&status_json(&view(Phase::Failed), NOW));
    assert_eq!(
        (&status["failure"], &status["next_try_ms"]),
        (&"no_capacity".into(), &12_000.into())
    );
}

#[test]
fn the_percent_in_the_status_never_falls() {
    let mut last = 0;
    for secs in 0..300 {
        let stage = STAGES[secs as usize / 80];
        let status = json(&status_json(&waking(stage, Span::secs(secs)), NOW));
        let percent = status["percent"].as_u64().unwrap();
        assert!(percent >= last && percent < 100);
        last = percent;
    }
}

#[test]
fn a_problem_is_a_problem_document() {
    let problem = json(&problem_json(
        &waking(Stage::Asked, Span::secs(4)),
        NOW,
        "blog.test",
        Lang::ENGLISH,
    ));
    assert_eq!(problem["type"], "urn:anteroom:not-ready");
    assert_eq!(problem["title"], "blog.test is waking up");
    assert_eq!(problem["status"], 503);
    assert_eq!(
        problem["detail"],
        "It does not answer requests now. Ask again in 20 seconds."
    );
    assert_eq!(problem["retry_after"], 20);
    assert_eq!(problem["stage"], "asked");
    assert_eq!(problem["eta"]["p90_ms"], 41_000);
}

#[test]
fn an_event_is_one_frame_of_one_line() {
    let event = event(&waking(Stage::Asked, Span::ZERO), NOW);
    let event = std::str::from_utf8(&event).unwrap();
    let rest = event.strip_prefix("id: 7\nevent: state\ndata: ").unwrap();
    let status = rest.strip_suffix("\n\n").unwrap();
    assert!(!status.contains('\n'));
    assert_eq!(json(status.as_bytes())["phase"], "waking");
}

#[test]
fn it_is_never_worth_asking_at_once_or_after_more_than_a_minute() {
    for phase in PHASES {
        for eta in [None, view(phase).eta] {
            let view = View { eta, ..view(phase) };
            assert!((1..=60).contains(&retry_after(&view, NOW)), "{phase:?}");
        }
    }
    let after = |secs| retry_after(&waking(Stage::Asked, Span::secs(secs)), NOW);
    assert_eq!((after(4), after(23), after(24), after(90)), (20, 1, 5, 5));
}

#[test]
fn what_is_prepared_for_a_failed_service_holds_for_five_seconds() {
    let failed = view(Phase::Failed);
    let retry_at = failed.failure.and_then(|failed| failed.retry_at).unwrap();
    for (left, says) in [
        (0, 1),
        (1, 5),
        (5_000, 5),
        (5_001, 10),
        (55_001, 60),
        (300_000, 60),
    ] {
        assert_eq!(retry_after(&failed, retry_at - Span(left)), says, "{left}");
    }
}
