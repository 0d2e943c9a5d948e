//! Which routes' streams outlive their tokens.

use std::time::Duration;

use hopguard_core::is_ambiguous_path;
use http::Method;

/// A route whose streams may run longer than the token that opened them: for so long after the admission, whatever
/// the token says. They still end when it is withdrawn.
///
/// The path is written as axum writes it: `{name}` stands for one segment, everything else is compared letter by
/// letter. It names paths, not handlers: `/orders/{id}` covers `/orders/export`, whatever route the router has for that. What is spelled in a way that somebody may read differently is not covered, and neither is anything below.
/// Every admission that it prolongs says so in the audit (`lasts_until`).
#[derive(Clone, Debug)]
pub struct LongStream {
    path: Box<str>,
    methods: Vec<Method>,
    cap: Duration,
}

impl LongStream {
    /// The longest cap: a day.
    pub const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

    /// Answers to `GET` and `HEAD` on `path` live for `cap`, or as long as their token if that is longer. A WebSocket is
    /// opened by `GET`, over HTTP/1.1.
    #[must_use]
    pub fn on(path: &str, cap: Duration) -> Self {
        Self { path: path.into(), methods: vec![Method::GET, Method::HEAD], cap }
    }

    /// The same for these methods instead: long uploads, for example.
    #[must_use]
    pub fn methods(self, methods: impl IntoIterator<Item = Method>) -> Self {
        Self { methods: methods.into_iter().collect(), ..self }
    }

    pub(in crate::inbound) fn path(&self) -> &str {
        &self.path
    }

    pub(in crate::inbound) fn cap(&self) -> Duration {
        self.cap
    }

    /// What is wrong with it.
    pub(in crate::inbound) fn problem(&self) -> Option<&'static str> {
        let plain: Vec<&str> =
            self.path.split('/').map(|segment| if is_name(segment) { "x" } else { segment }).collect();
        let plain = plain.join("/");
        if !plain.starts_with('/') || is_ambiguous_path(&plain) || plain.contains(['{', '}', '*', '?', '#']) {
            return Some("is no path: write it as the route does, with {name} for one segment");
        }
        if self.methods.is_empty() {
            return Some("is for no method: name one");
        }
        if self.cap < Duration::from_secs(1) {
            return Some("gives no time: name a cap of at least one second");
        }
        (self.cap > Self::LONGEST).then_some("lives too long: a cap is at most a day")
    }

    /// True if a request of `method` for `path` is one for this route.
    pub(super) fn covers(&self, method: &Method, path: &str) -> bool {
        if !self.methods.contains(method) || is_ambiguous_path(path) {
            return false;
        }
        let (mut ours, mut theirs) = (self.path.split('/'), path.split('/'));
        loop {
            match (ours.next(), theirs.next()) {
                (None, None) => return true,
                (Some(our), Some(their)) if our == their || (is_name(our) && !their.is_empty()) => {}
                _ => return false,
            }
        }
    }
}

fn is_name(segment: &str) -> bool {
    let name = segment.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
    name.is_some_and(|name| !name.is_empty() && !name.contains(['{', '}', '*']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_covers_itself_and_nothing_else() {
        let route = LongStream::on("/orders/{id}/events", Duration::from_secs(60));
        for path in ["/orders/42/events", "/orders/a-b/events"] {
            assert!(route.covers(&Method::GET, path), "{path}");
        }
        for path in [
            "/orders/42/events/",
            "/orders/42/events/1",
            "/orders//events",
            "/orders/42",
            "/orders/42/Events",
            "//orders/42/events",
            "/orders/%34%32/events",
            "/orders/42/events;x",
            "/orders/../events",
            "/x/../orders/42/events",
            "/orders/4%2f2/events",
            "orders/42/events",
            "",
        ] {
            assert!(!route.covers(&Method::GET, path), "{path}");
        }
        assert!(!LongStream::on("/events", Duration::from_secs(60)).covers(&Method::GET, "/events/"));
    }

    #[test]
    fn what_is_no_route_is_a_problem() {
        let minute = Duration::from_secs(60);
        for path in ["/events", "/", "/orders/{id}/events", "/{any}"] {
            assert_eq!(LongStream::on(path, minute).problem(), None, "{path}");
        }
        for path in ["", "events", "/a/../b", "/{*rest}", "/{}", "/a{id}", "//", "/a;b", "/a%2fb", "/a?b"] {
            assert!(LongStream::on(path, minute).problem().is_some(), "{path}");
        }
        for cap in [Duration::ZERO, Duration::from_millis(999), Duration::from_secs(24 * 60 * 60 + 1)] {
            assert!(LongStream::on("/events", cap).problem().is_some(), "{cap:?}");
        }
    }
}
