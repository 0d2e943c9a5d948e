//! What is written down: one schema, version 1, published in `schema/audit-event-v1.json`.
//!
//! An [`Event`] is captured on the request path as shared pointers and small values; whoever writes it
//! serialises it. What a token *said* before it was verified stands under `unverified`, and lineage never
//! reads it.

mod decision;
mod line;
mod requested;
mod trace;
mod unverified;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::{Facts, Fingerprint, Id, UnixTime, Waived};

pub use self::decision::{CacheState, Decision, Direction, EventKind};
pub use self::line::{harmless_json, is_steering};
pub use self::requested::Requested;
pub use self::trace::TraceContext;
pub use self::unverified::Unverified;

/// The version that every event carries.
pub const SCHEMA_VERSION: u16 = 1;

/// One event. Fields that do not apply are `None` and are not written.
///
/// Whatever way it is shown (as a line, by `Serialize`, by `Debug`), what looks like a token in it is shown as that
/// token's fingerprint.
#[derive(Clone)]
pub struct Event {
    /// Milliseconds since 1970-01-01T00:00:00Z.
    pub time_millis: u64,
    /// Which event this is; a refusal's answer names it.
    pub id: Id,
    /// Which request it belongs to; nil for notices.
    pub request_id: Option<Id>,
    /// Who writes it.
    pub origin: Arc<Origin>,
    /// Which way.
    pub direction: Direction,
    /// What kind.
    pub kind: EventKind,
    /// The gate that decided: `inbound`, `egress`, or the name of a guard that stands alone.
    pub gate: &'static str,
    /// What was decided.
    pub decision: Decision,
    /// The policy by which the gate decided, as its guard names it ([`Guard::policy`](crate::Guard::policy)).
    pub policy: Option<Arc<str>>,
    /// The request's method; `_OTHER` if it is none of those that every server knows.
    pub method: Option<&'static str>,
    /// The route template, where one is known.
    pub route: Option<Arc<str>>,
    /// The HTTP status that was answered.
    pub status: Option<u16>,
    /// The presented token, once verified.
    pub token: Option<Arc<Facts>>,
    /// What an unverified token claimed.
    pub unverified: Option<Box<Unverified>>,
    /// The transport's other end.
    pub peer: Option<SocketAddr>,
    /// Where the outgoing request goes.
    pub destination: Option<Arc<str>>,
    /// The kind of route that the call takes ([`RouteRule::name`](crate::RouteRule::name)): what is attached, and for
    /// whom.
    pub rule: Option<&'static str>,
    /// The client that authenticated; an authorization server writes it.
    pub client: Option<Arc<str>>,
    /// What was asked of the authorization server.
    pub requested: Option<Arc<Requested>>,
    /// The grant.
    pub grant: Option<Arc<Facts>>,
    /// How the grant was had.
    pub cache: Option<CacheState>,
    /// The credential that the passthrough block found.
    pub found: Option<Fingerprint>,
    /// Where it found it: `target`, or a header's name.
    pub place: Option<Box<str>>,
    /// The relaxation that was used, and on what grounds.
    pub waiver: Option<Box<Waived>>,
    /// Which attempt at the call this is, from 1.
    pub attempt: Option<u8>,
    /// How long what was admitted may run, where that is longer than its token lives.
    pub lasts_until: Option<UnixTime>,
    /// How many refusals a count stands for.
    pub count: Option<u64>,
    /// The trace that the request belongs to.
    pub trace: Option<TraceContext>,
    /// Time from the request's arrival.
    pub latency: Option<Duration>,
}

/// On whose behalf events are written. One for all events of a service, so that each costs one count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The service.
    pub service: Box<str>,
    /// Which process of it.
    pub instance: Box<str>,
}

impl Origin {
    /// A service, and one instance of it.
    #[must_use]
    pub fn new(service: &str, instance: &str) -> Arc<Self> {
        Arc::new(Self { service: service.into(), instance: instance.into() })
    }
}

impl Event {
    /// An event with everything optional left out. Inlined, so that an event is made where it is filled.
    #[inline]
    #[must_use]
    pub fn new(
        time_millis: u64,
        origin: &Arc<Origin>,
        direction: Direction,
        kind: EventKind,
        gate: &'static str,
        decision: Decision,
    ) -> Self {
        Self::with_id(Id::fresh(), time_millis, origin, direction, kind, gate, decision)
    }

    /// As [`Event::new`], under an id that the caller has seen to: one of [`Id::of_request`].
    #[inline]
    #[must_use]
    pub fn with_id(
        id: Id,
        time_millis: u64,
        origin: &Arc<Origin>,
        direction: Direction,
        kind: EventKind,
        gate: &'static str,
        decision: Decision,
    ) -> Self {
        Self {
            time_millis,
            id,
            request_id: None,
            origin: origin.clone(),
            direction,
            kind,
            gate,
            decision,
            policy: None,
            method: None,
            route: None,
            status: None,
            token: None,
            unverified: None,
            peer: None,
            destination: None,
            rule: None,
            client: None,
            requested: None,
            grant: None,
            cache: None,
            found: None,
            place: None,
            waiver: None,
            attempt: None,
            lasts_until: None,
            count: None,
            trace: None,
            latency: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence_for_tests::facts;
    use crate::{Denial, ScopeSet};

    fn full() -> Event {
        let origin = Origin::new("orders", "1");
        let decision = Decision::Deny(Denial::TokenExpired);
        let mut event = Event::new(7, &origin, Direction::Inbound, EventKind::Decision, "inbound", decision);
        event.request_id = Some(Id::fresh());
        event.policy = Some("orders-7".into());
        event.method = Some("GET");
        event.route = Some("/orders/{id}".into());
        event.status = Some(401);
        event.token = Some(Arc::new(Facts {
            token_id: Some("j".into()),
            key_id: Some("k".into()),
            issued_at: Some(crate::UnixTime::from_secs(1)),
            client: Some("c".into()),
            confirmation: crate::Confirmation::Jkt("k".into()),
            ..facts()
        }));
        event.unverified = Some(Box::new(Unverified { issuer: Some("x".into()), key_id: Some("k".into()) }));
        event.peer = Some(([127, 0, 0, 1], 9).into());
        event.destination = Some("https://inventory.internal:443".into());
        event.rule = Some("exchange");
        event.client = Some("orders".into());
        event.requested = Some(Arc::new(Requested { audience: "a".into(), scopes: ScopeSet::empty() }));
        event.grant.clone_from(&event.token);
        event.cache = Some(CacheState::Hit);
        event.found = Some(Fingerprint::of_token("x"));
        event.place = Some("x-api-key".into());
        let grounds = crate::Waiver::new("why", "who", crate::UnixTime::from_secs(9));
        let relaxation = crate::Relaxation::ForeignAudience("account".into());
        event.waiver = Some(Box::new(Waived { relaxation, waiver: grounds }));
        (event.attempt, event.count) = (Some(1), Some(2));
        event.lasts_until = Some(crate::UnixTime::from_secs(9));
        event.trace = TraceContext::parse("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
        event.latency = Some(Duration::from_micros(12));
        event
    }

    /// Every member that is written stands in the schema, and every required one is always written.
    #[test]
    fn the_schema_describes_what_is_written() {
        let schema: serde_json::Value =
            serde_json::from_str(include_str!("../../schema/audit-event-v1.json")).unwrap();
        let described = |pointer: &str| {
            let members = schema.pointer(pointer).and_then(|v| v.as_object()).unwrap();
            members.keys().cloned().collect::<std::collections::BTreeSet<_>>()
        };
        let written = serde_json::to_value(full()).unwrap();
        let members = |value: &serde_json::Value| value.as_object().unwrap().keys().cloned().collect();
        assert_eq!(described("/properties"), members(&written));
        assert_eq!(described("/$defs/token/properties"), members(&written["token"]));
        let origin = Origin::new("s", "1");
        let bare =
            Event::new(1, &origin, Direction::Internal, EventKind::Notice, "x", Decision::Allow("sent"));
        let bare = serde_json::to_value(bare).unwrap();
        let required = schema["required"].as_array().unwrap();
        assert_eq!(required.len(), bare.as_object().unwrap().len());
        assert!(required.iter().all(|name| bare.get(name.as_str().unwrap()).is_some()));
    }

    /// By whatever way: the same members in the same order, and no token.
    #[test]
    fn no_way_of_showing_an_event_shows_a_token() {
        let token = "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhbGljZSJ9.c2lnbmF0dXJl";
        let mut event = full();
        event.place = Some(token.into());
        event.destination = Some(format!("https://{token}").into());
        let mut line = Vec::new();
        event.write_line(&mut line).unwrap();
        let line = String::from_utf8(line).unwrap();
        let by_serde = serde_json::to_string(&event).unwrap();
        let begin = |text: &str| text[..60].to_owned();
        assert!(
            line.starts_with("{\"version\":1,\"time_ms\":7,\"event_id\":")
                && begin(&line) == begin(&by_serde)
        );
        for text in [&line, &by_serde, &format!("{event:?}")] {
            assert!(!text.contains("eyJ") && text.matches("[token ").count() == 2, "{text}");
        }
    }

    #[test]
    fn line_breaks_in_values_do_not_make_lines() {
        let mut event = full();
        event.route = Some("/a\n\u{9b}31m\u{7f}\u{202e}\u{2066}{\"forged\":true}".into());
        let mut line = Vec::new();
        event.write_line(&mut line).unwrap();
        let text = std::str::from_utf8(&line).unwrap();
        assert!(!text.contains(is_steering), "{text}");
        let read: serde_json::Value = serde_json::from_str(text).unwrap();
        assert_eq!(read["route"].as_str(), event.route.as_deref());
    }

    /// Names of gates come from whoever wrote the guard; digits are written past `serde_json`.
    #[test]
    fn a_line_is_json_whatever_a_gate_is_called() {
        let mut event = full();
        event.gate = "a \"gate\"\n";
        let read = serde_json::to_value(&event).unwrap();
        assert_eq!(read["gate"], event.gate);
        assert_eq!(read["event_id"], event.id.to_string());
        assert_eq!(read["found"], event.found.unwrap().to_string());
        assert_eq!(read["trace_id"], event.trace.unwrap().trace_id());
        assert_eq!(read["token"]["fingerprint"], event.token.unwrap().fingerprint.to_string());
    }

    /// W5: no character of a text ends its string, or changes it.
    #[test]
    fn any_text_comes_back_as_it_was() {
        for c in (0..=0xFF).filter_map(char::from_u32) {
            let mut event = full();
            let text = format!("a{c}\u{e4}");
            for text in [&text[..=c.len_utf8()], text.as_str()] {
                event.route = Some(text.into());
                event.origin = Origin::new(text, text);
                let read = serde_json::to_value(&event).unwrap();
                assert_eq!((read["route"].as_str(), read["service"].as_str()), (Some(text), Some(text)));
            }
        }
    }

    #[test]
    fn what_is_unverified_is_cut() {
        assert_eq!(Unverified::bounded(&"ä".repeat(100)).len(), Unverified::LONGEST);
        assert_eq!(&*Unverified::bounded("short"), "short");
    }
}
