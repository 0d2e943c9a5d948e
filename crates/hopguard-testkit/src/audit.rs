//! An audit sink that keeps events in memory and can be made to run full.

use std::sync::{Arc, Mutex, MutexGuard};

use hopguard_core::{AuditFull, AuditSink, Event};
use serde_json::Value;

/// Keeps every event. Cloning the `Arc` shares it.
#[derive(Debug)]
pub struct MemorySink(Mutex<State>);

#[derive(Debug)]
struct State {
    places: usize,
    reserved: usize,
    events: Vec<Event>,
}

impl MemorySink {
    /// A sink with room for as much as a test can write.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Self::with_places(usize::MAX)
    }

    /// A sink that refuses reservations while `places` are held or filled.
    #[must_use]
    pub fn with_places(places: usize) -> Arc<Self> {
        Arc::new(Self(Mutex::new(State { places, reserved: 0, events: Vec::new() })))
    }

    /// From now on there are `places` in all, those that are filled included.
    pub fn set_places(&self, places: usize) {
        self.lock().places = places;
    }

    /// Places that are reserved and not filled.
    #[must_use]
    pub fn reserved(&self) -> usize {
        self.lock().reserved
    }

    /// Everything that was written, in order.
    #[must_use]
    pub fn events(&self) -> Vec<Event> {
        self.lock().events.clone()
    }

    /// The codes of everything that was written, in order.
    #[must_use]
    pub fn codes(&self) -> Vec<&'static str> {
        self.lock().events.iter().map(|event| event.decision.code()).collect()
    }

    /// Takes out everything that was written.
    #[must_use]
    pub fn take(&self) -> Vec<Event> {
        std::mem::take(&mut self.lock().events)
    }

    /// The events with the code `code`.
    #[must_use]
    pub fn with_code(&self, code: &str) -> Vec<Event> {
        self.lock().events.iter().filter(|event| event.decision.code() == code).cloned().collect()
    }

    /// Everything that was written, as the JSON that a file would hold.
    #[must_use]
    pub fn json(&self) -> Vec<Value> {
        self.lock().events.iter().map(|event| serde_json::to_value(event).unwrap()).collect()
    }

    /// Everything that was written, as the lines that a file would hold; for the leak check.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = Vec::new();
        for event in &self.lock().events {
            event.write_line(&mut text).unwrap();
            text.push(b'\n');
        }
        String::from_utf8(text).unwrap()
    }

    /// Fails the test unless exactly these codes were written, in this order.
    #[track_caller]
    pub fn assert_codes(&self, expected: &[&str]) {
        assert_eq!(self.codes(), expected);
    }

    /// Fails the test unless exactly one event has the code `code`; returns it.
    #[track_caller]
    pub fn sole(&self, code: &str) -> Event {
        let mut found = self.with_code(code);
        assert_eq!(found.len(), 1, "events with {code} among {:?}", self.codes());
        found.remove(0)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }
}

impl AuditSink for MemorySink {
    fn reserve(&self) -> Result<(), AuditFull> {
        let mut state = self.lock();
        if state.reserved + state.events.len() >= state.places {
            return Err(AuditFull);
        }
        state.reserved += 1;
        Ok(())
    }

    fn release(&self) {
        let mut state = self.lock();
        state.reserved = state.reserved.checked_sub(1).expect("released more than was reserved");
    }

    fn commit(&self, event: Event) {
        let mut state = self.lock();
        state.reserved = state.reserved.checked_sub(1).expect("committed without a reservation");
        state.events.push(event);
    }

    fn offer(&self, event: Event) {
        self.lock().events.push(event);
    }
}

#[cfg(test)]
mod tests {
    use hopguard_core::{Audit, Decision, Denial, Direction, EventKind};

    use super::*;

    #[test]
    fn it_runs_full_and_tells_codes() {
        let sink = MemorySink::with_places(1);
        let audit = Audit::new("orders", "1", sink.clone());
        let refusal = || {
            let decision = Decision::Deny(Denial::TokenExpired);
            audit.event(1, Direction::Inbound, EventKind::Decision, "inbound", decision)
        };
        assert_eq!(audit.write(refusal()), Ok(()));
        assert_eq!(audit.write(refusal()), Err(AuditFull));
        sink.assert_codes(&["token_expired"]);
        assert_eq!(sink.sole("token_expired").time_millis, 1);
        assert!(sink.text().ends_with("}\n"));
        assert_eq!((sink.take().len(), sink.codes().len()), (1, 0));
    }
}
