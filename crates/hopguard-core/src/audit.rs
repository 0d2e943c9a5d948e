//! The seam between what decides and what writes it down.
//!
//! [`Audit`] is what stacks hold. It knows three ways to hand over an event:
//!
//! - *reserved*: room was set aside before the request went on ([`Audit::reserve`]), so that writing the
//!   outcome later, even from a `Drop`, cannot fail;
//! - *now*: a decision about somebody who is known, for which room is reserved and filled at once;
//! - *stranger*: a refusal before the token was verified. The first few per code and window are written
//!   singly, the rest become one counted event, and none of them ever holds up or denies anybody else.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::{Acknowledgement, Decision, Direction, Event, EventKind, Fault, Id, Origin, Problems};

/// The sink takes no more events; whoever asked must refuse its caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the audit sink is full")]
pub struct AuditFull;

impl From<AuditFull> for Fault {
    fn from(AuditFull: AuditFull) -> Self {
        Self::AuditUnavailable
    }
}

/// Where events go. Implementations must not block.
pub trait AuditSink: fmt::Debug + Send + Sync + 'static {
    /// Sets aside room for one event.
    ///
    /// # Errors
    ///
    /// [`AuditFull`] if there is none and the sink promises to lose nothing.
    fn reserve(&self) -> Result<(), AuditFull>;

    /// Gives back room that was set aside and is not needed.
    fn release(&self);

    /// Writes an event for which room was set aside; must not fail.
    fn commit(&self, event: Event);

    /// As [`AuditSink::commit`], and tells when the event is safe, with all that was committed before it. A sink
    /// that does not promise to write before anything is allowed leaves this as it is: nobody waits.
    fn commit_durably(&self, event: Event) -> Acknowledgement {
        self.commit(event);
        Acknowledgement::done()
    }

    /// Writes an event about a stranger if there is room in a lane of its own; else counts it as lost.
    fn offer(&self, event: Event);

    /// Why nobody would believe what is written here in the name of `service`, if that is so. No stack is built over
    /// such an audit. A sink that hands on to others asks them.
    fn problem(&self, service: &str) -> Option<String> {
        let _ = service;
        None
    }
}

/// How many refusals of strangers are written singly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StrangerLimits {
    /// Per code and window.
    pub singly: u64,
    /// Length of a window in milliseconds.
    pub window_millis: u64,
}

impl Default for StrangerLimits {
    /// Twenty per code in ten seconds.
    fn default() -> Self {
        Self { singly: 20, window_millis: 10_000 }
    }
}

/// A sink, and the service on whose behalf events are written. Cloning shares both.
#[derive(Clone, Debug)]
pub struct Audit(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    origin: Arc<Origin>,
    sink: Arc<dyn AuditSink>,
    strangers: Lane,
}

impl Audit {
    /// How long a request waits for a sink that promises to write before anything is allowed.
    pub const LONGEST_WAIT: Duration = Duration::from_secs(5);

    /// Writes to `sink` for the service `service`; `instance` tells its processes apart.
    #[must_use]
    pub fn new(service: &str, instance: &str, sink: Arc<dyn AuditSink>) -> Self {
        Self::with_limits(service, instance, sink, StrangerLimits::default())
    }

    /// As [`Audit::new`], with other limits for strangers.
    #[must_use]
    pub fn with_limits(
        service: &str,
        instance: &str,
        sink: Arc<dyn AuditSink>,
        limits: StrangerLimits,
    ) -> Self {
        let strangers = Lane { limits, ends: AtomicU64::new(0), counts: Mutex::default() };
        Self(Arc::new(Inner { origin: Origin::new(service, instance), sink, strangers }))
    }

    /// The service's name.
    #[must_use]
    pub fn service(&self) -> &str {
        &self.0.origin.service
    }

    /// Adds [`AuditSink::problem`] of this service to `problems`, if there is one. Every builder asks.
    pub fn check(&self, problems: &mut Problems) {
        if let Some(problem) = self.0.sink.problem(&self.0.origin.service) {
            problems.add("audit", problem);
        }
    }

    /// A new event in this service's name.
    #[must_use]
    #[inline]
    pub fn event(
        &self,
        time_millis: u64,
        direction: Direction,
        kind: EventKind,
        gate: &'static str,
        decision: Decision,
    ) -> Event {
        self.event_with_id(Id::fresh(), time_millis, direction, kind, gate, decision)
    }

    /// As [`Audit::event`], under an id of the request that it belongs to.
    #[must_use]
    #[inline]
    pub fn event_with_id(
        &self,
        id: Id,
        time_millis: u64,
        direction: Direction,
        kind: EventKind,
        gate: &'static str,
        decision: Decision,
    ) -> Event {
        Event::with_id(id, time_millis, &self.0.origin, direction, kind, gate, decision)
    }

    /// Sets aside room for one event.
    ///
    /// # Errors
    ///
    /// [`AuditFull`] if there is none.
    #[inline]
    pub fn reserve(&self) -> Result<Reservation<'_>, AuditFull> {
        self.0.sink.reserve()?;
        Ok(Reservation { audit: self, open: true })
    }

    /// Fills room of this audit that was [kept](Reservation::keep).
    pub fn fill(&self, _room: Room, event: Event) {
        self.0.sink.commit(event);
    }

    /// Writes an event about somebody who is known.
    ///
    /// If the sink promises to write before anything is allowed, a decision that allows something blocks the
    /// thread until it is safe, [`Audit::LONGEST_WAIT`] at most; who can await uses [`Audit::write_durably`]. A
    /// notice waits for nothing: it is safe before the decision that follows it.
    ///
    /// # Errors
    ///
    /// [`AuditFull`] if there is no room, or the event is not safe in time; what the event allows must then not
    /// happen.
    #[inline]
    pub fn write(&self, event: Event) -> Result<(), AuditFull> {
        if event.kind == EventKind::Decision && matches!(event.decision, Decision::Allow(_)) {
            return self.write_durably(event)?.wait(Self::LONGEST_WAIT);
        }
        self.flush_strangers(event.time_millis);
        self.0.sink.reserve()?;
        self.0.sink.commit(event);
        Ok(())
    }

    /// Writes a refusal of somebody who is known. Nothing hangs on it, so a full sink refuses nobody further:
    /// the event then takes its chance in the lane of strangers, and is counted if it is lost there.
    pub fn refusal(&self, event: Event) {
        self.flush_strangers(event.time_millis);
        match self.0.sink.reserve() {
            Ok(()) => self.0.sink.commit(event),
            Err(AuditFull) => self.stranger(event),
        }
    }

    /// Writes an event about somebody who is known, and tells when it is safe. What the event allows must not
    /// happen before.
    ///
    /// # Errors
    ///
    /// [`AuditFull`] if there is no room.
    #[inline]
    pub fn write_durably(&self, event: Event) -> Result<Acknowledgement, AuditFull> {
        self.flush_strangers(event.time_millis);
        self.0.sink.reserve()?;
        Ok(self.0.sink.commit_durably(event))
    }

    /// Writes a refusal of a stranger, singly or as part of a count.
    pub fn stranger(&self, event: Event) {
        self.stranger_with(event.time_millis, event.decision.code(), event.direction, || event);
    }

    /// As [`Audit::stranger`], for an event of this time, code and direction. It is made only if it is written
    /// singly.
    pub fn stranger_with(
        &self,
        time_millis: u64,
        code: &'static str,
        direction: Direction,
        make: impl FnOnce() -> Event,
    ) {
        // INVARIANT: I9 — strangers share this lane only, whatever they send, and cannot make us work for it.
        self.flush_strangers(time_millis);
        if self.0.strangers.singly(code, direction) {
            self.0.sink.offer(make());
        }
    }

    /// Writes the counts of strangers so far, though their window has not ended: for a shutdown.
    pub fn finish(&self, now_millis: u64) {
        self.0.strangers.end();
        self.flush_strangers(now_millis);
    }

    /// Writes the counts of a window that has ended.
    fn flush_strangers(&self, now_millis: u64) {
        for ((code, direction), count) in self.0.strangers.roll(now_millis) {
            let decision = Decision::Allow("suppressed");
            let mut event = self.event(now_millis, direction, EventKind::Count, code, decision);
            event.count = Some(count);
            self.0.sink.offer(event);
        }
    }
}

/// Room for one event, set aside. Dropping it unused gives the room back.
#[derive(Debug)]
pub struct Reservation<'a> {
    audit: &'a Audit,
    open: bool,
}

/// Room that stays set aside until somebody fills it: whoever has the audit beside it anyway.
#[derive(Debug)]
#[must_use = "room that nobody fills is lost to everybody"]
pub struct Room(());

impl Reservation<'_> {
    /// Fills the room.
    pub fn fill(self, event: Event) {
        self.audit.fill(self.keep(), event);
    }

    /// Leaves the room set aside, for whoever will [fill](Audit::fill) it, whatever happens.
    pub fn keep(mut self) -> Room {
        self.open = false;
        Room(())
    }
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        if self.open {
            self.audit.0.sink.release();
        }
    }
}

/// Few enough to be looked through: a dozen codes are common, and the registry is closed.
type Counts = Vec<((&'static str, Direction), u64)>;

/// Counts refusals per code.
#[derive(Debug)]
struct Lane {
    limits: StrangerLimits,
    ends: AtomicU64,
    counts: Mutex<Counts>,
}

impl Lane {
    fn singly(&self, code: &'static str, direction: Direction) -> bool {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        // One code is one text in most programs, so that its address mostly tells.
        let is = |known: &str| std::ptr::eq(known, code) || known == code;
        let at = counts.iter().position(|((known, way), _)| *way == direction && is(known));
        let count = match at.and_then(|at| counts.get_mut(at)) {
            Some((_, count)) => {
                *count += 1;
                *count
            }
            None => {
                counts.push(((code, direction), 1));
                1
            }
        };
        count <= self.limits.singly
    }

    fn end(&self) {
        self.ends.store(0, Ordering::Release);
    }

    /// If the window has ended, begins a new one and returns what the old one suppressed.
    fn roll(&self, now_millis: u64) -> Vec<((&'static str, Direction), u64)> {
        // A window that ends further away than it is long was begun by a clock that has been set back since.
        let left = self.ends.load(Ordering::Acquire).checked_sub(now_millis).filter(|&left| left > 0);
        if left.is_some_and(|left| left <= self.limits.window_millis) {
            return Vec::new();
        }
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        self.ends.store(now_millis.saturating_add(self.limits.window_millis), Ordering::Release);
        let over = |(key, count): (_, u64)| {
            count.checked_sub(self.limits.singly).filter(|&n| n > 0).map(|n| (key, n))
        };
        counts.drain(..).filter_map(over).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicI64;

    use super::*;
    use crate::Denial;

    #[derive(Debug, Default)]
    struct Memory {
        reserved: AtomicI64,
        events: Mutex<Vec<Event>>,
        full: bool,
    }

    impl AuditSink for Memory {
        fn reserve(&self) -> Result<(), AuditFull> {
            if self.full {
                return Err(AuditFull);
            }
            self.reserved.fetch_add(1, Ordering::Relaxed);
            Ok(())
        }

        fn release(&self) {
            self.reserved.fetch_sub(1, Ordering::Relaxed);
        }

        fn commit(&self, event: Event) {
            self.release();
            self.offer(event);
        }

        fn offer(&self, event: Event) {
            self.events.lock().unwrap().push(event);
        }
    }

    fn refusal(audit: &Audit, at: u64, denial: Denial) -> Event {
        audit.event(at, Direction::Inbound, EventKind::Decision, "inbound", Decision::Deny(denial))
    }

    #[test]
    fn room_is_filled_or_given_back() {
        let sink = Arc::new(Memory::default());
        let audit = Audit::new("orders", "1", sink.clone());
        let room = audit.reserve().unwrap();
        drop(audit.reserve().unwrap());
        assert_eq!(sink.reserved.load(Ordering::Relaxed), 1);
        room.fill(refusal(&audit, 0, Denial::TokenExpired));
        assert_eq!(sink.reserved.load(Ordering::Relaxed), 0);
        assert_eq!(sink.events.lock().unwrap().len(), 1);
    }

    #[test]
    fn a_full_sink_refuses_those_who_are_known_and_no_stranger_waits() {
        let sink = Arc::new(Memory { full: true, ..Memory::default() });
        let audit = Audit::new("orders", "1", sink.clone());
        assert_eq!(audit.write(refusal(&audit, 0, Denial::AudienceMismatch)), Err(AuditFull));
        assert_eq!(Fault::from(audit.reserve().unwrap_err()).code(), "audit_unavailable");
        audit.stranger(refusal(&audit, 0, Denial::TokenMalformed));
        assert_eq!(sink.events.lock().unwrap().len(), 1);
        audit.refusal(refusal(&audit, 0, Denial::AudienceMismatch));
        assert_eq!(sink.events.lock().unwrap().len(), 2);
    }

    #[test]
    fn strangers_are_written_singly_then_counted() {
        let sink = Arc::new(Memory::default());
        let limits = StrangerLimits { singly: 2, window_millis: 1000 };
        let audit = Audit::with_limits("orders", "1", sink.clone(), limits);
        for _ in 0..10 {
            audit.stranger(refusal(&audit, 5000, Denial::TokenMalformed));
        }
        audit.stranger(refusal(&audit, 5999, Denial::KeyUnknown));
        assert_eq!(sink.events.lock().unwrap().len(), 3);
        audit.stranger(refusal(&audit, 6000, Denial::KeyUnknown));
        let events = sink.events.lock().unwrap();
        let count = events.iter().find(|event| event.kind == EventKind::Count).unwrap();
        assert_eq!(
            (count.count, count.gate, count.decision.code()),
            (Some(8), "token_malformed", "suppressed")
        );
        assert_eq!(events.len(), 5);
        drop(events);
        for _ in 0..4 {
            audit.stranger(refusal(&audit, 6001, Denial::TokenMissing));
        }
        // A clock that stood wrong does not make the lane mute.
        audit.stranger(refusal(&audit, u64::MAX, Denial::TokenMissing));
        let before = sink.events.lock().unwrap().len();
        for _ in 0..4 {
            audit.stranger(refusal(&audit, 6001, Denial::TokenMissing));
        }
        assert_eq!(sink.events.lock().unwrap().len(), before + 2);
        audit.finish(6002);
        let events = sink.events.lock().unwrap();
        let last = events.last().unwrap();
        assert_eq!((last.count, last.gate, last.time_millis), (Some(2), "token_missing", 6002));
    }

    #[test]
    fn what_was_written_singly_is_not_counted_again() {
        let sink = Arc::new(Memory::default());
        let limits = StrangerLimits { singly: 2, window_millis: 1000 };
        let audit = Audit::with_limits("orders", "1", sink.clone(), limits);
        // The same code, wherever its text lies.
        for code in ["key_unknown", String::from("key_unknown").leak()] {
            audit.stranger_with(1, code, Direction::Inbound, || refusal(&audit, 1, Denial::KeyUnknown));
        }
        audit.finish(2);
        assert_eq!(sink.events.lock().unwrap().len(), 2);
        for code in ["key_unknown", "key_unknown", String::from("key_unknown").leak()] {
            audit.stranger_with(3, code, Direction::Inbound, || refusal(&audit, 3, Denial::KeyUnknown));
        }
        audit.finish(4);
        assert_eq!(sink.events.lock().unwrap().last().unwrap().count, Some(1));
    }

    /// Keeps what it was given and acknowledges nothing.
    #[derive(Debug, Default)]
    struct Slow {
        durably: AtomicI64,
        at_once: AtomicI64,
    }

    impl AuditSink for Slow {
        fn reserve(&self) -> Result<(), AuditFull> {
            Ok(())
        }

        fn release(&self) {}

        fn commit(&self, _event: Event) {
            self.at_once.fetch_add(1, Ordering::Relaxed);
        }

        fn offer(&self, _event: Event) {}

        fn commit_durably(&self, _event: Event) -> Acknowledgement {
            self.durably.fetch_add(1, Ordering::Relaxed);
            Acknowledgement::done()
        }
    }

    #[test]
    fn only_what_lets_something_happen_is_waited_for() {
        let sink = Arc::new(Slow::default());
        let audit = Audit::new("orders", "1", sink.clone());
        let write = |kind, decision| {
            audit.write(audit.event(0, Direction::Inbound, kind, "inbound", decision)).unwrap();
            (sink.durably.load(Ordering::Relaxed), sink.at_once.load(Ordering::Relaxed))
        };
        assert_eq!(write(EventKind::Decision, Decision::Allow("admitted")), (1, 0));
        assert_eq!(write(EventKind::Notice, Decision::Allow("waiver_used")), (1, 1));
        assert_eq!(write(EventKind::Decision, Decision::Deny(Denial::TokenExpired)), (1, 2));
    }
}
