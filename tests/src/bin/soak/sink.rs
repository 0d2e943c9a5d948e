//! An audit sink that counts and keeps nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use hopguard_core::{AuditFull, AuditSink, Event, EventKind};

use crate::promises::Promises;

/// What was written, in numbers.
#[derive(Debug, Default)]
pub(crate) struct Counting {
    reserved: AtomicI64,
    written: AtomicU64,
    admitted: AtomicU64,
    sent: AtomicU64,
    outcomes: AtomicU64,
}

impl Counting {
    pub(crate) fn new() -> Arc<Self> {
        Arc::default()
    }

    pub(crate) fn written(&self) -> u64 {
        self.written.load(Ordering::SeqCst)
    }

    /// Every request that got in or out has an outcome, and no room is left set aside.
    pub(crate) fn judge(&self, promises: &Promises) {
        let read = |count: &AtomicU64| count.load(Ordering::SeqCst);
        let (begun, ended) = (read(&self.admitted) + read(&self.sent), read(&self.outcomes));
        promises.hold("every request has one outcome", begun == ended, || {
            format!("{begun} were let in or out, {ended} outcomes were written")
        });
        let reserved = self.reserved.load(Ordering::SeqCst);
        promises.hold("no room in the audit is leaked", reserved == 0, || {
            format!("{reserved} places are still set aside")
        });
    }

    fn count(&self, event: &Event) {
        self.written.fetch_add(1, Ordering::SeqCst);
        let kind = match (event.kind, event.decision.code()) {
            (EventKind::Outcome, _) => &self.outcomes,
            (EventKind::Decision, "admitted") => &self.admitted,
            (EventKind::Decision, "sent") => &self.sent,
            _ => return,
        };
        kind.fetch_add(1, Ordering::SeqCst);
    }
}

impl AuditSink for Counting {
    fn reserve(&self) -> Result<(), AuditFull> {
        self.reserved.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    fn release(&self) {
        self.reserved.fetch_sub(1, Ordering::SeqCst);
    }

    fn commit(&self, event: Event) {
        self.reserved.fetch_sub(1, Ordering::SeqCst);
        self.count(&event);
    }

    fn offer(&self, event: Event) {
        self.count(&event);
    }
}
