//! A connection to an app, and the idle ones that are kept.
//!
//! A connection has no task of its own: whoever uses it drives it, together with its request and its answer's body.
//! So a request wakes nobody else, and a visitor who leaves takes the connection along. Each thread keeps its own
//! idle ones, because a connection belongs to the thread that serves it.

use std::collections::HashMap;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use std::{fmt, io};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{Request, Response};
use http_body::{Body as _, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rustix::net::sockopt;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

use crate::http::body::Body;

/// An instance in service is a hop away: one that does not take a connection in this time is gone.
const CONNECT_MAX: Duration = Duration::from_secs(1);

/// How long an idle connection to an app is kept. Most apps keep theirs longer or close it so that we see it.
const IDLE_MAX: Duration = Duration::from_secs(30);

/// Between two looks at the idle connections.
const SWEEP_EVERY: Duration = Duration::from_secs(10);

/// Idle connections that each thread keeps to one instance.
const IDLE_PER_INSTANCE_MAX: usize = 256;

/// Silence after which the system asks whether an app's machine still exists: a machine that vanished sends
/// no goodbye, and its tunnels would count as open for ever.
const KEEPALIVE: Duration = Duration::from_secs(30);

/// Places for the threads' idle connections. When there are more threads, some share a place.
const SHELVES: usize = 16;

/// A connection to an app.
pub(in crate::http) struct Link {
    send: SendRequest<Body>,
    /// None once it has ended. It goes at once: a request that it had not taken up comes back then.
    connection: Option<BoxFuture<'static, hyper::Result<()>>>,
}

/// What became of a request.
pub(super) enum Sent {
    /// The app's answer; its body comes as the link is driven.
    Answered(Response<Incoming>),
    /// Not a byte was written: the request may be sent on another link.
    Untouched(Request<Body>),
    /// The app may have seen it.
    Failed(hyper::Error),
}

impl Link {
    /// A fresh connection.
    pub(super) async fn connect(address: SocketAddr) -> io::Result<Box<Link>> {
        let stream = timeout(CONNECT_MAX, TcpStream::connect(address)).await??;
        stream.set_nodelay(true)?;
        sockopt::set_socket_keepalive(&stream, true)?;
        sockopt::set_tcp_keepidle(&stream, KEEPALIVE)?;
        let (send, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(io::Error::other)?;
        Ok(Box::new(Link {
            send,
            connection: Some(Box::pin(connection.with_upgrades())),
        }))
    }

    /// Lets the connection do what it can do now.
    pub(in crate::http) fn drive(&mut self, cx: &mut Context<'_>) {
        if let Some(connection) = &mut self.connection
            && connection.as_mut().poll(cx).is_ready()
        {
            self.connection = None;
        }
    }

    /// Whether another request may be sent.
    pub(in crate::http) fn is_free(&self) -> bool {
        self.connection.is_some() && self.send.is_ready()
    }

    /// Sends a request and waits for the head of its answer.
    pub(super) async fn exchange(&mut self, request: Request<Body>) -> Sent {
        let mut answer = pin!(self.send.try_send_request(request));
        let answer = poll_fn(|cx| {
            self.drive(cx);
            answer.as_mut().poll(cx)
        });
        match answer.await {
            Ok(answer) => Sent::Answered(answer),
            Err(mut error) => match error.take_message() {
                Some(request) => Sent::Untouched(request),
                None => Sent::Failed(error.into_error()),
            },
        }
    }

    /// Lets the connection go on by itself until its request is over, or its stream is handed over to a tunnel.
    pub(super) async fn hand_over(self: Box<Self>) {
        let Link { send, connection } = *self;
        // The connection ends with this request.
        drop(send);
        if let Some(connection) = connection {
            let _ = connection.await;
        }
    }
}

/// The idle connections to all apps.
pub(in crate::http) struct Links {
    shelves: [Arc<Shelf>; SHELVES],
}

#[derive(Default)]
pub(in crate::http) struct Shelf {
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    idle: HashMap<SocketAddr, Vec<Idle>>,
    swept: bool,
}

struct Idle {
    link: Box<Link>,
    since: Instant,
}

impl Links {
    /// None yet.
    pub(super) fn new() -> Links {
        Links {
            shelves: Default::default(),
        }
    }

    /// This thread's.
    pub(super) fn shelf(&self) -> &Arc<Shelf> {
        static THREADS: AtomicUsize = AtomicUsize::new(0);
        thread_local! {
            static NUMBER: usize = THREADS.fetch_add(1, Relaxed);
        }
        &self.shelves[NUMBER.with(|number| number % SHELVES)]
    }
}

impl Shelf {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        // Every change is one push or one pop.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The idle connection that was used last, if there is one that still stands.
    pub(super) fn take(&self, address: SocketAddr, cx: &mut Context<'_>) -> Option<Box<Link>> {
        loop {
            let mut link = self.kept().idle.get_mut(&address)?.pop()?.link;
            // The app may have closed it: driving it shows that.
            link.drive(cx);
            if link.is_free() {
                return Some(link);
            }
        }
    }

    /// Keeps a connection for the next request.
    pub(in crate::http) fn put(self: &Arc<Self>, address: SocketAddr, link: Box<Link>) {
        let mut kept = self.kept();
        let since = Instant::now();
        let idle = kept.idle.entry(address).or_default();
        if idle.len() < IDLE_PER_INSTANCE_MAX {
            idle.push(Idle { link, since });
        }
        if !std::mem::replace(&mut kept.swept, true) {
            tokio::spawn(sweep(Arc::clone(self)));
        }
    }
}

/// Drops connections that ended or were not used for long, until none is left.
async fn sweep(shelf: Arc<Shelf>) {
    loop {
        sleep(SWEEP_EVERY).await;
        let mut kept = shelf.kept();
        kept.idle.retain(|_, idle| {
            idle.retain_mut(|idle| {
                idle.link.drive(&mut Context::from_waker(Waker::noop()));
                idle.link.is_free() && idle.since.elapsed() < IDLE_MAX
            });
            !idle.is_empty()
        });
        if kept.idle.is_empty() {
            kept.swept = false;
            return;
        }
    }
}

impl fmt::Debug for Links {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Links").finish_non_exhaustive()
    }
}

/// The rest of an answer, and the link that it comes over.
pub(in crate::http) struct FromApp {
    body: Incoming,
    link: Option<Lent>,
}

/// A link that goes back to its shelf.
struct Lent {
    link: Box<Link>,
    address: SocketAddr,
    shelf: Arc<Shelf>,
}

impl FromApp {
    pub(super) async fn new(
        body: Incoming,
        link: Box<Link>,
        address: SocketAddr,
        shelf: Arc<Shelf>,
    ) -> FromApp {
        let link = Some(Lent {
            link,
            address,
            shelf,
        });
        let mut from_app = FromApp { body, link };
        if from_app.is_end_stream() {
            poll_fn(|cx| {
                from_app.give_back(cx);
                Poll::Ready(())
            })
            .await;
        }
        from_app
    }

    /// The answer to a request of which more is to come. The link gets a task of its own: a visitor may first send
    /// everything and read then, and while nobody asks for the answer, the request must go on.
    pub(super) fn beside_an_upload(body: Incoming, link: Box<Link>) -> FromApp {
        tokio::spawn(link.hand_over());
        FromApp { body, link: None }
    }

    /// The answer is whole: its link is free for another request, or gone.
    fn give_back(&mut self, cx: &mut Context<'_>) {
        let Some(mut lent) = self.link.take() else {
            return;
        };
        lent.link.drive(cx);
        if lent.link.is_free() {
            lent.shelf.put(lent.address, lent.link);
        }
    }
}

impl http_body::Body for FromApp {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        if let Some(lent) = &mut self.link {
            lent.link.drive(cx);
        }
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        if matches!(frame, Poll::Ready(None)) || self.body.is_end_stream() {
            self.give_back(cx);
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    async fn link(listener: &TcpListener) -> (Box<Link>, TcpStream) {
        let address = listener.local_addr().unwrap();
        let (link, accepted) = tokio::join!(Link::connect(address), listener.accept());
        (link.unwrap(), accepted.unwrap().0)
    }

    async fn take(shelf: &Shelf, address: SocketAddr) -> Option<Box<Link>> {
        poll_fn(|cx| Poll::Ready(shelf.take(address, cx))).await
    }

    /// Lets a link come to rest, as one does whose answer is whole.
    async fn settle(link: &mut Link) {
        poll_fn(|cx| {
            link.drive(cx);
            Poll::Ready(())
        })
        .await;
        assert!(link.is_free());
    }

    #[tokio::test]
    async fn the_link_that_was_used_last_is_taken_first_and_a_closed_one_never() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shelf = Arc::new(Shelf::default());
        let mut ends = Vec::new();
        for _ in 0..3 {
            let (mut link, end) = link(&listener).await;
            settle(&mut link).await;
            shelf.put(address, link);
            ends.push(end);
        }
        drop(ends.pop());
        // The system tells of the end in its own time.
        let closed = async {
            while shelf.kept().idle[&address].len() == 3 {
                shelf.kept().idle.values_mut().flatten().for_each(|idle| {
                    idle.link.drive(&mut Context::from_waker(Waker::noop()));
                });
                let free = shelf.kept().idle[&address][2].link.is_free();
                if !free {
                    break;
                }
                tokio::task::yield_now().await;
            }
        };
        timeout(Duration::from_secs(10), closed).await.unwrap();
        assert!(take(&shelf, address).await.is_some());
        assert!(take(&shelf, address).await.is_some());
        assert!(take(&shelf, address).await.is_none());
    }

    #[tokio::test]
    async fn a_request_on_a_link_that_turns_out_to_be_closed_comes_back_untouched() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (mut idle, mut end) = link(&listener).await;
        let request = || Request::get("/").body(Body::empty()).unwrap();
        let answer = async {
            let _ = end.read(&mut [0; 1024]).await.unwrap();
            let none = b"HTTP/1.1 204 No Content\r\n\r\n";
            end.write_all(none).await.unwrap();
        };
        let (sent, ()) = tokio::join!(idle.exchange(request()), answer);
        assert!(matches!(sent, Sent::Answered(_)));
        settle(&mut idle).await;
        drop(end);
        // The system hears of the end while the link is not driven: another connection comes and goes meanwhile.
        for _ in 0..3 {
            let (other, mut end) = link(&listener).await;
            drop(other);
            assert_eq!(end.read(&mut [0; 8]).await.unwrap(), 0);
        }
        let sent = timeout(Duration::from_secs(10), idle.exchange(request())).await;
        assert!(matches!(sent, Ok(Sent::Untouched(_))), "{}", sent.is_ok());
    }

    #[tokio::test]
    async fn a_link_that_nobody_uses_is_closed_after_half_a_minute() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shelf = Arc::new(Shelf::default());
        let (mut link, mut end) = link(&listener).await;
        settle(&mut link).await;
        tokio::time::pause();
        shelf.put(address, link);
        for _ in 0..4 {
            assert!(shelf.kept().swept);
            // The sweeper begins to wait before the clock moves.
            tokio::task::yield_now().await;
            tokio::time::advance(SWEEP_EVERY).await;
            tokio::task::yield_now().await;
        }
        assert!(
            !shelf.kept().swept,
            "the sweeper ends with the last of them"
        );
        tokio::time::resume();
        assert_eq!(end.read(&mut [0; 8]).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn idle_links_are_bounded() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shelf = Arc::new(Shelf::default());
        let mut ends = Vec::new();
        for _ in 0..IDLE_PER_INSTANCE_MAX + 3 {
            let (mut link, end) = link(&listener).await;
            settle(&mut link).await;
            shelf.put(address, link);
            ends.push(end);
        }
        assert_eq!(shelf.kept().idle[&address].len(), IDLE_PER_INSTANCE_MAX);
    }
}
