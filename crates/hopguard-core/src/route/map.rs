//! The routes, and which of them a call takes.

use http::Uri;

use super::Exchange;
use super::destination::{Destination, Origin, parse_absolute};
use super::target::is_ambiguous_path;
use crate::Fault;

/// What is done for calls to a route.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum RouteRule {
    /// Exchange the caller's token.
    Exchange(Exchange),
    /// Send without any credential.
    Anonymous,
    /// Refuse, for a path below an origin that is otherwise open.
    Deny,
}

impl From<Exchange> for RouteRule {
    fn from(exchange: Exchange) -> Self {
        Self::Exchange(exchange)
    }
}

/// Calls to this route carry no credential at all.
#[derive(Clone, Copy, Debug)]
pub struct Anonymous;

/// Calls to this route are refused, below an origin that is otherwise open.
#[derive(Clone, Copy, Debug)]
pub struct Deny;

impl From<Anonymous> for RouteRule {
    fn from(Anonymous: Anonymous) -> Self {
        Self::Anonymous
    }
}

impl From<Deny> for RouteRule {
    fn from(Deny: Deny) -> Self {
        Self::Deny
    }
}

/// One line of the route map.
#[derive(Clone, Debug)]
pub struct Route {
    destination: Destination,
    prefix: Box<str>,
    rule: RouteRule,
}

/// A route that cannot be used; the text reads on from the route's name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidRoute(pub &'static str);

impl Route {
    /// The route for everything at and below `url`: `https://host`, `https://host:port/path`.
    ///
    /// # Errors
    ///
    /// [`InvalidRoute`] for what is no absolute URL, for plain `http` to anything but loopback, and for an
    /// exchange without audience or with malformed scopes.
    pub fn new(url: &str, rule: RouteRule) -> Result<Self, InvalidRoute> {
        let uri = parse_absolute(url).map_err(InvalidRoute)?;
        let destination =
            Destination::of(&uri).ok_or(InvalidRoute("is not an absolute http or https URL"))?;
        if uri.query().is_some() || is_ambiguous_path(uri.path()) {
            return Err(InvalidRoute("has a query or a path that can be read in two ways"));
        }
        if let RouteRule::Exchange(exchange) = &rule
            && let Some(problem) = exchange.problem()
        {
            return Err(InvalidRoute(problem));
        }
        let prefix = uri.path().trim_end_matches('/').into();
        Ok(Self { destination, prefix, rule })
    }

    /// Where it leads.
    #[must_use]
    pub fn destination(&self) -> &Destination {
        &self.destination
    }

    /// What is done for calls there.
    #[must_use]
    pub fn rule(&self) -> &RouteRule {
        &self.rule
    }

    fn covers(&self, path: &str) -> bool {
        path.strip_prefix(self.prefix.as_ref()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// True if a server that ignores case would see a path of this route, and we do not.
    fn covers_by_case(&self, path: &str) -> bool {
        let same = |start: &str| start.eq_ignore_ascii_case(&self.prefix) && start != &*self.prefix;
        path.split_at_checked(self.prefix.len())
            .is_some_and(|(start, rest)| same(start) && (rest.is_empty() || rest.starts_with('/')))
    }
}

/// The route that was found for a call.
#[derive(Clone, Copy, Debug)]
pub struct RouteChoice<'a> {
    /// The place of the route in the map; with the map's stack it names the route.
    pub index: usize,
    /// The route.
    pub route: &'a Route,
}

/// Every destination that calls may go to.
#[derive(Clone, Debug, Default)]
pub struct RouteMap(Vec<Route>);

impl RouteMap {
    /// A map of these routes.
    ///
    /// # Errors
    ///
    /// The indices of two routes with the same origin and prefix, which would fit equally well.
    pub fn new(routes: Vec<Route>) -> Result<Self, (usize, usize)> {
        for (later, route) in routes.iter().enumerate() {
            let same = |other: &Route| other.destination == route.destination && other.prefix == route.prefix;
            if let Some(earlier) = routes.iter().take(later).position(same) {
                return Err((earlier, later));
            }
        }
        Ok(Self(routes))
    }

    /// The routes, in the order given.
    #[must_use]
    pub fn routes(&self) -> &[Route] {
        &self.0
    }

    /// The one route for a call to `uri`.
    ///
    /// # Errors
    ///
    /// [`Fault::DestinationUnlisted`] if none fits or the one that fits denies, [`Fault::TargetUnreadable`]
    /// if the URI has no origin, carries userinfo, or could be read as belonging to another route.
    pub fn choose(&self, uri: &Uri) -> Result<RouteChoice<'_>, Fault> {
        // INVARIANT: I2 — whatever is not listed is refused.
        let origin = Origin::of(uri).ok_or(Fault::TargetUnreadable)?;
        let mut best: Option<RouteChoice<'_>> = None;
        let (mut by_path, mut by_case) = (false, false);
        for (index, route) in self.0.iter().enumerate().filter(|(_, r)| r.destination.is(&origin)) {
            by_path |= !route.prefix.is_empty();
            by_case |= route.covers_by_case(uri.path());
            if route.covers(uri.path()) && best.is_none_or(|b| b.route.prefix.len() < route.prefix.len()) {
                best = Some(RouteChoice { index, route });
            }
        }
        if by_case || (by_path && is_ambiguous_path(uri.path())) {
            return Err(Fault::TargetUnreadable);
        }
        match best {
            Some(choice) if !matches!(choice.route.rule, RouteRule::Deny) => Ok(choice),
            _ => Err(Fault::DestinationUnlisted),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::Waiver;

    fn map(routes: &[(&str, RouteRule)]) -> RouteMap {
        let routes = routes.iter().map(|(url, rule)| Route::new(url, rule.clone()).unwrap()).collect();
        RouteMap::new(routes).unwrap()
    }

    #[track_caller]
    fn choose(map: &RouteMap, uri: &str, expected: Result<usize, &str>) {
        let found = map.choose(&uri.parse().unwrap()).map(|choice| choice.index).map_err(Fault::code);
        assert_eq!(found, expected, "{uri}");
    }

    #[test]
    fn what_is_not_listed_is_refused() {
        let map =
            map(&[("https://a.internal", RouteRule::Anonymous), ("https://b.internal/x", RouteRule::Deny)]);
        choose(&map, "https://a.internal", Ok(0));
        choose(&map, "https://A.Internal:443/any?q", Ok(0));
        for uri in [
            "http://a.internal/",
            "https://a.internal:8443/",
            "https://a.internal.evil/",
            "https://a.internal./",
            "https://a.internal:8443/",
            "https://xa.internal/",
            "https://b.internal/",
            "https://b.internal/x/y",
        ] {
            choose(&map, uri, Err("destination_unlisted"));
        }
        for uri in ["https://a.internal:+443/", "https://a.internal:0443/", "https://a.internal:0/"] {
            // Another reader may take the port for 443; some spellings are no URI at all.
            if let Ok(uri) = uri.parse::<Uri>() {
                assert_eq!(
                    map.choose(&uri).map(|choice| choice.index),
                    Err(Fault::TargetUnreadable),
                    "{uri}"
                );
            }
        }
        assert!("https://a.internal:0443/".parse::<Uri>().is_ok(), "at least one of them is a URI");
        for uri in ["/relative", "https://u:p@a.internal/", "https://u@a.internal/", "ftp://a.internal/"] {
            choose(&map, uri, Err("target_unreadable"));
        }
        choose(&RouteMap::default(), "https://a.internal/", Err("destination_unlisted"));
    }

    #[test]
    fn the_longest_prefix_wins_and_tricks_refuse() {
        let map = map(&[
            ("https://a.internal", RouteRule::Anonymous),
            ("https://a.internal/admin", RouteRule::Deny),
            ("https://a.internal/admin/health", RouteRule::Anonymous),
        ]);
        choose(&map, "https://a.internal/administrator", Ok(0));
        choose(&map, "https://a.internal/admin", Err("destination_unlisted"));
        choose(&map, "https://a.internal/admin/x", Err("destination_unlisted"));
        choose(&map, "https://a.internal/admin/health", Ok(2));
        for path in ["/x/../admin", "/x%2f..%2fadmin", "//admin", "/admin;a=b", "/%61dmin/%2E%2e", "/./admin"]
        {
            choose(&map, &format!("https://a.internal{path}"), Err("target_unreadable"));
        }
    }

    #[test]
    fn equal_routes_do_not_build() {
        let route = |url| Route::new(url, RouteRule::Anonymous).unwrap();
        let equal =
            vec![route("https://a.internal"), route("https://b.internal"), route("https://A.internal:443/")];
        assert_eq!(RouteMap::new(equal).unwrap_err(), (0, 2));
    }

    #[test]
    fn a_route_is_read_strictly() {
        for url in [
            "http://a.internal",
            "a.internal",
            "https://u@a.internal",
            "https://a.internal/?q",
            "",
            "https://a/b;c",
        ] {
            assert!(Route::new(url, RouteRule::Anonymous).is_err(), "{url}");
        }
        for url in ["http://127.0.0.1:80", "http://[::1]:9000", "http://localhost:1/x"] {
            assert!(Route::new(url, RouteRule::Anonymous).is_ok(), "{url}");
        }
        for exchange in [
            Exchange::audience("").requires_none(),
            Exchange::audience("a").requires(""),
            Exchange::audience("a").requires("\n"),
            Exchange::audience("a").scope("\"").requires_none(),
            Exchange::audience("a").lifetime_at_most(Duration::ZERO).requires_none(),
        ] {
            assert!(Route::new("https://a.internal", exchange.into()).is_err());
        }
    }

    #[test]
    fn an_exchange_that_cannot_be_meant_is_no_route() {
        let base = || Exchange::audience("a");
        let until = crate::UnixTime::from_secs(9);
        let waiver = |reason: &str, owner: &str| Waiver::new(reason, owner, until);
        for (exchange, good) in [
            (base(), true),
            (base().expects_audience("b").resource("r").resource("s").wants_jwt(), true),
            (base().expects_audience(""), false),
            (base().resource("r").resource(""), false),
            (base().dangerous_without_actor(waiver("why", "who")), true),
            (base().dangerous_without_actor(waiver("", "who")), false),
            (base().dangerous_later_expiry(waiver("why", " ")), false),
            (base().dangerous_opaque(waiver(" ", "who")), false),
            (base().dangerous_foreign_audience("account", waiver("why", "who")), true),
            (base().dangerous_foreign_audience("", waiver("why", "who")), false),
        ] {
            let route = Route::new("https://a.internal", exchange.clone().requires_none().into());
            assert_eq!(route.is_ok(), good, "{exchange:?}");
        }
    }
}
