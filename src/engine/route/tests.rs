//! Every kind of request against every state of a service.

use super::*;
use crate::engine::contract::Upstream;
use crate::engine::id::InstanceId;
use crate::engine::time::Time;
use proptest::prelude::*;

fn view(phase: Phase) -> View {
    View {
        service: "blog".parse().unwrap(),
        version: 1,
        phase,
        since: Time(0),
        wake: None,
        woken: None,
        eta: None,
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

const RULES: Rules = Rules {
    by_request: ByRequest::Held,
    hold: false,
    may_wake: true,
    ignored: false,
};

const BROWSER: &str =
    "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8";

#[test]
fn a_get_shows_its_kind_in_its_head() {
    let get = Shape {
        method: "GET",
        path: "/",
        ..Shape::default()
    };
    for (shape, kind) in [
        (
            Shape {
                accept: Some(BROWSER),
                ..get
            },
            Kind::Navigation,
        ),
        (
            Shape {
                accept: Some(BROWSER),
                path: "/a.js",
                ..get
            },
            Kind::Navigation,
        ),
        (
            Shape {
                fetch_mode: Some("navigate"),
                fetch_dest: Some("document"),
                ..get
            },
            Kind::Navigation,
        ),
        (
            Shape {
                fetch_mode: Some("navigate"),
                fetch_dest: Some("iframe"),
                ..get
            },
            Kind::Navigation,
        ),
        (
            Shape {
                fetch_mode: Some("cors"),
                fetch_dest: Some("empty"),
                accept: Some("*/*"),
                ..get
            },
            Kind::Data,
        ),
        (
            Shape {
                fetch_mode: Some("no-cors"),
                fetch_dest: Some("script"),
                accept: Some("*/*"),
                ..get
            },
            Kind::Asset,
        ),
        (
            Shape {
                fetch_mode: Some("cors"),
                fetch_dest: Some("font"),
                ..get
            },
            Kind::Asset,
        ),
        (
            Shape {
                fetch_mode: Some("no-cors"),
                fetch_dest: Some("image"),
                ..get
            },
            Kind::Asset,
        ),
        (
            Shape {
                by_script: true,
                accept: Some(BROWSER),
                ..get
            },
            Kind::Fragment,
        ),
        (
            Shape {
                accept: Some("application/json"),
                ..get
            },
            Kind::Data,
        ),
        (
            Shape {
                accept: Some("application/json, text/plain, */*"),
                ..get
            },
            Kind::Data,
        ),
        (
            Shape {
                accept: Some("application/json;q=0.9, text/html;q=0.5"),
                ..get
            },
            Kind::Data,
        ),
        (
            Shape {
                accept: Some("application/json;q=0.5, text/html"),
                ..get
            },
            Kind::Navigation,
        ),
        (
            Shape {
                accept: Some("application/json; Q=0.4, text/html; q=0.4"),
                ..get
            },
            Kind::Navigation,
        ),
        (
            Shape {
                accept: Some("application/vnd.api+json"),
                ..get
            },
            Kind::Data,
        ),
        (
            Shape {
                accept: Some("text/html;q=0, */*"),
                ..get
            },
            Kind::Data,
        ),
        (
            Shape {
                accept: Some("*/*"),
                ..get
            },
            Kind::Plain,
        ),
        (
            Shape {
                accept: None,
                ..get
            },
            Kind::Plain,
        ),
        (
            Shape {
                accept: Some("*/*"),
                path: "/app/main.JS",
                ..get
            },
            Kind::Asset,
        ),
        (
            Shape {
                accept: Some("image/avif,image/webp,*/*;q=0.8"),
                ..get
            },
            Kind::Asset,
        ),
        (
            Shape {
                accept: Some("text/css,*/*;q=0.1"),
                ..get
            },
            Kind::Asset,
        ),
        (
            Shape {
                accept: Some("application/rss+xml, application/atom+xml"),
                ..get
            },
            Kind::Feed,
        ),
        (
            Shape {
                accept: Some("text/event-stream"),
                fetch_mode: Some("cors"),
                ..get
            },
            Kind::EventStream,
        ),
        (
            Shape {
                purpose: Some("prefetch;prerender"),
                fetch_mode: Some("navigate"),
                ..get
            },
            Kind::Prefetch,
        ),
        (
            Shape {
                upgrade: true,
                fetch_mode: Some("websocket"),
                ..get
            },
            Kind::Upgrade,
        ),
        (
            Shape {
                method: "HEAD",
                accept: Some(BROWSER),
                ..get
            },
            Kind::Head(Form::Page),
        ),
        (
            Shape {
                method: "OPTIONS",
                ..get
            },
            Kind::Preflight,
        ),
        (
            Shape {
                method: "POST",
                content_type: Some("application/grpc+proto"),
                ..get
            },
            Kind::Grpc,
        ),
        (
            Shape {
                method: "POST",
                accept: Some(BROWSER),
                ..get
            },
            Kind::Submission,
        ),
        (
            Shape {
                method: "POST",
                fetch_mode: Some("navigate"),
                ..get
            },
            Kind::Submission,
        ),
        (
            Shape {
                method: "POST",
                fetch_mode: Some("cors"),
                accept: Some(BROWSER),
                ..get
            },
            Kind::Call,
        ),
        (
            Shape {
                method: "POST",
                accept: Some("*/*"),
                ..get
            },
            Kind::Call,
        ),
        (
            Shape {
                method: "DELETE",
                ..get
            },
            Kind::Call,
        ),
        (
            Shape {
                method: "PROPFIND",
                ..get
            },
            Kind::Call,
        ),
    ] {
        assert_eq!(Kind::of(&shape), kind, "{shape:?}");
    }
}

const KINDS: [Kind; 17] = [
    Kind::Head(Form::Problem),
    Kind::GrpcWeb,
    Kind::Report,
    Kind::Fragment,
    Kind::Navigation,
    Kind::Submission,
    Kind::Plain,
    Kind::Data,
    Kind::Call,
    Kind::Asset,
    Kind::Feed,
    Kind::Head(Form::Page),
    Kind::Preflight,
    Kind::Upgrade,
    Kind::Grpc,
    Kind::EventStream,
    Kind::Prefetch,
];

#[test]
fn no_get_wakes_by_default() {
    for kind in KINDS {
        assert!(
            matches!(
                decide(&view(Phase::Asleep), kind, &RULES),
                Decision::Wait { wake: false, .. }
            ),
            "{kind:?}"
        );
    }
}

#[test]
fn a_prefetch_a_monitor_and_a_part_of_a_page_never_wake() {
    let eager = Rules {
        by_request: ByRequest::Always,
        hold: true,
        ..RULES
    };
    for kind in [
        Kind::Prefetch,
        Kind::Head(Form::Page),
        Kind::Preflight,
        Kind::Report,
        Kind::Asset,
        Kind::Feed,
    ] {
        let decision = decide(&view(Phase::Asleep), kind, &eager);
        assert_eq!(
            decision,
            Decision::Wait {
                form: kind.form(),
                wake: false
            },
            "{kind:?}"
        );
    }
    let monitor = Rules {
        ignored: true,
        ..eager
    };
    for kind in KINDS {
        let decision = decide(&view(Phase::Asleep), kind, &monitor);
        assert_eq!(
            decision,
            Decision::Wait {
                form: kind.form(),
                wake: false
            },
            "{kind:?}"
        );
    }
}

#[test]
fn only_clients_that_take_no_page_are_held() {
    let hold = Rules {
        hold: true,
        ..RULES
    };
    let held = |kind, rules: &Rules, phase| decide(&view(phase), kind, rules);
    assert_eq!(
        held(Kind::Data, &hold, Phase::Asleep),
        Decision::Hold {
            form: Form::Problem,
            wake: true
        }
    );
    assert!(matches!(
        held(Kind::Navigation, &hold, Phase::Asleep),
        Decision::Wait { wake: false, .. }
    ));
    // By a click only: a request waits for a wake, and never brings one.
    let click = Rules {
        by_request: ByRequest::Never,
        ..hold
    };
    assert!(matches!(
        held(Kind::Data, &click, Phase::Asleep),
        Decision::Wait { wake: false, .. }
    ));
    assert!(matches!(
        held(Kind::Data, &click, Phase::Waking),
        Decision::Hold { wake: false, .. }
    ));
}

#[test]
fn a_denied_client_may_wait_for_somebody_elses_wake() {
    let denied = Rules {
        may_wake: false,
        by_request: ByRequest::Always,
        ..RULES
    };
    let got = |phase| decide(&view(phase), Kind::Navigation, &denied);
    assert_eq!(got(Phase::Asleep), Decision::Deny { form: Form::Page });
    assert_eq!(got(Phase::Failed), Decision::Deny { form: Form::Page });
    assert_eq!(
        got(Phase::Waking),
        Decision::Wait {
            form: Form::Page,
            wake: false
        }
    );
}

/// The view shows the app a moment before the gate opens, and may show it a moment after the gate has closed.
#[test]
fn an_app_that_is_shown_at_a_closed_gate_is_on_its_way() {
    let mut shown = view(Phase::Awake);
    shown.upstreams.push(Upstream {
        instance: InstanceId::SEED,
        address: "127.0.0.1:1".parse().unwrap(),
    });
    let click = Rules {
        by_request: ByRequest::Never,
        hold: true,
        ..RULES
    };
    assert!(matches!(
        while_closed(&shown, Kind::Data, &click),
        Decision::Hold { wake: false, .. }
    ));
    let denied = Rules {
        may_wake: false,
        ..RULES
    };
    assert!(matches!(
        while_closed(&shown, Kind::Navigation, &denied),
        Decision::Wait { wake: false, .. }
    ));
}

#[test]
fn where_there_is_an_upstream_everything_is_forwarded() {
    let mut awake = view(Phase::Awake);
    awake.upstreams.push(Upstream {
        instance: InstanceId::SEED,
        address: "127.0.0.1:1".parse().unwrap(),
    });
    let denied = Rules {
        may_wake: false,
        ..RULES
    };
    for kind in KINDS {
        assert_eq!(decide(&awake, kind, &denied), Decision::Forward, "{kind:?}");
    }
}

proptest! {
    #[test]
    fn no_header_makes_it_panic(accept in ".{0,120}", purpose in ".{0,20}", path in ".{0,40}", kind in ".{0,40}") {
        let shape = Shape {
            method: "GET",
            path: &path,
            accept: Some(&accept),
            purpose: Some(&purpose),
            content_type: Some(&kind),
            ..Shape::default()
        };
        let _ = Kind::of(&shape);
    }
}
