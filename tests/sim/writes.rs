//! How the driver writes its record, and what it does where the store does not take it.

use anteroom::engine::contract::Input;
use anteroom::engine::id::OpId;
use anteroom::engine::record::{Record, Stand};

use crate::driver::Role;
use crate::mutants::Bug;
use crate::plan::SECOND;
use crate::store::{Save, WriteFate, Written};
use crate::world::{Event, World};

/// A write that has no answer by then has failed.
const SAVE_TIMEOUT: u64 = 5 * SECOND;

/// Between two tries to write the same record.
const SAVE_AGAIN: u64 = 2 * SECOND;

impl World {
    pub(crate) fn write(&mut self, life: u64, op: OpId, record: Record, required: bool) {
        self.intends(&record);
        let save = Save {
            record,
            op,
            required,
            at: self.now,
        };
        let Some(process) = self.process(life) else {
            return;
        };
        let (reign, cut_until) = (process.reign, process.cut_until);
        if process.role == Role::Provisional {
            let written = match self.has(Bug::ProvisionalLeaderStops) {
                true => Written::Yes,
                false => Written::Failed,
            };
            return self.answered(life, reign, save, written);
        }
        let stops = required && matches!(save.record.stand, Stand::Stopping { .. });
        if stops && !self.all_agree(life) {
            self.note(|| "  a room has not agreed: no stop".into());
            return self.answered(life, reign, save, Written::Failed);
        }
        let down = self.now < self.store.down_until.max(cut_until);
        let fails = down || self.mishap(self.plan.store_faults);
        let fate = match fails {
            false => WriteFate::Done,
            true if self.rng.chance(300) => WriteFate::DoneInSecret,
            true => WriteFate::Lost,
        };
        if fails || self.mishap(20) {
            self.disturb();
            let delay = if fails {
                self.rng.within(1, SAVE_TIMEOUT)
            } else {
                self.rng.within(1, 2_000)
            };
            if let Some(process) = self.process(life) {
                process.writing = true;
            }
            let save = Box::new(save);
            let event = Event::Written {
                life,
                reign,
                save,
                fate,
            };
            self.after(delay, event);
        } else {
            self.written(life, reign, save, fate);
        }
    }

    /// The driver writes a record that is not written yet again, as long as there is no newer one.
    pub(crate) fn save_again(&mut self, life: u64) {
        let Some(process) = self.process(life) else {
            return;
        };
        if process.writing {
            return self.after(SAVE_AGAIN, Event::SaveAgain { life });
        }
        if let Some(record) = process.unsaved.take() {
            self.write(life, OpId(0), *record, false);
        }
    }

    /// The write reaches the store, or does not.
    pub(crate) fn written(&mut self, life: u64, reign: u64, save: Save, fate: WriteFate) {
        let Some(process) = self.process(life) else {
            return;
        };
        let (epoch, heard) = (process.epoch, process.room.heard);
        let ours = process.reign == reign;
        let stale =
            !(ours && self.store.is_owner(life, epoch) || self.has(Bug::StoreTakesAnyEpoch));
        let written = match stale && fate != WriteFate::Lost {
            true => Written::Stale,
            false => self.store.save(save.record.clone(), heard, fate),
        };
        let kept = written == Written::Yes || fate == WriteFate::DoneInSecret;
        if kept && !stale {
            self.applied(life, reign, "a record");
        }
        // The worst moment to fall silent: the stop is written, and not yet asked for.
        if ours && self.shared() && save.required && self.mishap(self.plan.pauses) {
            let length = self.rng.within(500, 90_000);
            self.pause(life, length);
            if let Some(process) = self.process(life) {
                process.writing = true;
            }
            let save = Box::new(save);
            let event = Event::Answered {
                life,
                reign,
                save,
                written,
            };
            return self.after(0, event);
        }
        self.answered(life, reign, save, written);
    }

    pub(crate) fn answered(&mut self, life: u64, reign: u64, save: Save, written: Written) {
        let blocked = match self.process(life) {
            Some(process) if process.reign == reign && process.role != Role::Follows => {
                std::mem::take(&mut process.writing)
            }
            _ => return,
        };
        let why = match &save.record.stand {
            Stand::Stopping { why } => Some(*why),
            _ => None,
        };
        let op = save.op;
        self.note(|| format!("  life {life}: record {op} written: {written:?}"));
        if written == Written::Stale && !self.has(Bug::DisownedLeaderGoesOn) {
            return match self.shared() {
                true => self.stand_back(life),
                false => self.end_process(life),
            };
        }
        // A stop may leave only while the lease is known to be ours: afterwards somebody else may have woken the
        // service, and the provider can't tell.
        let hasty = why.is_none() && self.has(Bug::DeedLeavesAfterTheLease);
        let leads = !save.required || hasty || self.lease_lives(life, save.at);
        let done = written != Written::Failed && leads;
        let Some(process) = self.process(life) else {
            return;
        };
        process.last_stand = why;
        process.watched.wrote |= done;
        process.unsaved = (!done).then(|| Box::new(save.record));
        if !done && save.required {
            process.todo.clear();
            process.inbox.push_front(Input::NotRecorded(op));
        }
        let saves_again = !done && process.role == Role::Leads;
        if saves_again {
            self.after(SAVE_AGAIN, Event::SaveAgain { life });
        }
        if blocked {
            self.pump(life);
        }
    }
}
