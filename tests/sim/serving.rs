//! Clones that come up, serve and let their visitors go: their apps, their probes, and the question to all rooms whether
//! anybody is still led there.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use anteroom::engine::contract::{Input, ProbeResult, Upstream};
use anteroom::engine::fleet::Heard;
use anteroom::engine::id::{CloneId, InstanceId, OpId};
use anteroom::engine::machine::MachineState;
use anteroom::engine::view::Phase;

use crate::rooms::What;
use crate::visitors::{At, Request};
use crate::world::{Event, World};

impl World {
    /// Whose app answers at this address.
    pub(crate) fn answers_at(&self, address: SocketAddr) -> Option<At> {
        if self.cloud.answers_at(address) {
            return Some(At::Seed);
        }
        self.account.answers_at(address).map(|vm| At::Vm(vm.id))
    }

    pub(crate) fn start_clone(&mut self, clone: CloneId) {
        let off = |state| matches!(state, MachineState::Stopped | MachineState::Suspended);
        let ids: Vec<u64> = self
            .account
            .of(clone)
            .filter(|vm| off(vm.state))
            .map(|vm| vm.id)
            .collect();
        let takes = self.clones().takes;
        for id in ids {
            self.account.turn(id, MachineState::Starting);
            let takes = self.rng.within(takes / 2, takes);
            let to = MachineState::Running;
            self.after(takes, Event::Vm { id, to });
        }
    }

    /// An app follows its machine, and some never come up.
    pub(crate) fn app_of_clone_will_rise(&mut self, id: u64) {
        let boot = self.plan.boot;
        let Some(vm) = self.account.vm(id) else {
            return;
        };
        let (turn, runs) = (vm.turn, vm.state == MachineState::Running);
        if runs && !self.mishap(self.plan.call_faults / 4) {
            let rise = self.rng.within(boot / 4, boot);
            self.after(rise, Event::VmApp { id, turn });
        }
    }

    pub(crate) fn app_of_clone_rises(&mut self, id: u64, turn: u64) {
        if let Some(vm) = self.account.vm(id)
            && vm.turn == turn
        {
            vm.app_up = true;
            let clone = vm.clone;
            self.note(|| format!("the app of {clone} listens"));
        }
    }

    pub(crate) fn crash_app_of(&mut self, id: u64) {
        let back = self.rng.within(5_000, 20 * 60_000);
        if let Some(vm) = self.account.vm(id)
            && std::mem::take(&mut vm.app_up)
        {
            let (turn, clone) = (vm.turn, vm.clone);
            self.note(|| format!("the app of {clone} crashes"));
            self.break_requests(At::Vm(id));
            self.after(back, Event::VmApp { id, turn });
        }
    }

    pub(crate) fn probe_clone(&mut self, life: u64, op: OpId, _: CloneId, address: SocketAddr) {
        let (now, delay) = (self.now, self.rng.within(5, 400));
        let at = self.answers_at(address);
        let missed = self.mishap(self.plan.call_faults / 10);
        if missed
            && let Some(At::Vm(id)) = at
            && let Some(vm) = self.account.vm(id)
        {
            vm.missed_at = Some(now);
        }
        let result = match at {
            Some(_) if !missed => ProbeResult::Ready,
            _ => ProbeResult::NotReady("refused".into()),
        };
        let input = Input::Fleet(op, Heard::Probed(result));
        self.after(delay, Event::Answer { life, input });
    }

    /// All rooms say whether they still lead somebody to the clone.
    pub(crate) fn drain_clone(&mut self, life: u64, op: OpId, clone: CloneId) {
        if self.shared() {
            return self.wait_for_rooms(life, op, What::Draining(clone));
        }
        let delay = self.rng.within(1, 200);
        let heard = Heard::Drained(Ok(self.open_at(clone)));
        let input = Input::Fleet(op, heard);
        self.after(delay, Event::Answer { life, input });
    }

    /// What the room counts at a clone, where it counts.
    fn open_at(&mut self, clone: CloneId) -> Option<u32> {
        if !self.clones().counts_requests {
            return None;
        }
        let ids: Vec<u64> = self.account.of(clone).map(|vm| vm.id).collect();
        let there = |at: At| matches!(at, At::Vm(id) if ids.contains(&id));
        let open = self.people.requests.values().filter(|it| there(it.at));
        u32::try_from(open.count()).ok()
    }

    /// The clones to which a visitor may be led now, by some room or its Traefik.
    pub(crate) fn led_to(&self) -> impl Iterator<Item = CloneId> + '_ {
        let shared = self.shared();
        let owner = self.store.kept.by;
        let rooms = self.processes.iter().filter(move |it| {
            let within = if shared {
                !self.is_unheard_of(it.site)
            } else {
                it.life == owner
            };
            it.edge.open && within
        });
        let ways = (0..self.ways.len()).filter(|site| !self.is_unheard_of(*site));
        let by_rooms = rooms.flat_map(|it| it.room.shown.upstreams.iter());
        let by_ways = ways.flat_map(|site| self.ways[site].leads_to());
        by_rooms.chain(by_ways).filter_map(|up| match up.instance {
            InstanceId::Clone(clone) => Some(clone),
            InstanceId::Seed => None,
        })
    }

    /// Whoever leads knows nothing of this room: it has been silent for too long, or the store was wiped since it spoke.
    fn is_unheard_of(&self, site: usize) -> bool {
        // Or it has just come back from such a silence, to a Traefik that leads as it did before.
        let began = self.processes.iter().find(|it| it.site == site);
        let new = began.is_none_or(|it| self.now < it.began + 60_000);
        let back = self.now < self.ways[site].back_at + 60_000;
        self.shared() && (new || back) || self.is_forgotten(site)
    }

    /// Notes since when nobody is led to a clone any more.
    pub(crate) fn watch_who_is_led_where(&mut self) {
        if self.plan.clones.is_none() {
            return;
        }
        let led: BTreeSet<CloneId> = self.led_to().collect();
        if led != self.crew.led {
            let now = self.now;
            let left = self.crew.led.iter().filter(|it| !led.contains(it));
            self.crew.clear_at.extend(left.map(|it| (*it, now)));
            self.crew.led = led;
        }
        // Whoever a clone serves wants the seed as well.
        if !self.crew.led.is_empty() && self.cloud.is_off() {
            self.facts.asked_by_clones();
        }
    }

    /// Before a clone is deleted: nobody is led there any more (I11), and whoever was inside had time to end (I2).
    pub(crate) fn check_nobody_at(&mut self, clone: CloneId) {
        let vms: Vec<u64> = self.account.of(clone).map(|vm| vm.id).collect();
        let up = self.account.of(clone).any(|vm| vm.answers());
        if !up {
            return;
        }
        // Two replicas that share a Traefik without sharing a store's lease overwrite what the other published.
        let contested = !self.shared() && self.facts.is_claimed_since(self.now, 120_000);
        if !contested && self.led_to().any(|led| led == clone) {
            self.breaks("I11", || {
                format!("{clone} is to be deleted, and visitors are led there")
            });
        }
        let clear_at = self.crew.clear_at.get(&clone).copied().unwrap_or(0);
        let drained_at = clear_at + self.plan.policy.drain_timeout.0;
        let there = |at: At| matches!(at, At::Vm(id) if vms.contains(&id));
        let alive = |it: &&Request| there(it.at) && !self.is_unheard_of(it.way.site());
        let request = self.people.requests.values().find(alive).cloned();
        let jumped = self.crew.losses.iter().any(|at| *at >= clear_at);
        if let Some(request) = request
            && self.now < drained_at
            && !jumped
        {
            self.breaks("I2", || {
                format!("{clone} is to be deleted while {request:?} runs")
            });
        }
    }

    /// I11, after each step: nobody is led to a clone whose app has not answered there, and none is led astray when the
    /// seed is away and a clone answers.
    pub(crate) fn check_who_is_led(&mut self, life: u64, before: &[Upstream]) {
        let now = self.now;
        let Some(process) = self.process(life) else {
            return;
        };
        let (after, phase) = (process.view.upstreams.clone(), process.view.phase);
        for up in &after {
            if let InstanceId::Clone(clone) = up.instance
                && self.crew.ready.get(&clone) != Some(&up.address)
            {
                self.breaks("I11", || {
                    format!("{up:?} is in service, and was never ready")
                });
            }
        }
        let stays = matches!(
            phase,
            Phase::Waking | Phase::Failed | Phase::Learning | Phase::Awake
        );
        // Where none is wanted, none stays either: that is the operator's word.
        let none = self
            .plan
            .policy
            .clones
            .is_none_or(|terms| terms.wanted == 0);
        if !after.is_empty() || !stays || none {
            return;
        }
        for up in before.iter().filter(|up| up.instance != InstanceId::SEED) {
            if let Some(vm) = self.account.answers_at(up.address)
                && vm.missed_at.is_none_or(|at| now > at + 60_000)
                && vm.delete_asked_at.is_none()
                && self.account.of(vm.clone).count() == 1
            {
                let vm = vm.clone();
                self.breaks("I11", || {
                    format!("nobody is led anywhere, and {vm:?} answers")
                });
            }
        }
    }

    /// Clones go first: when the seed is stopped, nobody is led to a clone or inside one.
    pub(crate) fn check_clones_went_first(&mut self) {
        let inside = |it: &&Request| {
            matches!(it.at, At::Vm(_)) && !it.exempt && !self.is_unheard_of(it.way.site())
        };
        let inside = self.people.requests.values().find(inside).cloned();
        let led = self.led_to().next();
        if let Some(clone) = led {
            self.breaks("I11", || format!("the seed is stopped, and {clone} serves"));
        }
        if let Some(request) = inside {
            self.breaks("I2", || {
                format!("the seed is stopped while {request:?} runs")
            });
        }
    }
}
