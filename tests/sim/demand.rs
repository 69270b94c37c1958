//! What visitors need over the day, and how busy that makes each instance: the truth about the load.
//!
//! All in ten thousandths of what one machine can do. The demand is shared by those in service whose app answers, not
//! quite evenly; each takes a little for itself; and none does more than it can.

use anteroom::engine::backoff::mix;
use anteroom::engine::contract::Upstream;
use anteroom::engine::id::InstanceId;
use anteroom::engine::load::Share;
use anteroom::engine::machine::MachineState;
use anteroom::engine::time::Time;

use crate::driver::Role;
use crate::plan::{Load, MINUTE, SECOND};
use crate::rng::Rng;
use crate::visitors::At;
use crate::world::{Event, World};

/// The demand, from one moment to another on a straight line.
#[derive(Debug)]
pub(crate) struct Demand {
    pub(crate) rng: Rng,
    from: (u64, u64),
    to: (u64, u64),
    /// Somebody else's rules: since when each of them fires, and how long it has held.
    pub(crate) rules: [Rule; 2],
    /// The signal tells nothing new until then; or the same again and again.
    pub(crate) silent_until: u64,
    pub(crate) is_stuck: bool,
    pub(crate) was_calm: bool,
}

/// A rule that is looked at now and then.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Rule {
    pub(crate) held: u32,
    pub(crate) fires_since: Option<u64>,
    /// When it last began to fire, by the room's clock.
    pub(crate) last: Option<Time>,
}

impl Demand {
    pub(crate) fn new(seed: u64) -> Demand {
        Demand {
            rng: Rng::new(seed ^ 0xDE3A),
            from: (0, 0),
            to: (0, 0),
            rules: [Rule::default(); 2],
            silent_until: 0,
            is_stuck: false,
            was_calm: false,
        }
    }

    /// What visitors need.
    pub(crate) fn at(&self, now: u64) -> u64 {
        let ((began, from), (ends, to)) = (self.from, self.to);
        if now >= ends {
            return to;
        }
        let (done, all) = (now.saturating_sub(began), ends - began);
        (from * (all - done) + to * done) / all
    }

    /// Since when it is what it is; none while it changes.
    pub(crate) fn constant_since(&self, now: u64) -> Option<u64> {
        let (ends, _) = self.to;
        (now >= ends).then_some(ends)
    }

    fn turn(&mut self, now: u64, to: u64, takes: u64) {
        self.from = (now, self.at(now));
        self.to = (now + takes, to);
    }
}

impl World {
    pub(crate) fn load(&self) -> &Load {
        self.plan.load.as_ref().expect("there is a load")
    }

    /// A step, a ramp or a spike. In the calm hours it stays as it is.
    pub(crate) fn demand_changes(&mut self) {
        let (now, calm_from) = (self.now, self.plan.calm_from);
        let load = self.load();
        let (most, every) = (load.most, load.change_every);
        let rng = &mut self.demand.rng;
        let to = match rng.within(0, 9) {
            0 | 1 => 0,
            2 => most,
            _ => rng.within(0, most),
        };
        let takes = match rng.within(0, 3) {
            0 => rng.within(MINUTE, every),
            _ => 0,
        };
        let lasts = match rng.within(0, 5) {
            // A spike.
            0 => rng.within(10 * SECOND, 5 * MINUTE),
            _ => rng.within(every / 2, every * 2),
        };
        let last = now >= calm_from;
        let takes = if last { 0 } else { takes.min(calm_from - now) };
        self.demand.turn(now, to, takes);
        self.note(|| format!("visitors need {to} from in {takes} ms on"));
        if !last {
            let next = (takes + lasts).min(calm_from - now);
            self.after(next, Event::Demand);
        }
    }

    /// How busy an instance among these is; none where its machine tells nothing.
    pub(crate) fn share_of(&self, instance: InstanceId, among: &[Upstream]) -> Option<u64> {
        let load = self.load();
        let up = among.iter().find(|up| up.instance == instance)?;
        let runs = match self.answers_at(up.address) {
            Some(_) => true,
            None => self.machine_runs_at(up),
        };
        if !runs {
            return None;
        }
        let weight = |it: &Upstream| {
            let number = match it.instance {
                InstanceId::Seed => 0,
                InstanceId::Clone(clone) => clone.generation() ^ u64::from(clone.slot()),
            };
            100 - load.uneven + mix(number) % (2 * load.uneven + 1)
        };
        let answering = among
            .iter()
            .filter(|it| self.answers_at(it.address).is_some());
        let all: u64 = answering.map(weight).sum();
        let its = match self.answers_at(up.address) {
            Some(_) => self.demand.at(self.now) * weight(up) / all.max(1),
            None => 0,
        };
        Some((its + load.base).min(Share::WHOLE.in_hundredths()))
    }

    /// Whether the machine runs, though its app does not answer.
    fn machine_runs_at(&self, up: &Upstream) -> bool {
        match up.instance {
            InstanceId::Seed => {
                self.cloud.state == MachineState::Running && self.cloud.address() == up.address
            }
            InstanceId::Clone(clone) => self
                .account
                .of(clone)
                .any(|vm| vm.state == MachineState::Running && vm.address() == up.address),
        }
    }

    /// Those in service by whoever leads.
    pub(crate) fn in_service(&mut self) -> Vec<Upstream> {
        let led = self.owner().filter(|it| it.role == Role::Leads);
        led.map(|it| it.view.upstreams.clone()).unwrap_or_default()
    }

    /// Whether an app answers there.
    pub(crate) fn serves(&self, up: &Upstream) -> bool {
        matches!(self.answers_at(up.address), Some(At::Seed | At::Vm(_)))
    }
}
