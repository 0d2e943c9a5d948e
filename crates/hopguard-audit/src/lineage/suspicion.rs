//! What does not fit together in the logs of several services. A suspicion is a reason to look, no verdict: a
//! log that was not given, or lost events, can be the cause. What cannot be judged without a missing log is not
//! judged.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde::Serialize;

use super::{Foreign, Lineage, Record, TokenSeen, edge, graph, presentations};

/// How far the clocks of two services may stand apart.
const SKEW_MS: u64 = 5_000;

/// What does not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum SuspicionKind {
    /// The token was shown, but its grantee's log knows no such call.
    PresentationUnmatched,
    /// The token was shown from two addresses.
    TwoPeers,
    /// Two services say that they sent the token, which is granted to one.
    TwoHolders,
    /// The token was shown to a service that it was not granted for.
    UsedElsewhere,
    /// A credential was about to leave for where it was not granted, and was stopped.
    LeakBlocked,
    /// A service says that it was granted a token, or was shown one that was exchanged; the authorization server's
    /// log says otherwise.
    EdgeContradicted,
    /// A grant is good for more than was asked, or than its parent was.
    AudienceGrew,
    /// A grant's actor chain is not its parent's and one more.
    ActorLost,
    /// Logs say that tokens were made from one another in a circle, which cannot be: one of them is wrong.
    MadeInCircle,
    /// Two logs say different things of one token, whose fingerprint stands for one content.
    DescribedDifferently,
    /// The token was let through after its expiry.
    UsedAfterExpiry,
    /// The token was shown after it was withdrawn.
    UsedAfterWithdrawal,
    /// A log tells of the token in the name of a service that it does not speak for. That record is not believed.
    ServiceForeign,
}

impl SuspicionKind {
    /// The stable name, as in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::PresentationUnmatched => "presentation_unmatched",
            Self::TwoPeers => "two_peers",
            Self::TwoHolders => "two_holders",
            Self::UsedElsewhere => "used_elsewhere",
            Self::LeakBlocked => "leak_blocked",
            Self::EdgeContradicted => "edge_contradicted",
            Self::AudienceGrew => "audience_grew",
            Self::ActorLost => "actor_lost",
            Self::MadeInCircle => "made_in_circle",
            Self::DescribedDifferently => "described_differently",
            Self::UsedAfterExpiry => "used_after_expiry",
            Self::UsedAfterWithdrawal => "used_after_withdrawal",
            Self::ServiceForeign => "service_foreign",
        }
    }
}

/// One thing that does not fit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Suspicion {
    /// What.
    pub kind: SuspicionKind,
    /// The token's fingerprint.
    pub fingerprint: String,
    /// When, in milliseconds.
    pub time_ms: u64,
    /// In whose log. For [`SuspicionKind::ServiceForeign`], whom the log speaks for, or its path where that
    /// is not known.
    pub service: String,
    /// The event to look at.
    pub event_id: String,
    /// Why, as a sentence.
    pub reason: String,
}

struct Found(Vec<Suspicion>);

impl Found {
    fn add(&mut self, kind: SuspicionKind, fingerprint: &str, record: &Record, reason: String) {
        self.0.push(Suspicion {
            kind,
            fingerprint: fingerprint.to_owned(),
            time_ms: record.time_ms,
            service: record.service.clone(),
            event_id: record.event_id.clone(),
            reason,
        });
    }
}

pub(super) fn find(lineage: &Lineage) -> Vec<Suspicion> {
    let mut found = Found(Vec::new());
    let records = &lineage.records;
    unmatched(lineage, &mut found);
    peers(records, &mut found);
    holders(records, &mut found);
    contradicted(records, &mut found);
    uses(records, &mut found);
    let mut edges = BTreeSet::new();
    for record in records.iter().filter(|record| record.allowed()) {
        if let (Some(parent), Some(grant)) = (&record.token, &record.grant)
            && edges.insert(edge(record))
        {
            narrowing(parent, grant, record, &mut found);
        }
    }
    circles(lineage, &mut found);
    differing(lineage, &mut found);
    foreign(lineage, &mut found);
    found.0.sort_by_key(|suspicion| (suspicion.time_ms, suspicion.kind));
    found.0
}

/// Every event that says of two tokens of one circle that one was made from the other; which one is wrong, none tells.
fn circles(lineage: &Lineage, found: &mut Found) {
    let tokens = lineage.seen();
    let mut circle_of: BTreeMap<&str, usize> = BTreeMap::new();
    for (number, circle) in graph::circles(&tokens, &lineage.children, &lineage.parents).iter().enumerate() {
        circle_of.extend(circle.iter().map(|token| (*token, number)));
    }
    let mut told = BTreeSet::new();
    for record in lineage.records.iter().filter(|record| record.allowed()) {
        let Some(said @ (parent, child)) = edge(record) else { continue };
        let (Some(of_parent), Some(of_child)) = (circle_of.get(parent), circle_of.get(child)) else {
            continue;
        };
        if of_parent == of_child && told.insert((said, &record.service)) {
            let parent = parent.get(..12).unwrap_or(parent);
            let reason = format!("said to be made from {parent}, which other events say was made from it");
            found.add(SuspicionKind::MadeInCircle, child, record, reason);
        }
    }
}

/// What every service reads alike, whatever issuer's profile it is set to.
fn essence(token: &TokenSeen) -> impl PartialEq + '_ {
    let audiences: BTreeSet<&str> = token.audiences.iter().map(String::as_str).collect();
    (&token.issuer, &token.subject, audiences, &token.actors, token.expires)
}

fn differing(lineage: &Lineage, found: &mut Found) {
    let mut first: BTreeMap<&str, (&TokenSeen, &Record)> = BTreeMap::new();
    let mut told = BTreeSet::new();
    for record in &lineage.records {
        for token in [&record.token, &record.grant].into_iter().flatten() {
            let (before, earlier) = *first.entry(&token.fingerprint).or_insert((token, record));
            if essence(before) != essence(token) && told.insert((&token.fingerprint, &record.service)) {
                let reason = format!("{} and {} do not say the same of it", earlier.service, record.service);
                found.add(SuspicionKind::DescribedDifferently, &token.fingerprint, record, reason);
            }
        }
    }
}

/// Once for each log, service and token.
fn foreign(lineage: &Lineage, found: &mut Found) {
    let mut told = BTreeSet::new();
    for one @ Foreign { file, line, speaks_for, record } in &lineage.foreign {
        let Some(token) = record.grant.as_ref().or(record.token.as_ref()) else { continue };
        if !told.insert((file, &record.service, &token.fingerprint)) {
            continue;
        }
        let reason = format!("told in the name of {} at {} line {line}", record.service, file.display());
        found.add(SuspicionKind::ServiceForeign, &token.fingerprint, record, reason);
        let whose =
            if one.speaks_for.is_empty() { file.display().to_string() } else { speaks_for.join(", ") };
        if let Some(last) = found.0.last_mut() {
            last.service = whose;
        }
    }
}

/// Each presentation of a grant must be a call that its grantee wrote down; one call is one presentation.
fn unmatched(lineage: &Lineage, found: &mut Found) {
    let records = &lineage.records;
    // INVARIANT: I14 — a log that was emptied is still here, and knows no call.
    let bound = lineage.bound.iter().map(String::as_str);
    let services: BTreeSet<&str> =
        records.iter().map(|record| record.service.as_str()).chain(bound).collect();
    // An exchange and a block that each stand alone write two decisions about one call: the block's is the last.
    fn key(record: &Record) -> Option<(&str, &str, &str)> {
        Some((&record.service, record.request_id.as_ref()?, &record.grant.as_ref()?.fingerprint))
    }
    let blocks = records.iter().filter(|r| r.direction == "outbound" && r.gate == "passthrough");
    let judged: BTreeSet<_> = blocks.filter_map(key).collect();
    let is_twice = |record: &Record| {
        record.gate == "egress"
            && record.code == "passed"
            && key(record).is_some_and(|key| judged.contains(&key))
    };
    let mut calls: BTreeMap<(&str, &str), Calls<'_>> = BTreeMap::new();
    for record in records.iter().filter(|r| r.direction == "outbound" && r.is_decision() && r.allowed()) {
        if let Some(grant) = record.grant.as_ref().filter(|_| !is_twice(record)) {
            calls.entry((&record.service, &grant.fingerprint)).or_default().made(record);
        }
    }
    for (_, token, record) in presentations(records) {
        // Only what was granted to a service whose log is here can be matched.
        let Some(holder) = token.actors.first().map(|actor| actor.subject.as_str()) else { continue };
        if !services.contains(holder) {
            continue;
        }
        let calls = calls.entry((holder, &token.fingerprint)).or_default();
        if !calls.answered_by(record) {
            found.add(
                SuspicionKind::PresentationUnmatched,
                &token.fingerprint,
                record,
                format!("{} was shown this token of {holder}, whose log has no such call", record.service),
            );
        }
    }
}

/// Calls with one token that no presentation was matched with yet. Each by its trace, the oldest first; whoever shows a
/// token a million times makes no million times a million comparisons.
#[derive(Default)]
struct Calls<'a> {
    of_trace: BTreeMap<Option<&'a str>, VecDeque<u64>>,
    /// The oldest call of each trace.
    oldest: BTreeSet<(u64, Option<&'a str>)>,
}

impl<'a> Calls<'a> {
    /// In the order of their times.
    fn made(&mut self, call: &'a Record) {
        let trace = call.trace_id.as_deref();
        let calls = self.of_trace.entry(trace).or_default();
        if calls.is_empty() {
            self.oldest.insert((call.time_ms, trace));
        }
        calls.push_back(call.time_ms);
    }

    /// Takes away the call that this presentation can be of.
    fn answered_by(&mut self, shown: &'a Record) -> bool {
        let latest = shown.time_ms.saturating_add(SKEW_MS);
        let trace = shown.trace_id.as_deref();
        if self.take(trace, latest) || self.take(None, latest) {
            return true;
        }
        // Where the presentation names no trace it may be of any, and is of the oldest.
        let other = if trace.is_none() { self.oldest.first().copied() } else { None };
        other.is_some_and(|(_, trace)| self.take(trace, latest))
    }

    fn take(&mut self, trace: Option<&'a str>, latest: u64) -> bool {
        let Some(calls) = self.of_trace.get_mut(&trace) else { return false };
        let Some(at) = calls.pop_front_if(|at| *at <= latest) else { return false };
        self.oldest.remove(&(at, trace));
        match calls.front() {
            Some(next) => drop(self.oldest.insert((*next, trace))),
            None => drop(self.of_trace.remove(&trace)),
        }
        true
    }
}

fn peers(records: &[Record], found: &mut Found) {
    let mut first: BTreeMap<&str, (String, &Record)> = BTreeMap::new();
    let mut told = BTreeSet::new();
    for (_, token, record) in presentations(records) {
        let Some(address) = record.peer_address() else { continue };
        let (before, earlier) = first.entry(&token.fingerprint).or_insert_with(|| (address.clone(), record));
        if *before != address && told.insert((&token.fingerprint, address.clone())) {
            let reason = format!("shown from {address} here and from {before} to {}", earlier.service);
            found.add(SuspicionKind::TwoPeers, &token.fingerprint, record, reason);
        }
    }
}

/// A grant is made for one service. Its processes may share it; nobody else may.
fn holders(records: &[Record], found: &mut Found) {
    let mut first: BTreeMap<&str, &Record> = BTreeMap::new();
    let mut told = BTreeSet::new();
    for record in records.iter().filter(|r| r.direction == "outbound" && r.is_decision() && r.allowed()) {
        let Some(grant) = &record.grant else { continue };
        let earlier = first.entry(&grant.fingerprint).or_insert(record);
        if earlier.service != record.service && told.insert((&grant.fingerprint, &record.service)) {
            let reason = format!("sent by {} here, and before by {}", record.service, earlier.service);
            found.add(SuspicionKind::TwoHolders, &grant.fingerprint, record, reason);
        }
    }
}

fn contradicted(records: &[Record], found: &mut Found) {
    let exchanged = |record: &&Record| record.is_exchange() && record.allowed();
    let mut servers: BTreeMap<&str, BTreeSet<(&str, &str)>> = BTreeMap::new();
    // What each server has made, and from when on its log tells.
    let mut made: BTreeMap<&str, (u64, BTreeSet<&str>)> = BTreeMap::new();
    for record in records.iter().filter(exchanged) {
        if let (Some(grant), Some(edge)) = (&record.grant, edge(record)) {
            servers.entry(&grant.issuer).or_default().insert(edge);
            let (_, all) = made.entry(&grant.issuer).or_insert_with(|| (record.time_ms, BTreeSet::new()));
            all.insert(edge.1);
        }
    }
    let mut told = BTreeSet::new();
    let mut named = BTreeSet::new();
    for record in records.iter().filter(|record| !record.is_exchange() && record.allowed()) {
        let (Some(grant), Some(said)) = (&record.grant, edge(record)) else { continue };
        let Some(issued) = servers.get(grant.issuer.as_str()) else { continue };
        if issued.contains(&said) || !told.insert(said) {
            continue;
        }
        named.insert(said.1);
        let other = issued.iter().find(|(_, child)| *child == said.1);
        let reason = match other {
            Some((parent, _)) => {
                let parent = parent.get(..12).unwrap_or(parent);
                format!("the authorization server made it from {parent}, not from the token named here")
            }
            None => "the authorization server's log does not know this grant".to_owned(),
        };
        found.add(SuspicionKind::EdgeContradicted, said.1, record, reason);
    }
    // Only an exchange names an actor. A token that names one and was never made is forged with a stolen key.
    for (_, token, record) in presentations(records) {
        let Some((since, all)) = made.get(token.issuer.as_str()) else { continue };
        let in_its_time = token.issued_at.is_none_or(|at| at.saturating_mul(1000) >= *since);
        let unknown = !token.actors.is_empty() && !all.contains(token.fingerprint.as_str());
        if unknown && in_its_time && record.time_ms >= *since && named.insert(&token.fingerprint) {
            let reason = "names an actor, and the authorization server's log does not know it".to_owned();
            found.add(SuspicionKind::EdgeContradicted, &token.fingerprint, record, reason);
        }
    }
}

fn narrowing(parent: &TokenSeen, grant: &TokenSeen, record: &Record, found: &mut Found) {
    let asked = record.requested.as_ref().map(|requested| &requested.audience);
    let beyond = grant.audiences.iter().find(|audience| asked.is_some_and(|asked| *audience != asked));
    if let Some(audience) = beyond {
        let reason = format!("good for {audience}, which was not asked");
        found.add(SuspicionKind::AudienceGrew, &grant.fingerprint, record, reason);
    } else if grant.audiences.len() > parent.audiences.len() {
        let reason = "good for more audiences than the token it was made from".to_owned();
        found.add(SuspicionKind::AudienceGrew, &grant.fingerprint, record, reason);
    }
    let rest = grant.actors.get(1..);
    if rest != Some(parent.actors.as_slice()) {
        let chain = |token: &TokenSeen| {
            let actors: Vec<_> = token.actors.iter().map(|actor| actor.subject.as_str()).collect();
            if actors.is_empty() { "nobody".to_owned() } else { actors.join(" < ") }
        };
        let reason = format!("acted by {}, made from a token acted by {}", chain(grant), chain(parent));
        found.add(SuspicionKind::ActorLost, &grant.fingerprint, record, reason);
    }
}

fn uses(records: &[Record], found: &mut Found) {
    let mut withdrawn: BTreeMap<&str, u64> = BTreeMap::new();
    for record in records {
        let notice = record.code == "withdrawal";
        let token = record.token.as_ref().map(|token| token.fingerprint.as_str());
        if let Some(token) = record.found.as_deref().or(token).filter(|_| notice) {
            withdrawn.entry(token).or_insert(record.time_ms);
        }
        if record.code == "passthrough_blocked"
            && let Some(token) = &record.found
        {
            let place = record.place.as_deref().unwrap_or("the request");
            let to = record.destination.as_deref().unwrap_or("somewhere");
            let reason = format!("was about to leave for {to} in {place}");
            found.add(SuspicionKind::LeakBlocked, token, record, reason);
        }
    }
    for (_, token, record) in presentations(records) {
        if record.code == "audience_mismatch" {
            let reason = format!("granted for {}, shown to {}", token.audiences.join(", "), record.service);
            found.add(SuspicionKind::UsedElsewhere, &token.fingerprint, record, reason);
        }
        // RFC 7519 section 4.1.4: on or after `exp` it must not be accepted.
        if record.allowed() && record.time_ms / 1000 >= token.expires {
            let late = record.time_ms / 1000 - token.expires;
            let reason = format!("let through {late} s after its expiry");
            found.add(SuspicionKind::UsedAfterExpiry, &token.fingerprint, record, reason);
        }
        let refused = record.code.ends_with("_withdrawn");
        if refused || withdrawn.get(token.fingerprint.as_str()).is_some_and(|at| *at < record.time_ms) {
            let verdict = if record.allowed() { "let through" } else { "refused" };
            let reason = format!("shown after it was withdrawn, and {verdict}");
            found.add(SuspicionKind::UsedAfterWithdrawal, &token.fingerprint, record, reason);
        }
    }
}
