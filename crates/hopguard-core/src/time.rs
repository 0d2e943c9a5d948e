//! Time as values: seconds since the epoch for claims, a monotonic reading for waits.
//!
//! Nothing here reads a clock. Callers hand in the time; [`Clock`] is the seam through which the crates that
//! may do so read it, and through which tests inject their own.

use std::fmt;
use std::time::Duration;

/// A point in time as whole seconds since 1970-01-01T00:00:00Z, as NumericDate counts them
/// (RFC 7519 section 2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixTime(u64);

impl UnixTime {
    /// The point `seconds` after the epoch.
    #[must_use]
    pub const fn from_secs(seconds: u64) -> Self {
        Self(seconds)
    }

    /// Seconds since the epoch.
    #[must_use]
    pub const fn as_secs(self) -> u64 {
        self.0
    }

    /// This point moved later by `by`, whole seconds only; stops at the end of time.
    #[must_use]
    pub const fn after(self, by: Duration) -> Self {
        Self(self.0.saturating_add(by.as_secs()))
    }

    /// How long after `earlier` this point lies; `None` if it lies before it.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Option<Duration> {
        match self.0.checked_sub(earlier.0) {
            Some(left) => Some(Duration::from_secs(left)),
            None => None,
        }
    }
}

impl fmt::Display for UnixTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A reading of a clock that never runs backwards; only differences mean anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Monotonic(Duration);

impl Monotonic {
    /// A reading `since_origin` after an arbitrary origin.
    #[must_use]
    pub const fn from_origin(since_origin: Duration) -> Self {
        Self(since_origin)
    }

    /// Time passed since `earlier`; zero if `earlier` is later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }

    /// This reading moved later by `by`.
    #[must_use]
    pub const fn after(self, by: Duration) -> Self {
        Self(self.0.saturating_add(by))
    }
}

/// Where the time comes from. The system's clock is `hopguard_client::SystemClock`; tests inject their own.
pub trait Clock: fmt::Debug + Send + Sync + 'static {
    /// Milliseconds since 1970-01-01T00:00:00Z.
    fn unix_millis(&self) -> u64;

    /// A reading for measuring waits.
    fn monotonic(&self) -> Monotonic;

    /// The current time in whole seconds, rounded down.
    fn now(&self) -> UnixTime {
        UnixTime::from_secs(self.unix_millis() / 1000)
    }

    /// The same as of a few milliseconds ago at most, where that is cheaper: for what is judged once more at every
    /// step of a request, after [`Clock::now`] has judged it.
    fn tick(&self) -> UnixTime {
        self.now()
    }

    /// [`Clock::unix_millis`] and [`Clock::monotonic`] of one moment. The first may be what the second makes of a
    /// reading of a few milliseconds ago: then a clock that was set meanwhile is noticed so much later.
    fn both(&self) -> (u64, Monotonic) {
        (self.unix_millis(), self.monotonic())
    }
}

/// `n` seconds.
#[must_use]
pub const fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// `n` minutes; stops at the longest duration.
#[must_use]
pub const fn minutes(n: u64) -> Duration {
    Duration::from_secs(n.saturating_mul(60))
}
