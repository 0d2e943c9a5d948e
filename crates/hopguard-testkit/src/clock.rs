//! A clock that moves only when told to.

use std::future::poll_fn;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};
use std::time::Duration;

use hopguard_client::{BoxFuture, Timer};
use hopguard_core::{Clock, Monotonic, UnixTime};

/// A clock that stands still until [`FakeClock::advance`]; what waits by [`FakeClock::timer`] is woken then.
///
/// ```
/// use hopguard_core::{Clock, UnixTime, seconds};
/// use hopguard_testkit::FakeClock;
///
/// let clock = FakeClock::at(UnixTime::from_secs(1_800_000_000));
/// clock.advance(seconds(60));
/// assert_eq!(clock.now().as_secs(), 1_800_000_060);
/// ```
#[derive(Debug)]
pub struct FakeClock {
    unix_millis: AtomicU64,
    monotonic_millis: AtomicU64,
    asleep: Arc<Mutex<Vec<Waker>>>,
}

/// Waits by a [`FakeClock`]: until the clock was moved on by so much, however long that takes.
#[derive(Debug)]
struct FakeTimer(Arc<FakeClock>);

impl Timer for FakeTimer {
    fn wait(&self, span: Duration) -> BoxFuture<'static, ()> {
        let clock = self.0.clone();
        let until = clock.monotonic().after(span);
        Box::pin(poll_fn(move |context| {
            // The waker first: whoever moves the clock afterwards wakes it.
            clock.asleep.lock().unwrap().push(context.waker().clone());
            if clock.monotonic() >= until { Poll::Ready(()) } else { Poll::Pending }
        }))
    }
}

impl FakeClock {
    /// A clock that shows `now`. An `Arc<FakeClock>` is an `Arc<dyn Clock>`.
    #[must_use]
    pub fn at(now: UnixTime) -> Arc<Self> {
        let unix_millis = AtomicU64::new(now.as_secs() * 1000);
        Arc::new(Self { unix_millis, monotonic_millis: AtomicU64::new(0), asleep: Arc::default() })
    }

    /// A clock at some fixed moment, for tests to which the moment does not matter.
    #[must_use]
    pub fn somewhen() -> Arc<Self> {
        Self::at(UnixTime::from_secs(1_800_000_000))
    }

    /// Both readings move on by `by`.
    pub fn advance(&self, by: Duration) {
        let by = u64::try_from(by.as_millis()).expect("a duration that a test can mean");
        self.unix_millis.fetch_add(by, Ordering::SeqCst);
        self.monotonic_millis.fetch_add(by, Ordering::SeqCst);
        let woken = std::mem::take(&mut *self.asleep.lock().unwrap());
        woken.into_iter().for_each(Waker::wake);
    }

    /// A timer that waits by this clock.
    #[must_use]
    pub fn timer(self: &Arc<Self>) -> Arc<dyn Timer> {
        Arc::new(FakeTimer(self.clone()))
    }

    /// The wall clock jumps to `now`, as when somebody sets it; the monotonic reading stays.
    pub fn set(&self, now: UnixTime) {
        self.unix_millis.store(now.as_secs() * 1000, Ordering::SeqCst);
    }
}

impl Clock for FakeClock {
    fn unix_millis(&self) -> u64 {
        self.unix_millis.load(Ordering::SeqCst)
    }

    fn monotonic(&self) -> Monotonic {
        Monotonic::from_origin(Duration::from_millis(self.monotonic_millis.load(Ordering::SeqCst)))
    }
}

#[cfg(test)]
mod tests {
    use hopguard_core::seconds;

    use super::*;

    #[test]
    fn setting_the_wall_clock_leaves_the_monotonic_reading() {
        let clock = FakeClock::at(UnixTime::from_secs(100));
        let start = clock.monotonic();
        clock.advance(seconds(5));
        clock.set(UnixTime::from_secs(7));
        assert_eq!(clock.now(), UnixTime::from_secs(7));
        assert_eq!(clock.monotonic().since(start), seconds(5));
    }
}
