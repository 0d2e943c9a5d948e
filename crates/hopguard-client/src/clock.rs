//! The system's clock: the one file that reads it.

use std::sync::Arc;

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

/// Linux: the kernel's clocks as they are, without the arithmetic of `SystemTime` and `Instant`.
#[cfg(target_os = "linux")]
mod reading {
    use std::time::Duration;

    use rustix::time::{ClockId, Timespec, clock_gettime};

    fn milliseconds(reading: Timespec) -> Option<u64> {
        let (seconds, nanos) = (u64::try_from(reading.tv_sec).ok()?, u64::try_from(reading.tv_nsec).ok()?);
        Some(seconds.saturating_mul(1000).saturating_add(nanos / 1_000_000))
    }

    pub(super) fn unix_millis() -> Option<u64> {
        milliseconds(clock_gettime(ClockId::Realtime))
    }

    /// As of the kernel's last tick, which costs a fifth of a reading.
    pub(super) fn unix_millis_at_tick() -> Option<u64> {
        milliseconds(clock_gettime(ClockId::RealtimeCoarse))
    }

    pub(super) fn monotonic() -> Duration {
        // This clock begins at zero and never runs backwards. It counts while the machine is suspended, when keys and
        // refusals grow old as well.
        Duration::try_from(clock_gettime(ClockId::Boottime)).unwrap_or_default()
    }
}

#[cfg(not(target_os = "linux"))]
#[expect(clippy::disallowed_methods, reason = "this is the clock that everyone else takes as a `Clock`")]
mod reading {
    use std::sync::LazyLock;
    use std::time::{Duration, Instant, SystemTime};

    pub(super) fn unix_millis() -> Option<u64> {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).ok()?;
        u64::try_from(since.as_millis()).ok()
    }

    pub(super) use unix_millis as unix_millis_at_tick;

    pub(super) fn monotonic() -> Duration {
        static ORIGIN: LazyLock<Instant> = LazyLock::new(Instant::now);
        let origin = *ORIGIN;
        Instant::now().saturating_duration_since(origin)
    }
}

impl Clock for SystemClock {
    fn unix_millis(&self) -> u64 {
        // A clock before the epoch is broken. Time at its end makes every token expired; time zero would make
        // every token valid.
        reading::unix_millis().unwrap_or(u64::MAX)
    }

    fn tick(&self) -> UnixTime {
        // As above: a clock before the epoch makes every token expired.
        UnixTime::from_secs(reading::unix_millis_at_tick().unwrap_or(u64::MAX) / 1000)
    }

    fn monotonic(&self) -> Monotonic {
        Monotonic::from_origin(reading::monotonic())
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
