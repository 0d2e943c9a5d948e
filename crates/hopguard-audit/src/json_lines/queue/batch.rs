//! What is taken out of the queue at once, and what a writer is to do with it.

use std::collections::VecDeque;
use std::time::Duration;

use hopguard_core::Event;

/// With so many bytes the disk is kept busy for longer than with its own beginning and end. They are made durable as
/// soon as it is free, while what follows is written.
const PLENTY: usize = 256 * 1024;

/// What is being written. It passes on with the pen.
#[derive(Default)]
pub(crate) struct Batch {
    pub(crate) known: VecDeque<Event>,
    pub(crate) strangers: VecDeque<Event>,
    /// Counts of what was lost; they occupy no place.
    pub(crate) losses: Vec<Event>,
    /// So many bytes are written and not made durable.
    pub(crate) bytes: usize,
    /// A checkpoint is due.
    pub(crate) due: bool,
    pub(super) until: u64,
    /// So many events were taken.
    pub(super) taken: usize,
    /// For so long events have gathered since the batch before.
    pub(super) gathered: Duration,
    /// Somebody waits for it.
    pub(super) urgent: bool,
    /// It takes nothing more.
    pub(super) closed: bool,
}

/// What a writer is to do.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// Write the events of the batch.
    Write,
    /// Make durable what was written. No other writer does so meanwhile.
    Settle,
    /// All is written and durable, and no more comes.
    Done,
    /// Another writer has done it, or could not go on.
    End,
}

impl Batch {
    /// True if nobody gains from more being written before it is made durable.
    pub(crate) const fn is_plenty(&self) -> bool {
        self.bytes >= PLENTY
    }

    /// Events that were taken and are not written.
    pub(super) fn left(&self) -> usize {
        self.known.len() + self.strangers.len() + self.losses.len()
    }
}
