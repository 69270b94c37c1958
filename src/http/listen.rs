//! The visitors' listener. hyper's own HTTP/1 server and never the one that detects HTTP/2: that one has no
//! deadline while it detects.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustix::net::sockopt;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::copies;
use super::front;
use super::rewind::Rewind;
use super::room::Room;
use super::visit;
use super::workers::Workers;
use crate::engine::client;

/// The longest request head. Traefik and browsers send up to 8 KiB; a longer one is answered with 431.
pub const HEAD_BYTES_MAX: usize = 16 * 1024;

/// Pause after a failed accept: out of file numbers, above all. Doubled up to the bound.
const ACCEPT_PAUSE_MIN: Duration = Duration::from_millis(5);
const ACCEPT_PAUSE_MAX: Duration = Duration::from_secs(1);

/// Connections that the system keeps for us until we take them. A link that is shared brings thousands within a
/// millisecond; one that finds the queue full comes back only after a second.
const BACKLOG: u32 = 4_096;

/// Opens the visitors' port, with a queue that is long enough for a crowd. Port 0 takes a free one.
///
/// # Errors
/// The system's, when the address is taken or not ours.
pub fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    // A restart must not wait for the last run's connections to be forgotten.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// A connection's place among those that may be open; an upgraded connection takes it along.
#[derive(Clone, Debug)]
pub(super) struct Place(
    #[expect(dead_code, reason = "kept for its drop")] Arc<OwnedSemaphorePermit>,
);

/// Serves visitors until `shutdown`, then lets running requests end within the room's drain time, and cuts what
/// is left.
pub async fn serve(listener: TcpListener, room: Arc<Room>, shutdown: CancellationToken) {
    let places = Arc::new(Semaphore::new(room.limits.connections_max));
    let connections = TaskTracker::new();
    let mut workers = Workers::start(room.limits.workers);
    if let Err(error) = notice_the_dead(&listener) {
        tracing::warn!(%error, "visitors that vanish will be noticed late");
    }
    tokio::spawn(copies::tend(Arc::clone(&room), shutdown.clone()));
    let mut pause = ACCEPT_PAUSE_MIN;
    loop {
        let accepted = tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            accepted = accept(&listener, &places) => accepted,
        };
        match accepted {
            Ok((stream, peer, place)) => {
                pause = ACCEPT_PAUSE_MIN;
                let visitor = connection(stream, peer, Arc::clone(&room), shutdown.clone(), place);
                connections.spawn_on(visitor, workers.next());
            }
            Err(error) => {
                tracing::warn!(%error, pause_ms = pause.as_millis(), "no connection can be accepted");
                sleep(pause).await;
                pause = (pause * 2).min(ACCEPT_PAUSE_MAX);
            }
        }
    }
    drop(listener);
    room.ending.cancel();
    connections.close();
    room.tunnels.close();
    let ended = async {
        connections.wait().await;
        room.tunnels.wait().await;
    };
    if timeout(room.limits.drain, ended).await.is_err() {
        tracing::info!(
            connections = connections.len(),
            tunnels = room.tunnels.len(),
            "the drain time is over: what is still open is cut"
        );
        room.cut.cancel();
        connections.wait().await;
        room.tunnels.wait().await;
    }
}

/// A visitor whose machine vanished sends no goodbye, and its tunnel would keep the service awake for ever: the
/// system asks after 60 s of silence and gives up 60 s later. Accepted connections inherit this (tcp(7)).
fn notice_the_dead(listener: &TcpListener) -> rustix::io::Result<()> {
    sockopt::set_socket_keepalive(listener, true)?;
    sockopt::set_tcp_keepidle(listener, Duration::from_secs(60))?;
    sockopt::set_tcp_keepintvl(listener, Duration::from_secs(15))?;
    sockopt::set_tcp_keepcnt(listener, 4)
}

/// Takes a place first and a connection then: beyond the bound, visitors wait in the system's queue.
async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> std::io::Result<(std::net::TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let place = Arc::clone(places).acquire_owned().await;
    let place = place.expect("the places are never closed");
    let (stream, peer) = listener.accept().await?;
    // Off the listener's runtime: the worker's takes it up.
    Ok((stream.into_std()?, peer, place))
}

async fn connection(
    stream: std::net::TcpStream,
    peer: SocketAddr,
    room: Arc<Room>,
    shutdown: CancellationToken,
    place: OwnedSemaphorePermit,
) {
    let mut stream = match TcpStream::from_std(stream) {
        Ok(stream) => stream,
        Err(error) => return tracing::warn!(%error, "a connection can't be served"),
    };
    // Small frames (events, a page) must not wait for an acknowledgement.
    let _ = stream.set_nodelay(true);
    let peer = peer.ip().to_canonical();
    let head_wait = match client::trusts(&room.trusted(), peer) {
        true => room.limits.head_wait_proxy,
        false => room.limits.head_wait_stranger,
    };
    let at_front = front::serve(&mut stream, &room, peer, head_wait, &shutdown);
    let read = tokio::select! {
        read = at_front => read,
        // A visitor that takes its page byte by byte must not keep the process.
        () = room.cut.cancelled() => None,
    };
    let Some(read) = read else {
        return;
    };
    let visitor = Visitor {
        room,
        peer,
        head_wait,
        place: Place(Arc::new(place)),
    };
    // Boxed: what waits at the front must not carry hyper's state along.
    Box::pin(visitor.by_hyper(Rewind::new(read, stream), shutdown)).await;
}

struct Visitor {
    room: Arc<Room>,
    peer: IpAddr,
    head_wait: Duration,
    place: Place,
}

impl Visitor {
    async fn by_hyper(self, stream: Rewind<TcpStream>, shutdown: CancellationToken) {
        let Visitor {
            room,
            peer,
            head_wait,
            place,
        } = self;
        let cut = room.cut.clone();
        let service = service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(place.clone());
            let answer = visit::answer(Arc::clone(&room), peer, request);
            async move { Ok::<_, Infallible>(answer.await) }
        });
        let serving = http1::Builder::new()
            .timer(TokioTimer::new())
            // It is the bound of an idle connection, too.
            .header_read_timeout(head_wait)
            .max_header_size(HEAD_BYTES_MAX)
            // At most 100 lines, the library's own bound: naming any costs an allocation for each request.
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades();
        let mut serving = std::pin::pin!(serving);
        let ended = tokio::select! {
            ended = serving.as_mut() => ended,
            () = shutdown.cancelled() => {
                serving.as_mut().graceful_shutdown();
                tokio::select! {
                    ended = serving => ended,
                    () = cut.cancelled() => Ok(()),
                }
            }
        };
        if let Err(error) = ended {
            // A visitor that left, or one that speaks nonsense: daily bread.
            tracing::debug!(%error, "a connection ended early");
        }
    }
}
