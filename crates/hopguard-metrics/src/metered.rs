//! Counts what passes on its way to an audit sink.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use hopguard_core::{
    Acknowledgement, AuditFull, AuditSink, CacheState, CodeKind, Direction, Event, EventKind, codes,
};
use metrics::{Counter, Histogram};

use crate::list::{
    GRANT_TIME, GRANTS, INBOUND_DECISION_TIME, INBOUND_DECISIONS, INBOUND_OUTCOMES, INBOUND_TIME, Metric,
    NOTICES, OUTBOUND_DECISION_TIME, OUTBOUND_DECISIONS, OUTBOUND_OUTCOMES, OUTBOUND_TIME,
};

/// An audit sink that counts each event and hands it on; see the crate's docs.
///
/// It counts into the recorder that is installed when it is made.
pub struct Metered {
    inner: Arc<dyn AuditSink>,
    codes: HashMap<&'static str, PerCode>,
    inbound: Times,
    outbound: Times,
    grants: [(Counter, Histogram); 3],
}

/// What one code counts into.
struct PerCode {
    decision: Decided,
    inbound: Counter,
    outbound: Counter,
    inbound_outcomes: Counter,
    outbound_outcomes: Counter,
    /// What is noticed beside decisions is never a denial or a fault.
    notices: Option<Counter>,
}

#[derive(Clone, Copy)]
enum Decided {
    Allow,
    Deny,
    Fault,
}

/// How long things took.
struct Times {
    allow: Histogram,
    deny: Histogram,
    fault: Histogram,
    whole: Histogram,
}

impl Times {
    fn new(decision: &Metric, whole: &Metric) -> Self {
        let of = |name| decision.histogram(&[name]);
        Self { allow: of("allow"), deny: of("deny"), fault: of("fault"), whole: whole.histogram(&[]) }
    }

    const fn decided(&self, decision: Decided) -> &Histogram {
        match decision {
            Decided::Allow => &self.allow,
            Decided::Deny => &self.deny,
            Decided::Fault => &self.fault,
        }
    }
}

impl PerCode {
    fn new(code: &'static str, kind: CodeKind) -> Self {
        let (decision, name) = match kind {
            CodeKind::Outcome => (Decided::Allow, "allow"),
            CodeKind::Denial => (Decided::Deny, "deny"),
            CodeKind::Fault => (Decided::Fault, "fault"),
        };
        let counter = |metric: &Metric| metric.counter(&[name, code]);
        Self {
            decision,
            inbound: counter(&INBOUND_DECISIONS),
            outbound: counter(&OUTBOUND_DECISIONS),
            inbound_outcomes: counter(&INBOUND_OUTCOMES),
            outbound_outcomes: counter(&OUTBOUND_OUTCOMES),
            notices: matches!(kind, CodeKind::Outcome).then(|| counter(&NOTICES)),
        }
    }
}

impl Metered {
    /// Counts what goes to `inner`.
    #[must_use]
    pub fn new(inner: Arc<dyn AuditSink>) -> Self {
        let grants = ["hit", "miss", "coalesced"];
        Self {
            inner,
            // The registry is closed: no event makes a series that is not here.
            codes: codes().map(|entry| (entry.code, PerCode::new(entry.code, entry.kind))).collect(),
            inbound: Times::new(&INBOUND_DECISION_TIME, &INBOUND_TIME),
            outbound: Times::new(&OUTBOUND_DECISION_TIME, &OUTBOUND_TIME),
            grants: grants.map(|cache| (GRANTS.counter(&[cache]), GRANT_TIME.histogram(&[cache]))),
        }
    }

    fn count(&self, event: &Event) {
        let outbound = match event.direction {
            Direction::Inbound => false,
            Direction::Outbound => true,
            Direction::Internal => return self.notice(event),
        };
        match event.kind {
            EventKind::Decision => self.decision(event, outbound),
            EventKind::Outcome => self.outcome(event, outbound),
            // The gate of a count is the code that was not written singly.
            EventKind::Count => {
                if let Some(code) = self.codes.get(event.gate) {
                    let counter = if outbound { &code.outbound } else { &code.inbound };
                    counter.increment(event.count.unwrap_or(1));
                }
            }
            EventKind::Notice => self.notice(event),
        }
    }

    fn notice(&self, event: &Event) {
        match self.codes.get(event.decision.code()).map(|code| (code.notices.as_ref(), &code.inbound)) {
            Some((Some(notices), _)) => notices.increment(1),
            // Not seen today; counted all the same.
            Some((None, decisions)) => decisions.increment(1),
            None => {}
        }
    }

    fn decision(&self, event: &Event, outbound: bool) {
        let Some(code) = self.codes.get(event.decision.code()) else { return };
        let (counter, times) =
            if outbound { (&code.outbound, &self.outbound) } else { (&code.inbound, &self.inbound) };
        counter.increment(1);
        if let Some(latency) = event.latency {
            times.decided(code.decision).record(latency);
        }
        let [hit, miss, coalesced] = &self.grants;
        let grant = match event.cache {
            Some(CacheState::Hit) => hit,
            Some(CacheState::Miss) => miss,
            Some(CacheState::Coalesced) => coalesced,
            _ => return,
        };
        // What was blocked after its grant had been had is counted as what it is.
        if outbound && matches!(code.decision, Decided::Allow) {
            grant.0.increment(1);
            if let Some(latency) = event.latency {
                grant.1.record(latency);
            }
        }
    }

    fn outcome(&self, event: &Event, outbound: bool) {
        let Some(code) = self.codes.get(event.decision.code()) else { return };
        let (counter, times) = if outbound {
            (&code.outbound_outcomes, &self.outbound)
        } else {
            (&code.inbound_outcomes, &self.inbound)
        };
        counter.increment(1);
        if let Some(latency) = event.latency {
            times.whole.record(latency);
        }
    }
}

impl AuditSink for Metered {
    fn reserve(&self) -> Result<(), AuditFull> {
        self.inner.reserve()
    }

    fn release(&self) {
        self.inner.release();
    }

    fn commit(&self, event: Event) {
        self.count(&event);
        self.inner.commit(event);
    }

    fn commit_durably(&self, event: Event) -> Acknowledgement {
        self.count(&event);
        self.inner.commit_durably(event)
    }

    fn offer(&self, event: Event) {
        self.count(&event);
        self.inner.offer(event);
    }

    fn problem(&self, service: &str) -> Option<String> {
        self.inner.problem(service)
    }
}

impl fmt::Debug for Metered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metered").field("inner", &self.inner).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use hopguard_audit::JsonLines;
    use hopguard_core::{Audit, Decision, Denial, Fault, StrangerLimits};
    use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};

    use super::*;

    /// A sink that keeps nothing.
    #[derive(Debug)]
    struct Nowhere;

    impl AuditSink for Nowhere {
        fn reserve(&self) -> Result<(), AuditFull> {
            Ok(())
        }

        fn release(&self) {}

        fn commit(&self, _event: Event) {}

        fn offer(&self, _event: Event) {}
    }

    fn metered(inner: Arc<dyn AuditSink>, limits: StrangerLimits) -> (Audit, PrometheusHandle) {
        let recorder = PrometheusBuilder::new().build_recorder();
        let handle = recorder.handle();
        let sink = metrics::with_local_recorder(&recorder, || Metered::new(inner));
        (Audit::with_limits("orders", "1", Arc::new(sink), limits), handle)
    }

    fn event(audit: &Audit, direction: Direction, kind: EventKind, decision: impl Into<Decision>) -> Event {
        let mut event = audit.event(1000, direction, kind, "gate", decision.into());
        event.latency = Some(Duration::from_millis(250));
        event
    }

    /// The value of the series that begins so.
    #[track_caller]
    fn value(page: &str, series: &str) -> f64 {
        let mut lines = page.lines().filter_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        let value = lines.next().unwrap_or_else(|| panic!("{series} is not in\n{page}"));
        assert_eq!(lines.next(), None, "{series} stands twice");
        value.parse().unwrap()
    }

    #[test]
    fn each_event_is_counted_once_where_it_belongs() {
        let (audit, page) = metered(Arc::new(Nowhere), StrangerLimits::default());
        let (inbound, outbound) = (Direction::Inbound, Direction::Outbound);
        let allow = Decision::Allow;
        audit.write(event(&audit, inbound, EventKind::Decision, allow("admitted"))).unwrap();
        audit.write(event(&audit, inbound, EventKind::Outcome, allow("completed"))).unwrap();
        audit.refusal(event(&audit, inbound, EventKind::Decision, Decision::Deny(Denial::ScopeTooBroad)));
        let mut sent = event(&audit, outbound, EventKind::Decision, allow("sent"));
        sent.cache = Some(CacheState::Miss);
        audit.write(sent).unwrap();
        let mut blocked =
            event(&audit, outbound, EventKind::Decision, Decision::Fault(Fault::PassthroughBlocked));
        blocked.cache = Some(CacheState::Hit);
        audit.refusal(blocked);
        audit.write(event(&audit, Direction::Internal, EventKind::Notice, allow("keys_refreshed"))).unwrap();
        audit.write(event(&audit, inbound, EventKind::Notice, allow("waiver_used"))).unwrap();
        let page = page.render();
        for (series, expected) in [
            (r#"hopguard_inbound_decisions_total{decision="allow",code="admitted"}"#, 1.0),
            (r#"hopguard_inbound_decisions_total{decision="deny",code="scope_too_broad"}"#, 1.0),
            (r#"hopguard_inbound_decisions_total{decision="deny",code="token_expired"}"#, 0.0),
            (r#"hopguard_inbound_outcomes_total{decision="allow",code="completed"}"#, 1.0),
            (r#"hopguard_outbound_decisions_total{decision="allow",code="sent"}"#, 1.0),
            (r#"hopguard_outbound_decisions_total{decision="fault",code="passthrough_blocked"}"#, 1.0),
            (r#"hopguard_inbound_decisions_total{decision="fault",code="passthrough_blocked"}"#, 0.0),
            (r#"hopguard_outbound_grants_total{cache="miss"}"#, 1.0),
            (r#"hopguard_outbound_grants_total{cache="hit"}"#, 0.0),
            (r#"hopguard_internal_notices_total{decision="allow",code="keys_refreshed"}"#, 1.0),
            (r#"hopguard_internal_notices_total{decision="allow",code="waiver_used"}"#, 1.0),
            (r#"hopguard_inbound_decision_seconds_sum{decision="allow"}"#, 0.25),
            (r#"hopguard_inbound_decision_seconds_count{decision="deny"}"#, 1.0),
            (r#"hopguard_outbound_grant_seconds_count{cache="miss"}"#, 1.0),
            ("hopguard_inbound_request_seconds_sum", 0.25),
        ] {
            assert_eq!(value(&page, series), expected, "{series}");
        }
        let total: f64 = page
            .lines()
            .filter(|line| line.starts_with("hopguard_inbound_decisions_total"))
            .map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap())
            .sum();
        assert_eq!(total, 2.0, "a notice or an outcome was taken for a decision");
    }

    #[test]
    fn strangers_are_counted_beyond_what_is_written_singly() {
        let limits = StrangerLimits { singly: 3, window_millis: 10_000 };
        let (audit, page) = metered(Arc::new(Nowhere), limits);
        for _ in 0..100 {
            let denied = Decision::Deny(Denial::SignatureInvalid);
            audit.stranger(event(&audit, Direction::Inbound, EventKind::Decision, denied));
        }
        audit.finish(20_000);
        let series = r#"hopguard_inbound_decisions_total{decision="deny",code="signature_invalid"}"#;
        assert_eq!(value(&page.render(), series), 100.0);
    }

    #[test]
    fn every_series_is_there_from_the_start_and_no_event_makes_another() {
        let (audit, page) = metered(Arc::new(Nowhere), StrangerLimits::default());
        let names = |page: String| -> Vec<String> {
            let counted = page.lines().filter(|line| line.contains("_total"));
            counted.filter_map(|line| Some(line.rsplit_once(' ')?.0.to_owned())).collect()
        };
        let before = names(page.render());
        for entry in codes() {
            for direction in [Direction::Inbound, Direction::Outbound, Direction::Internal] {
                for kind in [EventKind::Decision, EventKind::Outcome, EventKind::Notice] {
                    let mut event = event(&audit, direction, kind, Decision::Allow(entry.code));
                    event.place = Some("x-from-a-stranger".into());
                    event.destination = Some("https://from.a.stranger".into());
                    audit.refusal(event);
                }
            }
        }
        let after = page.render();
        assert!(!after.contains("from-a-stranger") && !after.contains("from.a.stranger"), "{after}");
        let mut sorted = (before, names(after));
        sorted.0.sort();
        sorted.1.sort();
        assert_eq!(sorted.0, sorted.1);
        // Bounded: the registry of codes in five families and a few more.
        assert!(sorted.0.len() <= codes().count() * 5 + 10, "{}", sorted.0.len());
    }

    /// What the exporter does with a sample is its own matter: no recorder is installed here.
    #[test]
    fn an_event_costs_no_allocation() {
        let audit = |sink: Arc<dyn AuditSink>| Audit::new("orders", "1", sink);
        let plain = audit(Arc::new(Nowhere));
        let counted = audit(Arc::new(Metered::new(Arc::new(Nowhere))));
        let allocations = |audit: &Audit| {
            let mut sent = event(audit, Direction::Outbound, EventKind::Decision, Decision::Allow("sent"));
            sent.cache = Some(CacheState::Hit);
            allocation_counter::measure(|| assert_eq!(audit.write(sent), Ok(()))).count_total
        };
        assert_eq!(allocations(&counted), allocations(&plain));
    }

    #[test]
    fn what_the_sink_promises_holds_through_it() {
        let log = JsonLines::to(std::io::sink()).places(1).open().unwrap();
        let sink = Metered::new(Arc::new(log));
        sink.reserve().unwrap();
        assert_eq!(sink.reserve(), Err(AuditFull));
        sink.release();
        sink.reserve().unwrap();
    }
}
