//! Who may wake the service, with many rooms: the store rules by the shipped `engine::admit::Book`; where it is away,
//! a room rules by itself within a quarter of every limit, and the store is charged for it later; and every room
//! keeps a book of all that it let in, which a wiped store does not wipe. The rules are those of `driver/own`.

use std::net::{IpAddr, Ipv4Addr};

use anteroom::engine::admit::{Applicant, Book, Late, Ruling, Verdict};
use anteroom::engine::contract::{Input, Trigger, TriggerBy};
use anteroom::engine::id::Epoch;
use anteroom::engine::view::Phase;

use crate::driver::Role;
use crate::limits::Meters;
use crate::mutants::Bug;
use crate::plan::HOUR;
use crate::world::{Event, World};

/// No limit remembers a wake for longer.
const REMEMBERED: u64 = 24 * HOUR;

#[derive(Debug, Default)]
pub(crate) struct Door {
    /// What is spent while the store is away.
    alone: Book,
    /// The version of the view at the last wake without the store: until it is another, others join that wake.
    version: Option<u64>,
    /// All that was let in here, at the full limits.
    all: Book,
    /// By which word the store was known that ruled last.
    word: Option<u64>,
    /// Until then this room may know more than the store, which was wiped.
    lost_until: u64,
    /// Wakes that the store has yet to hear of.
    late: Vec<Late>,
    number: u64,
    /// The truth about both books.
    alone_meters: Meters,
    all_meters: Meters,
}

fn applicant(address: u8) -> Applicant {
    let trigger = Trigger {
        by: TriggerBy::Page,
        who: "198.51.100.0/24".into(),
        path: "/".into(),
    };
    let address = IpAddr::V4(Ipv4Addr::new(198, 51, 100, address));
    Applicant::plain(address, trigger)
}

impl World {
    /// Somebody asks for a wake in this room; says whether the wish was taken.
    pub(crate) fn ask(&mut self, life: u64, address: u8) -> bool {
        let Some(process) = self.process(life) else {
            return false;
        };
        let phase = process.room.shown.phase;
        let applicant = applicant(address);
        let taken = match phase {
            Phase::Waking | Phase::Awake => true,
            _ if self.reaches_store(life) => self.ask_store(life, &applicant),
            _ => self.ask_here(life, &applicant),
        };
        if taken && phase == Phase::Asleep {
            let site = self.process(life).map(|process| process.site);
            self.facts.woken_by = site.map(|site| (site, address));
        }
        if taken {
            self.take(life, applicant.trigger);
        }
        taken
    }

    fn ask_store(&mut self, life: u64, applicant: &Applicant) -> bool {
        let (name, rules) = (self.store.name.clone(), self.plan.rules.clone());
        let Some(site) = self.process(life).map(|process| process.site) else {
            return false;
        };
        let (now, clock) = (self.now, self.clock(site));
        let word = self.store.kept.word;
        let forgets = self.has(Bug::MirrorIsForgotten);
        let Some(process) = self.process(life) else {
            return false;
        };
        // What this room knows against a client, only a store that remembers all may overrule.
        let door = &process.room.door;
        let refused = matches!(
            door.all.rule(&name, clock, applicant, &rules),
            Ruling::Settled(_)
        );
        let knows_all = door.lost_until <= now && door.word == word && word.is_some();
        let joins = door.version == Some(process.room.shown.version);
        if refused && !knows_all && !joins && !forgets {
            self.counts.refused += 1;
            return false;
        }
        let book = &mut self.store.kept.book;
        match book.admit(&name, clock, applicant, &rules) {
            Verdict::Joined(_) => true,
            Verdict::Wake(_) => {
                self.woken(life, applicant, knows_all);
                true
            }
            Verdict::Refused { rule, .. } => {
                self.counts.refused += 1;
                if self.store.kept.meters.has_room(now, applicant, &rules) {
                    self.breaks("I12", || {
                        let rule = rule.as_str();
                        format!("{rule} refuses a wake, and the limits have room for it")
                    });
                }
                false
            }
        }
    }

    /// The store has let a wake through.
    fn woken(&mut self, life: u64, applicant: &Applicant, knows_all: bool) {
        let (name, rules) = (self.store.name.clone(), self.plan.rules.clone());
        self.counts.admitted += 1;
        let fresh = self.counts.admitted;
        let now = self.now;
        let word = Some(*self.store.kept.word.get_or_insert(fresh));
        let whole = self.store.kept.meters.admit(now, applicant, &rules, true);
        let Some(site) = self.process(life).map(|process| process.site) else {
            return;
        };
        let clock = self.clock(site);
        let Some(process) = self.process(life) else {
            return;
        };
        let door = &mut process.room.door;
        door.all.mirror(&name, clock, applicant, &rules);
        if door.word.is_some() && door.word != word {
            door.lost_until = now + REMEMBERED;
        }
        door.word = word;
        let here = door.all_meters.admit(now, applicant, &rules, false);
        if let Err(rule) = whole {
            self.breaks("I12", || format!("a wake beyond {rule} is let through"));
        }
        if let Err(rule) = here
            && !knows_all
        {
            self.breaks("I12", || {
                format!("one room lets a wake beyond {rule} through")
            });
        }
        if let Some(owner) = self.owner().map(|owner| owner.life) {
            let delay = self.rng.within(0, 60);
            self.after(delay, Event::Contact { life: owner });
        }
    }

    /// Rules within the local budget.
    fn ask_here(&mut self, life: u64, applicant: &Applicant) -> bool {
        let (name, rules) = (self.store.name.clone(), self.plan.rules.clone());
        let quarter = rules.quarter();
        let lavish = self.has(Bug::LocalBudgetIsTheFullRate);
        let Some(site) = self.process(life).map(|process| process.site) else {
            return false;
        };
        let (now, clock) = (self.now, self.clock(site));
        let Some(process) = self.process(life) else {
            return false;
        };
        let version = process.room.shown.version;
        let door = &mut process.room.door;
        let joins = door.version == Some(version);
        if matches!(
            door.all.rule(&name, clock, applicant, &rules),
            Ruling::Settled(_)
        ) && !joins
        {
            return false;
        }
        if !joins {
            door.alone.hear(&name, u64::MAX, true);
        }
        let spent = if lavish { &rules } else { &quarter };
        match door.alone.admit(&name, clock, applicant, spent) {
            Verdict::Joined(_) => true,
            Verdict::Refused { .. } => false,
            Verdict::Wake(_) => {
                door.version = Some(version);
                door.all.mirror(&name, clock, applicant, &rules);
                door.number += 1;
                door.late.push(Late {
                    by: life.to_string(),
                    number: door.number,
                    service: name,
                    at: clock,
                    applicant: applicant.clone(),
                    rules: rules.clone(),
                });
                let within = door.alone_meters.admit(now, applicant, &quarter, false);
                let here = door.all_meters.admit(now, applicant, &rules, false);
                self.counts.local += 1;
                if let Err(rule) = within {
                    self.breaks("I12", || format!("a local wake beyond a quarter of {rule}"));
                }
                if let Err(rule) = here {
                    self.breaks("I12", || {
                        format!("one room lets a wake beyond {rule} through")
                    });
                }
                true
            }
        }
    }

    /// The store is back: it is charged for what was let through without it.
    pub(crate) fn late(&mut self, life: u64) {
        let Some(process) = self.process(life) else {
            return;
        };
        let site = process.site;
        let late = std::mem::take(&mut process.room.door.late);
        let (now, clock) = (self.now, self.clock(site));
        for mut late in late {
            // The truth knows when it was, whatever the clock said.
            let at = self.at(site, late.at);
            self.store
                .kept
                .meters
                .charge(at, now, &late.applicant, &late.rules);
            if self.has(Bug::LateWakesAreNotCharged) {
                continue;
            }
            let times = if self.has(Bug::LateWakesAreChargedTwice) {
                2
            } else {
                1
            };
            late.number *= times;
            for _ in 0..times {
                let book = &mut self.store.kept.book;
                if let Some(charge) = book.late(clock, &late) {
                    book.charge(charge);
                }
                late.number += 1;
            }
        }
    }

    /// A wish that was let through reaches whoever leads.
    fn take(&mut self, life: u64, trigger: Trigger) {
        let away = !self.reaches_store(life);
        let now = self.now;
        let owner_rests = self
            .owner()
            .is_none_or(|owner| !matches!(owner.view.phase, Phase::Awake | Phase::Failed));
        if owner_rests {
            self.facts.waiting_since = self.facts.waiting_since.or(Some(now));
        }
        let Some(process) = self.process(life) else {
            return;
        };
        let awake = process.room.shown.phase == Phase::Awake;
        match process.role {
            Role::Follows if away && !awake => {
                self.disturb();
                self.begin_reign(life, Role::Provisional, Epoch(0), 0, None);
            }
            Role::Follows => {
                process.room.asks += 1;
                return;
            }
            Role::Leads | Role::Provisional => {}
        }
        self.facts.asked_for(now);
        self.give(life, Input::Triggered(trigger));
    }
}
