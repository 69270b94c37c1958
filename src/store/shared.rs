//! What a store of many rooms can beside [`Store`](super::Store): one room leads a service under a lease, the others
//! follow it, and all hear of each other at once.
//!
//! Leading and following are one call each, made every [`BEAT`] and whenever there is something to say. What is
//! told between two of them by [`Shared::news`] may be lost: the next call says it again.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use super::{Answer, Claim};
use crate::engine::contract::{Routing, Trigger};
use crate::engine::id::{Epoch, ServiceName};
use crate::engine::rooms::{Heard, Mark, Report};
use crate::engine::time::Span;
use crate::engine::view::View;

/// Between two signs of life of a room, for each service. What an admin writes takes effect within that.
pub const BEAT: Duration = Duration::from_millis(800);

/// How long a leader is one without a sign of life.
pub const LEASE: Duration = Duration::from_secs(3);

/// Commands that one beat takes.
pub const COMMANDS_MAX: usize = 16;

/// A service as its leader tells it to the rooms that follow.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Envelope {
    /// Which one it is.
    pub mark: Mark,
    /// Where visitors are led.
    pub routing: Routing,
    /// What everybody sees.
    pub view: View,
}

/// What a leader says.
#[derive(Clone, Debug, Default)]
pub struct Beat {
    /// Under which epoch.
    pub epoch: Epoch,
    /// By what name, for people who read the lease.
    pub owner: String,
    /// Where the room is, as in [`Sign::at`].
    pub at: String,
    /// The service as it is now, if that was not told yet.
    pub envelope: Option<Envelope>,
    /// The fields of the status hash, if they were not told yet; an empty value takes the field away.
    pub status: Vec<(&'static str, String)>,
    /// This room's own use, for whoever leads after it.
    pub report: Report,
    /// A change of the hold that came by another way than its key.
    pub hold: Option<HoldWish>,
    /// The last beat whose commands are carried out, and how many those were.
    pub done: Option<(String, usize)>,
    /// Rooms that are gone.
    pub forgotten: Vec<String>,
}

/// A change of the hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HoldWish {
    /// Keep the service awake for so long.
    Keep {
        /// Why, for people.
        reason: String,
        /// From now on.
        length: Span,
    },
    /// Let it sleep again.
    Drop,
}

/// The hold as an admin reads and writes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HoldKey {
    /// Why.
    pub reason: String,
    /// How long yet; none when it has no end.
    pub left: Option<Span>,
}

/// An admitted wake that is not over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Which one.
    pub number: u64,
    /// What asked for it.
    pub trigger: Trigger,
    /// An owner has told the store that it heard of it.
    pub heard: bool,
}

/// What a leader hears.
#[derive(Clone, Debug, Default)]
pub struct Heartbeat {
    /// The hold, while its key exists.
    pub hold: Option<HoldKey>,
    /// Commands as they were written, oldest first. They stay until a later beat says that they are done.
    pub commands: Vec<String>,
    /// Names this beat in [`Beat::done`].
    pub name: String,
    /// The last admitted wake, if it is still wanted.
    pub wanted: Option<Wanted>,
    /// The other rooms.
    pub rooms: Vec<Heard>,
    /// What can't be read, in words for a person.
    pub bad: Vec<String>,
    /// The status or the envelope is not there any more: all of it must be told again.
    pub again: bool,
}

/// What a follower says.
#[derive(Clone, Copy, Debug)]
pub struct Sign<'a> {
    /// Where the room is: its host, and where it listens. No two rooms are at one place at a time.
    pub at: &'a str,
    /// The room is new: a report of another one from this place is that of its last life, which is over.
    pub instead: bool,
    /// Its counts.
    pub report: Report,
}

/// What a follower hears.
#[derive(Clone, Debug)]
pub struct Followed {
    /// The leader's latest word, if one was ever said.
    pub envelope: Option<Envelope>,
    /// Whether the service has a leader.
    pub led: bool,
}

/// What is told between the beats.
#[derive(Clone, Debug)]
pub enum News {
    /// The leader says how the service is now.
    Changed(Box<Envelope>),
    /// A wake was admitted.
    Wanted(u64, Trigger),
    /// There is something to read for the leader.
    Written,
    /// The lease is free.
    Free,
}

/// A store that many rooms share. Epochs and refusals are those of [`Store`](super::Store).
pub trait Shared: Send + Sync {
    /// This room's name: another one after each start, and no other room's.
    fn room(&self) -> &str;

    /// Like [`Store::claim`](super::Store::claim), but only if nobody leads the service: none where a lease of another room lives, or
    /// the lease is kept for another.
    fn claim_free<'a>(
        &'a self,
        service: &'a ServiceName,
        owner: &'a str,
    ) -> Answer<'a, Option<Claim>>;

    /// A leader's sign of life: extends the lease by [`LEASE`] from now, says what there is to say, and hears what
    /// there is to hear, in one step.
    ///
    /// # Errors
    /// [`Stale`](super::StoreError::Stale) as with a save; nothing is said then.
    fn beat<'a>(&'a self, service: &'a ServiceName, beat: Beat) -> Answer<'a, Heartbeat>;

    /// A follower's sign of life.
    fn follow<'a>(&'a self, service: &'a ServiceName, sign: Sign<'a>) -> Answer<'a, Followed>;

    /// Ends a leadership: for nobody, or for the room of this name, for which the lease is kept free for three
    /// [`BEAT`]s.
    fn hand_over<'a>(
        &'a self,
        service: &'a ServiceName,
        epoch: Epoch,
        to: Option<&'a str>,
    ) -> Answer<'a, ()>;

    /// This room has nobody inside any more and serves the service no longer.
    fn goodbye<'a>(&'a self, service: &'a ServiceName) -> Answer<'a, ()>;

    /// Brings the leader a command.
    fn tell<'a>(&'a self, service: &'a ServiceName, command: String) -> Answer<'a, ()>;

    /// Writes or deletes the hold.
    fn hold<'a>(&'a self, service: &'a ServiceName, wish: HoldWish) -> Answer<'a, ()>;

    /// The news of a service from now on. Bounded: what nobody takes is dropped. Who asks again takes the place
    /// of who asked before.
    fn news(&self, service: &ServiceName) -> mpsc::Receiver<News>;
}
