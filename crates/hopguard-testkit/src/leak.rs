//! Do the bytes of a token show anywhere they must not?
//!
//! [`Capture`] keeps everything that `tracing` says at every level, span fields included. [`assert_absent`]
//! looks for a token in any number of texts: whole, and any [`WINDOW`] bytes of its payload and signature, so
//! that a cut token is found; as it is, percent-encoded, and wrapped in base64 at any offset. The header is
//! left out: it is the same for every token, and a secret to nobody.

use std::collections::HashSet;
use std::fmt::{self, Write};
use std::sync::{Arc, Mutex};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use percent_encoding::percent_decode;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::DefaultGuard;
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, SubscriberExt};

/// So many bytes of a token in a row are a leak.
pub const WINDOW: usize = 24;

/// Keeps everything that `tracing` says. Cloning shares it.
#[derive(Clone, Debug, Default)]
pub struct Capture(Arc<Mutex<String>>);

impl Capture {
    /// Keeps nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Captures on this thread until the guard is dropped; enough for a current-thread runtime.
    #[must_use]
    pub fn here(&self) -> DefaultGuard {
        tracing::subscriber::set_default(tracing_subscriber::registry().with(self.clone()))
    }

    /// Captures in the whole process from now on. For a test binary of its own.
    ///
    /// # Panics
    ///
    /// If the process has a subscriber already.
    pub fn everywhere(&self) {
        tracing::subscriber::set_global_default(tracing_subscriber::registry().with(self.clone()))
            .expect("no other subscriber");
    }

    /// Everything that was said.
    #[must_use]
    pub fn text(&self) -> String {
        self.0.lock().unwrap().clone()
    }

    fn line(&self, begin: &str, record: impl FnOnce(&mut Fields<'_>)) {
        let mut text = self.0.lock().unwrap();
        text.push_str(begin);
        record(&mut Fields(&mut text));
        text.push('\n');
    }
}

impl<S: Subscriber> Layer<S> for Capture {
    fn on_new_span(&self, span: &Attributes<'_>, _: &Id, _: Context<'_, S>) {
        let metadata = span.metadata();
        self.line(&format!("span {} {}", metadata.target(), metadata.name()), |fields| span.record(fields));
    }

    fn on_record(&self, _: &Id, values: &Record<'_>, _: Context<'_, S>) {
        self.line("record", |fields| values.record(fields));
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let metadata = event.metadata();
        self.line(&format!("{} {}", metadata.level(), metadata.target()), |fields| event.record(fields));
    }
}

struct Fields<'a>(&'a mut String);

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let _ = write!(self.0, " {}={value:?}", field.name());
    }
}

/// Fails the test if `token`, or a telling part of it, stands in any of the named `haystacks`.
///
/// # Panics
///
/// If it does; the message names the haystack and the way, not the token.
#[track_caller]
pub fn assert_absent<'a>(token: &str, haystacks: impl IntoIterator<Item = (&'a str, &'a [u8])>) {
    for (name, haystack) in haystacks {
        if let Some(way) = find(token, haystack) {
            panic!("{name} holds the token {way}");
        }
    }
}

/// How `token` stands in `haystack`, if it does.
#[must_use]
pub fn find(token: &str, haystack: &[u8]) -> Option<&'static str> {
    let needles = Needles::of(token);
    needles.find(haystack).or_else(|| {
        let decoded: Vec<u8> = percent_decode(haystack).collect();
        (decoded != haystack).then(|| needles.find(&decoded)).flatten().map(|_| "percent-encoded")
    })
}

struct Needles {
    /// For tokens that are shorter than a window.
    whole: Vec<u8>,
    plain: HashSet<Vec<u8>>,
    wrapped: HashSet<Vec<u8>>,
}

impl Needles {
    fn of(token: &str) -> Self {
        assert!(token.len() >= 8, "too short to be looked for");
        let parts: Vec<&str> = match token.split_once('.') {
            Some((_header, rest)) => rest.split('.').collect(),
            None => vec![token],
        };
        let mut plain = HashSet::new();
        let mut wrapped = HashSet::new();
        for part in parts {
            plain.extend(part.as_bytes().windows(WINDOW).map(<[u8]>::to_vec));
            for offset in 0..3.min(part.len()) {
                for engine in [STANDARD_NO_PAD, URL_SAFE_NO_PAD] {
                    let text = engine.encode(&part.as_bytes()[offset..]);
                    // The last group depends on what follows the part.
                    let stable = &text.as_bytes()[..text.len() / 4 * 4];
                    wrapped.extend(stable.windows(WINDOW).map(<[u8]>::to_vec));
                }
            }
        }
        Self { whole: token.as_bytes().to_vec(), plain, wrapped }
    }

    fn find(&self, haystack: &[u8]) -> Option<&'static str> {
        if haystack.windows(self.whole.len()).any(|window| window == self.whole) {
            return Some("whole");
        }
        haystack.windows(WINDOW).find_map(|window| {
            if self.plain.contains(window) {
                Some("in part")
            } else if self.wrapped.contains(window) {
                Some("in base64")
            } else {
                None
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

    use super::*;

    const TOKEN: &str = "eyJhbGciOiJFUzI1NiIsInR5cCI6ImF0K2p3dCJ9.eyJzdWIiOiJhbGljZSIsImF1ZCI6Im9yZGVycyIsImV4cCI6MX0.c2lnbmF0dXJlLXNpZ25hdHVyZS1zaWduYXR1cmUtc2lnbmF0dXJl";

    #[track_caller]
    fn found(haystack: &str, expected: Option<&str>) {
        assert_eq!(find(TOKEN, haystack.as_bytes()), expected, "{haystack}");
    }

    #[test]
    fn it_is_found_in_every_dress() {
        let every_byte: String = TOKEN.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let [header, payload, signature] = TOKEN.split('.').collect::<Vec<_>>().try_into().unwrap();
        found(&format!("authorization: Bearer {TOKEN}"), Some("whole"));
        found(&format!("cut {}...", &payload[..30]), Some("in part"));
        found(&format!("sig {signature}"), Some("in part"));
        found(&format!("?q={every_byte}"), Some("percent-encoded"));
        for before in ["", "u", "us", "use", "user:"] {
            for after in ["", ":", "::"] {
                let text = format!("{before}{TOKEN}{after}");
                found(&format!("Basic {}", STANDARD_NO_PAD.encode(&text)), Some("in base64"));
                found(&format!("x={}", URL_SAFE_NO_PAD.encode(text)), Some("in base64"));
            }
        }
        let wrapped = utf8_percent_encode(&STANDARD_NO_PAD.encode(TOKEN), NON_ALPHANUMERIC).to_string();
        found(&wrapped, Some("in base64"));
        found(header, None);
        found("nothing of the kind, though quite a long text, in which no token stands", None);
        assert!(find("opaque-secret", b"x=opaque-secret;").is_some());
    }

    #[test]
    #[should_panic(expected = "the log holds the token in part")]
    fn the_message_names_the_place_only() {
        let cut = &TOKEN.as_bytes()[50..90];
        assert_absent(TOKEN, [("the audit", &b"nothing"[..]), ("the log", cut)]);
    }

    #[test]
    fn everything_that_is_said_is_kept() {
        let capture = Capture::new();
        let guard = capture.here();
        let span = tracing::trace_span!("request", at_start = "one", later = tracing::field::Empty);
        span.record("later", "two");
        span.in_scope(|| tracing::trace!(value = ?Some("three"), "four"));
        drop(guard);
        tracing::info!("five");
        let text = capture.text();
        for said in ["one", "two", "three", "four", "request"] {
            assert!(text.contains(said), "{said} in {text}");
        }
        assert!(!text.contains("five"));
    }
}
