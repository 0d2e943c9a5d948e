//! How the queue stands.

use std::time::Duration;

use hopguard_core::Acknowledger;

use super::batch::Batch;
use super::lane::Lane;

/// So many events that wait wake a writer from its nap: else it would have them all to write when somebody waits.
const HANDFUL: usize = 256;

#[derive(Default)]
pub(super) struct State {
    pub(super) known: Lane,
    pub(super) strangers: Lane,
    /// Places promised and not filled yet.
    pub(super) reserved: usize,
    /// Counts what was handed over, losses included; `done` is the count up to which all is written.
    pub(super) handed: u64,
    pub(super) done: u64,
    pub(super) failures: u64,
    pub(super) failed: bool,
    pub(super) writer: Writer,
    pub(super) urgent: bool,
    /// It is time for a checkpoint.
    pub(super) due: bool,
    /// Those who wait for what was handed over up to this count.
    pub(super) awaited: Vec<(u64, Acknowledger)>,
    /// What is being made durable was handed over up to this count.
    pub(super) settling: Option<u64>,
    pub(super) stop: bool,
    /// A writer is done, or could not go on; no other does its work.
    pub(super) ended: bool,
    /// Writers that are not gone yet.
    pub(super) writers: usize,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Writer {
    #[default]
    Busy,
    Napping,
    Waiting,
}

impl State {
    pub(super) fn has_work(&self) -> bool {
        self.known.has_work() || self.strangers.has_work()
    }

    /// True if what is written is not to gather any longer.
    pub(super) fn in_a_hurry(&self, places: usize) -> bool {
        let crowded = self.known.occupied() * 2 >= places;
        crowded || self.urgent || self.due || self.stop || !self.awaited.is_empty()
    }

    pub(super) fn has_handful(&self) -> bool {
        self.known.waiting.len() >= HANDFUL
    }

    pub(super) fn take(&mut self, batch: &mut Batch) {
        std::mem::swap(&mut batch.known, &mut self.known.waiting);
        std::mem::swap(&mut batch.strangers, &mut self.strangers.waiting);
        self.known.writing = batch.known.len();
        self.strangers.writing = batch.strangers.len();
        let known = self.known.lost.take().map(|lost| lost.into_event("audit"));
        let strangers = self.strangers.lost.take().map(|lost| lost.into_event("audit_strangers"));
        batch.losses.extend(known.into_iter().chain(strangers));
        batch.taken += batch.left();
        batch.until = self.handed;
        batch.urgent |= std::mem::take(&mut self.urgent);
    }

    /// Gives the disk what is written of the batch. Nobody is told before all that was taken with it is durable.
    pub(super) fn settle(&mut self, batch: &mut Batch) {
        let left = batch.left();
        self.settling = Some(if left == 0 { batch.until } else { self.done });
        batch.due = left == 0 && std::mem::take(&mut self.due);
        (batch.taken, batch.bytes, batch.gathered) = (left, 0, Duration::ZERO);
        (batch.urgent, batch.closed) = (batch.urgent && left > 0, false);
    }
}
