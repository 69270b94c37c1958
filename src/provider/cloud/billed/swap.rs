//! A sleep in which the machine is destroyed and a snapshot stays: nothing else saves anything at these clouds.
//!
//! Down: shut down, take a snapshot, verify it, destroy. Up: make a machine from the newest good snapshot. Nothing is
//! remembered here: machine and snapshots are found by their mark, so whoever comes after a crash goes on. A machine that
//! exists is always the truth, whatever snapshots there are; and what a crash leaves half done costs another snapshot, not
//! data. Only a wake that has succeeded makes older snapshots dispensable, so a sleep deletes none. Before a machine is made, the moment is written on its snapshot: whoever comes later waits until that machine must
//! have appeared, and makes no second one.

use std::sync::PoisonError;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::{Instant, sleep};

use super::verified::Taken;
use super::{Billed, Keeper, Server, Snapshot, Snapshots, Stand, Verified};
use crate::engine::machine::{ErrorClass, Machine, MachineState, Trouble};
use crate::provider::bare;

/// So long a snapshot may take: hundreds of gigabytes.
const SNAPSHOT_WITHIN: Duration = Duration::from_secs(60 * 60);

/// So long a machine may take to be made from one.
const CREATE_WITHIN: Duration = Duration::from_secs(20 * 60);

/// So long a snapshot may take to be good when its order has ended.
const GOOD_WITHIN: Duration = Duration::from_secs(10 * 60);

/// So long a machine may take to be gone.
const GONE_WITHIN: Duration = Duration::from_secs(120);

/// What a call may take beyond switching on and off.
pub(super) const SWAP_WITHIN: Duration = Duration::from_secs(2 * 60 * 60);

/// What takes minutes is looked at every so many polls: an hour of it must not use up what the account may ask.
const PATIENT_POLLS: u32 = 8;

/// So often a snapshot is ordered, when the answers are lost.
const ORDERS_MAX: u32 = 2;

impl<C: Billed> Keeper<C> {
    /// The machine with the mark, or the snapshot that stands for it.
    pub(super) async fn look_marked(&self, kept: &Snapshots) -> Result<Machine, Trouble> {
        if let Some(server) = self.marked(kept).await? {
            return self.machine(&server).await;
        }
        Ok(match self.newest_good(kept).await? {
            Some(snapshot) if settles_in(&snapshot, kept).is_some() => bare(MachineState::Starting),
            Some(_) => bare(MachineState::Stopped),
            None => bare(MachineState::Missing),
        })
    }

    /// Makes sure that there is one machine, and that it is on.
    pub(super) async fn bring_back(&self, kept: &Snapshots) -> Result<Machine, Trouble> {
        if let Some(server) = self.marked(kept).await? {
            return self.switch_on(server.id).await;
        }
        let Some(snapshot) = self.newest_good(kept).await? else {
            return Err(nothing::<C>(kept));
        };
        if let Some(server) = self.appears(kept, &snapshot).await? {
            return self.switch_on(server.id).await;
        }
        let id = match self.make(kept, &snapshot).await {
            Ok(id) => id,
            Err(trouble) => match trouble.class {
                // Asked for, or there under its name: it must show itself.
                ErrorClass::Ambiguous | ErrorClass::AlreadyThere => {
                    let snapshot = self.cloud.snapshot(snapshot.id, &kept.mark).await?;
                    let snapshot = snapshot.ok_or_else(|| nothing::<C>(kept))?;
                    match self.appears(kept, &snapshot).await? {
                        Some(server) => server.id,
                        None if trouble.class == ErrorClass::AlreadyThere => {
                            let detail = format!("another {} has its name: {trouble}", C::MACHINE);
                            return Err(Trouble::new(ErrorClass::BadRequest, detail));
                        }
                        None => return Err(trouble),
                    }
                }
                _ => return Err(trouble),
            },
        };
        let server = self.until(id, MachineState::Running, CREATE_WITHIN).await;
        let server = server.map_err(|trouble| match trouble.class {
            // It was made a moment ago: not shown yet is not gone.
            ErrorClass::NotFound => Trouble::new(ErrorClass::Ambiguous, trouble.detail),
            _ => trouble,
        });
        self.machine(&server?).await
    }

    /// Between two looks at what takes minutes.
    fn patient(&self) -> Duration {
        self.keeping.poll * PATIENT_POLLS
    }

    /// Makes a machine from a snapshot; its id.
    async fn make(&self, kept: &Snapshots, snapshot: &Snapshot) -> Result<u64, Trouble> {
        let cloud = &self.cloud;
        cloud
            .note_waking(snapshot, &kept.mark, Some(unix_now()))
            .await?;
        self.note_write();
        let made = cloud.create(snapshot, &kept.mark, &kept.ssh_keys).await;
        self.note_write();
        let (id, order) = match made {
            Ok(made) => made,
            Err(trouble) => {
                if !matches!(
                    trouble.class,
                    ErrorClass::Ambiguous | ErrorClass::AlreadyThere
                ) {
                    // Nothing was made, so the next try need not wait. Where this fails it waits, and that is all.
                    let _ = cloud.note_waking(snapshot, &kept.mark, None).await;
                }
                return Err(trouble);
            }
        };
        *self.made.lock().unwrap_or_else(PoisonError::into_inner) = Some(id);
        tracing::info!(
            machine = id,
            snapshot = snapshot.id,
            "a machine is made from its snapshot"
        );
        match order {
            Some(order) => match self.follow(order, CREATE_WITHIN, self.keeping.poll).await? {
                Stand::Failed(trouble) => Err(trouble),
                Stand::Done | Stand::UnderWay => Ok(id),
            },
            None => Ok(id),
        }
    }

    /// Waits until a machine that was asked for, perhaps by somebody before us, must have appeared.
    async fn appears(
        &self,
        kept: &Snapshots,
        snapshot: &Snapshot,
    ) -> Result<Option<Server>, Trouble> {
        while settles_in(snapshot, kept).is_some() {
            if let Some(server) = self.marked(kept).await? {
                return Ok(Some(server));
            }
            sleep(self.keeping.poll).await;
        }
        // Once more: what settled at the last moment is in this list.
        self.note_write();
        self.marked(kept).await
    }

    /// Puts a snapshot in the machine's place.
    pub(super) async fn put_away(&self, kept: &Snapshots) -> Result<Machine, Trouble> {
        let server = match self.marked(kept).await? {
            Some(server) => server,
            None => {
                let Some(snapshot) = self.newest_good(kept).await? else {
                    return Err(nothing::<C>(kept));
                };
                // One that was asked for before a crash is not left to run unseen.
                match self.appears(kept, &snapshot).await? {
                    Some(server) => server,
                    None => return Ok(bare(MachineState::Stopped)),
                }
            }
        };
        if let Some(hindrance) = &server.hindrance {
            let detail = format!("{} {} stays as it is: {hindrance}", C::MACHINE, server.id);
            return Err(Trouble::new(ErrorClass::BadRequest, detail));
        }
        let off = self.switch_off(server.id).await?;
        if !matches!(off.state, MachineState::Stopped | MachineState::Stopping) {
            return Ok(off);
        }
        let server = self.at_rest(server.id).await?;
        let verified = self.take_verified(kept, &server).await?;
        let (machine, snapshot) = (verified.machine(), verified.snapshot());
        tracing::info!(
            machine,
            snapshot,
            "a verified snapshot takes the machine's place"
        );
        self.remove(&verified).await?;
        Ok(bare(MachineState::Stopped))
    }

    /// The machine, off and with nothing under way: a snapshot that somebody before us has ordered takes its time.
    async fn at_rest(&self, id: u64) -> Result<Server, Trouble> {
        let until = Instant::now() + SNAPSHOT_WITHIN;
        loop {
            let server = self.cloud.server(id).await?;
            let server = server.ok_or_else(|| Self::missing(id))?;
            if !server.locked || Instant::now() >= until {
                return Ok(server);
            }
            sleep(self.patient()).await;
        }
    }

    /// Takes a snapshot of a machine that is off, and looks at it until it is good.
    async fn take_verified(&self, kept: &Snapshots, server: &Server) -> Result<Verified, Trouble> {
        let known = self.cloud.snapshots(&kept.mark).await?;
        // The newest tells itself by this, also when a clock here was wrong.
        let newest = known.iter().map(|snapshot| snapshot.at).max();
        let at = unix_now().max(newest.map_or(0, |newest| newest + 1));
        let taken = Taken::of(server, at)?;
        let mut given = 0;
        loop {
            given += 1;
            let order = self.cloud.take(server, &kept.mark, at).await;
            self.note_write();
            match order {
                Ok(order) => match self.follow(order, SNAPSHOT_WITHIN, self.patient()).await? {
                    Stand::Failed(trouble) => return Err(trouble),
                    Stand::Done | Stand::UnderWay => break,
                },
                Err(trouble) if trouble.class == ErrorClass::Ambiguous && given < ORDERS_MAX => {
                    self.at_rest(server.id).await?;
                    if self.ordered(kept, &taken).await?.is_some() {
                        break;
                    }
                }
                // The second order found the first one at work.
                Err(trouble) if trouble.class == ErrorClass::Busy && given > 1 => {
                    self.at_rest(server.id).await?;
                    break;
                }
                Err(trouble) => return Err(trouble),
            }
        }
        // The list may lag behind the order that has ended, and the snapshot behind both.
        let until = Instant::now() + GOOD_WITHIN;
        loop {
            if let Some(snapshot) = self.ordered(kept, &taken).await? {
                let server = self.at_rest(server.id).await?;
                let verified = Verified::new(&taken, &server, &snapshot);
                if verified.is_ok()
                    || Instant::now() >= until
                    || server.state != MachineState::Stopped
                {
                    return verified;
                }
            } else if Instant::now() >= until {
                let detail = "the snapshot that was ordered does not appear; the machine stays";
                return Err(Trouble::new(ErrorClass::Ambiguous, detail));
            }
            sleep(self.patient()).await;
        }
    }

    /// The snapshot of this order, by its own page.
    async fn ordered(&self, kept: &Snapshots, taken: &Taken) -> Result<Option<Snapshot>, Trouble> {
        let listed = self.cloud.snapshots(&kept.mark).await?;
        match listed.iter().find(|snapshot| taken.is(snapshot)) {
            Some(listed) => self.cloud.snapshot(listed.id, &kept.mark).await,
            None => Ok(None),
        }
    }

    /// Destroys the machine, and sees it gone.
    async fn remove(&self, verified: &Verified) -> Result<(), Trouble> {
        let until = Instant::now() + GONE_WITHIN;
        let mut taken = false;
        loop {
            if !taken {
                let destroyed = self.cloud.destroy(verified).await;
                self.note_write();
                taken = match destroyed {
                    Ok(()) => true,
                    Err(trouble) => match trouble.class {
                        ErrorClass::NotFound => return Ok(()),
                        ErrorClass::Ambiguous | ErrorClass::Busy => false,
                        _ => return Err(trouble),
                    },
                };
            }
            sleep(self.keeping.poll).await;
            let Some(server) = self.cloud.server(verified.machine()).await? else {
                return Ok(());
            };
            let on = matches!(server.state, MachineState::Running | MachineState::Starting);
            if on && !taken {
                let detail = "the machine was switched on before it was destroyed; it stays";
                return Err(Trouble::new(ErrorClass::InvalidState, detail));
            }
            if Instant::now() >= until {
                let detail = "the machine that was destroyed is still there";
                return Err(Trouble::new(ErrorClass::Busy, detail));
            }
        }
    }

    /// Deletes our snapshots that are older than the two that stay while the machine is up: the one that it was made from,
    /// whose wake has now succeeded, and the good one before that. A machine that was made from none of ours proves
    /// nothing. What can't be deleted now is deleted after a later wake.
    ///
    /// # Errors
    /// When machine or snapshots could not be read, so nothing was deleted; or the last trouble of those that stay.
    pub(super) async fn forget_older(&self, kept: &Snapshots) -> Result<(), Trouble> {
        let server = self.marked(kept).await?;
        let made_from = server.and_then(|server| server.image);
        let mut ours = self.cloud.snapshots(&kept.mark).await?;
        ours.sort_by_key(|snapshot| std::cmp::Reverse((snapshot.at, snapshot.id)));
        let Some(at) = ours
            .iter()
            .find(|it| Some(it.id) == made_from)
            .map(|it| it.at)
        else {
            return Ok(());
        };
        let mut older = ours.into_iter().filter(|it| it.at < at);
        // One that a crash left half done is not the one before.
        for snapshot in older.by_ref() {
            let shown = self.cloud.snapshot(snapshot.id, &kept.mark).await?;
            if shown.is_some_and(|shown| shown.is_good()) {
                break;
            }
        }
        let mut stays = Ok(());
        for snapshot in older {
            let id = snapshot.id;
            match self.cloud.forget(&snapshot).await {
                Ok(()) => tracing::info!(snapshot = id, "an older snapshot is deleted"),
                Err(trouble) if trouble.class == ErrorClass::NotFound => {}
                Err(trouble) => {
                    let detail = format!("the older snapshot {id} stays: {}", trouble.detail);
                    stays = Err(Trouble::new(trouble.class, detail));
                }
            }
        }
        stays
    }

    /// The one machine with the mark, by its own page: lists lag.
    ///
    /// # Errors
    /// [`InvalidState`](ErrorClass::InvalidState) when there are two: which of them is true a person must say.
    async fn marked(&self, kept: &Snapshots) -> Result<Option<Server>, Trouble> {
        let list = self.list().await?;
        let marked = list.iter().filter(|it| it.marks.contains(&kept.mark));
        let mut ids: Vec<u64> = marked.map(|server| server.id).collect();
        let made = *self.made.lock().unwrap_or_else(PoisonError::into_inner);
        ids.extend(made.filter(|made| !ids.contains(made)));
        let mut found = Vec::new();
        for id in ids {
            let server = self.cloud.server(id).await?;
            found.extend(server.filter(|it| it.marks.contains(&kept.mark)));
        }
        match found.as_slice() {
            [] => Ok(None),
            [one] => Ok(Some(one.clone())),
            [one, two, ..] => {
                let (what, mark) = (C::MACHINE, &kept.mark);
                let (one, two) = (one.id, two.id);
                let detail = format!(
                    "the {what}s {one} and {two} both carry {mark:?}; take it from the wrong one, or delete that"
                );
                Err(Trouble::new(ErrorClass::InvalidState, detail))
            }
        }
    }

    /// The newest of our snapshots that can be used.
    async fn newest_good(&self, kept: &Snapshots) -> Result<Option<Snapshot>, Trouble> {
        let mut listed = self.cloud.snapshots(&kept.mark).await?;
        listed.sort_by_key(|snapshot| std::cmp::Reverse((snapshot.at, snapshot.id)));
        for snapshot in listed {
            let shown = self.cloud.snapshot(snapshot.id, &kept.mark).await?;
            if let Some(good) = shown.filter(Snapshot::is_good) {
                return Ok(Some(good));
            }
        }
        Ok(None)
    }
}

fn nothing<C: Billed>(kept: &Snapshots) -> Trouble {
    let (what, mark) = (C::MACHINE, &kept.mark);
    let detail = format!("there is no {what} and no good snapshot of ours with the mark {mark:?}");
    Trouble::new(ErrorClass::NotFound, detail)
}

/// How long a machine that is being made from this snapshot may yet appear; none when that time is over, or a clock here
/// was wrong.
fn settles_in(snapshot: &Snapshot, kept: &Snapshots) -> Option<Duration> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
    let since = Duration::from_secs(snapshot.waking?);
    let until = since + kept.settles;
    let known = since <= now + kept.settles;
    until
        .checked_sub(now)
        .filter(|left| known && !left.is_zero())
}

fn unix_now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |now| now.as_secs())
}
