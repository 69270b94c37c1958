//! A moment within a call at which a test drops or kills whoever called.

use tokio::sync::watch;

use super::World;

/// When in a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moment {
    /// It has come, and nothing is done.
    Before,
    /// It is done, and nothing is answered.
    Done,
    /// It is answered.
    Answered,
}

pub(crate) const MOMENTS: [Moment; 3] = [Moment::Before, Moment::Done, Moment::Answered];

/// From its call and moment on nothing is answered.
pub(super) struct Trap {
    /// Calls that pass before.
    left: u32,
    moment: Moment,
    sprung: watch::Sender<bool>,
}

impl World {
    /// Sets the trap: `passes` calls go through, and the next one meets this moment. True is told when it does.
    pub(crate) fn trap(&self, passes: u32, moment: Moment) -> watch::Receiver<bool> {
        let (sprung, told) = watch::channel(false);
        self.all().trap = Some(Trap {
            left: passes,
            moment,
            sprung,
        });
        told
    }

    pub(crate) fn disarm(&self) {
        self.all().trap = None;
    }

    /// A call has come: its moment, if it is the one. Calls behind it come to nothing.
    pub(super) async fn spring(&self) -> Option<Moment> {
        let met = {
            let mut all = self.all();
            let trap = all.trap.as_mut()?;
            let met = match *trap.sprung.borrow() {
                true => Some(Moment::Before),
                false => (trap.left == 0).then_some(trap.moment),
            };
            trap.left = trap.left.saturating_sub(1);
            if met == Some(Moment::Before) {
                trap.sprung.send_replace(true);
            }
            met
        };
        if met == Some(Moment::Before) {
            std::future::pending::<()>().await;
        }
        met
    }

    /// The work of a call is done.
    pub(super) async fn sprung(&self, met: Option<Moment>) {
        let Some(moment) = met else {
            return;
        };
        if let Some(trap) = &self.all().trap {
            trap.sprung.send_replace(true);
        }
        if moment == Moment::Done {
            std::future::pending::<()>().await;
        }
    }
}
