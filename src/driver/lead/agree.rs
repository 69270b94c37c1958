//! What needs the word of every room before a machine is stopped: that visitors are led away, and that nobody is
//! inside.

use std::time::Duration;

use tokio::time::Instant;

use crate::engine::contract::{Activity, Input};
use crate::engine::fleet::Heard;
use crate::engine::id::OpId;
use crate::engine::rooms::{Mark, Rooms};

/// Rooms that do not agree by then do not agree.
const AGREE_TIMEOUT: Duration = Duration::from_secs(30);

/// A question to all rooms, and how far its answers have come.
#[derive(Debug)]
pub(super) struct Question {
    op: OpId,
    kind: Kind,
    /// Every room must have come that far.
    mark: Mark,
    until: Instant,
}

#[derive(Debug)]
enum Kind {
    /// Whether visitors are led away: this room's own proof.
    Divert(Option<Result<(), String>>),
    /// Who is inside: this room's own count, and that of its other sources.
    Look {
        own: Activity,
        others: Option<Result<Vec<Activity>, String>>,
    },
    /// Whether nobody is led to a clone any more, and how many requests this room has there.
    Drain { routed: Mark, own: u32 },
}

impl Question {
    pub(super) fn divert(op: OpId, mark: Mark) -> Question {
        Question::new(op, mark, Kind::Divert(None))
    }

    pub(super) fn look(op: OpId, mark: Mark, own: Activity) -> Question {
        Question::new(op, mark, Kind::Look { own, others: None })
    }

    /// `routed`: the envelope since which the routing leads nobody there.
    pub(super) fn drain(op: OpId, mark: Mark, routed: Mark, own: u32) -> Question {
        Question::new(op, mark, Kind::Drain { routed, own })
    }

    fn new(op: OpId, mark: Mark, kind: Kind) -> Question {
        Question {
            op,
            kind,
            mark,
            until: Instant::now() + AGREE_TIMEOUT,
        }
    }

    pub(super) fn looked(&mut self, op: OpId, looked: Result<Vec<Activity>, String>) {
        if let Kind::Look { others, .. } = &mut self.kind
            && self.op == op
        {
            *others = Some(looked);
        }
    }

    pub(super) fn diverted(&mut self, op: OpId, proven: Result<(), String>) {
        if let Kind::Divert(own) = &mut self.kind
            && self.op == op
        {
            *own = Some(proven);
        }
    }

    /// The answer, once there is one. `told` is the last envelope that was told before the rooms were heard.
    pub(super) fn answer(&self, rooms: &mut Rooms, told: Mark) -> Option<Input> {
        let behind = match self.kind {
            Kind::Divert(_) => rooms.unrouted(self.mark),
            Kind::Look { .. } => rooms.unseen(self.mark),
            Kind::Drain { routed, .. } => {
                rooms.unseen(self.mark).or_else(|| rooms.unrouted(routed))
            }
        };
        let behind = match (told < self.mark, behind) {
            (true, _) => Some("the store has not answered".to_owned()),
            (false, Some(room)) => Some(format!("the room {room} has not answered")),
            (false, None) => None,
        };
        let late = Instant::now() >= self.until;
        match (&self.kind, behind) {
            (Kind::Divert(Some(Err(why))), _) => Some(Input::Diverted(self.op, Err(why.clone()))),
            (
                Kind::Look {
                    others: Some(Err(why)),
                    ..
                },
                _,
            ) => Some(Input::LookedOnce(self.op, Err(why.clone()))),
            (Kind::Divert(Some(Ok(()))), None) => Some(Input::Diverted(self.op, Ok(()))),
            (
                Kind::Look {
                    own,
                    others: Some(Ok(others)),
                },
                None,
            ) => {
                let sum = rooms.sum(*own).ok_or_else(|| "a room is silent".to_owned());
                let all = sum.map(|sum| [vec![sum], others.clone()].concat());
                Some(Input::LookedOnce(self.op, all))
            }
            (Kind::Drain { own, .. }, None) => {
                // What other rooms have in flight at one clone is not told.
                let open = Some(*own).filter(|_| rooms.is_alone());
                Some(Input::Fleet(self.op, Heard::Drained(Ok(open))))
            }
            (kind, behind) if late => {
                let why = behind.unwrap_or_else(|| "no answer".into());
                Some(match kind {
                    Kind::Divert(_) => Input::Diverted(self.op, Err(why)),
                    Kind::Look { .. } => Input::LookedOnce(self.op, Err(why)),
                    Kind::Drain { .. } => Input::Fleet(self.op, Heard::Drained(Err(why))),
                })
            }
            _ => None,
        }
    }
}
