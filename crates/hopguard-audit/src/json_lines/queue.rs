//! The places between those who hand over events and the thread that writes them.
//!
//! One lock guards everything and is held for a few moves only, never while something is serialised or
//! written. The writer is woken only when it waits: after each batch it naps for a moment, so that a busy
//! service pays no wake-up per event.

use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hopguard_core::{Acknowledgement, Acknowledger, AuditFull, Decision, Direction, Event, EventKind, Origin};

use super::{Promise, QueueStatus};

/// How long the writer lets events gather after a batch.
const NAP: Duration = Duration::from_millis(2);
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
    /// The writer waits here.
    work: Condvar,
    /// Those who flush wait here.
    progress: Condvar,
}

#[derive(Default)]
struct State {
    known: Lane,
    strangers: Lane,
    /// Places promised and not filled yet.
    reserved: usize,
    /// Counts what was handed over, losses included; `done` is the count up to which all is written.
    handed: u64,
    done: u64,
    failures: u64,
    failed: bool,
    writer: Writer,
    urgent: bool,
    /// It is time for a checkpoint.
    due: bool,
    /// Those who wait for what was handed over up to this count.
    awaited: Vec<(u64, Acknowledger)>,
    stop: bool,
    ended: bool,
}

#[derive(Default)]
struct Lane {
    waiting: Vec<Event>,
    /// Taken by the writer and not written yet: still occupying their places.
    writing: usize,
    lost: Option<Lost>,
    /// As many as ever found no place, whether that is written yet or not.
    lost_ever: u64,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Writer {
    #[default]
    Busy,
    Napping,
    Waiting,
}

/// Events that found no place, as one count in the name of the last of them.
struct Lost {
    count: u64,
    origin: Arc<Origin>,
    time_millis: u64,
}

/// What the writer takes at once.
#[derive(Default)]
pub(crate) struct Batch {
    pub(crate) known: Vec<Event>,
    pub(crate) strangers: Vec<Event>,
    /// Counts of what was lost; they occupy no place.
    pub(crate) losses: Vec<Event>,
    /// A checkpoint is due.
    pub(crate) due: bool,
    until: u64,
}

impl Lane {
    const fn occupied(&self) -> usize {
        self.waiting.len() + self.writing
    }

    fn lose(&mut self, event: &Event) {
        let before = self.lost.as_ref().map_or(0, |lost| lost.count);
        // A count that finds no place stands for as many events as it counted.
        let count = event.count.unwrap_or(1);
        self.lost_ever = self.lost_ever.saturating_add(count);
        self.lost = Some(Lost {
            count: before.saturating_add(count),
            origin: event.origin.clone(),
            time_millis: event.time_millis,
        });
    }

    fn has_work(&self) -> bool {
        !self.waiting.is_empty() || self.lost.is_some()
    }
}

impl Lost {
    fn into_event(self, gate: &'static str) -> Event {
        let decision = Decision::Allow("audit_lost");
        let mut event =
            Event::new(self.time_millis, &self.origin, Direction::Internal, EventKind::Count, gate, decision);
        event.count = Some(self.count);
        event
    }
}

impl Queue {
    pub(crate) fn new(limits: Limits) -> Self {
        Self { limits, state: Mutex::default(), work: Condvar::new(), progress: Condvar::new() }
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
        if promised || state.known.occupied() < self.limits.places {
            state.known.waiting.push(event);
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
        if state.strangers.occupied() < self.limits.stranger_places {
            state.strangers.waiting.push(event);
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

    /// Asks the writer to write what is left and end; true if it did in time.
    pub(crate) fn stop(&self, at_most: Duration) -> bool {
        let mut state = self.lock();
        state.stop = true;
        self.work.notify_one();
        let (state, _) = self
            .progress
            .wait_timeout_while(state, at_most, |state| !state.ended)
            .unwrap_or_else(PoisonError::into_inner);
        state.ended
    }

    fn handed_over(&self, state: &mut State) {
        state.handed += 1;
        let crowded = state.known.occupied() * 2 >= self.limits.places;
        match state.writer {
            Writer::Busy => (),
            Writer::Napping if !crowded && state.awaited.is_empty() => (),
            Writer::Napping | Writer::Waiting => {
                // Whoever comes next need not wake it again.
                state.writer = Writer::Busy;
                self.work.notify_one();
            }
        }
    }

    // === the writer ===

    /// Waits for something to write and takes all of it; false when there is nothing left and no more comes.
    pub(crate) fn next(&self, batch: &mut Batch) -> bool {
        let mut state = self.lock();
        state.writer = Writer::Waiting;
        let mut state = self
            .work
            .wait_while(state, |state| {
                !state.known.has_work() && !state.strangers.has_work() && !state.stop && !state.due
            })
            .unwrap_or_else(PoisonError::into_inner);
        state.writer = Writer::Busy;
        state.urgent = false;
        std::mem::swap(&mut batch.known, &mut state.known.waiting);
        std::mem::swap(&mut batch.strangers, &mut state.strangers.waiting);
        state.known.writing = batch.known.len();
        state.strangers.writing = batch.strangers.len();
        let known = state.known.lost.take().map(|lost| lost.into_event("audit"));
        let strangers = state.strangers.lost.take().map(|lost| lost.into_event("audit_strangers"));
        batch.losses.extend(known.into_iter().chain(strangers));
        batch.until = state.handed;
        batch.due = std::mem::take(&mut state.due);
        batch.due || !batch.known.is_empty() || !batch.strangers.is_empty() || !batch.losses.is_empty()
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

    /// The whole batch is written. Lets events gather for a moment, unless somebody is in a hurry.
    pub(crate) fn finished(&self, batch: &Batch) {
        let mut state = self.lock();
        state.done = state.done.max(batch.until);
        let done = state.done;
        let (written, waiting) = std::mem::take(&mut state.awaited)
            .into_iter()
            .partition::<Vec<_>, _>(|(until, _)| *until <= done);
        state.awaited = waiting;
        written.into_iter().for_each(|(_, acknowledger)| acknowledger.acknowledge());
        self.progress.notify_all();
        state.writer = Writer::Napping;
        let places = self.limits.places;
        let rest = |state: &mut State| {
            // Group commit: who waits for the disk waits for the batch before his, and no longer.
            !state.urgent && !state.stop && state.awaited.is_empty() && state.known.occupied() * 2 < places
        };
        let (mut state, _) =
            self.work.wait_timeout_while(state, NAP, rest).unwrap_or_else(PoisonError::into_inner);
        state.writer = Writer::Busy;
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
        // They are refused now rather than when the disk has room again.
        state.awaited.clear();
        if !std::mem::replace(&mut state.failed, true) {
            drop(state);
            tracing::error!(error = %error.kind(), "the audit log cannot be written");
            state = self.lock();
        }
        self.progress.notify_all();
        if state.stop {
            return false;
        }
        drop(self.work.wait_timeout_while(state, RETRY, |state| !state.urgent && !state.stop));
        true
    }

    /// The writer is gone, with so many events unwritten.
    pub(crate) fn end(&self) {
        let mut state = self.lock();
        state.ended = true;
        state.failed = true;
        state.awaited.clear();
        let unwritten = state.known.occupied() + state.strangers.occupied();
        self.progress.notify_all();
        drop(state);
        if unwritten > 0 {
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
