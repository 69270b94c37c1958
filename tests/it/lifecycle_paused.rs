//! A leader that is held up at the worst moment: its record says that the machine is being stopped, and the stop has not
//! left yet. When it goes on, another room leads, and somebody is inside.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicU32, Ordering::SeqCst};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::lifecycle::{client, let_in, press, service};
use crate::lifecycle_rooms::stays;
use crate::support::anteroom::Anteroom;
use crate::support::machine::Machine;
use crate::support::ports::free_port;
use crate::support::redis::Server;
use crate::support::wait::eventually;

const SOON: Duration = Duration::from_secs(30);

/// What the record of a service holds that is about to be stopped; nothing else that is sent to the store does.
const STOPPING: &[u8] = br#""stand":{"phase":"stopping""#;

/// Stands between a room and its store, and holds the room up as soon as it has sent that record.
struct Warden {
    address: SocketAddr,
    /// Whom it holds up; 0 before it is known.
    room: Arc<AtomicI32>,
    held: Arc<AtomicU32>,
}

impl Warden {
    async fn before(store: String) -> Warden {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let warden = Warden {
            address: listener.local_addr().unwrap(),
            room: Arc::default(),
            held: Arc::default(),
        };
        let (room, held) = (Arc::clone(&warden.room), Arc::clone(&warden.held));
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let far = TcpStream::connect(&store).await.unwrap();
                let (mut from_room, mut to_room) = near.into_split();
                let (mut from_store, mut to_store) = far.into_split();
                tokio::spawn(async move { tokio::io::copy(&mut from_store, &mut to_room).await });
                let (room, held) = (Arc::clone(&room), Arc::clone(&held));
                tokio::spawn(async move {
                    let (mut piece, mut tail) = (vec![0; 65_536], Vec::new());
                    while let Ok(length @ 1..) = from_room.read(&mut piece).await {
                        tail.extend_from_slice(&piece[..length]);
                        let says = tail.windows(STOPPING.len()).any(|part| part == STOPPING);
                        let pid = room.load(SeqCst);
                        if says && pid != 0 && held.swap(1, SeqCst) == 0 {
                            // Before the store hears of it, so that the room can't go on.
                            kill_process(Pid::from_raw(pid).unwrap(), Signal::STOP).unwrap();
                        }
                        let keep = tail.len().min(STOPPING.len());
                        tail.drain(..tail.len() - keep);
                        if to_store.write_all(&piece[..length]).await.is_err() {
                            return;
                        }
                    }
                });
            }
        });
        warden
    }
}

#[tokio::test]
#[ignore = "needs redis-server: run tests/run"]
async fn a_leader_held_up_between_the_record_and_the_stop_stops_nothing() {
    let server = Server::start().await;
    let warden = Warden::before(server.at()).await;
    let machine = Machine::new(Duration::ZERO).await;
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let services = service(&machine, "");
    let through = format!("redis://{}", warden.address);
    let straight = format!("redis://{}", server.at());
    let first = Anteroom::start_on(one.path(), &through, &services, free_port(), free_port()).await;
    first.phase("blog", "asleep", SOON).await;
    let second =
        Anteroom::start_on(two.path(), &straight, &services, free_port(), free_port()).await;
    second.phase("blog", "asleep", SOON).await;
    let lease = || async {
        let lease: Option<String> = server.ask(&["GET", "anteroom:{blog}:lease"]).await;
        lease.unwrap_or_default()
    };
    let led_by_first = format!("pid {}\"", first.id());
    assert!(lease().await.contains(&led_by_first));
    let client = client();
    assert_eq!(press(&client, &first).await, 202);
    let_in(&client, &first).await;
    warden
        .room
        .store(i32::try_from(first.id()).unwrap(), SeqCst);
    eventually(SOON, async || warden.held.load(SeqCst) == 1).await;
    // The other room leads. The first goes on at once, before it has given up waiting for the answer to its record.
    let led_by_second = format!("pid {}\"", second.id());
    eventually(SOON, async || lease().await.contains(&led_by_second)).await;
    first.signal(Signal::CONT);
    let_in(&client, &second).await;
    let inside = stays(&second).await;
    // It follows.
    first.phase("blog", "awake", SOON).await;
    let_in(&client, &first).await;
    assert_eq!((machine.starts(), machine.stops()), (1, 0));
    assert!(machine.runs());
    drop(inside);
    second.phase("blog", "asleep", SOON).await;
    assert_eq!((machine.starts(), machine.stops()), (1, 1));
}
