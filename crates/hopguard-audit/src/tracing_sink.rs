//! One `tracing` event for each audit event.

use std::borrow::Cow;
use std::fmt::Write;

use hopguard_core::{
    AuditFull, AuditSink, CacheState, Decision, Direction, Event, EventKind, Facts, is_steering, redacted,
};

/// One `tracing` event for each audit event, for whatever subscriber is installed.
///
/// The level follows the decision: `INFO` for what was allowed, `WARN` for what was refused, `ERROR` for what
/// failed; of notices, `WARN` for those that somebody should look into ([`TracingSink::WORRYING`]). The
/// target is always [`TracingSink::TARGET`], so that a filter can name it.
///
/// ```
/// use std::sync::Arc;
///
/// use hopguard_audit::TracingSink;
/// use hopguard_core::Audit;
///
/// let audit = Audit::new("orders", "orders-1", Arc::new(TracingSink));
/// # let _ = audit;
/// ```
///
/// # Security
///
/// This is a view, not a record: a filter or a slow subscriber loses events without a word. Use
/// [`JsonLines`](crate::JsonLines) beside it where events must not be lost.
#[derive(Clone, Copy, Debug, Default)]
pub struct TracingSink;

impl TracingSink {
    /// The target of every event that this sink writes.
    pub const TARGET: &str = "hopguard::audit";

    /// The codes of notices that are shown as warnings, though nothing was refused.
    pub const WORRYING: &[&str] = &[
        "audit_lost",
        "audit_mended",
        "body_unscanned",
        "keys_refresh_failed",
        "ledger_overflow",
        "response_scrubbed",
        "waiver_used",
    ];
}

// Level and target must be constants at the call site, so one place expands three times.
macro_rules! emit {
    ($level:expr, $event:expr) => {{
        let event: &Event = $event;
        let token = event.token.as_deref();
        let grant = event.grant.as_deref();
        let claimed = event.unverified.as_deref();
        tracing::event!(
            target: TracingSink::TARGET,
            $level,
            event_id = &*event.id.to_string(),
            request_id = event.request_id.map(|id| id.to_string()).as_deref(),
            service = &*clean(&event.origin.service),
            instance = &*clean(&event.origin.instance),
            direction = direction(event.direction),
            kind = kind(event.kind),
            gate = event.gate,
            decision = event.decision.name(),
            code = event.decision.code(),
            policy = event.policy.as_deref().map(clean).as_deref(),
            method = event.method,
            route = event.route.as_deref().map(clean).as_deref(),
            status = event.status,
            fingerprint = token.map(|facts| facts.fingerprint.to_string()).as_deref(),
            issuer = token.map(|facts| clean(&facts.issuer)).as_deref(),
            subject = token.map(|facts| clean(&facts.subject)).as_deref(),
            client = token.and_then(|facts| facts.client.as_deref()).map(clean).as_deref(),
            audiences = token.map(audiences).as_deref(),
            scopes = token.map(|facts| clean(&facts.scopes.to_string()).into_owned()).as_deref(),
            actors = token.and_then(actors).as_deref(),
            unverified_issuer = claimed.and_then(|claims| claims.issuer.as_deref()).map(clean).as_deref(),
            unverified_key_id = claimed.and_then(|claims| claims.key_id.as_deref()).map(clean).as_deref(),
            peer = event.peer.map(|peer| peer.to_string()).as_deref(),
            destination = event.destination.as_deref().map(clean).as_deref(),
            rule = event.rule,
            requested_audience = event.requested.as_deref().map(|asked| clean(&asked.audience)).as_deref(),
            grant = grant.map(|facts| facts.fingerprint.to_string()).as_deref(),
            cache = event.cache.map(cache),
            found = event.found.map(|found| found.to_string()).as_deref(),
            place = event.place.as_deref().map(clean).as_deref(),
            attempt = event.attempt,
            lasts_until = event.lasts_until.map(hopguard_core::UnixTime::as_secs),
            count = event.count,
            trace_id = event.trace.map(|trace| trace.trace_id()).as_deref(),
            latency_us = event.latency.map(|took| u64::try_from(took.as_micros()).unwrap_or(u64::MAX)),
        );
    }};
}

impl AuditSink for TracingSink {
    fn reserve(&self) -> Result<(), AuditFull> {
        Ok(())
    }

    fn release(&self) {}

    fn commit(&self, event: Event) {
        match &event.decision {
            Decision::Allow(code) if !Self::WORRYING.contains(code) => emit!(tracing::Level::INFO, &event),
            Decision::Allow(_) | Decision::Deny(_) => emit!(tracing::Level::WARN, &event),
            Decision::Fault(_) => emit!(tracing::Level::ERROR, &event),
        }
    }

    fn offer(&self, event: Event) {
        self.commit(event);
    }
}

/// `text` without tokens, and without anything that ends a line or steers a terminal. Subscribers are not ours, and
/// some write values as they are.
fn clean(text: &str) -> Cow<'_, str> {
    let text = redacted(text);
    if !text.contains(is_steering) {
        return text;
    }
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if is_steering(c) {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    Cow::Owned(out)
}

/// For whom the token is, with spaces between.
fn audiences(facts: &Facts) -> String {
    facts.audiences.iter().map(|one| clean(one)).collect::<Vec<_>>().join(" ")
}

/// The chain as `orders < gateway`, the current actor first; `None` without one.
fn actors(facts: &Facts) -> Option<String> {
    let mut chain = facts.actors.actors().iter();
    let mut out = clean(&chain.next()?.subject).into_owned();
    for actor in chain {
        let _ = write!(out, " < {}", clean(&actor.subject));
    }
    Some(out)
}

const fn direction(direction: Direction) -> &'static str {
    match direction {
        Direction::Inbound => "inbound",
        Direction::Outbound => "outbound",
        Direction::Internal => "internal",
    }
}

const fn kind(kind: EventKind) -> &'static str {
    match kind {
        EventKind::Decision => "decision",
        EventKind::Outcome => "outcome",
        EventKind::Count => "count",
        EventKind::Notice => "notice",
    }
}

const fn cache(state: CacheState) -> &'static str {
    match state {
        CacheState::Hit => "hit",
        CacheState::Miss => "miss",
        CacheState::Coalesced => "coalesced",
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use hopguard_core::{Denial, Fault, Unverified};

    use super::*;
    use crate::events_for_tests::{admitted, decided, hostile};

    #[derive(Clone, Default)]
    struct Captured(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Captured {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// What a plain text subscriber prints for `events`.
    fn printed(events: impl IntoIterator<Item = Event>) -> String {
        let captured = Captured::default();
        let writer = captured.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_writer(move || writer.clone())
            .with_ansi(false)
            .without_time()
            .finish();
        tracing::subscriber::with_default(subscriber, || {
            events.into_iter().for_each(|event| TracingSink.commit(event));
        });
        let bytes = captured.0.lock().unwrap();
        String::from_utf8(bytes.clone()).unwrap()
    }

    #[track_caller]
    fn level(decision: Decision, expected: &str) {
        let code = decision.code();
        let text = printed([decided(decision)]);
        assert_eq!(text.lines().count(), 1, "{text}");
        assert_eq!(text.split_whitespace().next(), Some(expected));
        assert!(text.contains(&format!("code=\"{code}\"")), "{text}");
        assert!(text.contains(TracingSink::TARGET));
    }

    #[test]
    fn the_level_follows_the_decision() {
        level(Decision::Allow("admitted"), "INFO");
        level(Decision::Deny(Denial::TokenExpired), "WARN");
        level(Decision::Fault(Fault::StsUnavailable), "ERROR");
        level(Decision::Allow("keys_refreshed"), "INFO");
        level(Decision::Allow("keys_refresh_failed"), "WARN");
    }

    #[test]
    fn what_is_worrying_is_in_the_registry() {
        for code in TracingSink::WORRYING {
            assert!(hopguard_core::codes().any(|entry| entry.code == *code), "{code}");
        }
    }

    #[test]
    fn main_fields_are_there_and_absent_ones_are_not() {
        let text = printed([admitted()]);
        for field in [
            "service=\"orders\"",
            "subject=\"alice\"",
            "actors=\"orders < gateway\"",
            "status=200",
            "audiences=\"https://orders.internal\"",
            "scopes=\"\"",
        ] {
            assert!(text.contains(field), "{field} in {text}");
        }
        assert!(!text.contains("destination") && !text.contains("None"), "{text}");
    }

    #[test]
    fn hostile_values_stay_on_their_line() {
        let mut event = hostile();
        event.unverified = Some(Box::new(Unverified {
            issuer: Some("a\r\nb\u{1b}[2J".into()),
            key_id: Some("\u{2028}".into()),
        }));
        let text = printed([event]);
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(!text.contains(['\u{1b}', '\u{2028}', '\r']), "{text:?}");
    }

    #[test]
    fn it_never_refuses() {
        for _ in 0..10_000 {
            assert_eq!(TracingSink.reserve(), Ok(()));
        }
    }
}
