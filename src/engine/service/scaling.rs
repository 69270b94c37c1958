//! How many clones are wanted: while the service wakes as many as those who wait for it call for, while it is awake as many
//! as its load needs, else none.

use super::Service;
use super::state::State;
use crate::engine::contract::{Effect, Event};
use crate::engine::fleet::Life;
use crate::engine::id::InstanceId;
use crate::engine::load::Sample;
use crate::engine::record::Base;
use crate::engine::scale::{Alert, Called, Crew, Direction, Scaler, Verdict, Why};
use crate::engine::view::ScaleView;

/// The scaling of one service, with what people were told of it.
#[derive(Clone, Debug, Default)]
pub(super) struct Scaling {
    scaler: Scaler,
    /// What was decided last; its sentence stays as it is while it is the same kind of reason.
    shown: Option<(Verdict, ScaleView)>,
    /// The number that people were told of, and that is not reached yet.
    told: Option<u16>,
    /// People were told that the bound for an hour stands in the way.
    kept_back: bool,
    /// What those who waited for the wake called for, until the load wants another number.
    called: Option<Called>,
}

/// The instances as the scaler counts them.
struct Counted {
    serving: Vec<InstanceId>,
    starting: u16,
    leaving: u16,
    /// The seed is one of them, or is to be.
    seed: bool,
}

impl Counted {
    fn crew(&self) -> Crew<'_> {
        Crew {
            serving: &self.serving,
            starting: self.starting,
            leaving: self.leaving,
        }
    }
}

impl Service {
    /// What the load signal told, or that it told nothing.
    pub(super) fn measured(&mut self, samples: &[Sample]) {
        let Some(terms) = self.policy.scale else {
            return;
        };
        let counted = self.counted();
        self.scaling
            .scaler
            .measured(samples, &counted.crew(), self.now, &terms);
    }

    /// An alert of somebody else's rules.
    pub(super) fn alerted(&mut self, alert: Alert) {
        self.scaling.scaler.alerted(alert, self.now);
    }

    /// So many visitors wait. That counts while the service wakes.
    pub(super) fn visitors_wait(&mut self, visitors: u32) {
        let crowd = self.policy.scale.and_then(|terms| terms.crowd);
        if let (Some(crowd), State::Waking(_)) = (crowd, &self.state) {
            self.scaling.called = Called::by(&crowd, visitors, self.scaling.called);
        }
    }

    /// What those who wait for this wake call for. A machine that was only found running wakes for nobody; and where the
    /// first try failed, the next ones are of the seed alone, or each would make its clones and remove them again.
    pub(super) fn called(&self) -> Option<Called> {
        match &self.state {
            State::Waking(waking) if waking.trigger.is_some() && waking.tries == 0 => {
                self.scaling.called
            }
            _ => None,
        }
    }

    /// So many clones are wanted now.
    pub(super) fn clones_wanted(&mut self, out: &mut Vec<Effect>) -> u16 {
        let live = self.fleet.live();
        match &self.state {
            // Clones go first, the seed last.
            State::Awake(_) if self.is_about_to_sleep() => self.scaled_away(),
            State::Awake(_) => self.by_load(out),
            State::Waking(_) | State::Failed(_) if self.clones_serve() => match self.policy.scale {
                Some(_) => self.by_load(out),
                None => live,
            },
            State::Waking(_) if self.called().is_some() => self.by_load(out),
            // What serves while the seed is not known of goes on; and what was about to.
            State::Learning(_) | State::Waking(_) => live,
            State::Fresh
            | State::Asleep(_)
            | State::Diverting(_)
            | State::Draining(_)
            | State::Stopping(_)
            | State::Failed(_) => self.scaled_away(),
        }
    }

    pub(super) fn scaled_away(&mut self) -> u16 {
        (self.scaling.shown, self.scaling.told) = (None, None);
        self.scaling.called = None;
        0
    }

    pub(super) fn by_load(&mut self, out: &mut Vec<Effect>) -> u16 {
        let least = self.policy.clones.map_or(0, |terms| terms.wanted);
        let Some(terms) = self.policy.scale else {
            return least;
        };
        let counted = self.counted();
        let (crew, have) = (counted.crew(), counted.crew().wanted());
        let mut verdict = self.scaling.scaler.decide(self.now, &crew, &terms);
        if let Some(called) = self.called() {
            self.scaling.scaler.called_for(self.now);
            if called.instances >= verdict.wanted {
                let visitors = called.visitors;
                verdict = Verdict {
                    wanted: called.instances.min(terms.max),
                    why: Why::Waited { visitors },
                };
            }
        } else if self.scaling.called.map(|called| called.instances) != Some(verdict.wanted) {
            self.scaling.called = None;
        }
        self.tell_verdict(&verdict, have, out);
        let clones = verdict.wanted.saturating_sub(u16::from(counted.seed));
        // Whoever serves in the seed's place stays until it is back.
        let alone = !counted.serving.is_empty() && !counted.serving.contains(&InstanceId::SEED);
        clones.max(u16::from(alone)).max(least)
    }

    fn counted(&self) -> Counted {
        let serving: Vec<InstanceId> = self.upstreams().iter().map(|it| it.instance).collect();
        let seed =
            self.base == Base::Seed && matches!(self.state, State::Awake(_) | State::Waking(_));
        let absent = seed && !serving.contains(&InstanceId::SEED);
        let count = |is: fn(&Life) -> bool| {
            let lives = self.fleet.lives().filter(|(_, life)| is(life)).count();
            u16::try_from(lives).unwrap_or(u16::MAX)
        };
        let served = count(|life| matches!(life, Life::Serving { .. }));
        let leaving = count(|life| matches!(life, Life::Leaving { .. } | Life::Removing { .. }));
        Counted {
            serving,
            starting: self.fleet.live() - served + u16::from(absent),
            leaving,
            seed,
        }
    }

    /// People hear of another number once, and of what stands in the way once.
    fn tell_verdict(&mut self, verdict: &Verdict, have: u16, out: &mut Vec<Effect>) {
        let wanted = verdict.wanted;
        if wanted == have {
            self.scaling.told = None;
        } else if self.scaling.told != Some(wanted) {
            self.scaling.told = Some(wanted);
            let why = verdict.why.to_string();
            out.push(Effect::Tell(Event::Scaled { have, wanted, why }));
        }
        let same = |(last, _): &(Verdict, ScaleView)| {
            let kind = std::mem::discriminant::<Why>;
            last.wanted == wanted && kind(&last.why) == kind(&verdict.why)
        };
        if self.scaling.shown.as_ref().is_some_and(same) {
            return;
        }
        let mut why = verdict.why.to_string();
        let hinders = matches!(
            verdict.why,
            // As few as are allowed is no trouble.
            Why::Full { .. }
                | Why::BaseLoad { .. }
                | Why::AlertAtEnd {
                    direction: Direction::Up
                }
        );
        if hinders {
            let why = why.clone();
            out.push(Effect::Tell(Event::ScaleHindered { why }));
        }
        if let (Some(Called { visitors, .. }), false) = (
            self.scaling.called,
            matches!(verdict.why, Why::Waited { .. }),
        ) {
            // Why there are so many, and why none goes.
            why = format!("{}; {why}", Why::Waited { visitors });
        }
        let view = ScaleView { wanted, why };
        self.scaling.shown = Some((verdict.clone(), view));
    }

    pub(super) fn scale_view(&self) -> Option<ScaleView> {
        let shown = self.scaling.shown.as_ref();
        let mut view = shown.map(|(_, view)| view.clone())?;
        if let Some(why) = self.kept_back() {
            view.why = format!("{}; {why}", view.why);
        }
        Some(view)
    }

    /// That the bound for an hour keeps back clones that are wanted, for people.
    fn kept_back(&self) -> Option<String> {
        let terms = self.policy.clones.as_ref()?;
        let at = self.fleet.kept_back_until(self.now, terms)?;
        let (per_hour, at) = (terms.per_hour, at.clock(at));
        Some(format!(
            "no more than {per_hour} clones are made in an hour (creations_per_hour), the next at {at}"
        ))
    }

    /// People hear once that the bound for an hour stands in the way.
    pub(super) fn tell_of_the_hour(&mut self, out: &mut Vec<Effect>) {
        let why = self.kept_back();
        let before = std::mem::replace(&mut self.scaling.kept_back, why.is_some());
        if let Some(why) = why.filter(|_| !before) {
            out.push(Effect::Tell(Event::ScaleHindered { why }));
        }
    }

    /// When the load may be decided on anew without a sample.
    pub(super) fn scale_due(&self) -> Option<crate::engine::time::Time> {
        let terms = self.policy.scale.as_ref()?;
        let decides = matches!(self.state, State::Awake(_)) || self.clones_serve();
        decides.then(|| self.scaling.scaler.due(self.now, terms))?
    }
}
