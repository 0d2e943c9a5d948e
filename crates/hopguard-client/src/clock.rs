//! The system's clock: the one file that reads it.

use std::sync::{Arc, LazyLock};
use std::time::{Instant, SystemTime};

use hopguard_core::{Clock, Monotonic, UnixTime};

/// The machine's wall clock and monotonic clock.
///
/// ```
/// use hopguard_client::SystemClock;
///
/// let clock = SystemClock::shared();
/// assert!(clock.now().as_secs() > 1_700_000_000);
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl SystemClock {
    /// The clock, ready to hand to builders.
    #[must_use]
    pub fn shared() -> Arc<dyn Clock> {
        Arc::new(Self)
    }
}

#[expect(clippy::disallowed_methods, reason = "this is the clock that everyone else takes as a `Clock`")]
fn instant() -> Instant {
    Instant::now()
}

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the clock that everyone else takes as a `Clock`")]
    fn unix_millis(&self) -> u64 {
        // A clock before the epoch is broken. Time at its end makes every token expired; time zero would make
        // every token valid.
        SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .ok()
            .and_then(|since| u64::try_from(since.as_millis()).ok())
            .unwrap_or(u64::MAX)
    }

    /// On Linux that of the kernel's last tick, which costs a fifth of a reading.
    #[cfg(target_os = "linux")]
    fn tick(&self) -> UnixTime {
        let tick = rustix::time::clock_gettime(rustix::time::ClockId::RealtimeCoarse);
        // As above: a clock before the epoch makes every token expired.
        UnixTime::from_secs(u64::try_from(tick.tv_sec).unwrap_or(u64::MAX / 1000))
    }

    fn monotonic(&self) -> Monotonic {
        static ORIGIN: LazyLock<Instant> = LazyLock::new(instant);
        let origin = *ORIGIN;
        Monotonic::from_origin(instant().saturating_duration_since(origin))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_readings_are_of_one_clock() {
        let before = SystemClock.unix_millis() / 1000;
        let now = SystemClock.tick().as_secs();
        assert!((before.saturating_sub(1)..=SystemClock.unix_millis() / 1000).contains(&now));
    }

    #[test]
    fn monotonic_readings_never_go_back() {
        let readings: Vec<_> = (0..1000).map(|_| SystemClock.monotonic()).collect();
        assert!(readings.is_sorted());
    }
}
