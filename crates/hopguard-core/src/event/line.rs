//! How an event is written: one line of JSON in which nothing can hurt.

use std::borrow::Cow;
use std::fmt;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Error;

use super::{Event, SCHEMA_VERSION};
use crate::{Facts, UnixTime, redacted};

impl Event {
    /// Appends this event as one line of JSON, without the line's end. Whatever steers a terminal or turns
    /// text around is escaped, so that reading a log cannot hurt (W5).
    ///
    /// # Errors
    ///
    /// None that this type can bring about; `serde_json` has one in its signature.
    pub fn write_line(&self, line: &mut Vec<u8>) -> Result<(), Error> {
        written(self, line)
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
        use serde::ser::Error as _;
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

/// `value` as JSON in which nothing can hurt: tokens redacted, and whatever steers a terminal escaped. For what is read
/// from logs and shown again, as [`Event::write_line`] is for what is written there.
///
/// # Errors
///
/// If `value` is nothing that JSON can say, as a path that is not UTF-8.
///
/// ```
/// let shown = hopguard_core::harmless_json(&["al\u{9b}2Jice", "\u{202e}"])?;
/// assert_eq!(shown, r#"["al\u009b2Jice","\u202e"]"#);
/// # Ok::<(), serde_json::Error>(())
/// ```
pub fn harmless_json<T: Serialize + ?Sized>(value: &T) -> Result<String, Error> {
    let mut text = Vec::new();
    value.serialize(&mut serde_json::Serializer::with_formatter(&mut text, Harmless))?;
    String::from_utf8(text).map_err(serde::ser::Error::custom)
}

fn harmless<W: std::io::Write + ?Sized>(writer: &mut W, fragment: &str) -> std::io::Result<()> {
    // Without a way out of the loop it is judged many bytes at a time.
    if fragment.bytes().fold(true, |plain, byte| plain & matches!(byte, b' '..=b'~')) {
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

/// A string of JSON. Most texts have nothing to escape or to hide, and go as they are.
fn string(line: &mut Vec<u8>, text: &str) -> Result<(), Error> {
    let is_plain = |byte| matches!(byte, b' '..=b'~') & (byte != b'"') & (byte != b'\\');
    // INVARIANT: I10 — as in `Harmless`, which has all the others.
    if text.bytes().fold(true, |plain, byte| plain & is_plain(byte))
        && let Cow::Borrowed(text) = redacted(text)
    {
        line.push(b'"');
        line.extend_from_slice(text.as_bytes());
        line.push(b'"');
        return Ok(());
    }
    text.serialize(&mut serde_json::Serializer::with_formatter(line, Harmless))
}

/// A JSON object while it is written. Names and digits are ours: they hold nothing to escape or to hide, and most of a
/// line is made of them. What others chose goes by `serde_json` and [`Harmless`].
struct Object<'a> {
    line: &'a mut Vec<u8>,
    next: u8,
}

impl<'a> Object<'a> {
    fn begin(line: &'a mut Vec<u8>) -> Self {
        Self { line, next: b'{' }
    }

    fn end(self) {
        self.line.push(b'}');
    }

    fn name(&mut self, name: &'static str) {
        self.line.extend_from_slice(&[self.next, b'"']);
        self.line.extend_from_slice(name.as_bytes());
        self.line.extend_from_slice(b"\":");
        self.next = b',';
    }

    /// Digits, or a word of ours.
    fn digits(&mut self, name: &'static str, digits: &[u8]) {
        self.name(name);
        self.line.push(b'"');
        self.line.extend_from_slice(digits);
        self.line.push(b'"');
    }

    fn value<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Result<(), Error> {
        self.name(name);
        value.serialize(&mut serde_json::Serializer::with_formatter(&mut *self.line, Harmless))
    }

    /// A text that others may have chosen.
    fn text(&mut self, name: &'static str, text: &str) -> Result<(), Error> {
        self.name(name);
        string(self.line, text)
    }

    fn texts<'t>(
        &mut self,
        name: &'static str,
        texts: impl IntoIterator<Item = &'t str>,
    ) -> Result<(), Error> {
        self.name(name);
        self.line.push(b'[');
        for (at, text) in texts.into_iter().enumerate() {
            if at > 0 {
                self.line.push(b',');
            }
            string(self.line, text)?;
        }
        self.line.push(b']');
        Ok(())
    }

    fn optional_text(&mut self, name: &'static str, text: Option<&str>) -> Result<(), Error> {
        text.map_or(Ok(()), |text| self.text(name, text))
    }

    fn optional<T: Serialize + ?Sized>(
        &mut self,
        name: &'static str,
        value: Option<&T>,
    ) -> Result<(), Error> {
        value.map_or(Ok(()), |value| self.value(name, value))
    }

    /// A verified token as events show it.
    fn token(&mut self, name: &'static str, facts: Option<&Facts>) -> Result<(), Error> {
        let Some(facts) = facts else { return Ok(()) };
        self.name(name);
        let mut token = Object::begin(self.line);
        token.digits("fingerprint", &facts.fingerprint.digits());
        token.text("issuer", &facts.issuer)?;
        token.text("subject", &facts.subject)?;
        token.optional_text("client", facts.client.as_deref())?;
        token.texts("audiences", facts.audiences.iter().map(|audience| &**audience))?;
        token.texts("scopes", facts.scopes.iter())?;
        token.value("actors", &facts.actors)?;
        token.value("expires", &facts.expires.as_secs())?;
        token.optional("issued_at", facts.issued_at.map(UnixTime::as_secs).as_ref())?;
        token.optional_text("token_id", facts.token_id.as_deref())?;
        token.optional_text("key_id", facts.key_id.as_deref())?;
        if !facts.confirmation.is_none() {
            token.value("confirmation", &facts.confirmation)?;
        }
        token.end();
        Ok(())
    }
}

fn written(event: &Event, line: &mut Vec<u8>) -> Result<(), Error> {
    let mut object = Object::begin(line);
    object.value("version", &SCHEMA_VERSION)?;
    object.value("time_ms", &event.time_millis)?;
    object.digits("event_id", &event.id.digits());
    if let Some(id) = event.request_id {
        object.digits("request_id", &id.digits());
    }
    object.text("service", &event.origin.service)?;
    object.text("instance", &event.origin.instance)?;
    object.value("direction", &event.direction)?;
    object.value("kind", &event.kind)?;
    // Whoever writes a guard of his own names its gate and its codes.
    object.text("gate", event.gate)?;
    object.digits("decision", event.decision.name().as_bytes());
    object.text("code", event.decision.code())?;
    object.optional_text("policy", event.policy.as_deref())?;
    object.optional_text("method", event.method)?;
    object.optional_text("route", event.route.as_deref())?;
    object.optional("status", event.status.as_ref())?;
    object.token("token", event.token.as_deref())?;
    object.optional("unverified", event.unverified.as_ref())?;
    object.optional("peer", event.peer.as_ref())?;
    object.optional_text("destination", event.destination.as_deref())?;
    if let Some(rule) = event.rule {
        object.digits("rule", rule.as_bytes());
    }
    object.optional_text("client", event.client.as_deref())?;
    object.optional("requested", event.requested.as_deref())?;
    object.token("grant", event.grant.as_deref())?;
    object.optional("cache", event.cache.as_ref())?;
    if let Some(found) = event.found {
        object.digits("found", &found.digits());
    }
    object.optional_text("place", event.place.as_deref())?;
    object.optional("waiver", event.waiver.as_deref())?;
    object.optional("attempt", event.attempt.as_ref())?;
    object.optional("lasts_until", event.lasts_until.map(UnixTime::as_secs).as_ref())?;
    object.optional("count", event.count.as_ref())?;
    if let Some(trace) = &event.trace {
        object.digits("trace_id", trace.trace_digits());
    }
    object.optional("latency_us", event.latency.map(|took| took.as_micros()).as_ref())?;
    object.end();
    Ok(())
}
