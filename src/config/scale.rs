//! How many instances a service may have, and by what it is decided how many it needs, as configured.

use super::Around;
use super::provider::Provider;
use super::reading::Reading;
use super::signal::Signal;
use crate::engine::load::Share;
use crate::engine::record::Base;
use crate::engine::scale::{Crowd, Mode, SETTLING_MAX, Terms};
use crate::engine::time::Span;

/// How many instances there may be: so many are what the rules of scaling are proven for.
pub const INSTANCES_MAX: u16 = 50;

/// How a service is scaled: only where it may have more than one instance, or runs on clones alone. The provider makes
/// clones then.
#[derive(Clone, Debug, PartialEq)]
pub struct Scale {
    /// What a wake brings up: the seed, or clones alone, which are all the instances then.
    pub base: Base,
    /// The rule: `min` to `max` instances, at most [`INSTANCES_MAX`] and at least 2, or 1 where clones alone serve; `up_at` of
    /// 20 % to 99 %, and what is less than that, from 1 %; windows of at least twice `interval`, which is 1 s to 5 min. Where
    /// there is one instance at most, only its bounds are looked at.
    pub rule: Terms,
    /// Clones that are made within an hour, at most; 1 to 1,000.
    pub creations_per_hour: u16,
    /// What tells how busy the instances are; none where there is one at most.
    pub signal: Option<Signal>,
}

impl Scale {
    /// Clones there may be at any moment.
    #[must_use]
    pub const fn clones_max(&self) -> u16 {
        match self.base {
            Base::Seed => self.rule.max - 1,
            Base::Clones => self.rule.max,
        }
    }

    /// What the policy is to keep to; none where there is one instance at most.
    #[must_use]
    pub fn terms(&self) -> Option<Terms> {
        self.signal.as_ref().map(|_| self.rule)
    }

    /// Reads `[service.NAME.scale]`; none where one instance is all there may be.
    pub(super) fn read(
        section: &Reading<'_>,
        provider: Option<&Provider>,
        around: &Around,
    ) -> Option<Scale> {
        let base = section.choice(
            "seed",
            &[("serves", Base::Seed), ("template", Base::Clones)],
        );
        let count = |name| {
            let number = section.integer(name)?;
            u16::try_from(number).ok()
        };
        let (min, max) = (count("min"), count("max"));
        let (mode, up_at, down_at) = thresholds(section);
        let interval = section.span("interval");
        let [up_window, down_window] = ["up_window", "down_window"].map(|name| {
            let window = match name == "down_window" && !section.has(name) {
                true => mode?.default_down_window(),
                false => section.span(name)?,
            };
            long_enough(section, name, window, interval?).then_some(window)
        });
        if let (Some(up), Some(down)) = (up_window, down_window)
            && down < up
        {
            let message = format!("{down} is less than up_window ({up}); it may go down on a lull");
            section.warn("down_window", message);
        }
        let cooldown = section.span("cooldown");
        let creations_per_hour = count("creations_per_hour");
        let signal = Signal::read(section, provider, around);
        let (min, max) = (min?, max?);
        if min > max {
            let message = format!("{min} is more than max ({max}); write at most max");
            section.fault("min", message);
        }
        let base = base?;
        let crowd = section
            .section("wake_instances")
            .and_then(|crowd| read_crowd(&crowd, max));
        if max == 1 && base == Base::Seed {
            return None;
        }
        if let Some(why) = provider.and_then(Provider::makes_no_clones) {
            let (name, message) = match base {
                Base::Seed => (
                    "max",
                    format!("{max} instances need clones; {why}, or max = 1"),
                ),
                Base::Clones => (
                    "seed",
                    format!("a template is there to be cloned; {why}, or seed = \"serves\""),
                ),
            };
            section.fault(name, message);
        }
        if max > 1 && !section.has("signal") {
            let mend = "is missing; nothing tells how busy the instances are. Write signal = \
                        { kind = \"node-exporter\", port = 9100 }, or max = 1";
            section.fault("signal", mend);
        }
        let interval = interval?;
        // With one instance nothing of it is looked at.
        let signal = signal.filter(|_| max > 1);
        let rule = Terms {
            min,
            max,
            mode: mode?,
            up_at: up_at?,
            down_at: down_at?,
            up_window: up_window?,
            down_window: down_window?,
            cooldown: cooldown?,
            interval,
            settling: match &signal {
                // Each sample is of the time since the one before it.
                Some(Signal::NodeExporter(_) | Signal::Provider) => Terms::settling_of(interval),
                // Over what time a query averages is not known.
                Some(Signal::Prometheus(_) | Signal::Webhook) | None => SETTLING_MAX,
            },
            alerts_only: signal == Some(Signal::Webhook),
            crowd: crowd.filter(|_| max > 1),
        };
        Some(Scale {
            base,
            rule,
            creations_per_hour: creations_per_hour?,
            signal,
        })
    }
}

/// Reads `wake_instances`, of a service that has up to `max` instances.
fn read_crowd(section: &Reading<'_>, max: u16) -> Option<Crowd> {
    let each = section.integer("visitors_each");
    let most = match section.has("max") {
        true => section.integer("max"),
        false => Some(i64::from(max)),
    };
    // Of one instance nothing is looked at: a default for services that have more may hold for it too.
    if let Some(most) = most.filter(|most| max > 1 && *most > i64::from(max)) {
        let message = format!("{most} is more than scale.max ({max}); write 2 to {max}");
        section.fault("max", message);
    }
    Some(Crowd {
        each: u32::try_from(each?).ok()?,
        max: u16::try_from(most?).ok()?,
    })
}

/// The mode, and between what it keeps the load.
fn thresholds(section: &Reading<'_>) -> (Option<Mode>, Option<Share>, Option<Share>) {
    let percent = |name| {
        let number = section.integer(name)?;
        u64::try_from(number).ok().map(Share::percent)
    };
    let up_at = percent("up_at");
    let down_at = match section.has("down_at") {
        true => percent("down_at"),
        false => up_at.map(Terms::default_down_at),
    };
    let margin = percent("margin");
    let projected = section.choice("mode", &[("threshold", false), ("projected", true)]);
    let unused = match projected {
        Some(true) => "down_at",
        _ => "margin",
    };
    if section.has(unused)
        && let Some(projected) = projected
    {
        let mode = if projected { "projected" } else { "threshold" };
        section.warn(unused, format!("is not looked at in the mode {mode:?}"));
    }
    if let (Some(up), Some(down)) = (up_at, down_at) {
        between(section, "down_at", up, down);
        if projected == Some(false) && up > down && 2 * down.in_hundredths() >= up.in_hundredths() {
            let message = "is not below half of up_at; when one of two instances goes, the other \
                           may be above up_at";
            section.warn("down_at", message);
        }
    }
    if let (Some(up), Some(margin)) = (up_at, margin) {
        between(section, "margin", up, margin);
    }
    let mode = match projected {
        Some(true) => margin.map(|margin| Mode::Projected { margin }),
        Some(false) => Some(Mode::Threshold),
        None => None,
    };
    (mode, up_at, down_at)
}

fn between(section: &Reading<'_>, name: &str, up_at: Share, lower: Share) {
    if lower >= up_at {
        let [lower, up] = [lower, up_at].map(|share| share.in_hundredths() / 100);
        let message = format!("{lower} is not less than up_at ({up}); write less than {up}");
        section.fault(name, message);
    }
}

/// A mean is made of two measurements at least.
fn long_enough(section: &Reading<'_>, name: &str, window: Span, interval: Span) -> bool {
    let least = interval + interval;
    if window < least {
        let message = format!(
            "{window} is less than two times interval ({interval}); write at least \"{least}\""
        );
        section.fault(name, message);
    }
    window >= least
}
