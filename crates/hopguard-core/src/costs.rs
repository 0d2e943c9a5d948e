//! What looking costs, counted in tests alone: most of the scanner's code is there to do less, and finds the same
//! without.

use std::cell::Cell;

/// Something that costs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cost {
    /// The hash of a whole value.
    Hash,
    /// Sixteen bytes that an opaque credential could begin with.
    Window,
    /// A text that could be hidden in another one.
    Text,
    /// A byte that could be a digit.
    Look,
    /// A digit that is decoded.
    Digit,
    /// A digit that is decoded by itself.
    Single,
}

thread_local! {
    static COUNTS: Cell<[usize; 6]> = const { Cell::new([0; 6]) };
}

pub(crate) fn count(cost: Cost, times: usize) {
    let mut counts = COUNTS.get();
    counts[cost as usize] += times;
    COUNTS.set(counts);
}

/// How often `work` did that.
pub(crate) fn of(cost: Cost, work: impl FnOnce()) -> usize {
    let before = COUNTS.get()[cost as usize];
    work();
    COUNTS.get()[cost as usize] - before
}
