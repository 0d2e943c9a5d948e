//! The places between those who hand over events and the thread that writes them.
//!
//! One lock guards everything and is held for a few moves only, never while something is serialised or
//! written. The writer is woken only when it waits: after each batch it naps for a moment, so that a busy
//! service pays no wake-up per event.
//!
//! Where several writers take turns, one of them writes while the one before it makes its batch durable. A batch
//! grows until the disk is free, and by no more than there are places; batches become durable in their order.

mod batch;
mod lane;
mod state;

use std::fmt;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hopguard_core::{Acknowledgement, AuditFull, Event};

pub(crate) use self::batch::{Batch, Next};

use self::state::{State, Writer};
use super::{Promise, QueueStatus};

/// How long the writer lets events gather after a batch.
const NAP: Duration = Duration::from_millis(2);
/// How long, if meanwhile the batch before is made durable: what is written then costs nobody any time.
const BREATH: Duration = Duration::from_micros(250);
/// How long the writer waits after a failure before it tries again.
const RETRY: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) places: usize,
    pub(crate) stranger_places: usize,
    pub(crate) promise: Promise,
}

impl Limits {
    /// More places than this would be memory that nobody meant to spend.
    pub(crate) const MOST: usize = 1 << 20;
}

pub(crate) struct Queue {
    limits: Limits,
    state: Mutex<State>,
    /// The writer waits here; of several, the one whose turn it is.
    work: Condvar,
    /// Those who flush wait here.
    progress: Condvar,
}

impl Queue {
    pub(crate) fn new(limits: Limits, writers: usize) -> Self {
        let state = Mutex::new(State { writers, ..State::default() });
        Self { limits, state, work: Condvar::new(), progress: Condvar::new() }
    }

    // === those who hand over ===

    pub(crate) fn reserve(&self) -> Result<(), AuditFull> {
        if self.limits.promise == Promise::BestEffort {
            return Ok(());
        }
        let mut state = self.lock();
        let full = state.reserved + state.known.occupied() >= self.limits.places;
        if full || state.failed || state.ended {
            return Err(AuditFull);
        }
        state.reserved += 1;
        Ok(())
    }

    pub(crate) fn release(&self) {
        let mut state = self.lock();
        state.reserved = state.reserved.saturating_sub(1);
    }

    pub(crate) fn commit(&self, event: Event) {
        self.push(&mut self.lock(), event);
    }

    /// As `commit`; if that is the promise, tells when the event is written.
    pub(crate) fn commit_durably(&self, event: Event) -> Acknowledgement {
        let mut state = self.lock();
        if self.limits.promise != Promise::BeforeAllow {
            self.push(&mut state, event);
            return Acknowledgement::done();
        }
        let (acknowledger, acknowledgement) = Acknowledgement::pair();
        // Before the push, which wakes the writer only if somebody is in a hurry.
        let until = state.handed + 1;
        state.awaited.push((until, acknowledger));
        // Dropping the acknowledger refuses.
        if !self.push(&mut state, event) || state.ended {
            state.awaited.pop();
        }
        acknowledgement
    }

    /// True if there was a place.
    fn push(&self, state: &mut State, event: Event) -> bool {
        // Without a reservation (best effort, or a caller that forgot) there must be room of its own.
        let promised = state.reserved > 0;
        state.reserved = state.reserved.saturating_sub(1);
        // Nobody would write it any more.
        let has_room = !state.ended && (promised || state.known.occupied() < self.limits.places);
        if has_room {
            state.known.waiting.push_back(event);
            self.handed_over(state);
            return true;
        }
        state.known.lose(&event);
        self.handed_over(state);
        false
    }

    /// It is time for a checkpoint.
    pub(crate) fn tick(&self) {
        self.lock().due = true;
        self.work.notify_one();
    }

    pub(crate) fn offer(&self, event: Event) {
        let mut state = self.lock();
        // INVARIANT: I9 — strangers fill this lane only, and nobody waits for it.
        if !state.ended && state.strangers.occupied() < self.limits.stranger_places {
            state.strangers.waiting.push_back(event);
        } else {
            state.strangers.lose(&event);
        }
        self.handed_over(&mut state);
    }

    /// How it stands.
    pub(crate) fn status(&self) -> QueueStatus {
        let state = self.lock();
        QueueStatus {
            places: self.limits.places,
            taken: state.reserved + state.known.occupied(),
            stranger_places: self.limits.stranger_places,
            strangers_taken: state.strangers.occupied(),
            lost: state.known.lost_ever.saturating_add(state.strangers.lost_ever),
            failures: state.failures,
        }
    }

    /// See [`super::JsonLines::flush`].
    pub(crate) fn flush(&self, at_most: Duration) -> bool {
        let mut state = self.lock();
        let (target, failures) = (state.handed, state.failures);
        if state.done >= target {
            return true;
        }
        state.urgent = true;
        self.work.notify_one();
        let pending = |state: &mut State| state.done < target && state.failures == failures && !state.ended;
        let (state, _) =
            self.progress.wait_timeout_while(state, at_most, pending).unwrap_or_else(PoisonError::into_inner);
        state.done >= target
    }

    /// Asks the writers to write what is left and end; true if they did in time.
    pub(crate) fn stop(&self, at_most: Duration) -> bool {
        let mut state = self.lock();
        state.stop = true;
        self.work.notify_one();
        let (state, _) = self
            .progress
            .wait_timeout_while(state, at_most, |state| state.writers > 0)
            .unwrap_or_else(PoisonError::into_inner);
        state.writers == 0
    }

    fn handed_over(&self, state: &mut State) {
        state.handed += 1;
        match state.writer {
            Writer::Busy => (),
            Writer::Napping if !state.has_handful() && !state.in_a_hurry(self.limits.places) => (),
            Writer::Napping | Writer::Waiting => {
                // Whoever comes next need not wake it again.
                state.writer = Writer::Busy;
                self.work.notify_one();
            }
        }
    }

    // === the writer ===

    /// Waits until there is something to do for the one writer whose turn it is.
    pub(crate) fn next(&self, batch: &mut Batch) -> Next {
        let places = self.limits.places;
        let mut state = self.lock();
        loop {
            state.writer = Writer::Busy;
            let (work, is_free, left) = (state.has_work(), state.settling.is_none(), batch.left() > 0);
            let (begun, full) = (batch.taken > 0, batch.taken >= places);
            // Group commit: who waits for the disk waits for the batch before his, and no longer.
            let ready = batch.urgent || batch.gathered >= NAP || state.in_a_hurry(places);
            let complete = batch.closed || full || ready && !work && (begun || state.due);
            // Who writes while the disk is at work keeps nobody waiting.
            let aside = !is_free && batch.gathered >= BREATH;
            if state.ended {
                return Next::End;
            } else if is_free && (batch.is_plenty() || complete && !left) {
                state.settle(batch);
                return Next::Settle;
            } else if left {
                return Next::Write;
            } else if work && !full && (ready || aside || state.has_handful()) {
                state.take(batch);
                batch.closed = is_free && ready;
                return Next::Write;
            } else if is_free && state.stop && !work {
                // The other writers have nothing to add.
                state.ended = true;
                return Next::Done;
            } else if ready && !begun && !work {
                state.writer = Writer::Waiting;
                let idle =
                    |s: &mut State| !s.ended && !s.has_work() && (s.settling.is_some() || !(s.stop || s.due));
                state = self.work.wait_while(state, idle).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            let rest =
                if is_free { NAP.saturating_sub(batch.gathered) } else { batch.gathered.clamp(BREATH, NAP) };
            // Of what is begun already, and cannot go on before the disk is free, nobody needs to hear.
            state.writer = if begun && !is_free { Writer::Busy } else { Writer::Napping };
            let calm = |s: &mut State| {
                !s.ended
                    && s.settling.is_none() == is_free
                    && (begun && !is_free || !s.in_a_hurry(places) && !s.has_handful())
            };
            let (after, rested) =
                self.work.wait_timeout_while(state, rest, calm).unwrap_or_else(PoisonError::into_inner);
            batch.gathered += if rested.timed_out() { rest } else { Duration::ZERO };
            state = after;
        }
    }

    /// So many events of the batch are written: their places are free.
    pub(crate) fn wrote(&self, known: usize, strangers: usize) {
        let mut state = self.lock();
        state.known.writing = state.known.writing.saturating_sub(known);
        state.strangers.writing = state.strangers.writing.saturating_sub(strangers);
        if std::mem::take(&mut state.failed) {
            drop(state);
            tracing::warn!("the audit log is written again");
        }
    }

    /// What was to be made durable is, or as good as is promised.
    pub(crate) fn finished(&self) {
        let mut state = self.lock();
        state.done = state.settling.take().map_or(state.done, |until| state.done.max(until));
        let done = state.done;
        let (written, waiting) = std::mem::take(&mut state.awaited)
            .into_iter()
            .partition::<Vec<_>, _>(|(until, _)| *until <= done);
        state.awaited = waiting;
        self.progress.notify_all();
        self.work.notify_one();
        drop(state);
        // Not under the lock: whoever wakes up may hand over the next event at once.
        written.into_iter().for_each(|(_, acknowledger)| acknowledger.acknowledge());
    }

    /// An event that could not be turned into a line.
    pub(crate) fn unwritable(&self, event: &Event) {
        let mut state = self.lock();
        state.known.lose(event);
        state.handed += 1;
    }

    /// A write failed; said once until it works again. False if the writer is to end, else returns when it is
    /// time to try again.
    pub(crate) fn failed(&self, error: &std::io::Error) -> bool {
        let mut state = self.lock();
        state.failures += 1;
        state.urgent = false;
        // They are refused now rather than when the disk has room again, but for those whose turn is over.
        let settling = state.settling;
        let (kept, refused) = std::mem::take(&mut state.awaited)
            .into_iter()
            .partition(|(until, _)| settling.is_some_and(|settling| *until <= settling));
        state.awaited = kept;
        // Before anybody wakes up: who hears that nothing can be written finds no room for the next event either.
        let is_first = !std::mem::replace(&mut state.failed, true);
        drop(state);
        drop::<Vec<_>>(refused);
        if is_first {
            tracing::error!(error = %error.kind(), "the audit log cannot be written");
        }
        let mut state = self.lock();
        self.progress.notify_all();
        if !state.stop && !state.ended {
            drop(self.work.wait_timeout_while(state, RETRY, |s| !s.urgent && !s.stop && !s.ended));
            return true;
        }
        // What is half written is nobody else's to go on with.
        state.ended = true;
        false
    }

    /// A writer is gone, with so many events unwritten.
    pub(crate) fn end(&self) {
        let mut state = self.lock();
        state.ended = true;
        state.failed = true;
        let refused = std::mem::take(&mut state.awaited);
        state.writers = state.writers.saturating_sub(1);
        let unwritten = state.known.occupied() + state.strangers.occupied();
        let is_last = state.writers == 0;
        if is_last {
            let lost = u64::try_from(unwritten).unwrap_or(u64::MAX);
            state.known.lost_ever = state.known.lost_ever.saturating_add(lost);
        }
        state.failures += u64::from(!state.stop);
        self.progress.notify_all();
        self.work.notify_one();
        drop(state);
        drop(refused);
        if unwritten > 0 && is_last {
            tracing::error!(unwritten, "the audit writer ended before everything was written");
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.lock();
        f.debug_struct("Queue")
            .field("limits", &self.limits)
            .field("reserved", &state.reserved)
            .field("known", &state.known.occupied())
            .field("strangers", &state.strangers.occupied())
            .field("failed", &state.failed)
            .finish_non_exhaustive()
    }
}
