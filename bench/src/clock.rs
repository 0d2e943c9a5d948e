//! How much time the processor has spent, which other programs on the machine do not add to; and the time on the
//! wall, for what waits for a disk.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Whose time is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Whose {
    /// The measuring thread's.
    Thread,
    /// The whole process's, for what is spread over threads.
    Process,
    /// Everybody's: what a disk takes is no processor's time.
    Wall,
}

impl Whose {
    /// Time spent so far.
    pub(crate) fn spent(self) -> Duration {
        let id = match self {
            Self::Thread => ClockId::ThreadCPUTime,
            Self::Process => ClockId::ProcessCPUTime,
            Self::Wall => ClockId::Monotonic,
        };
        // A clock of this kind begins at zero and never runs backwards.
        clock_gettime(id).try_into().unwrap_or_default()
    }
}
