//! The places between those who hand over events and the thread that writes them.
//!
//! One lock guards everything and is held for a few moves only, never while something is serialised or
//! written. The writer is woken only when it waits: after each batch it naps for a moment, so that a busy
//! service pays no wake-up per event.
//!
//! Where several writers take turns, one of them writes while the one before it makes its batch durable. A batch
//! grows until the disk is free, and by no more than there are places; batches become durable in their order.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hopguard_core::{
    Acknowledgement, Acknowledger, AuditFull, Decision, Direction, Event, EventKind, Origin,
};

use super::{Promise, QueueStatus};

/// How long the writer lets events gather after a batch.
const NAP: Duration = Duration::from_millis(2);
/// How long, if meanwhile the batch before is made durable: what is written then costs nobody any time.
const BREATH: Duration = Duration::from_micros(250);
/// So many events that wait wake a writer from its nap: else it would have them all to write when somebody waits.
const HANDFUL: usize = 256;
/// With so many bytes the disk is kept busy for longer than with its own beginning and end. They are made durable as
/// soon as it is free, while what follows is written.
const PLENTY: usize = 256 * 1024;
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
    /// What is being made durable was handed over up to this count.
    settling: Option<u64>,
    stop: bool,
    /// A writer is done, or could not go on; no other does its work.
    ended: bool,
    /// Writers that are not gone yet.
    writers: usize,
}

#[derive(Default)]
struct Lane {
    waiting: VecDeque<Event>,
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
    until: u64,
    /// So many events were taken.
    taken: usize,
    /// For so long events have gathered since the batch before.
    gathered: Duration,
    /// Somebody waits for it.
    urgent: bool,
    /// It takes nothing more.
    closed: bool,
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
    fn left(&self) -> usize {
        self.known.len() + self.strangers.len() + self.losses.len()
    }
}

impl Lane {
    fn occupied(&self) -> usize {
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

impl State {
    fn has_work(&self) -> bool {
        self.known.has_work() || self.strangers.has_work()
    }

    /// True if what is written is not to gather any longer.
    fn in_a_hurry(&self, places: usize) -> bool {
        let crowded = self.known.occupied() * 2 >= places;
        crowded || self.urgent || self.due || self.stop || !self.awaited.is_empty()
    }

    fn has_handful(&self) -> bool {
        self.known.waiting.len() >= HANDFUL
    }

    fn take(&mut self, batch: &mut Batch) {
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
    fn settle(&mut self, batch: &mut Batch) {
        let left = batch.left();
        self.settling = Some(if left == 0 { batch.until } else { self.done });
        batch.due = left == 0 && std::mem::take(&mut self.due);
        (batch.taken, batch.bytes, batch.gathered) = (left, 0, Duration::ZERO);
        (batch.urgent, batch.closed) = (batch.urgent && left > 0, false);
    }
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
        if promised || state.known.occupied() < self.limits.places {
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
        if state.strangers.occupied() < self.limits.stranger_places {
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
