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
    use std::cell::Cell;
    use std::time::Duration;

    use rustix::time::{ClockId, Timespec, clock_gettime};

    /// For so long the wall clock is taken to run as the monotonic one does: they part by microseconds, unless the
    /// wall clock is set.
    const TOGETHER: u64 = 10_000_000;

    fn milliseconds(reading: Timespec) -> Option<u64> {
        nanoseconds(reading).map(|nanos| nanos / 1_000_000)
    }

    /// Until the year 2554.
    fn nanoseconds(reading: Timespec) -> Option<u64> {
        let (seconds, nanos) = (u64::try_from(reading.tv_sec).ok()?, u64::try_from(reading.tv_nsec).ok()?);
        seconds.checked_mul(1_000_000_000)?.checked_add(nanos)
    }

    /// Two readings are of one moment if no more time has passed between them: else the thread was held up.
    const MOMENT: u64 = 50_000;

    /// How far the wall clock is ahead of the monotonic one, and when that was read. Each thread's own: two that write
    /// the halves of one would mix them.
    #[derive(Debug, Default)]
    pub(super) struct Ahead(Cell<Option<(u64, u64)>>);

    impl Ahead {
        pub(super) const fn unread() -> Self {
            Self(Cell::new(None))
        }

        /// Milliseconds of the wall clock, for a reading of the monotonic one.
        pub(super) fn wall(
            &self,
            monotonic: u64,
            wall: impl FnOnce() -> Option<u64>,
            again: impl FnOnce() -> u64,
        ) -> Option<u64> {
            if let Some((by, read)) = self.0.get()
                && monotonic.checked_sub(read).is_some_and(|age| age < TOGETHER)
            {
                return Some(monotonic.wrapping_add(by) / 1_000_000);
            }
            let wall = wall()?;
            let kept = (wall.wrapping_sub(monotonic), monotonic);
            self.0.set((again().wrapping_sub(monotonic) <= MOMENT).then_some(kept));
            Some(wall / 1_000_000)
        }
    }

    pub(super) fn both() -> (Option<u64>, Duration) {
        thread_local! {
            static AHEAD: Ahead = const { Ahead::unread() };
        }
        let nanos = |reading: Duration| u64::try_from(reading.as_nanos()).unwrap_or(u64::MAX);
        let reading = monotonic();
        let wall = || nanoseconds(clock_gettime(ClockId::Realtime));
        (AHEAD.with(|ahead| ahead.wall(nanos(reading), wall, || nanos(monotonic()))), reading)
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

    pub(super) fn both() -> (Option<u64>, Duration) {
        (unix_millis(), monotonic())
    }

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

    fn both(&self) -> (u64, Monotonic) {
        let (wall, monotonic) = reading::both();
        // As above.
        (wall.unwrap_or(u64::MAX), Monotonic::from_origin(monotonic))
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
    fn both_at_once_are_what_they_are_singly() {
        for _ in 0..1000 {
            let before = (SystemClock.unix_millis(), SystemClock.monotonic());
            let (wall, monotonic) = SystemClock.both();
            let after = (SystemClock.unix_millis(), SystemClock.monotonic());
            // A reading may begin before a millisecond is over, and its rest is cut off.
            assert!((before.0.saturating_sub(1)..=after.0).contains(&wall), "{before:?} {wall} {after:?}");
            assert!((before.1..=after.1).contains(&monotonic));
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_wall_clock_that_is_set_is_noticed() {
        let ahead = super::reading::Ahead::unread();
        let (second, milli) = (1_000_000_000, 1_000_000);
        let wall = |monotonic: u64, says: Option<u64>| ahead.wall(monotonic, || says, || monotonic + 1000);
        assert_eq!(wall(5 * second, None), None, "a clock that cannot be read tells no time");
        assert_eq!(wall(5 * second, Some(100 * second)), Some(100_000));
        // Not read again within ten milliseconds, whatever it would say.
        assert_eq!(wall(5 * second + 3 * milli, Some(0)), Some(100_003));
        assert_eq!(wall(5 * second + 10 * milli, Some(2 * second)), Some(2_000));
        assert_eq!(wall(5 * second + 11 * milli, Some(0)), Some(2_001));
        // A clock that runs backwards is none to go by.
        assert_eq!(wall(5 * second + 9 * milli, Some(7 * second)), Some(7_000));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn two_readings_that_are_apart_are_not_kept() {
        let ahead = super::reading::Ahead::unread();
        let (second, milli) = (1_000_000_000, 1_000_000);
        let held_up = |monotonic: u64, says: u64| ahead.wall(monotonic, || Some(says), || monotonic + milli);
        assert_eq!(held_up(5 * second, 100 * second), Some(100_000));
        assert_eq!(held_up(5 * second + 1, 200 * second), Some(200_000), "it is read again");
    }

    #[test]
    fn monotonic_readings_never_go_back() {
        let readings: Vec<_> = (0..1000).map(|_| SystemClock.monotonic()).collect();
        assert!(readings.is_sorted());
    }
}
