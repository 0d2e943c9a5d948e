//! What is written down: one schema, version 1, published in `schema/audit-event-v1.json`.
//!
//! An [`Event`] is captured on the request path as shared pointers and small values; whoever writes it
//! serialises it. What a token *said* before it was verified stands under `unverified`, and lineage never
//! reads it.

use std::fmt;
use std::net::SocketAddr;
use std::num::{NonZeroU64, NonZeroU128};
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use serde::de::{MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::redact::{Redacted, may_hold_one};
use crate::{Denial, Facts, Fault, Fingerprint, Id, ScopeSet, UnixTime, Waived, redacted};

/// The version that every event carries.
pub const SCHEMA_VERSION: u16 = 1;

/// Which way the request goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// Into this service.
    Inbound,
    /// Out of it.
    Outbound,
    /// Neither: keys, ledger, withdrawals.
    Internal,
}

/// What kind of thing happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    /// A gate decided.
    Decision,
    /// An admitted request ended.
    Outcome,
    /// Refusals of strangers beyond the limit, counted.
    Count,
    /// Something about the process itself: keys, ledger, withdrawal.
    Notice,
}

/// What was decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Allowed, or done; the code says what.
    Allow(&'static str),
    /// Refused, the caller's fault.
    Deny(Denial),
    /// Failed, ours or an upstream's fault.
    Fault(Fault),
}

impl Decision {
    /// `allow`, `deny` or `fault`.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Allow(_) => "allow",
            Self::Deny(_) => "deny",
            Self::Fault(_) => "fault",
        }
    }

    /// The code from the registry.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Allow(code) => code,
            Self::Deny(denial) => denial.code(),
            Self::Fault(fault) => fault.code(),
        }
    }
}

/// How a grant was had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CacheState {
    /// From the cache.
    Hit,
    /// By an exchange of our own.
    Miss,
    /// By an exchange that another caller had begun.
    Coalesced,
}

/// What was asked of the authorization server.
#[derive(Clone, PartialEq, Eq, Serialize)]
pub struct Requested {
    /// `audience`.
    pub audience: Arc<str>,
    /// `scope`.
    pub scopes: ScopeSet,
}

impl fmt::Debug for Requested {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (audience, scopes) = (Redacted(&self.audience), Redacted(&self.scopes));
        f.debug_struct("Requested").field("audience", &audience).field("scopes", &scopes).finish()
    }
}

/// What a token that was never verified claimed of itself; bounded, and to be believed by nobody.
#[derive(Clone, Default, PartialEq, Eq, Serialize)]
pub struct Unverified {
    /// `iss`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issuer: Option<Box<str>>,
    /// `kid`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_id: Option<Box<str>>,
}

impl fmt::Debug for Unverified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (issuer, key_id) = (Redacted(&self.issuer), Redacted(&self.key_id));
        f.debug_struct("Unverified").field("issuer", &issuer).field("key_id", &key_id).finish()
    }
}

impl Unverified {
    /// The longest text that is kept of anything unverified.
    pub const LONGEST: usize = 128;

    /// `text`, cut to [`Unverified::LONGEST`] bytes at a character boundary.
    #[must_use]
    pub fn bounded(text: &str) -> Box<str> {
        let end =
            (0..=Self::LONGEST.min(text.len())).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
        text.get(..end).unwrap_or("").into()
    }
}

/// W3C trace context (`traceparent`, version 00): which distributed trace a request belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceContext {
    trace: NonZeroU128,
    span: NonZeroU64,
    flags: u8,
}

impl TraceContext {
    /// Reads a `traceparent` value; `None` if it is malformed or all zero, which the standard says to ignore.
    ///
    /// ```
    /// use hopguard_core::TraceContext;
    ///
    /// let value = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    /// assert_eq!(TraceContext::parse(value).unwrap().to_string(), value);
    /// assert_eq!(TraceContext::parse(value).unwrap().header_value().unwrap(), value);
    /// assert!(TraceContext::parse("00-00-00-00").is_none());
    /// ```
    #[must_use]
    pub fn parse(value: &str) -> Option<Self> {
        // Every part has its place: this stands before every request.
        let (version, rest) = value.as_bytes().split_first_chunk::<3>()?;
        let (high, rest) = rest.split_first_chunk::<16>()?;
        let (low, rest) = rest.split_first_chunk::<16>()?;
        let (first, rest) = rest.split_first()?;
        let (span, rest) = rest.split_first_chunk::<16>()?;
        let (second, flags) = rest.split_first()?;
        let &[tens, ones] = flags else { return None };
        if version != b"00-" || [*first, *second] != *b"--" {
            return None;
        }
        let trace = (u128::from(hex(high)?) << 64) | u128::from(hex(low)?);
        let flags = hex8([b'0', b'0', b'0', b'0', b'0', b'0', tens, ones])?;
        let (span, flags) = (hex(span)?, u8::try_from(flags).ok()?);
        Some(Self { trace: NonZeroU128::new(trace)?, span: NonZeroU64::new(span)?, flags })
    }

    /// As a header writes it.
    #[must_use]
    pub fn header_value(&self) -> Option<HeaderValue> {
        let mut text = *b"00-00000000000000000000000000000000-0000000000000000-00";
        let digit = |half: u8| half + if half < 10 { b'0' } else { b'a' - 10 };
        let bytes = self
            .trace
            .get()
            .to_be_bytes()
            .into_iter()
            .chain(self.span.get().to_be_bytes())
            .chain([self.flags]);
        let places = text.iter_mut().skip(3).filter(|place| **place != b'-');
        let halves = bytes.flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]);
        places.zip(halves).for_each(|(place, digit)| *place = digit);
        HeaderValue::from_bytes(&text).ok()
    }

    /// The trace id, 32 hexadecimal digits.
    #[must_use]
    pub fn trace_id(&self) -> String {
        format!("{:032x}", self.trace)
    }
}

/// The number that 16 lower-case hexadecimal digits write.
fn hex(digits: &[u8; 16]) -> Option<u64> {
    let (high, low) = digits.split_first_chunk::<8>()?;
    Some((hex8(*high)? << 32) | hex8(*low.first_chunk()?)?)
}

/// The number that eight of them write, all at once: this stands before every request.
fn hex8(digits: [u8; 8]) -> Option<u64> {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    let text = u64::from_be_bytes(digits);
    // A letter has the bit 0x40, and its last four bits count from one for `a`.
    let halves = (text & (ONES * 0x0f)) + ((text >> 6) & ONES) * 9;
    // What is no digit is written differently again, or is no half of a byte.
    let letters = ((halves + ONES * 6) >> 4) & ONES;
    let again = halves + ONES * u64::from(b'0') + letters * u64::from(b'a' - b'9' - 1);
    if again != text || halves & (ONES * 0xf0) != 0 {
        return None;
    }
    let bytes = (halves | (halves >> 4)) & 0x00ff_00ff_00ff_00ff;
    let pairs = (bytes | (bytes >> 8)) & 0x0000_ffff_0000_ffff;
    Some((pairs | (pairs >> 16)) & 0xffff_ffff)
}

impl std::fmt::Display for TraceContext {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.trace, self.span, self.flags)
    }
}

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
    /// The service and the instance of it.
    pub service: Arc<str>,
    /// Which process of the service.
    pub instance: Arc<str>,
    /// Which way.
    pub direction: Direction,
    /// What kind.
    pub kind: EventKind,
    /// The gate that decided: `inbound`, `egress`, or the name of a guard that stands alone.
    pub gate: &'static str,
    /// What was decided.
    pub decision: Decision,
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

impl Event {
    /// An event with everything optional left out. Inlined, so that an event is made where it is filled.
    #[inline]
    #[must_use]
    pub fn new(
        time_millis: u64,
        origin: (&Arc<str>, &Arc<str>),
        direction: Direction,
        kind: EventKind,
        gate: &'static str,
        decision: Decision,
    ) -> Self {
        let (service, instance) = (origin.0.clone(), origin.1.clone());
        Self {
            time_millis,
            id: Id::fresh(),
            request_id: None,
            service,
            instance,
            direction,
            kind,
            gate,
            decision,
            route: None,
            status: None,
            token: None,
            unverified: None,
            peer: None,
            destination: None,
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

impl Event {
    /// Appends this event as one line of JSON, without the line's end. Whatever steers a terminal or turns
    /// text around is escaped, so that reading a log cannot hurt (W5).
    ///
    /// # Errors
    ///
    /// None that this type can bring about; `serde_json` has one in its signature.
    pub fn write_line(&self, line: &mut Vec<u8>) -> Result<(), serde_json::Error> {
        Written(self).serialize(&mut serde_json::Serializer::with_formatter(line, Harmless))
    }
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = Vec::new();
        self.write_line(&mut line).map_err(|_| fmt::Error)?;
        write!(f, "Event {}", String::from_utf8_lossy(&line))
    }
}

impl Serialize for Event {
    /// By way of the line, so that no serializer gets what the line hides; for speed there is
    /// [`Event::write_line`].
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::Error;
        let mut line = Vec::new();
        self.write_line(&mut line).map_err(S::Error::custom)?;
        let Members(members) = serde_json::from_slice(&line).map_err(S::Error::custom)?;
        serializer.collect_map(members)
    }
}

/// The members of a line, in their order.
struct Members(Vec<(String, serde_json::Value)>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Members;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an event")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Reader)
    }
}

/// True for characters that end a line, steer a terminal, or change the direction of text.
#[must_use]
pub fn is_steering(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}'
        )
}

/// JSON with tokens redacted, and every steering character escaped; `serde_json` leaves those above U+001F as they
/// are.
struct Harmless;

impl serde_json::ser::Formatter for Harmless {
    fn write_string_fragment<W: std::io::Write + ?Sized>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> std::io::Result<()> {
        // INVARIANT: I10 — others choose these texts, and a token can stand in any. Escapes end a fragment, and no
        // token has a character that needs one.
        if may_hold_one(fragment) {
            return harmless(writer, &redacted(fragment));
        }
        harmless(writer, fragment)
    }
}

fn harmless<W: std::io::Write + ?Sized>(writer: &mut W, fragment: &str) -> std::io::Result<()> {
    if fragment.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        return writer.write_all(fragment.as_bytes());
    }
    let mut rest = fragment;
    while let Some((at, c)) = rest.char_indices().find(|(_, c)| is_steering(*c)) {
        let (before, after) = rest.split_at(at);
        writer.write_all(before.as_bytes())?;
        // All of them lie in the basic plane: one escape each.
        write!(writer, "\\u{:04x}", u32::from(c))?;
        rest = after.get(c.len_utf8()..).unwrap_or("");
    }
    writer.write_all(rest.as_bytes())
}

/// An event as it is, for the formatter to make harmless.
struct Written<'a>(&'a Event);

impl Serialize for Written<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        let event = self.0;
        map.serialize_entry("version", &SCHEMA_VERSION)?;
        map.serialize_entry("time_ms", &event.time_millis)?;
        map.serialize_entry("event_id", &event.id)?;
        optional(&mut map, "request_id", event.request_id.as_ref())?;
        map.serialize_entry("service", &*event.service)?;
        map.serialize_entry("instance", &*event.instance)?;
        map.serialize_entry("direction", &event.direction)?;
        map.serialize_entry("kind", &event.kind)?;
        map.serialize_entry("gate", event.gate)?;
        map.serialize_entry("decision", event.decision.name())?;
        map.serialize_entry("code", event.decision.code())?;
        optional(&mut map, "route", event.route.as_deref())?;
        optional(&mut map, "status", event.status.as_ref())?;
        optional(&mut map, "token", event.token.as_deref().map(Shown).as_ref())?;
        optional(&mut map, "unverified", event.unverified.as_ref())?;
        optional(&mut map, "peer", event.peer.as_ref())?;
        optional(&mut map, "destination", event.destination.as_deref())?;
        optional(&mut map, "client", event.client.as_deref())?;
        optional(&mut map, "requested", event.requested.as_deref())?;
        optional(&mut map, "grant", event.grant.as_deref().map(Shown).as_ref())?;
        optional(&mut map, "cache", event.cache.as_ref())?;
        optional(&mut map, "found", event.found.as_ref())?;
        optional(&mut map, "place", event.place.as_deref())?;
        optional(&mut map, "waiver", event.waiver.as_deref())?;
        optional(&mut map, "attempt", event.attempt.as_ref())?;
        optional(&mut map, "lasts_until", event.lasts_until.map(UnixTime::as_secs).as_ref())?;
        optional(&mut map, "count", event.count.as_ref())?;
        optional(&mut map, "trace_id", event.trace.map(|trace| trace.trace_id()).as_ref())?;
        optional(&mut map, "latency_us", event.latency.map(|took| took.as_micros()).as_ref())?;
        map.end()
    }
}

/// A verified token as events show it.
struct Shown<'a>(&'a Facts);

impl Serialize for Shown<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("fingerprint", &self.0.fingerprint)?;
        map.serialize_entry("issuer", &*self.0.issuer)?;
        map.serialize_entry("subject", &*self.0.subject)?;
        optional(&mut map, "client", self.0.client.as_deref())?;
        map.serialize_entry("audiences", &*self.0.audiences)?;
        map.serialize_entry("scopes", &self.0.scopes)?;
        map.serialize_entry("actors", &self.0.actors)?;
        map.serialize_entry("expires", &self.0.expires.as_secs())?;
        optional(&mut map, "issued_at", self.0.issued_at.map(UnixTime::as_secs).as_ref())?;
        optional(&mut map, "token_id", self.0.token_id.as_ref())?;
        optional(&mut map, "key_id", self.0.key_id.as_ref())?;
        if !self.0.confirmation.is_none() {
            map.serialize_entry("confirmation", &self.0.confirmation)?;
        }
        map.end()
    }
}

fn optional<M: SerializeMap, T: Serialize + ?Sized>(
    map: &mut M,
    name: &'static str,
    value: Option<&T>,
) -> Result<(), M::Error> {
    value.map_or(Ok(()), |value| map.serialize_entry(name, value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence_for_tests::facts;

    fn full() -> Event {
        let name: Arc<str> = "orders".into();
        let decision = Decision::Deny(Denial::TokenExpired);
        let mut event =
            Event::new(7, (&name, &name), Direction::Inbound, EventKind::Decision, "inbound", decision);
        event.request_id = Some(Id::fresh());
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
            serde_json::from_str(include_str!("../schema/audit-event-v1.json")).unwrap();
        let described = |pointer: &str| {
            let members = schema.pointer(pointer).and_then(|v| v.as_object()).unwrap();
            members.keys().cloned().collect::<std::collections::BTreeSet<_>>()
        };
        let written = serde_json::to_value(full()).unwrap();
        let members = |value: &serde_json::Value| value.as_object().unwrap().keys().cloned().collect();
        assert_eq!(described("/properties"), members(&written));
        assert_eq!(described("/$defs/token/properties"), members(&written["token"]));
        let name: Arc<str> = "s".into();
        let bare = Event::new(
            1,
            (&name, &name),
            Direction::Internal,
            EventKind::Notice,
            "x",
            Decision::Allow("sent"),
        );
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

    #[test]
    fn what_is_unverified_is_cut() {
        assert_eq!(Unverified::bounded(&"ä".repeat(100)).len(), Unverified::LONGEST);
        assert_eq!(&*Unverified::bounded("short"), "short");
    }
}
