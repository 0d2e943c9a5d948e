//! Asks how things stand, each time that somebody wants to know.

use std::sync::Arc;

use hopguard_audit::{DurableLog, JsonLines, QueueStatus};
use hopguard_core::Ledger;
use hopguard_exchange::Exchanger;
use hopguard_tower::{Egress, Inbound};
use hopguard_verify::Verifier;
use metrics::{Counter, Gauge};

use crate::list::{
    AUDIT_FAILURES, AUDIT_LOST, EXCHANGE_WAITERS, EXCHANGES, EXCHANGES_FAILED, EXCHANGES_UNDER_WAY,
    GRANTS_KEPT, KEY_SET_AGE, KEY_SET_FAILURES, KEY_SET_FETCHES, KEY_SET_KEYS, KEY_SET_USABLE, LEDGER,
    QUEUE_EVENTS, QUEUE_PLACES,
};

/// Writes gauges and totals of what it was given; call [`observe`](Self::observe) before each page of metrics.
///
/// It writes into the recorder that is installed when its parts are named. A name given twice counts twice into the
/// same series: name each part once.
#[derive(Debug, Default)]
pub struct Observer {
    verifiers: Vec<(Verifier, Vec<KeySet>)>,
    exchangers: Vec<(Exchanger, Exchanges)>,
    ledgers: Vec<(Ledger, Gauge)>,
    queues: Vec<Queue>,
}

#[derive(Debug)]
struct KeySet {
    age: Gauge,
    usable: Gauge,
    keys: Gauge,
    fetches: Counter,
    failures: Counter,
}

#[derive(Debug)]
struct Exchanges {
    calls: Counter,
    renewals: Counter,
    failed: Counter,
    under_way: Gauge,
    waiting: Gauge,
    kept: Gauge,
}

#[derive(Debug)]
struct Queue {
    log: Log,
    taken: Gauge,
    strangers_taken: Gauge,
    lost: Counter,
    failures: Counter,
}

#[derive(Debug)]
enum Log {
    Lines(Arc<JsonLines>),
    Durable(Arc<DurableLog>),
}

impl Log {
    fn status(&self) -> QueueStatus {
        match self {
            Self::Lines(log) => log.status(),
            Self::Durable(log) => log.status(),
        }
    }
}

impl Observer {
    /// Knows nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The key sets of this stack, and its ledger.
    #[must_use]
    pub fn inbound(self, guard: &Inbound) -> Self {
        self.verifier(guard.verifier()).ledger(guard.hop().ledger())
    }

    /// The exchanger of this stack. Its ledger is that of the way in.
    #[must_use]
    pub fn egress(self, egress: &Egress) -> Self {
        self.exchanger(egress.exchanger())
    }

    /// The key sets of this verifier, for stacks put together by hand.
    #[must_use]
    pub fn verifier(mut self, verifier: &Verifier) -> Self {
        let of = |issuer: Arc<str>| KeySet {
            age: KEY_SET_AGE.gauge(&[&issuer]),
            usable: KEY_SET_USABLE.gauge(&[&issuer]),
            keys: KEY_SET_KEYS.gauge(&[&issuer]),
            fetches: KEY_SET_FETCHES.counter(&[&issuer]),
            failures: KEY_SET_FAILURES.counter(&[&issuer]),
        };
        // Issuers are configured, never taken from a token, so that their number is known.
        let sets = verifier.key_sets().into_iter().map(|set| of(set.issuer)).collect();
        self.verifiers.push((verifier.clone(), sets));
        self
    }

    /// How this exchanger fares.
    #[must_use]
    pub fn exchanger(mut self, exchanger: &Exchanger) -> Self {
        let exchanges = Exchanges {
            calls: EXCHANGES.counter(&["call"]),
            renewals: EXCHANGES.counter(&["renewal"]),
            failed: EXCHANGES_FAILED.counter(&[]),
            under_way: EXCHANGES_UNDER_WAY.gauge(&[]),
            waiting: EXCHANGE_WAITERS.gauge(&[]),
            kept: GRANTS_KEPT.gauge(&[]),
        };
        self.exchangers.push((exchanger.clone(), exchanges));
        self
    }

    /// How full this ledger is.
    #[must_use]
    pub fn ledger(mut self, ledger: &Ledger) -> Self {
        self.ledgers.push((ledger.clone(), LEDGER.gauge(&[])));
        self
    }

    /// The queue of this log.
    #[must_use]
    pub fn json_lines(self, log: &Arc<JsonLines>) -> Self {
        self.queue("json_lines", Log::Lines(log.clone()))
    }

    /// The queue of this log.
    #[must_use]
    pub fn durable_log(self, log: &Arc<DurableLog>) -> Self {
        self.queue("durable_log", Log::Durable(log.clone()))
    }

    fn queue(mut self, sink: &str, log: Log) -> Self {
        let status = log.status();
        QUEUE_PLACES.gauge(&[sink, "known"]).set(gauged(status.places));
        QUEUE_PLACES.gauge(&[sink, "strangers"]).set(gauged(status.stranger_places));
        self.queues.push(Queue {
            log,
            taken: QUEUE_EVENTS.gauge(&[sink, "known"]),
            strangers_taken: QUEUE_EVENTS.gauge(&[sink, "strangers"]),
            lost: AUDIT_LOST.counter(&[sink]),
            failures: AUDIT_FAILURES.counter(&[sink]),
        });
        self
    }

    /// Asks everything how it stands. No I/O; locks for as long as it takes to read a few numbers.
    pub fn observe(&self) {
        for (verifier, sets) in &self.verifiers {
            for (status, set) in verifier.key_sets().into_iter().zip(sets) {
                // Zero would be a lie about a set that was never fetched.
                set.age.set(status.age.map_or(f64::NAN, |age| age.as_secs_f64()));
                set.usable.set(f64::from(u8::from(status.usable)));
                set.keys.set(gauged(status.keys));
                set.fetches.absolute(status.fetches);
                set.failures.absolute(status.failures);
            }
        }
        for (exchanger, exchanges) in &self.exchangers {
            let status = exchanger.status();
            exchanges.calls.absolute(status.begun);
            exchanges.renewals.absolute(status.renewals);
            exchanges.failed.absolute(status.failed);
            exchanges.under_way.set(gauged(status.under_way));
            exchanges.waiting.set(gauged(status.waiting));
            exchanges.kept.set(gauged(status.kept));
        }
        for (ledger, gauge) in &self.ledgers {
            gauge.set(gauged(ledger.len()));
        }
        for queue in &self.queues {
            let status = queue.log.status();
            queue.taken.set(gauged(status.taken));
            queue.strangers_taken.set(gauged(status.strangers_taken));
            queue.lost.absolute(status.lost);
            queue.failures.absolute(status.failures);
        }
    }
}

/// Every count here is far below what a gauge holds exactly.
fn gauged(count: usize) -> f64 {
    u32::try_from(count).map_or(f64::INFINITY, f64::from)
}
