//! Those who wait in one lane, and those who found no place there.

use std::collections::VecDeque;
use std::sync::Arc;

use hopguard_core::{Decision, Direction, Event, EventKind, Origin};

#[derive(Default)]
pub(super) struct Lane {
    pub(super) waiting: VecDeque<Event>,
    /// Taken by the writer and not written yet: still occupying their places.
    pub(super) writing: usize,
    pub(super) lost: Option<Lost>,
    /// As many as ever found no place, whether that is written yet or not.
    pub(super) lost_ever: u64,
}

/// Events that found no place, as one count in the name of the last of them.
pub(super) struct Lost {
    pub(super) count: u64,
    pub(super) origin: Arc<Origin>,
    pub(super) time_millis: u64,
}

impl Lane {
    pub(super) fn occupied(&self) -> usize {
        self.waiting.len() + self.writing
    }

    pub(super) fn lose(&mut self, event: &Event) {
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

    pub(super) fn has_work(&self) -> bool {
        !self.waiting.is_empty() || self.lost.is_some()
    }
}

impl Lost {
    pub(super) fn into_event(self, gate: &'static str) -> Event {
        let decision = Decision::Allow("audit_lost");
        let mut event =
            Event::new(self.time_millis, &self.origin, Direction::Internal, EventKind::Count, gate, decision);
        event.count = Some(self.count);
        event
    }
}
