//! A machine on the local network that sleeps with its network card listening: woken by a magic packet
//! ([`packet`]), put to sleep by a command of the operator's (`ssh box systemctl suspend`).
//!
//! Nothing answers a magic packet and nobody knows the machine's state, so the state is what a TCP connection to
//! the app says:
//!
//! | the port | told |
//! |---|---|
//! | open | running; stopping when the command was run within `stop_timeout` |
//! | closed, and a packet was sent within `wake_timeout` | starting |
//! | closed | stopped |

mod packet;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::task::AbortOnDropHandle;

use super::program::Program;
use super::{Answer, BadSettings, Checkup, Provider, bare, seed_only};
use crate::engine::id::{InstanceId, ServiceName, Token};
use crate::engine::machine::{ErrorClass, Machine, MachineState, Trouble};
use packet::MagicPacket;

/// The word in the configuration.
const KIND: &str = "wol";
/// What is paid while the machine sleeps.
const ASLEEP: &str = "the power that a sleeping machine takes";
/// How many packets are sent at a time: each may be lost, and nobody says so.
const BURST: u32 = 3;
/// Between the packets of a burst.
const BURST_PAUSE: Duration = Duration::from_millis(100);
/// Between bursts: a machine that was still falling asleep hears the next one.
const BURST_INTERVAL: Duration = Duration::from_secs(10);
/// How long a connection to the app may take. A machine that sleeps does not even refuse one.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);
/// What a call may take on top of its probes and the command: so that our own deadlines come first.
const CALL_MARGIN: Duration = Duration::from_secs(5);
/// What is kept of the command's output.
const OUTPUT_BYTES_MAX: usize = 1024;

/// Which machine, how it is woken and how it is put to sleep.
#[derive(Clone)]
pub struct Settings {
    /// The service, as the command hears it.
    pub service: ServiceName,
    /// The address of its network card.
    pub mac: [u8; 6],
    /// `host:port` of the app; a name is looked up at each reading.
    pub address: String,
    /// Where packets are sent: a broadcast address of the machine's network, or a relay.
    pub broadcast: SocketAddr,
    /// 4 or 6 bytes, where the card wants them; else none.
    pub password: Vec<u8>,
    /// The program that puts the machine to sleep, and its arguments; not a shell line. It hears
    /// `ANTEROOM_SERVICE` and `ANTEROOM_ACTION=stop`.
    pub stop: Vec<String>,
    /// How long that program may take, and after it the machine until its port is closed.
    pub stop_timeout: Duration,
    /// How long packets are sent, and a closed port means that the machine is on its way.
    pub wake_timeout: Duration,
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("service", &self.service)
            .field("mac", &packet::shown(self.mac))
            .field("address", &self.address)
            .field("broadcast", &self.broadcast)
            .finish_non_exhaustive()
    }
}

/// The provider of `kind = "wol"`.
pub struct Wol {
    inner: Arc<Inner>,
    /// One start or stop at a time.
    turn: Semaphore,
    asked: Mutex<Asked>,
}

struct Inner {
    settings: Settings,
    packet: MagicPacket,
}

/// What was asked of the machine last.
enum Asked {
    Nothing,
    /// Packets were sent; a machine that does not come is asleep again at `until`.
    Wake {
        until: Instant,
        /// None when no more are sent.
        sending: Option<AbortOnDropHandle<()>>,
    },
    /// The command was run; a machine that does not go is running again at `until`.
    Sleep {
        until: Instant,
    },
}

impl Wol {
    /// A provider for this machine. Sends and runs nothing.
    ///
    /// # Errors
    /// When the card's address or the password cannot be one, when `stop` names no program, or when `address` is
    /// not `host:port`.
    pub fn new(settings: Settings) -> Result<Wol, BadSettings> {
        super::host_and_port(&settings.address)?;
        if settings.stop.first().is_none_or(String::is_empty) {
            return Err(BadSettings("`stop` names no program".to_owned()));
        }
        let packet = MagicPacket::new(settings.mac, &settings.password)?;
        Ok(Wol {
            inner: Arc::new(Inner { settings, packet }),
            turn: Semaphore::new(1),
            asked: Mutex::new(Asked::Nothing),
        })
    }

    async fn look(&self) -> Result<Machine, Trouble> {
        let open = self.inner.probe().await?;
        let now = Instant::now();
        let mut asked = self.asked();
        let (machine, over) = match (open, &*asked) {
            (Some(_), Asked::Sleep { until }) if now < *until => {
                (bare(MachineState::Stopping), false)
            }
            (Some(address), _) => {
                let machine = Machine {
                    state: MachineState::Running,
                    address: Some(address),
                };
                (machine, true)
            }
            (None, Asked::Wake { until, .. }) if now < *until => {
                (bare(MachineState::Starting), false)
            }
            (None, _) => (bare(MachineState::Stopped), true),
        };
        if over {
            *asked = Asked::Nothing;
        }
        Ok(machine)
    }

    async fn wake(&self) -> Result<Machine, Trouble> {
        let _turn = self.turn.acquire().await;
        let before = self.look().await?;
        if before.state == MachineState::Running {
            return Ok(before);
        }
        let Settings {
            broadcast,
            wake_timeout,
            ..
        } = self.inner.settings;
        self.inner.packet.send(broadcast).await?;
        let until = Instant::now() + wake_timeout;
        let sending = tokio::spawn(Arc::clone(&self.inner).keep_sending(until));
        *self.asked() = Asked::Wake {
            until,
            sending: Some(AbortOnDropHandle::new(sending)),
        };
        Ok(bare(MachineState::Starting))
    }

    async fn put_to_sleep(&self) -> Result<Machine, Trouble> {
        let _turn = self.turn.acquire().await;
        let before = self.look().await?;
        match before.state {
            MachineState::Stopped => return Ok(before),
            // It may come up yet, so the command is tried; but nothing more is done to wake it.
            MachineState::Starting => {
                if let Asked::Wake { sending, .. } = &mut *self.asked() {
                    *sending = None;
                }
            }
            _ => {}
        }
        let told = self.inner.tell_to_sleep().await;
        match (told, self.inner.probe().await?) {
            // A connection to a machine that falls asleep often ends badly.
            (Err(trouble), Some(_)) => return Err(trouble),
            (Err(trouble), None) if before.state == MachineState::Starting => return Err(trouble),
            (_, None) => *self.asked() = Asked::Nothing,
            (Ok(()), Some(_)) => {
                let until = Instant::now() + self.inner.settings.stop_timeout;
                *self.asked() = Asked::Sleep { until };
            }
        }
        self.look().await
    }

    fn asked(&self) -> MutexGuard<'_, Asked> {
        // The value is whole at every moment, so a panic of another holder changes nothing.
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Where the app accepts a connection, if it does.
    ///
    /// # Errors
    /// When the connection fails on our side: that says nothing about the machine.
    async fn probe(&self) -> Result<Option<SocketAddr>, Trouble> {
        let address = &self.settings.address;
        let trouble = |error: io::Error| {
            let detail = format!("connecting to {address}: {error}");
            Trouble::new(ErrorClass::Transient, detail)
        };
        let connected = timeout(PROBE_TIMEOUT, async {
            // The name of a machine that sleeps may be unknown.
            let Ok(found) = tokio::net::lookup_host(address).await else {
                return Ok(None);
            };
            let mut closed = Ok(None);
            for address in found {
                match TcpStream::connect(address).await {
                    Ok(_) => return Ok(Some(address)),
                    Err(error) if is_of_the_other_side(&error) => {}
                    Err(error) => closed = Err(error),
                }
            }
            closed
        });
        match connected.await {
            Ok(probed) => probed.map_err(trouble),
            Err(_) => Ok(None),
        }
    }

    /// The rest of the first burst, then bursts until the app accepts connections or the time is over.
    async fn keep_sending(self: Arc<Inner>, until: Instant) {
        self.burst(BURST - 1).await;
        while Instant::now() + BURST_INTERVAL < until {
            sleep(BURST_INTERVAL).await;
            if matches!(self.probe().await, Ok(Some(_))) {
                return;
            }
            self.burst(BURST).await;
        }
    }

    async fn burst(&self, packets: u32) {
        for _ in 0..packets {
            sleep(BURST_PAUSE).await;
            if let Err(trouble) = self.packet.send(self.settings.broadcast).await {
                let service = &self.settings.service;
                tracing::debug!(%service, %trouble, "a magic packet was not sent");
            }
        }
    }

    async fn tell_to_sleep(&self) -> Result<(), Trouble> {
        let Settings {
            service,
            stop,
            stop_timeout,
            ..
        } = &self.settings;
        let words: Vec<&str> = stop.iter().map(String::as_str).collect();
        let doing = || {
            let program = words.first().copied().unwrap_or_default();
            format!("stop of {service} by {program:?}")
        };
        let program = Program {
            kind: KIND,
            name: "stop",
            words: &words,
            env: &[
                ("ANTEROOM_SERVICE", service.as_str()),
                ("ANTEROOM_ACTION", "stop"),
            ],
            within: *stop_timeout,
            out_bytes_max: OUTPUT_BYTES_MAX,
        };
        let ended = program.run().await;
        let ended = ended.map_err(|unended| unended.trouble(ErrorClass::Ambiguous, &doing()))?;
        let class = match ended.status.code() {
            Some(0) => return Ok(()),
            // By shell custom: cannot be executed, and not found.
            Some(126 | 127) => ErrorClass::BadRequest,
            _ => ErrorClass::Transient,
        };
        let said = ended.complaint();
        Err(Trouble::new(class, format!("{}: {said}", doing())))
    }
}

/// Whether the machine, or the network around it, did not want the connection, or does not know the machine.
fn is_of_the_other_side(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::HostUnreachable
            | io::ErrorKind::TimedOut
    )
}

impl Provider for Wol {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn call_timeout(&self) -> Duration {
        // Looked at before the command, after it, and for the answer.
        PROBE_TIMEOUT * 3 + self.inner.settings.stop_timeout + CALL_MARGIN
    }

    fn inspect(&self, instance: InstanceId) -> Answer<'_> {
        match instance {
            InstanceId::SEED => Box::pin(self.look()),
            _ => Box::pin(async { Ok(bare(MachineState::Missing)) }),
        }
    }

    fn start(&self, instance: InstanceId, _token: Token) -> Answer<'_> {
        match instance {
            InstanceId::SEED => Box::pin(self.wake()),
            _ => Box::pin(async move { Err(seed_only(KIND, instance)) }),
        }
    }

    fn stop(&self, instance: InstanceId, _token: Token) -> Answer<'_> {
        match instance {
            InstanceId::SEED => Box::pin(self.put_to_sleep()),
            _ => Box::pin(async move { Err(seed_only(KIND, instance)) }),
        }
    }

    fn checkup(&self) -> BoxFuture<'_, Checkup> {
        Box::pin(async {
            let Settings { mac, broadcast, .. } = &self.inner.settings;
            let mac = packet::shown(*mac);
            let what =
                format!("the machine with the network card {mac}, woken by way of {broadcast}");
            let seed = self.look().await;
            let mut checkup = Checkup::of_seed(what, seed, ASLEEP);
            checkup.credential = Ok("none is needed to wake it; `stop` brings its own".to_owned());
            checkup
        })
    }
}
