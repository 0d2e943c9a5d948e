//! How an event is written: one line of JSON in which nothing can hurt.

use std::fmt;

use serde::de::{MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Event, SCHEMA_VERSION};
use crate::{Facts, UnixTime, redacted};

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
        harmless(writer, &redacted(fragment))
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
        map.serialize_entry("subject", &self.0.subject)?;
        optional(&mut map, "client", self.0.client.as_ref())?;
        map.serialize_entry("audiences", &self.0.audiences)?;
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
