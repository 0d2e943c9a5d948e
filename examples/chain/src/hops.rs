//! One good request, read back from the audit of every service.

use hopguard_core::{Event, EventKind};
use serde_json::{Value, json};

use crate::system::System;

/// What one service saw of a request.
pub struct Hop {
    pub admitted: Event,
    pub sent: Option<Event>,
    pub outcome: Option<Event>,
}

/// The hops of the request with this trace id, in the order of the chain.
pub fn hops(system: &System, trace: &str) -> Vec<Hop> {
    let ours = |event: &Event| event.trace.is_some_and(|found| found.trace_id() == trace);
    let of_service = |service: &crate::system::Running| {
        let events = service.kept.find(ours);
        let code = |code| events.iter().find(|event| event.decision.code() == code).cloned();
        let outcome = events.iter().find(|event| event.kind == EventKind::Outcome && event.gate == "inbound");
        Some(Hop { admitted: code("admitted")?, sent: code("sent"), outcome: outcome.cloned() })
    };
    [&system.gateway, &system.orders, &system.inventory].into_iter().filter_map(of_service).collect()
}

impl Hop {
    /// Seconds that the token had left when it was admitted.
    pub fn expires_in(&self) -> u64 {
        let token = self.admitted.token.as_ref();
        token.map_or(0, |token| token.expires.as_secs().saturating_sub(self.admitted.time_millis / 1000))
    }

    pub fn actors(&self) -> Vec<String> {
        let actors = self.admitted.token.iter().flat_map(|token| token.actors.actors());
        actors.map(|actor| actor.subject.to_string()).collect()
    }

    pub fn audience(&self) -> String {
        self.admitted.token.as_ref().map(|token| token.audiences.join(" ")).unwrap_or_default()
    }

    pub fn scopes(&self) -> String {
        self.admitted.token.as_ref().map(|token| token.scopes.to_string()).unwrap_or_default()
    }

    pub fn fingerprint(&self) -> String {
        self.admitted.token.as_ref().map(|token| token.fingerprint.to_string()).unwrap_or_default()
    }

    /// The fingerprint of the grant that this hop sent on.
    pub fn sent_fingerprint(&self) -> Option<String> {
        Some(self.sent.as_ref()?.grant.as_ref()?.fingerprint.to_string())
    }

    pub fn status(&self) -> u16 {
        self.outcome.as_ref().and_then(|outcome| outcome.status).unwrap_or(0)
    }

    pub fn took_micros(&self) -> u128 {
        let took = self.outcome.as_ref().and_then(|outcome| outcome.latency);
        took.map_or(0, |took| took.as_micros())
    }

    /// As `--json` prints it; `parent` is the token that this one was exchanged for.
    pub fn json(&self, parent: Option<&str>) -> Value {
        json!({
            "service": &*self.admitted.origin.service,
            "issuer": self.admitted.token.as_ref().map(|token| &*token.issuer),
            "audience": self.audience(),
            "scopes": self.scopes().split_whitespace().collect::<Vec<_>>(),
            "expires_in": self.expires_in(),
            "actors": self.actors(),
            "parent": parent,
            "fingerprint": self.fingerprint(),
            "status": self.status(),
        })
    }
}

/// Does every hop narrow what it received? Returns what does not hold.
pub fn problems(hops: &[Hop]) -> Vec<String> {
    let mut problems = Vec::new();
    if hops.len() != 3 {
        problems.push(format!("{} hops of 3 were written down", hops.len()));
    }
    for hop in hops.iter().filter(|hop| hop.status() != 200) {
        problems.push(format!("{} answered {}", hop.admitted.origin.service, hop.status()));
    }
    for pair in hops.windows(2) {
        let [before, after] = pair else { continue };
        let (from, to) = (&before.admitted.origin.service, &after.admitted.origin.service);
        let expires = |hop: &Hop| hop.admitted.token.as_ref().map(|token| token.expires);
        if before.audience() == after.audience() {
            problems.push(format!("{from} and {to} take the same audience"));
        }
        if expires(after) > expires(before) {
            problems.push(format!("the token at {to} outlives the one at {from}"));
        }
        if after.actors() != [vec![from.to_string()], before.actors()].concat() {
            problems.push(format!("the actor chain at {to} is not that at {from} and {from}"));
        }
        if before.sent_fingerprint().as_deref() != Some(after.fingerprint().as_str()) {
            problems.push(format!("{to} received another token than {from} was granted"));
        }
    }
    problems
}
