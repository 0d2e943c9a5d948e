//! What is done with what a fetch brought: taken into use, written down, told to those who wait.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use hopguard_core::{Decision, Direction, EventKind, Monotonic};

use super::asking::Brought;
use super::{KeyStore, Origin, millis};

/// Ends a flight however its task ends: done, panicked, or dropped with its runtime.
pub(super) struct Landing {
    pub(super) store: Arc<KeyStore>,
    pub(super) began: Monotonic,
    pub(super) outcome: Result<Brought, &'static str>,
}

impl Drop for Landing {
    fn drop(&mut self) {
        let outcome = std::mem::replace(&mut self.outcome, Err("the fetch was given up"));
        self.store.land(self.began, outcome);
    }
}

impl KeyStore {
    fn land(&self, began: Monotonic, outcome: Result<Brought, &'static str>) {
        let failure = outcome.as_ref().err().copied();
        let mut changed = false;
        let mut version = None;
        if let Ok(brought) = outcome {
            changed = brought.set.is_some();
            version = brought.version;
            if let Some(next) = brought.set {
                let next = Arc::new(next);
                let mut set = self.set.write().unwrap_or_else(PoisonError::into_inner);
                set.retire_all_but(&next);
                *set = next;
            }
            self.due_after.store(millis(brought.pace.due), Ordering::Release);
            self.fresh_for.store(millis(brought.pace.fresh), Ordering::Release);
            let began = began.since(Monotonic::from_origin(Duration::ZERO));
            self.fetched.store(millis(began), Ordering::Release);
        }
        let flight = {
            let mut refresh = self.refresh();
            refresh.failed = failure.map(|_| self.now());
            if failure.is_some() {
                // What the metadata said may be out of date as well. What the set in use is known by is not.
                refresh.jwks = None;
            } else {
                refresh.version = version;
            }
            refresh.flight.take()
        };
        let (issuer, count) = (&*self.issuer, self.current().0.len());
        match failure {
            None => tracing::debug!(issuer, count, changed, "the key set was fetched"),
            Some(why) => {
                self.failures.fetch_add(1, Ordering::Relaxed);
                tracing::warn!(issuer, why, "the key set could not be fetched");
            }
        }
        match failure {
            Some(_) => self.note("keys_refresh_failed"),
            // A file is looked at every few seconds: only a change of it is news.
            None if changed || !matches!(self.source, Origin::File(_)) => self.note("keys_refreshed"),
            None => {}
        }
        if let Some(flight) = flight {
            flight.land();
        }
    }

    fn note(&self, code: &'static str) {
        let Some(audit) = &self.outside.audit else { return };
        let (time, decision) = (self.outside.clock.unix_millis(), Decision::Allow(code));
        let mut event = audit.event(time, Direction::Internal, EventKind::Notice, "keys", decision);
        event.destination = Some(self.issuer.clone());
        if audit.write(event).is_err() {
            tracing::warn!(issuer = &*self.issuer, code, "the audit log has no room for a notice");
        }
    }
}
