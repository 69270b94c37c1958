//! Power: an order is given, followed to its end, and then the machine itself is looked at. Orders to the power may be
//! repeated, so one whose answer was lost is given again when the machine shows that it was not carried out.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::{Billed, Keeper, Kept, Order, Power, Server, Stand};
use crate::engine::machine::{ErrorClass, Machine, MachineState, Trouble};

/// So long an order is followed; seconds are usual.
const ORDER_WITHIN: Duration = Duration::from_secs(120);

/// So long it is waited until somebody else's order has ended.
const BUSY_WITHIN: Duration = Duration::from_secs(60);

/// So long a machine may take to show what a finished order did.
const SHOWS_WITHIN: Duration = Duration::from_secs(20);

/// So often an order is given, when its answers are lost.
const ORDERS_MAX: u32 = 2;

/// So many looks may fail, one after the other.
const LOOKS_LOST_MAX: u32 = 3;

/// What a start or a stop may take on top: the calls that are made last.
const CALL_MARGIN: Duration = Duration::from_secs(100);

/// What came of an order.
enum Came {
    /// This is the machine now.
    Of(Server),
    /// It was not taken.
    Refused(Trouble),
    /// It was taken, and ended in an error.
    Failed(Trouble),
}

impl<C: Billed> Keeper<C> {
    /// How long a start or a stop may take.
    pub(crate) fn call_timeout(&self) -> Duration {
        let order = BUSY_WITHIN + ORDER_WITHIN + SHOWS_WITHIN;
        let power = order + self.keeping.stop_timeout + order + CALL_MARGIN;
        match self.keeping.kept {
            Kept::Off(_) => power,
            Kept::Snapshot(_) => power + super::swap::SWAP_WITHIN,
        }
    }

    /// Switches the machine on.
    pub(super) async fn switch_on(&self, id: u64) -> Result<Machine, Trouble> {
        match self.bring(id, Power::On, MachineState::Running).await? {
            Came::Of(server) => self.machine(&server).await,
            Came::Refused(trouble) | Came::Failed(trouble) => Err(trouble),
        }
    }

    /// By the machine's own shutdown; by the switch, when that takes too long or fails.
    pub(super) async fn switch_off(&self, id: u64) -> Result<Machine, Trouble> {
        let began = Instant::now();
        match self
            .bring(id, Power::Shutdown, MachineState::Stopped)
            .await?
        {
            Came::Of(_) | Came::Failed(_) => {}
            Came::Refused(trouble) => match trouble.class {
                ErrorClass::InvalidState | ErrorClass::BadRequest | ErrorClass::Ambiguous => {}
                _ => return Err(trouble),
            },
        }
        let left = self.keeping.stop_timeout.saturating_sub(began.elapsed());
        let server = self.until(id, MachineState::Stopped, left).await?;
        if self.is(&server, MachineState::Stopped).await? {
            return Ok(self.seen(&server, MachineState::Stopped));
        }
        tracing::debug!(
            machine = server.id,
            "it did not shut down in time; it is switched off"
        );
        match self.bring(id, Power::Off, MachineState::Stopped).await? {
            Came::Of(server) => self.machine(&server).await,
            Came::Refused(trouble) | Came::Failed(trouble) => Err(trouble),
        }
    }

    /// Gives an order and follows it, unless the machine is as wanted already.
    async fn bring(&self, id: u64, power: Power, wanted: MachineState) -> Result<Came, Trouble> {
        let waits_until = Instant::now() + BUSY_WITHIN;
        let mut given = 0;
        loop {
            let server = self.there(id).await?;
            if self.is(&server, wanted).await? {
                return Ok(Came::Of(server));
            }
            let late = Instant::now() >= waits_until;
            if server.locked && !late {
                sleep(self.keeping.poll).await;
                continue;
            }
            given += 1;
            self.note_write();
            let taken = self.cloud.order(server.id, power).await;
            // Also when the answer was lost: it may have been taken.
            self.note_write();
            let trouble = match taken {
                Ok(order) => return self.came_of(id, order, power, wanted).await,
                Err(trouble) => trouble,
            };
            match trouble.class {
                ErrorClass::Busy if !late => sleep(self.keeping.poll).await,
                ErrorClass::Ambiguous if given < ORDERS_MAX => sleep(self.keeping.poll).await,
                ErrorClass::AlreadyThere | ErrorClass::Ambiguous => {
                    let server = self.until(id, wanted, shows_within(power)).await?;
                    let class = match trouble.class {
                        // What is not seen is not believed.
                        ErrorClass::AlreadyThere => ErrorClass::InvalidState,
                        class => class,
                    };
                    return Ok(match self.is(&server, wanted).await? {
                        true => Came::Of(server),
                        false => Came::Refused(Trouble::new(class, trouble.detail)),
                    });
                }
                ErrorClass::Busy | ErrorClass::InvalidState | ErrorClass::BadRequest => {
                    let server = self.there(id).await?;
                    return Ok(match self.is(&server, wanted).await? {
                        true => Came::Of(server),
                        false => Came::Refused(trouble),
                    });
                }
                _ => return Ok(Came::Refused(trouble)),
            }
        }
    }

    async fn came_of(
        &self,
        id: u64,
        order: Order,
        power: Power,
        wanted: MachineState,
    ) -> Result<Came, Trouble> {
        let poll = self.keeping.poll;
        let stand = self.follow(order, ORDER_WITHIN, poll).await?;
        self.note_write();
        let within = match stand {
            Stand::UnderWay | Stand::Failed(_) => Duration::ZERO,
            Stand::Done => shows_within(power),
        };
        let server = self.until(id, wanted, within).await?;
        Ok(match stand {
            Stand::Failed(trouble) if server.state != wanted => Came::Failed(trouble),
            _ => Came::Of(server),
        })
    }

    /// Follows an order to its end, or as far as it gets within this time.
    pub(super) async fn follow(
        &self,
        order: Order,
        within: Duration,
        pause: Duration,
    ) -> Result<Stand, Trouble> {
        let until = Instant::now() + within;
        let (mut order, mut lost) = (order, 0);
        while matches!(order.stand, Stand::UnderWay) && Instant::now() < until {
            sleep(pause).await;
            order = match self.cloud.look_at(&order).await {
                Ok(order) => {
                    lost = 0;
                    order
                }
                Err(trouble) => {
                    lost += 1;
                    passing(trouble, lost)?;
                    order
                }
            };
        }
        Ok(order.stand)
    }

    /// Looks at the machine until it is as wanted, for so long; the machine as it was at the last look.
    pub(super) async fn until(
        &self,
        id: u64,
        wanted: MachineState,
        within: Duration,
    ) -> Result<Server, Trouble> {
        let until = Instant::now() + within;
        let mut lost = 0;
        loop {
            let late = Instant::now() >= until;
            match self.there(id).await {
                Ok(server) if late || self.is(&server, wanted).await? => return Ok(server),
                Ok(_) => lost = 0,
                Err(trouble) => {
                    lost += 1;
                    passing(trouble, lost)?;
                }
            }
            sleep(self.keeping.poll).await;
        }
    }

    /// Whether it is in this state, and not about to leave it.
    async fn is(&self, server: &Server, wanted: MachineState) -> Result<bool, Trouble> {
        if server.state != wanted || !server.locked {
            return Ok(server.state == wanted);
        }
        let leaving = match self.cloud.under_way(server.id).await? {
            Some(Power::On) => wanted == MachineState::Stopped,
            Some(Power::Shutdown | Power::Off) => wanted == MachineState::Running,
            None => false,
        };
        Ok(!leaving)
    }

    /// The machine by its own page; one that is missing is a trouble.
    async fn there(&self, id: u64) -> Result<Server, Trouble> {
        let server = self.cloud.server(id).await?;
        server.ok_or_else(|| Self::missing(id))
    }
}

/// How long the machine may take to show that an order was carried out.
fn shows_within(power: Power) -> Duration {
    match power {
        Power::On | Power::Off => SHOWS_WITHIN,
        // It was told; when it goes down is its own matter.
        Power::Shutdown => Duration::ZERO,
    }
}

/// A look that failed and may be made again.
fn passing(trouble: Trouble, lost: u32) -> Result<(), Trouble> {
    match trouble.class {
        ErrorClass::Transient if lost < LOOKS_LOST_MAX => Ok(()),
        _ => Err(trouble),
    }
}
