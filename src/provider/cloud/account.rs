//! An account at a cloud, shared by all services that use it: one list of its machines is read for all of them,
//! and when it is told to wait, all of them wait.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use tokio::time::Instant;

use crate::engine::machine::{ErrorClass, Trouble};
use crate::engine::time::Span;

/// A wait that the cloud asks for without saying how long.
const WAIT_UNTOLD: Span = Span::secs(30);

type Reading<T> = Shared<BoxFuture<'static, Result<Arc<T>, Trouble>>>;

/// What all services know of one account: a list of type `T`.
pub(crate) struct Account<T> {
    state: Mutex<State<T>>,
}

struct State<T> {
    /// The latest reading, done or under way, and when it began.
    reading: Option<(Instant, Reading<T>)>,
    /// Nothing is asked before.
    waits_until: Option<Instant>,
}

impl<T: Send + Sync + 'static> Account<T> {
    pub(crate) fn new() -> Account<T> {
        let state = State {
            reading: None,
            waits_until: None,
        };
        Account {
            state: Mutex::new(state),
        }
    }

    /// The list as it was at `since` or later: the latest one if it is, else a new one. However many ask, one
    /// reading is under way.
    pub(crate) async fn list(
        &self,
        since: Instant,
        read: impl FnOnce() -> BoxFuture<'static, Result<T, Trouble>>,
    ) -> Result<Arc<T>, Trouble> {
        self.may_ask()?;
        let reading = {
            let mut state = self.state();
            match &state.reading {
                Some((began, reading)) if *began >= since && is_good(reading) => reading.clone(),
                _ => {
                    let reading = read().map(|list| list.map(Arc::new)).boxed().shared();
                    state.reading = Some((Instant::now(), reading.clone()));
                    reading
                }
            }
        };
        let list = reading.await;
        if let Err(trouble) = &list {
            self.heed(trouble);
        }
        list
    }

    /// Lets go of what was read: whoever asks next has it read anew.
    pub(crate) fn forget(&self) {
        self.state().reading = None;
    }

    /// Whether the account may be asked now.
    ///
    /// # Errors
    /// [`RateLimited`](ErrorClass::RateLimited) with the time that is left.
    pub(crate) fn may_ask(&self) -> Result<(), Trouble> {
        let left = self.state().waits_until.and_then(|until| {
            let left = until.checked_duration_since(Instant::now())?;
            (!left.is_zero()).then_some(left)
        });
        match left {
            None => Ok(()),
            Some(left) => Err(Trouble::new(
                ErrorClass::RateLimited(Some(left.into())),
                "the account is asked too often; all its services wait",
            )),
        }
    }

    /// Takes from a trouble what all services must know.
    pub(crate) fn heed(&self, trouble: &Trouble) {
        if let ErrorClass::RateLimited(wait) = trouble.class {
            let until = Instant::now() + wait.unwrap_or(WAIT_UNTOLD).into();
            let mut state = self.state();
            // A wait that we told ourselves comes back here; it makes nothing longer.
            if state
                .waits_until
                .is_none_or(|known| known <= Instant::now())
            {
                state.waits_until = Some(until);
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State<T>> {
        // The value is whole at every moment, so a panic of another holder changes nothing.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Not yet done, or done well: a failure is no list for whoever asks next.
fn is_good<T>(reading: &Reading<T>) -> bool {
    reading.peek().is_none_or(Result::is_ok)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
    use std::time::Duration;

    use super::*;

    fn rate_limited(secs: u64) -> Trouble {
        Trouble::new(ErrorClass::RateLimited(Some(Span::secs(secs))), "slowly")
    }

    #[tokio::test(start_paused = true)]
    async fn fifty_that_ask_read_once_and_a_list_from_before_is_none() {
        let account = Account::new();
        let reads = Arc::new(AtomicU32::new(0));
        let ask = |since| {
            let reads = Arc::clone(&reads);
            account.list(since, move || {
                let number = reads.fetch_add(1, SeqCst);
                async move {
                    tokio::task::yield_now().await;
                    Ok(number)
                }
                .boxed()
            })
        };
        let start = Instant::now();
        let lists = futures_util::future::join_all((0..50).map(|_| ask(start))).await;
        assert!(lists.iter().all(|list| list.as_deref() == Ok(&0)));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(ask(start).await.as_deref(), Ok(&0));
        assert_eq!(ask(Instant::now()).await.as_deref(), Ok(&1));
        assert_eq!(reads.load(SeqCst), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn when_one_is_told_to_wait_all_wait() {
        let account = Account::<u32>::new();
        let failing = || async { Err(rate_limited(60)) }.boxed();
        let told = account.list(Instant::now(), failing).await;
        assert!(told.is_err());
        tokio::time::advance(Duration::from_secs(20)).await;
        let never = || panic!("the account is left alone");
        let waits = account
            .list(Instant::now(), never)
            .await
            .expect_err("it waits");
        assert_eq!(waits.class, ErrorClass::RateLimited(Some(Span::secs(40))));
        account.heed(&waits);
        tokio::time::advance(Duration::from_secs(41)).await;
        let list = account
            .list(Instant::now(), || async { Ok(7) }.boxed())
            .await;
        assert_eq!(list.as_deref(), Ok(&7));
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_is_no_list_for_whoever_asks_next() {
        let account = Account::new();
        let start = Instant::now();
        let lost = Trouble::new(ErrorClass::Transient, "lost");
        let failed = account.list(start, || async { Err(lost) }.boxed()).await;
        assert!(failed.is_err());
        let list = account.list(start, || async { Ok(1) }.boxed()).await;
        assert_eq!(list.as_deref(), Ok(&1));
    }
}
