//! Every metric there is.

use metrics::{Counter, Gauge, Histogram, Key, Label, Level, Metadata, Unit, with_recorder};

/// What a metric does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Takes samples.
    Histogram,
}

impl Kind {
    /// The name, as documents write it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// One metric.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Metric {
    /// Its name: `hopguard_`, a direction, what it counts, its unit.
    pub name: &'static str,
    /// What it does.
    pub kind: Kind,
    /// The names of its labels. Their values are from closed sets.
    pub labels: &'static [&'static str],
    /// What it means, one line.
    pub meaning: &'static str,
}

const fn metric(
    name: &'static str,
    kind: Kind,
    labels: &'static [&'static str],
    meaning: &'static str,
) -> Metric {
    Metric { name, kind, labels, meaning }
}

const CODED: &[&str] = &["decision", "code"];

pub(crate) const INBOUND_DECISIONS: Metric = metric(
    "hopguard_inbound_decisions_total",
    Kind::Counter,
    CODED,
    "Decisions about requests that came in, strangers beyond the audit's limit included.",
);
pub(crate) const OUTBOUND_DECISIONS: Metric = metric(
    "hopguard_outbound_decisions_total",
    Kind::Counter,
    CODED,
    "Decisions about calls onwards; `passthrough_blocked` is the passthrough block's.",
);
pub(crate) const INBOUND_OUTCOMES: Metric =
    metric("hopguard_inbound_outcomes_total", Kind::Counter, CODED, "How admitted requests ended.");
pub(crate) const OUTBOUND_OUTCOMES: Metric =
    metric("hopguard_outbound_outcomes_total", Kind::Counter, CODED, "How calls that were sent ended.");
pub(crate) const NOTICES: Metric = metric(
    "hopguard_internal_notices_total",
    Kind::Counter,
    CODED,
    "What happened beside decisions: keys refreshed, waivers used, ledger overflows, withdrawals.",
);
pub(crate) const GRANTS: Metric = metric(
    "hopguard_outbound_grants_total",
    Kind::Counter,
    &["cache"],
    "Calls sent with a grant, by how it was had: `hit`, `miss` (an exchange of its own), `coalesced`.",
);
pub(crate) const INBOUND_DECISION_TIME: Metric = metric(
    "hopguard_inbound_decision_seconds",
    Kind::Histogram,
    &["decision"],
    "From a request's arrival to the decision about it.",
);
pub(crate) const OUTBOUND_DECISION_TIME: Metric = metric(
    "hopguard_outbound_decision_seconds",
    Kind::Histogram,
    &["decision"],
    "From the start of a call onwards to the decision about it, an exchange included.",
);
pub(crate) const GRANT_TIME: Metric = metric(
    "hopguard_outbound_grant_seconds",
    Kind::Histogram,
    &["cache"],
    "The same for calls that were sent with a grant: `miss` is what an exchange costs a caller.",
);
pub(crate) const INBOUND_TIME: Metric = metric(
    "hopguard_inbound_request_seconds",
    Kind::Histogram,
    &[],
    "From the arrival of an admitted request to its end.",
);
pub(crate) const OUTBOUND_TIME: Metric = metric(
    "hopguard_outbound_call_seconds",
    Kind::Histogram,
    &[],
    "From the start of a call onwards that was sent to its end.",
);
pub(crate) const KEY_SET_AGE: Metric = metric(
    "hopguard_internal_key_set_age_seconds",
    Kind::Gauge,
    &["issuer"],
    "How long ago the issuer was last asked for its keys with success; NaN if never.",
);
pub(crate) const KEY_SET_USABLE: Metric = metric(
    "hopguard_internal_key_set_usable",
    Kind::Gauge,
    &["issuer"],
    "1 if the issuer's keys may be used, else 0.",
);
pub(crate) const KEY_SET_KEYS: Metric = metric(
    "hopguard_internal_key_set_keys",
    Kind::Gauge,
    &["issuer"],
    "How many keys of the issuer can serve.",
);
pub(crate) const KEY_SET_FETCHES: Metric = metric(
    "hopguard_internal_key_set_fetches_total",
    Kind::Counter,
    &["issuer"],
    "How often the issuer was asked for its keys.",
);
pub(crate) const KEY_SET_FAILURES: Metric =
    metric("hopguard_internal_key_set_failures_total", Kind::Counter, &["issuer"], "How often that failed.");
pub(crate) const LEDGER: Metric = metric(
    "hopguard_internal_ledger_entries",
    Kind::Gauge,
    &[],
    "Live credentials that the passthrough block knows.",
);
pub(crate) const EXCHANGES: Metric = metric(
    "hopguard_outbound_exchanges_total",
    Kind::Counter,
    &["cause"],
    "Exchanges begun: because a `call` needed a grant, or for its `renewal` before its end.",
);
pub(crate) const EXCHANGES_FAILED: Metric = metric(
    "hopguard_outbound_exchanges_failed_total",
    Kind::Counter,
    &[],
    "Exchanges that ended without a grant.",
);
pub(crate) const EXCHANGES_UNDER_WAY: Metric =
    metric("hopguard_outbound_exchanges_under_way", Kind::Gauge, &[], "Exchanges under way.");
pub(crate) const EXCHANGE_WAITERS: Metric =
    metric("hopguard_outbound_exchange_waiters", Kind::Gauge, &[], "Calls that wait for an exchange.");
pub(crate) const GRANTS_KEPT: Metric =
    metric("hopguard_outbound_grants_kept", Kind::Gauge, &[], "Entries of the grant cache.");
pub(crate) const QUEUE_EVENTS: Metric = metric(
    "hopguard_internal_audit_queue_events",
    Kind::Gauge,
    &["sink", "lane"],
    "Places of a log's queue that are taken, those of strangers apart.",
);
pub(crate) const QUEUE_PLACES: Metric =
    metric("hopguard_internal_audit_queue_places", Kind::Gauge, &["sink", "lane"], "Places that there are.");
pub(crate) const AUDIT_LOST: Metric =
    metric("hopguard_internal_audit_lost_total", Kind::Counter, &["sink"], "Events that found no place.");
pub(crate) const AUDIT_FAILURES: Metric = metric(
    "hopguard_internal_audit_failures_total",
    Kind::Counter,
    &["sink"],
    "How often a log's writer failed.",
);

/// Every metric that this crate has, in the order of `docs/METRICS.md`.
///
/// ```
/// assert!(hopguard_metrics::METRICS.iter().all(|metric| metric.name.starts_with("hopguard_")));
/// ```
pub const METRICS: &[Metric] = &[
    INBOUND_DECISIONS,
    INBOUND_OUTCOMES,
    INBOUND_DECISION_TIME,
    INBOUND_TIME,
    OUTBOUND_DECISIONS,
    OUTBOUND_OUTCOMES,
    OUTBOUND_DECISION_TIME,
    OUTBOUND_TIME,
    GRANTS,
    GRANT_TIME,
    GRANTS_KEPT,
    EXCHANGES,
    EXCHANGES_FAILED,
    EXCHANGES_UNDER_WAY,
    EXCHANGE_WAITERS,
    NOTICES,
    KEY_SET_AGE,
    KEY_SET_USABLE,
    KEY_SET_KEYS,
    KEY_SET_FETCHES,
    KEY_SET_FAILURES,
    LEDGER,
    QUEUE_EVENTS,
    QUEUE_PLACES,
    AUDIT_LOST,
    AUDIT_FAILURES,
];

const METADATA: Metadata<'static> = Metadata::new("hopguard", Level::INFO, None);

impl Metric {
    fn unit(&self) -> Unit {
        if self.name.ends_with("_seconds") { Unit::Seconds } else { Unit::Count }
    }

    fn key(&self, values: &[&str]) -> Key {
        // A label without its value, or the other way round, is a series that nobody documented.
        debug_assert_eq!(self.labels.len(), values.len(), "{}", self.name);
        let labels: Vec<Label> = self
            .labels
            .iter()
            .zip(values)
            .map(|(name, value)| Label::new(*name, (*value).to_owned()))
            .collect();
        Key::from_parts(self.name, labels)
    }

    pub(crate) fn counter(&self, values: &[&str]) -> Counter {
        with_recorder(|recorder| {
            recorder.describe_counter(self.name.into(), Some(self.unit()), self.meaning.into());
            recorder.register_counter(&self.key(values), &METADATA)
        })
    }

    pub(crate) fn gauge(&self, values: &[&str]) -> Gauge {
        with_recorder(|recorder| {
            recorder.describe_gauge(self.name.into(), Some(self.unit()), self.meaning.into());
            recorder.register_gauge(&self.key(values), &METADATA)
        })
    }

    pub(crate) fn histogram(&self, values: &[&str]) -> Histogram {
        with_recorder(|recorder| {
            recorder.describe_histogram(self.name.into(), Some(self.unit()), self.meaning.into());
            recorder.register_histogram(&self.key(values), &METADATA)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_follow_the_rule() {
        let mut seen = HashSet::new();
        for metric in METRICS {
            let rest = metric.name.strip_prefix("hopguard_").unwrap();
            let directed = ["inbound_", "outbound_", "internal_"].iter().any(|start| rest.starts_with(start));
            assert!(directed && seen.insert(metric.name), "{}", metric.name);
            assert_eq!(metric.name.ends_with("_total"), metric.kind == Kind::Counter, "{}", metric.name);
            assert!(metric.kind != Kind::Histogram || metric.name.ends_with("_seconds"), "{}", metric.name);
            let closed = ["code", "decision", "cache", "cause", "sink", "lane", "issuer"];
            assert!(metric.labels.iter().all(|label| closed.contains(label)), "{}", metric.name);
        }
    }

    /// The table of docs/METRICS.md is this list. If they differ, the failure holds the text to paste.
    #[test]
    fn the_published_table_is_this_list() {
        let mut table = String::from("| metric | kind | labels | meaning |\n| --- | --- | --- | --- |\n");
        for metric in METRICS {
            let labels: Vec<_> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
            let labels = if labels.is_empty() { "-".to_owned() } else { labels.join(", ") };
            let (name, kind) = (metric.name, metric.kind.name());
            table.push_str(&format!("| `{name}` | {kind} | {labels} | {} |\n", metric.meaning));
        }
        let published = include_str!("../../../docs/METRICS.md");
        let at = published.find("| metric |").expect("docs/METRICS.md has a table");
        let found = published.get(at..).and_then(|rest| rest.split("\n\n").next()).unwrap_or_default();
        assert_eq!(found.trim_end(), table.trim_end(), "paste this into docs/METRICS.md:\n\n{table}");
    }
}
