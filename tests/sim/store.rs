//! The fake store: what a Redis keeps of one service. Writes can be slow, fail, or fail after having been done; the
//! server can be away, be wiped, and be replaced by a replica that lacks the last writes.

use std::collections::BTreeMap;

use anteroom::engine::admit::Book;
use anteroom::engine::contract::{Routing, Trigger, Upstream};
use anteroom::engine::id::{Epoch, OpId, ServiceName};
use anteroom::engine::record::Record;
use anteroom::engine::rooms::{Heard, Mark, Report};
use anteroom::engine::time::Span;
use anteroom::engine::view::Phase;

use crate::limits::Meters;
use crate::plan::SECOND;

/// How long a leader is one without a sign of life.
pub(crate) const LEASE: u64 = 3 * SECOND;

/// Everything that the server holds.
#[derive(Clone, Debug, Default)]
pub(crate) struct Kept {
    pub(crate) epoch: Epoch,
    /// Which process has claimed the service under that epoch.
    pub(crate) by: u64,
    /// Which claim of the day that was: unlike epochs, these never come twice.
    pub(crate) reign: u64,
    pub(crate) record: Option<Record>,
    pub(crate) lease_until: u64,
    pub(crate) envelope: Option<Envelope>,
    /// When each room last reported, and what.
    pub(crate) rooms: BTreeMap<u64, (u64, Report)>,
    /// Triggers that the store did not rule on, for the leader.
    pub(crate) brought: Vec<Trigger>,
    pub(crate) book: Book,
    /// Another one after the server was wiped; none before the first wake.
    pub(crate) word: Option<u64>,
    /// The truth about the book.
    pub(crate) meters: Meters,
}

/// A service as its leader tells it to the rooms that follow.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Envelope {
    pub(crate) mark: Mark,
    pub(crate) routing: Routing,
    pub(crate) shown: Shown,
}

/// What a room acts by.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Shown {
    pub(crate) phase: Phase,
    pub(crate) version: u64,
    pub(crate) upstreams: Vec<Upstream>,
}

/// A record on its way into the store.
#[derive(Clone, Debug)]
pub(crate) struct Save {
    pub(crate) record: Record,
    pub(crate) op: OpId,
    pub(crate) required: bool,
    /// When it was sent.
    pub(crate) at: u64,
}

#[derive(Debug)]
pub(crate) struct Store {
    pub(crate) kept: Kept,
    pub(crate) down_until: u64,
    pub(crate) name: ServiceName,
    reigns: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Written {
    Yes,
    /// Not known to be written.
    Failed,
    /// There is a newer owner.
    Stale,
}

/// What becomes of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WriteFate {
    Done,
    Lost,
    /// Written, but the answer says that it failed.
    DoneInSecret,
}

impl Default for Store {
    fn default() -> Store {
        Store {
            kept: Kept::default(),
            down_until: 0,
            name: "blog".parse().expect("a good name"),
            reigns: 0,
        }
    }
}

impl Store {
    /// Whether this claim is the service's, by epoch and by token.
    pub(crate) fn is_owner(&self, life: u64, epoch: Epoch) -> bool {
        self.kept.epoch == epoch && self.kept.by == life
    }

    pub(crate) fn claim(&mut self, life: u64, now: u64) -> (Epoch, u64, Option<Record>) {
        self.reigns += 1;
        let kept = &mut self.kept;
        kept.epoch = Epoch(kept.epoch.0 + 1);
        (kept.by, kept.reign) = (life, self.reigns);
        kept.lease_until = now + LEASE;
        (kept.epoch, kept.reign, kept.record.clone())
    }

    /// Whether a claim is let through that leaves a living lease of another room alone.
    pub(crate) fn is_free(&self, life: u64, now: u64) -> bool {
        self.kept.lease_until <= now || self.kept.by == life
    }

    pub(crate) fn save(&mut self, record: Record, heard: u64, fate: WriteFate) -> Written {
        if fate == WriteFate::Lost {
            return Written::Failed;
        }
        let at_rest = record.stand.at_rest();
        self.kept.record = Some(record);
        self.kept.book.hear(&self.name, heard, at_rest);
        match fate {
            WriteFate::Done => Written::Yes,
            _ => Written::Failed,
        }
    }

    /// A sign of life: keeps the room's report, and gives those of the others.
    pub(crate) fn report(&mut self, life: u64, now: u64, report: Report) {
        self.kept.rooms.insert(life, (now, report));
    }

    pub(crate) fn others(&self, life: u64, now: u64) -> Vec<Heard> {
        let others = self.kept.rooms.iter().filter(|(room, _)| **room != life);
        others
            .map(|(room, (at, report))| Heard {
                room: room.to_string(),
                age: Span(now.saturating_sub(*at)),
                report: *report,
            })
            .collect()
    }
}
