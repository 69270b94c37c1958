//! Wake-on-LAN: the test is the machine that sleeps. It hears the packets on loopback's own broadcast address,
//! looks at every byte, and begins to listen.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anteroom::engine::machine::{ErrorClass, MachineState};
use anteroom::provider::Provider;
use anteroom::provider::wol::{Settings, Wol};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::watch;
use tokio::time::Instant;

use super::{Platform, SEED, SOON, TOKEN, becomes, conforms, state};
use crate::support::ports::free_port;
use crate::support::wait::eventually;

const MAC: [u8; 6] = [0x52, 0x54, 0x00, 0x12, 0x34, 0x56];
const PASSWORD: [u8; 6] = [0xDE, 0xAD, 0xBE, 0xEF, 0x00, 0x07];
/// What bash does with a port: the way to a machine that is told to sleep, as `ssh` would go it.
const TELL: &str =
    "exec 3<>/dev/tcp/127.0.0.1/$1 && echo suspend >&3 && read -r done <&3 && test $done = yes";

/// How the machine takes an order to sleep.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Obeys {
    /// It sleeps, then says yes.
    AtOnce,
    /// It says yes and stays awake until the test lets it sleep.
    Later,
    /// It sleeps without a word, so the connection hangs.
    Silently,
}

/// A machine whose network card listens while it sleeps.
struct Sleeper {
    broadcast: SocketAddr,
    control: SocketAddr,
    app: SocketAddr,
    password: &'static [u8],
    mind: Arc<Mind>,
}

struct Mind {
    /// Whether it is to be awake.
    awake: watch::Sender<bool>,
    /// Whether its app accepts connections.
    serves: watch::Sender<bool>,
    /// When its card heard anything.
    heard: Mutex<Vec<Instant>>,
}

impl Sleeper {
    fn new(password: &'static [u8], obeys: Obeys) -> Sleeper {
        let card = std::net::UdpSocket::bind((Ipv4Addr::new(127, 255, 255, 255), 0));
        let card = card.expect("loopback has a broadcast address");
        let control = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback");
        card.set_nonblocking(true).expect("a socket");
        control.set_nonblocking(true).expect("a socket");
        let sleeper = Sleeper {
            broadcast: card.local_addr().expect("it is bound"),
            control: control.local_addr().expect("it is bound"),
            app: SocketAddr::from(([127, 0, 0, 1], free_port())),
            password,
            mind: Arc::new(Mind {
                awake: watch::Sender::new(false),
                serves: watch::Sender::new(false),
                heard: Mutex::default(),
            }),
        };
        let mind = || Arc::clone(&sleeper.mind);
        let card = UdpSocket::from_std(card).expect("a socket");
        let control = TcpListener::from_std(control).expect("a socket");
        tokio::spawn(mind().listens(card, packet(password)));
        tokio::spawn(mind().is_commanded(control, obeys));
        tokio::spawn(mind().serves(sleeper.app));
        sleeper
    }

    fn wol(&self, change: impl FnOnce(&mut Settings)) -> Wol {
        let port = self.control.port().to_string();
        let mut settings = Settings {
            service: "blog".parse().expect("a name"),
            mac: MAC,
            address: self.app.to_string(),
            broadcast: self.broadcast,
            password: self.password.to_vec(),
            stop: ["bash", "-c", TELL, "box", &port]
                .map(str::to_owned)
                .to_vec(),
            stop_timeout: SOON,
            wake_timeout: SOON,
        };
        change(&mut settings);
        Wol::new(settings).expect("good settings")
    }

    /// A provider whose packets the machine hears and does not wake at.
    fn in_vain(&self, change: impl FnOnce(&mut Settings)) -> Wol {
        self.wol(|settings| {
            settings.mac[5] += 1;
            change(settings);
        })
    }

    fn heard(&self) -> Vec<Instant> {
        self.mind.heard.lock().unwrap().clone()
    }
}

/// What the card wakes at, byte by byte.
fn packet(password: &[u8]) -> Vec<u8> {
    let mut packet = vec![0xFF; 6];
    (0..16).for_each(|_| packet.extend(MAC));
    packet.extend(password);
    packet
}

impl Mind {
    async fn listens(self: Arc<Mind>, card: UdpSocket, wakes_at: Vec<u8>) {
        let mut bytes = [0; 2048];
        while let Ok(length) = card.recv(&mut bytes).await {
            self.heard.lock().unwrap().push(Instant::now());
            if bytes[..length] == wakes_at {
                self.awake.send_replace(true);
            }
        }
    }

    async fn is_commanded(self: Arc<Mind>, control: TcpListener, obeys: Obeys) {
        while let Ok((mut stream, _)) = control.accept().await {
            let mut order = [0; 8];
            // Whoever comes may be killed before a word is said.
            if stream.read_exact(&mut order).await.is_err() {
                continue;
            }
            assert_eq!(&order, b"suspend\n");
            if obeys != Obeys::Later {
                self.awake.send_replace(false);
                let mut serves = self.serves.subscribe();
                serves.wait_for(|serves| !serves).await.expect("it lives");
            }
            if obeys == Obeys::Silently {
                tokio::spawn(async move { stream.read(&mut order).await });
            } else {
                // Whoever gave the order may have been killed meanwhile.
                let _ = stream.write_all(b"yes\n").await;
            }
        }
    }

    async fn serves(self: Arc<Mind>, app: SocketAddr) {
        let mut awake = self.awake.subscribe();
        while awake.wait_for(|awake| *awake).await.is_ok() {
            let listener = TcpListener::bind(app).await.expect("the port is free");
            self.serves.send_replace(true);
            tokio::select! {
                _ = awake.wait_for(|awake| !awake) => {}
                () = async { while listener.accept().await.is_ok() {} } => {}
            }
            drop(listener);
            self.serves.send_replace(false);
        }
    }
}

impl Platform for Sleeper {
    fn provider(&self) -> Arc<dyn Provider> {
        Arc::new(self.wol(|_| {}))
    }

    fn running(&self) -> usize {
        usize::from(*self.mind.serves.borrow())
    }

    /// Nobody can say that there is no such machine.
    fn missing(&self) -> Option<Arc<dyn Provider>> {
        None
    }
}

conforms!(Sleeper::new(&PASSWORD, Obeys::AtOnce));

/// The packets so far come in bursts of three, 100 ms apart, every 10 s.
fn are_bursts(heard: &[Instant]) {
    for pair in heard.windows(2).enumerate() {
        let (first, [one, two]) = pair else {
            unreachable!("a window of two")
        };
        let between = two.duration_since(*one).as_millis();
        match first % 3 {
            2 => assert!((10_000..10_200).contains(&between), "{between} ms"),
            _ => assert!((95..150).contains(&between), "{between} ms"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn packets_are_sent_until_the_time_is_over() {
    let machine = Sleeper::new(&[], Obeys::AtOnce);
    let minute = Duration::from_secs(60);
    let wol = machine.in_vain(|settings| settings.wake_timeout = minute);
    let began = Instant::now();
    assert_eq!(state(&wol).await, MachineState::Stopped);
    let starting = wol.start(SEED, TOKEN).await.expect("it is sent").state;
    assert_eq!(starting, MachineState::Starting);
    becomes_within(&wol, MachineState::Stopped, 2 * minute).await;
    let took = began.elapsed();
    assert!(took >= minute && took < minute + SOON, "{took:?}");
    let heard = machine.heard();
    are_bursts(&heard);
    assert_eq!(heard.len(), 18, "at 0, 10, 20, 30, 40 and 50 s");
    passes(minute).await;
    assert_eq!(machine.heard().len(), 18, "nobody wants it any more");
}

/// Lets this time pass in small steps, so that whoever has something to do in it does it.
async fn passes(time: Duration) {
    let end = Instant::now() + time;
    eventually(time * 2, || async { Instant::now() >= end }).await;
}

async fn becomes_within(wol: &Wol, wanted: MachineState, within: Duration) {
    eventually(within, || async { state(wol).await == wanted }).await;
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_came_and_one_that_nobody_wants_any_more_hear_no_more_packets() {
    let machine = Sleeper::new(&[], Obeys::AtOnce);
    let hour = Duration::from_secs(3600);
    let wol = machine.wol(|settings| settings.wake_timeout = hour);
    wol.start(SEED, TOKEN).await.expect("it is sent");
    becomes(&wol, MachineState::Running).await;
    let heard = machine.heard().len();
    assert!((1..=3).contains(&heard), "{heard}");
    passes(SOON).await;
    assert_eq!(machine.heard().len(), heard, "it came");

    let machine = Sleeper::new(&[], Obeys::AtOnce);
    let wol = machine.in_vain(|settings| settings.wake_timeout = hour);
    wol.start(SEED, TOKEN).await.expect("it is sent");
    eventually(SOON, || async { machine.heard().len() == 6 }).await;
    drop(wol);
    passes(SOON).await;
    assert_eq!(machine.heard().len(), 6, "its provider is gone");

    let wol = machine.in_vain(|settings| {
        settings.wake_timeout = hour;
        settings.stop = vec!["/nowhere/stop".to_owned()];
    });
    wol.start(SEED, TOKEN).await.expect("it is sent");
    eventually(SOON, || async { machine.heard().len() == 9 }).await;
    let trouble = wol.stop(SEED, TOKEN).await.expect_err("no such program");
    assert_eq!(trouble.class, ErrorClass::BadRequest, "{trouble}");
    assert_eq!(
        state(&wol).await,
        MachineState::Starting,
        "it may come up yet"
    );
    passes(SOON).await;
    assert_eq!(machine.heard().len(), 9, "it is to sleep");
    tokio::time::advance(hour).await;
    assert_eq!(state(&wol).await, MachineState::Stopped);
}

#[tokio::test]
async fn a_machine_on_its_way_down_is_stopping_until_its_port_is_closed() {
    let machine = Sleeper::new(&[], Obeys::Later);
    machine.mind.awake.send_replace(true);
    let wol = machine.wol(|_| {});
    becomes(&wol, MachineState::Running).await;
    let stopping = wol.stop(SEED, TOKEN).await.expect("the command ended well");
    assert_eq!(stopping.state, MachineState::Stopping);
    assert_eq!(state(&wol).await, MachineState::Stopping);
    machine.mind.awake.send_replace(false);
    becomes(&wol, MachineState::Stopped).await;
    machine.mind.awake.send_replace(true);
    becomes(&wol, MachineState::Running).await;

    let soon = Duration::from_millis(500);
    let wol = machine.wol(|settings| settings.stop_timeout = soon);
    wol.stop(SEED, TOKEN).await.expect("the command ended well");
    becomes(&wol, MachineState::Running).await;
}

#[tokio::test]
async fn a_machine_that_falls_asleep_while_it_is_told_to_has_obeyed() {
    let machine = Sleeper::new(&[], Obeys::Silently);
    machine.mind.awake.send_replace(true);
    let wol = machine.wol(|settings| settings.stop_timeout = Duration::from_secs(1));
    becomes(&wol, MachineState::Running).await;
    let stopped = wol.stop(SEED, TOKEN).await.expect("it sleeps");
    assert_eq!(stopped.state, MachineState::Stopped);
}

#[tokio::test]
async fn a_command_that_fails_while_the_machine_runs_is_a_trouble() {
    let machine = Sleeper::new(&[], Obeys::AtOnce);
    machine.mind.awake.send_replace(true);
    for (line, class, words) in [
        ("echo no way >&2; exit 255", ErrorClass::Transient, "no way"),
        ("exit 127", ErrorClass::BadRequest, "127"),
        ("read -r x < /dev/zero", ErrorClass::Ambiguous, "killed"),
    ] {
        let wol = machine.wol(|settings| {
            settings.stop = ["bash", "-c", line].map(str::to_owned).to_vec();
            settings.stop_timeout = Duration::from_secs(1);
        });
        becomes(&wol, MachineState::Running).await;
        let trouble = wol.stop(SEED, TOKEN).await.expect_err(line);
        assert_eq!(trouble.class, class, "{trouble}");
        assert!(trouble.detail.contains(words), "{trouble}");
        assert_eq!(state(&wol).await, MachineState::Running);
    }
}

/// Whoever took it for a machine that is off would say of a running one that it vanished.
#[tokio::test]
async fn a_connection_that_fails_on_our_side_says_nothing_of_the_machine() {
    let machine = Sleeper::new(&[], Obeys::AtOnce);
    let wol = machine.wol(|settings| settings.address = "255.255.255.255:80".to_owned());
    let trouble = wol.inspect(SEED).await.expect_err("no such network");
    assert_eq!(trouble.class, ErrorClass::Transient, "{trouble}");
    let wol = machine.wol(|settings| settings.address = "anteroom.invalid:80".to_owned());
    assert_eq!(state(&wol).await, MachineState::Stopped, "no such name");
}

#[tokio::test]
async fn a_packet_that_cannot_be_sent_is_a_trouble() {
    let machine = Sleeper::new(&[], Obeys::AtOnce);
    let wol = machine.wol(|settings| settings.broadcast = "0.0.0.0:0".parse().expect("one"));
    let trouble = wol.start(SEED, TOKEN).await.expect_err("port 0 is none");
    assert_eq!(trouble.class, ErrorClass::BadRequest, "{trouble}");
    assert_eq!(state(&wol).await, MachineState::Stopped);
}

#[test]
fn settings_that_can_never_work_are_refused() {
    let good = Settings {
        service: "blog".parse().expect("a name"),
        mac: MAC,
        address: "10.0.0.7:80".to_owned(),
        broadcast: SocketAddr::from(([255, 255, 255, 255], 9)),
        password: PASSWORD.to_vec(),
        stop: vec!["ssh".to_owned()],
        stop_timeout: SOON,
        wake_timeout: SOON,
    };
    assert!(!format!("{good:?}").contains("222"), "a secret");
    assert!(Wol::new(good.clone()).is_ok());
    let bad = |change: fn(&mut Settings)| {
        let mut settings = good.clone();
        change(&mut settings);
        Wol::new(settings).is_err()
    };
    assert!(bad(|settings| settings.address = "10.0.0.7".to_owned()));
    assert!(bad(|settings| settings.mac = [0xFF; 6]));
    assert!(bad(|settings| settings.password = vec![1, 2, 3]));
    assert!(bad(|settings| settings.stop = Vec::new()));
}
