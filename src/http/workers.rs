//! The threads that serve visitors, one for each processor, each with a runtime of its own.
//!
//! A connection stays on the thread that it was dealt to. On one runtime that steals work, each request woke another
//! thread and moved its connection's memory to another processor, which cost more than answering it. The services'
//! tasks keep the main runtime: a crowd of visitors does not delay them.

use std::io;
use std::thread;

use tokio::runtime::{Builder, Handle};
use tokio_util::sync::CancellationToken;

/// The threads; they end when this is dropped, with whatever still runs on them.
pub(super) struct Workers {
    runtimes: Vec<Handle>,
    next: usize,
    end: CancellationToken,
}

impl Workers {
    /// Starts so many threads; with none, the caller's own runtime does the work.
    pub(super) fn start(count: usize) -> Workers {
        let end = CancellationToken::new();
        let started: io::Result<Vec<Handle>> = (0..count).map(|_| start_one(&end)).collect();
        let mut runtimes = started.unwrap_or_else(|error| {
            tracing::warn!(%error, "visitors get no threads of their own and are served more slowly");
            Vec::new()
        });
        if runtimes.is_empty() {
            runtimes.push(Handle::current());
        }
        Workers {
            runtimes,
            next: 0,
            end,
        }
    }

    /// Whose turn it is.
    pub(super) fn next(&mut self) -> &Handle {
        self.next = (self.next + 1) % self.runtimes.len();
        &self.runtimes[self.next]
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.end.cancel();
    }
}

fn start_one(end: &CancellationToken) -> io::Result<Handle> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let handle = runtime.handle().clone();
    let end = end.clone();
    thread::Builder::new()
        .name("visitors".to_owned())
        .spawn(move || runtime.block_on(end.cancelled()))?;
    Ok(handle)
}
