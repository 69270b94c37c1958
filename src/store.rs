//! The lasting memory: records, leases' epochs and the ledger. One trait, [`Store`]; one conformance suite for
//! every kind (`tests/it/store_conformance.rs`).
//!
//! Every operation is one atomic, domain-sized call. There is no get-then-set anywhere, so the same trait fits
//! an embedded file and a shared server with scripts.
//!
//! Read on in [`memory`], the shortest of them, then in [`file`](mod@file) and [`redis`](mod@redis). What a store of
//! many rooms can beside is in [`shared`].

pub mod file;
pub mod memory;
pub mod redis;
pub mod shared;
pub mod surface;

use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};

use crate::engine::admit::{Applicant, Late, Rules, Verdict};
use crate::engine::contract::Event;
use crate::engine::id::{Epoch, ServiceName};
use crate::engine::privacy::{Forgotten, Kept};
use crate::engine::record::Record;
use crate::engine::time::Time;
use crate::engine::triggerers::{Asked, Outcome};
use shared::Shared;
use surface::Surface;

/// One line of the ledger: what happened to a service, and when.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LedgerEntry {
    /// When. Written as `when`, because an event may have an `at` of its own beside it.
    #[serde(rename = "when")]
    pub at: Time,
    /// What.
    #[serde(flatten)]
    pub event: Event,
}

/// Entries kept for each service, none for longer than [`Kept::network`]. At ten wakes a day that is two months.
pub const LEDGER_MAX: usize = 2_000;

/// Why a store could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Somebody with a higher epoch owns the service: stop acting for it.
    #[error("the service has a newer owner (epoch {current}, ours is {ours})")]
    Stale {
        /// The epoch of the owner.
        current: Epoch,
        /// The epoch of the caller.
        ours: Epoch,
    },
    /// The store can't be reached or failed; nothing is known to be written.
    #[error("store: {0}")]
    Unavailable(String),
    /// What is stored can't be read; it was left as it is.
    #[error("store: {what} can't be read: {why}")]
    Corrupt {
        /// Which piece.
        what: String,
        /// The reader's words.
        why: String,
    },
}

/// What was removed of a client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Forgot {
    /// Entries among the triggerers.
    pub triggerers: usize,
    /// Limits: whoever had used them up may wake again.
    pub limits: usize,
    /// Lines of the ledger that named it.
    pub ledger: usize,
}

/// The answer of a store.
pub type Answer<'a, T> = BoxFuture<'a, Result<T, StoreError>>;

/// What a new owner gets.
#[derive(Clone, Debug, PartialEq)]
pub struct Claim {
    /// The epoch of this ownership, higher than every earlier one.
    pub epoch: Epoch,
    /// What the last owner wrote.
    pub record: Option<Record>,
}

/// The lasting memory of all services.
pub trait Store: Send + Sync + 'static {
    /// What it can for many rooms; none where there is one only.
    fn shared(&self) -> Option<&dyn Shared> {
        None
    }

    /// Takes ownership of a service, whoever has it: raises its epoch by one and returns the record, in one step.
    /// Writes of earlier owners are refused from then on.
    fn claim<'a>(&'a self, service: &'a ServiceName, owner: &'a str) -> Answer<'a, Claim>;

    /// Writes the record and appends to the ledger (oldest first in `entries`), in one step, if `epoch` is still
    /// the service's. The ledger keeps its latest [`LEDGER_MAX`] entries, and of these none that is older than
    /// [`Kept::network`]; of a shared store, the whole ledger ends so long after its last entry.
    ///
    /// `heard` is the highest number of a wake that this owner has heard of, 0 for none. The store keeps the highest that
    /// any owner of the service told it. When that is the number of the last wake or more, and the record's stand is
    /// [`at_rest`](crate::engine::record::Stand::at_rest), that wake is no longer wanted, in the same step.
    ///
    /// A save whose future is dropped has happened whole or not at all, and never lands after a later save of the
    /// same store value.
    ///
    /// # Errors
    /// [`StoreError::Stale`] when there is a newer owner, or when this store never gave out `epoch` (it was wiped,
    /// or nobody claimed the service); nothing is written then.
    fn save<'a>(
        &'a self,
        service: &'a ServiceName,
        epoch: Epoch,
        record: &'a Record,
        entries: &'a [LedgerEntry],
        heard: u64,
    ) -> Answer<'a, ()>;

    /// Rules on a client that would wake the service, and charges what it costs, in one step; the answer is that of
    /// [`Book::admit`](crate::engine::admit::Book::admit). Nobody need have claimed the service.
    ///
    /// 1. A ban, then `deny`, then `allow` refuse for good.
    /// 2. If a wake is wanted, everybody else joins it: [`Verdict::Joined`] with its number.
    /// 3. All limits of `rules` are asked, the nonce that the applicant brings before them and the daily budget last. If any refuses, the one that lasts longest (of equals the
    ///    first, in the order of [`Rule`](crate::engine::admit::Rule)) is told, and nothing changes.
    /// 4. Else all are charged, the service's wake number rises by one, and the wake is wanted, with the applicant's
    ///    trigger, until a [`save`](Store::save) says that it is over: [`Verdict::Wake`].
    ///
    /// Whoever the limits ruled on is listed, in the same step, as [`Triggerers`](crate::engine::triggerers::Triggerers)
    /// does; of those who are refused or join, a store may forget some when the process ends.
    ///
    /// What it answers is as lasting as a save: a process killed at any moment gives nobody a wake back that was
    /// told, and takes away at most one that was not. The limits remember 65,536 clients and networks at least, the
    /// wake numbers are never forgotten, and nothing about a client is kept longer than its limit needs: see [`tidy`](Store::tidy).
    ///
    /// `now` is the caller's, and it may stand still or go back a little: replicas' clocks differ.
    fn admit<'a>(
        &'a self,
        service: &'a ServiceName,
        now: Time,
        applicant: &'a Applicant,
        rules: &'a Rules,
    ) -> Answer<'a, Verdict>;

    /// Lists one of whom nobody asked the store, as it lists those who are refused: who opened a trap, or proved nothing.
    /// To be called seldom; the caller sees to that. Where the limits can't be asked, this can't either.
    fn note<'a>(
        &'a self,
        service: &'a ServiceName,
        now: Time,
        applicant: &'a Applicant,
        outcome: Outcome,
    ) -> Answer<'a, ()>;

    /// Charges a wake that was let in while this store could not be asked: all limits of its applicant, and the day's
    /// budget, whether or not there is room for it; it is listed as one that woke. It wakes nothing and ends nothing. Charged once, however often it is called;
    /// those of one service and of the same [`by`](Late::by) come in the order of their numbers.
    fn charge_late<'a>(&'a self, now: Time, late: &'a Late) -> Answer<'a, ()>;

    /// A word that stays for as long as the store forgets nothing of a service's limits. Always the same where it never
    /// does, and where it ends with the process.
    fn life<'a>(&'a self, _service: &'a ServiceName) -> Answer<'a, String> {
        Box::pin(std::future::ready(Ok(String::new())))
    }

    /// For how long it keeps what is about clients, from now on; at first it is [`Kept::default`]. What is kept already may
    /// end when it was to end.
    fn keep(&self, kept: Kept);

    /// Forgets the clients whose limits are whole again at `now`, and what is kept no longer of the lists and the
    /// ledgers. To be called now and then.
    fn tidy(&self, _now: Time) -> Answer<'_, ()> {
        Box::pin(std::future::ready(Ok(())))
    }

    /// The latest `limit` of those who asked to wake the service, newest first, with what is kept of them at `now`.
    fn triggerers<'a>(
        &'a self,
        service: &'a ServiceName,
        now: Time,
        limit: usize,
    ) -> Answer<'a, Vec<Asked>>;

    /// Forgets a client, or a network, in all services: its entries among the triggerers, its limits, and its name in the
    /// ledger, which says [`FORGOTTEN`](crate::engine::privacy::FORGOTTEN) there instead. What comes while it works may
    /// stay, and after an error some may have gone: then it is to be called again.
    fn forget<'a>(&'a self, forgotten: &'a Forgotten) -> Answer<'a, Forgot>;

    /// The deployment's secret, from which nonces and keys are made: keeps `fresh` if there is none yet, and
    /// returns what is kept. All replicas on one store have the same.
    fn secret(&self, fresh: [u8; 32]) -> Answer<'_, [u8; 32]>;

    /// Why the store, or a part of it, is away; none when all that was asked lately was answered. Never waits.
    fn trouble(&self) -> Option<String> {
        None
    }

    /// What people write for all services into a store that others than Anteroom write into; none for the other kinds.
    fn surface(&self) -> Option<&dyn Surface> {
        None
    }

    /// Reads the record without taking ownership.
    fn load<'a>(&'a self, service: &'a ServiceName) -> Answer<'a, Option<Record>>;

    /// The latest `limit` entries of the ledger, newest first. A service that nobody claimed has none.
    fn ledger<'a>(&'a self, service: &'a ServiceName, limit: usize)
    -> Answer<'a, Vec<LedgerEntry>>;
}
