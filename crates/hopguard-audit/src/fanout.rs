//! One event to several sinks.

use std::sync::Arc;

use hopguard_core::{Acknowledgement, AuditFull, AuditSink, Event};

/// Hands each event to several sinks.
///
/// Room is set aside in all of them or in none: if one refuses, those before it get theirs back.
///
/// ```
/// use std::sync::Arc;
///
/// use hopguard_audit::{Fanout, TracingSink};
/// use hopguard_core::AuditSink;
///
/// let sinks = Fanout::new(vec![Arc::new(TracingSink), Arc::new(TracingSink)]);
/// assert!(sinks.reserve().is_ok());
/// assert!(Fanout::new(vec![]).reserve().is_err());
/// ```
#[derive(Debug)]
pub struct Fanout(Vec<Arc<dyn AuditSink>>);

impl Fanout {
    /// Writes to all of `sinks`. Without any, every reservation is refused: nobody would write the event.
    #[must_use]
    pub const fn new(sinks: Vec<Arc<dyn AuditSink>>) -> Self {
        Self(sinks)
    }

    fn each(&self, event: Event, hand_over: impl Fn(&dyn AuditSink, Event)) {
        let Some((last, others)) = self.0.split_last() else { return };
        for sink in others {
            hand_over(&**sink, event.clone());
        }
        hand_over(&**last, event);
    }
}

impl AuditSink for Fanout {
    fn reserve(&self) -> Result<(), AuditFull> {
        if self.0.is_empty() {
            return Err(AuditFull);
        }
        for (at, sink) in self.0.iter().enumerate() {
            if sink.reserve().is_err() {
                self.0.iter().take(at).for_each(|reserved| reserved.release());
                return Err(AuditFull);
            }
        }
        Ok(())
    }

    fn release(&self) {
        self.0.iter().for_each(|sink| sink.release());
    }

    fn commit(&self, event: Event) {
        self.each(event, |sink, event| sink.commit(event));
    }

    /// Settles when every sink has, each by its own promise.
    fn commit_durably(&self, event: Event) -> Acknowledgement {
        Acknowledgement::all(self.0.iter().map(|sink| sink.commit_durably(event.clone())))
    }

    fn offer(&self, event: Event) {
        self.each(event, |sink, event| sink.offer(event));
    }

    fn problem(&self, service: &str) -> Option<String> {
        self.0.iter().find_map(|sink| sink.problem(service))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::events_for_tests::numbered;

    #[derive(Debug, Default)]
    struct Counting {
        places: usize,
        reserved: Mutex<usize>,
        committed: Mutex<Vec<u64>>,
        offered: Mutex<Vec<u64>>,
    }

    impl Counting {
        fn with(places: usize) -> Arc<Self> {
            Arc::new(Self { places, ..Self::default() })
        }
    }

    impl AuditSink for Counting {
        fn reserve(&self) -> Result<(), AuditFull> {
            let mut reserved = self.reserved.lock().unwrap();
            if *reserved == self.places {
                return Err(AuditFull);
            }
            *reserved += 1;
            Ok(())
        }

        fn release(&self) {
            *self.reserved.lock().unwrap() -= 1;
        }

        fn commit(&self, event: Event) {
            self.release();
            self.committed.lock().unwrap().push(event.time_millis);
        }

        fn offer(&self, event: Event) {
            self.offered.lock().unwrap().push(event.time_millis);
        }
    }

    #[test]
    fn all_or_none_reserve() {
        let (roomy, tight, after) = (Counting::with(9), Counting::with(1), Counting::with(9));
        let sinks = Fanout::new(vec![roomy.clone(), tight.clone(), after.clone()]);
        assert_eq!(sinks.reserve(), Ok(()));
        assert_eq!(sinks.reserve(), Err(AuditFull));
        for sink in [&roomy, &tight, &after] {
            assert_eq!(*sink.reserved.lock().unwrap(), 1);
        }
        sinks.release();
        for sink in [&roomy, &tight, &after] {
            assert_eq!(*sink.reserved.lock().unwrap(), 0);
        }
    }

    #[test]
    fn every_sink_gets_every_event() {
        let (one, other) = (Counting::with(9), Counting::with(9));
        let sinks = Fanout::new(vec![one.clone(), other.clone()]);
        sinks.reserve().unwrap();
        sinks.commit(numbered(1));
        sinks.offer(numbered(2));
        for sink in [&one, &other] {
            assert_eq!(*sink.committed.lock().unwrap(), [1]);
            assert_eq!(*sink.offered.lock().unwrap(), [2]);
        }
    }

    #[test]
    fn without_a_sink_nothing_is_promised() {
        assert_eq!(Fanout::new(Vec::new()).reserve(), Err(AuditFull));
    }
}
