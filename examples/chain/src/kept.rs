//! An audit sink that keeps events in memory, so that the tour can read what was written down.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use hopguard::AuditSink;
use hopguard_core::{AuditFull, Event};

/// Events kept; older ones go first.
const MOST: usize = 10_000;

/// The last events of one service.
#[derive(Debug, Default)]
pub struct Kept(Mutex<VecDeque<Event>>);

impl Kept {
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// All events that `wanted` picks, oldest first.
    pub fn find(&self, wanted: impl Fn(&Event) -> bool) -> Vec<Event> {
        let events = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        events.iter().filter(|event| wanted(event)).cloned().collect()
    }
}

impl AuditSink for Kept {
    fn reserve(&self) -> Result<(), AuditFull> {
        Ok(())
    }

    fn release(&self) {}

    fn commit(&self, event: Event) {
        self.offer(event);
    }

    fn offer(&self, event: Event) {
        let mut events = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if events.len() == MOST {
            events.pop_front();
        }
        events.push_back(event);
    }
}
