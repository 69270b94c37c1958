//! Why so many instances are wanted, in a sentence.

use std::fmt;

use super::{Direction, Mode};
use crate::engine::id::InstanceId;
use crate::engine::load::Share;
use crate::engine::time::{Span, Time};

/// Why so many instances are wanted. Loads are of each instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// More are needed.
    TooBusy {
        /// How busy those that serve are, at least.
        load: Share,
        /// Over this time.
        over: Span,
        /// So many bring it down to `up_at`.
        needed: u16,
        /// The bound.
        up_at: Share,
    },
    /// More are needed than are allowed.
    Full {
        /// How busy those that serve are, at least.
        load: Share,
        /// Over this time.
        over: Span,
        /// So many are needed.
        needed: u16,
        /// So many are allowed.
        max: u16,
    },
    /// Those that serve are too busy, and enough are starting.
    Coming {
        /// So many.
        starting: u16,
        /// How busy those that serve are.
        load: Share,
    },
    /// One fewer is enough.
    Quiet {
        /// How busy they were at most.
        load: Share,
        /// Over this time.
        over: Span,
        /// So many are enough.
        wanted: u16,
    },
    /// It is the right number: not quiet enough for one fewer.
    Busy {
        /// How busy they were at most.
        load: Share,
        /// Over this time, or less if that isn't known yet.
        over: Span,
        /// By which rule one would go.
        mode: Mode,
        /// What the rule looks at.
        is: Share,
        /// It must be below this.
        below: Share,
    },
    /// Quiet enough by the rule, but fewer would be too busy at once.
    Needed {
        /// So many.
        fewer: u16,
        /// So busy they would be.
        load: Share,
    },
    /// As few as are allowed, and that is enough.
    Least {
        /// How busy they were at most.
        load: Share,
        /// Over this time, or less if that isn't known yet.
        over: Span,
    },
    /// Quiet, but not for long enough.
    NotYet {
        /// One goes then, if it stays so.
        at: Time,
    },
    /// The number changed a short time ago.
    Cooldown {
        /// Nothing changes before.
        until: Time,
    },
    /// Some are starting: nothing goes meanwhile.
    Starting {
        /// So many.
        starting: u16,
    },
    /// Some are leaving: nothing else goes meanwhile.
    Leaving {
        /// So many.
        leaving: u16,
    },
    /// An instance began to serve a short time ago.
    Settling {
        /// Which.
        instance: InstanceId,
    },
    /// An instance has no fresh sample: nothing goes.
    Blind {
        /// Which.
        instance: InstanceId,
    },
    /// Too little was measured yet.
    Learning,
    /// The load never falls below `down_at`, though fewer could carry it.
    BaseLoad {
        /// The lowest load of a day.
        lowest: Share,
        /// The bound.
        down_at: Share,
    },
    /// No instance serves.
    NobodyServes,
    /// A wake brings instances for those who wait for it.
    Waited {
        /// So many waited.
        visitors: u32,
    },
    /// There is nothing to decide.
    Fixed {
        /// So many, always.
        instances: u16,
    },
    /// There were more or fewer than are allowed.
    Bounds {
        /// Never fewer.
        min: u16,
        /// Never more.
        max: u16,
    },
    /// No alert fires.
    NoAlert,
    /// An alert fires.
    Alert {
        /// Where to.
        direction: Direction,
        /// So many are wanted.
        wanted: u16,
    },
    /// An alert fires, and there is no further to go.
    AlertAtEnd {
        /// Where to.
        direction: Direction,
    },
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Why::TooBusy {
                load,
                over,
                needed,
                up_at,
            } => write!(
                f,
                "load {} over {over}: {} would bring it down to {}",
                Percent(*load),
                Instances(*needed),
                Percent(*up_at)
            ),
            Why::Full {
                load,
                over,
                needed,
                max,
            } => write!(
                f,
                "load {} over {over} needs {}, and no more than {max} are allowed",
                Percent(*load),
                Instances(*needed)
            ),
            Why::Coming { starting, load } => write!(
                f,
                "load {}: {} starting, which is enough",
                Percent(*load),
                Are(*starting)
            ),
            Why::Quiet { load, over, wanted } => write!(
                f,
                "load at most {} over {over}: {} enough",
                Percent(*load),
                Are(*wanted)
            ),
            Why::Busy {
                load,
                over,
                mode,
                is,
                below,
            } => match mode {
                Mode::Threshold => write!(
                    f,
                    "load up to {} over {over}: one goes when it stays below {}",
                    Percent(*load),
                    Percent(*below)
                ),
                Mode::Projected { .. } => write!(
                    f,
                    "load up to {} over {over}: one fewer would be at {}, and must stay below {}",
                    Percent(*load),
                    Percent(*is),
                    Percent(*below)
                ),
            },
            Why::Needed { fewer, load } => {
                let load = Percent(*load);
                write!(f, "{} would be at {load}: too busy", Instances(*fewer))
            }
            Why::Least { load, over } => write!(
                f,
                "load up to {} over {over}: as few as are allowed",
                Percent(*load)
            ),
            Why::NotYet { at } => write!(f, "quiet: one goes at {} if it stays so", at.clock(*at)),
            Why::Cooldown { until } => {
                write!(f, "not before {} (cooldown)", until.clock(*until))
            }
            Why::Starting { starting } => write!(f, "{} starting", Are(*starting)),
            Why::Leaving { leaving } => write!(f, "{} leaving", Are(*leaving)),
            Why::Settling { instance } => {
                write!(f, "{instance} has just begun to serve")
            }
            Why::Blind { instance } => {
                write!(
                    f,
                    "no fresh sample of {instance}, as the log says: nothing is removed"
                )
            }
            Why::Learning => f.write_str("too little was measured yet"),
            Why::BaseLoad { lowest, down_at } => write!(
                f,
                "base load {}: in a day it never fell below {}, so none ever goes, though fewer could carry it; set \
                 down_at higher, or mode = \"projected\"",
                Percent(*lowest),
                Percent(*down_at)
            ),
            Why::NobodyServes => f.write_str("no instance serves"),
            Why::Waited { visitors: 1 } => f.write_str("1 visitor waited"),
            Why::Waited { visitors } => write!(f, "{visitors} visitors waited"),
            Why::Fixed { instances } => write!(f, "always {}", Instances(*instances)),
            Why::Bounds { min, max } => write!(f, "{min} to {max} instances are allowed"),
            Why::NoAlert => f.write_str("no alert fires"),
            Why::Alert { direction, wanted } => write!(
                f,
                "an alert fires for {}: {}",
                Less(*direction),
                Instances(*wanted)
            ),
            Why::AlertAtEnd { direction } => write!(
                f,
                "an alert fires for {}, and no {} are allowed",
                Less(*direction),
                Less(*direction)
            ),
        }
    }
}

struct Percent(Share);

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tenths = (self.0.in_hundredths() + 5) / 10;
        match tenths % 10 {
            0 => write!(f, "{} %", tenths / 10),
            part => write!(f, "{}.{part} %", tenths / 10),
        }
    }
}

struct Instances(u16);

impl fmt::Display for Instances {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            1 => f.write_str("1 instance"),
            some => write!(f, "{some} instances"),
        }
    }
}

struct Are(u16);

impl fmt::Display for Are {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verb = if self.0 == 1 { "is" } else { "are" };
        write!(f, "{} {verb}", Instances(self.0))
    }
}

struct Less(Direction);

impl fmt::Display for Less {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Direction::Up => "more",
            Direction::Down => "fewer",
        })
    }
}
