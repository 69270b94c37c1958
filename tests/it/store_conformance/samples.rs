//! One of everything that a store must bring back as it was.

use anteroom::engine::contract::{Event, SleepWhy, Source, Stage, Trigger, TriggerBy, Upstream};
use anteroom::engine::eta::WakeHistory;
use anteroom::engine::fleet::{FleetRecord, Life, Story};
use anteroom::engine::id::{CloneId, InstanceId, OpId};
use anteroom::engine::machine::PublicAddress;
use anteroom::engine::record::{Base, Hold, Record, Stand};
use anteroom::engine::time::{Span, Time};
use anteroom::engine::view::Failure;

fn trigger() -> Trigger {
    Trigger {
        by: TriggerBy::Click,
        who: "203.0.113.0/24".into(),
        path: "/ä\"\\\u{0}\u{1F600}".into(),
    }
}

fn upstream() -> Upstream {
    Upstream {
        instance: InstanceId::Clone(CloneId::new(3, 1_795_000_000).unwrap()),
        address: "[2001:db8::1]:8080".parse().unwrap(),
    }
}

/// A clone in each step of its life.
fn fleet() -> FleetRecord {
    let addresses = vec![PublicAddress {
        id: "ä\"/1".into(),
        address: "2001:db8::1".parse().unwrap(),
    }];
    let lives = [
        Life::Making { since: Time(1) },
        Life::Stripping {
            addresses: addresses.clone(),
        },
        Life::Rising {
            since: Time(2),
            served: true,
        },
        Life::Serving {
            address: ([10, 0, 0, 7], 80).into(),
        },
        Life::Leaving {
            for_good: true,
            unstripped: Some(addresses.clone()),
        },
        Life::Removing {
            may_appear: Some(Time(2)),
            addresses,
            noted: true,
            gone: true,
        },
    ];
    let slots = 1..;
    let clones = slots.zip(lives);
    FleetRecord {
        clones: clones
            .map(|(slot, life)| (CloneId::new(slot, 1_795_000_000).unwrap(), life))
            .collect(),
        begun: vec![Time(1), Time(2)],
    }
}

/// A record with something in each field.
pub(super) fn full_record(stand: Stand) -> Record {
    let mut history = WakeHistory::default();
    history.add(Span(24_000));
    history.add(Span::FOREVER);
    Record {
        last_op: OpId(u64::MAX),
        stand,
        up_since: Some(Time(0)),
        run_by: Some(trigger()),
        triggered_count: u64::MAX,
        last_activity: Some(Time(u64::MAX)),
        hold: Some(Hold {
            until: Time(9),
            reason: String::new(),
        }),
        history,
        base: Base::Clones,
        fleet: fleet(),
    }
}

/// Each stand at least once.
pub(super) fn stands() -> Vec<Stand> {
    let (upstream, since) = (Some(upstream()), Time(1_700_000_000_123));
    let failure = Failure::MachineDied;
    let stopping = [SleepWhy::Idle, SleepWhy::Admin, SleepWhy::GivenUp];
    let plain = [
        Stand::Unknown,
        Stand::Asleep,
        Stand::Waking { since },
        Stand::Awake { upstream },
        Stand::Leaving { upstream },
        Stand::Awake { upstream: None },
        Stand::Leaving { upstream: None },
        Stand::Failed { failure, since },
    ];
    let stopping = stopping.map(|why| Stand::Stopping { why });
    plain.into_iter().chain(stopping).collect()
}

pub(super) const STANDS: usize = 7;

/// A number for each stand. A new one does not compile until it has one here and an example above.
pub(super) fn stand_number(stand: &Stand) -> usize {
    match stand {
        Stand::Unknown => 0,
        Stand::Asleep => 1,
        Stand::Waking { .. } => 2,
        Stand::Awake { .. } => 3,
        Stand::Leaving { .. } => 4,
        Stand::Stopping { .. } => 5,
        Stand::Failed { .. } => 6,
    }
}

/// Each event at least once.
pub(super) fn events() -> Vec<Event> {
    let (what, why) = (|| String::from("what"), || String::from("why"));
    vec![
        Event::WakeBegan(trigger()),
        Event::StageReached {
            stage: Stage::MachineUp,
            after: Span(1),
        },
        Event::Woken {
            took: Span::FOREVER,
        },
        Event::WakeFailed {
            why: why(),
            retry_at: None,
        },
        Event::WakeFailed {
            why: why(),
            retry_at: Some(Time(2)),
        },
        Event::Adopted,
        Event::WentIdle {
            idle: Span(3),
            why: SleepWhy::Idle,
            who: None,
            sources: vec![Source::Edge, Source::Traefik],
        },
        Event::WentIdle {
            idle: Span(3),
            why: SleepWhy::Admin,
            who: Some("ann".into()),
            sources: Vec::new(),
        },
        Event::DivertProven,
        Event::StopCancelled { why: why() },
        Event::StopBegan,
        Event::Slept {
            awake: Span(4),
            why: SleepWhy::GivenUp,
        },
        Event::Vanished { what: what() },
        Event::HealthChanged {
            healthy: false,
            what: what(),
        },
        Event::Blind {
            source: Source::Traefik,
        },
        Event::Retrying {
            what: what(),
            at: Time(5),
        },
        Event::PublishFailed { why: why() },
        Event::HoldBegan {
            until: Time(6),
            reason: why(),
        },
        Event::HoldEnded,
        Event::Clone {
            which: CloneId::new(2, 1_795_000_000).unwrap(),
            story: Story::NotMade { why: why() },
        },
        Event::Clone {
            which: CloneId::new(2, 1_795_000_000).unwrap(),
            story: Story::Serving,
        },
        Event::Clone {
            which: CloneId::new(2, 1_795_000_000).unwrap(),
            story: Story::GivenUp { why: why() },
        },
        Event::Scaled {
            have: 1,
            wanted: 3,
            why: why(),
        },
        Event::ScaleHindered { why: why() },
    ]
}

pub(super) const EVENTS: usize = 20;

/// A number for each event. A new one does not compile until it has one here and an example above.
pub(super) fn event_number(event: &Event) -> usize {
    match event {
        Event::WakeBegan(_) => 0,
        Event::StageReached { .. } => 1,
        Event::Woken { .. } => 2,
        Event::WakeFailed { .. } => 3,
        Event::Adopted => 4,
        Event::WentIdle { .. } => 5,
        Event::DivertProven => 6,
        Event::StopCancelled { .. } => 7,
        Event::StopBegan => 8,
        Event::Slept { .. } => 9,
        Event::Vanished { .. } => 10,
        Event::HealthChanged { .. } => 11,
        Event::Blind { .. } => 12,
        Event::Retrying { .. } => 13,
        Event::PublishFailed { .. } => 14,
        Event::HoldBegan { .. } => 15,
        Event::HoldEnded => 16,
        Event::Clone { .. } => 17,
        Event::Scaled { .. } => 18,
        Event::ScaleHindered { .. } => 19,
    }
}
