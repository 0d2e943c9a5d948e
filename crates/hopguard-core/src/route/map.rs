//! The routes, and which of them a call takes.

use http::{HeaderMap, HeaderName, Method, Uri};

use super::destination::Origin;
use super::explanation::{Considered, Explanation, Fit};
use super::target::{is_ambiguous_path, origin_of_target};
use super::{Route, RouteRule};
use crate::Fault;

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
    /// The indices of two routes that would fit some call equally well: the same origin and path, with a method
    /// in common; or paths that differ by case alone, which servers may take for one.
    pub fn new(routes: Vec<Route>) -> Result<Self, (usize, usize)> {
        for (later, route) in routes.iter().enumerate() {
            if let Some(earlier) = routes.iter().take(later).position(|other| other.collides(route)) {
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

    /// The one route for a call to `uri`: that of the most specific path, and there the one that names the
    /// method before the one that takes any.
    ///
    /// # Errors
    ///
    /// [`Fault::DestinationUnlisted`] if none fits or the one that fits denies, [`Fault::TargetUnreadable`]
    /// if the URI has no origin, carries userinfo, or could be read as belonging to another route.
    pub fn choose(&self, method: &Method, uri: &Uri) -> Result<RouteChoice<'_>, Fault> {
        self.choose_at(method, uri, &Origin::of(uri).ok_or(Fault::TargetUnreadable)?)
    }

    fn choose_at(&self, method: &Method, uri: &Uri, origin: &Origin<'_>) -> Result<RouteChoice<'_>, Fault> {
        // INVARIANT: I2 — `CONNECT` sends no path, so not the target that was judged; `TRACE` asks the peer to send the
        // credential back (RFC 9110 sections 9.3.6 and 9.3.8).
        if [Method::CONNECT, Method::TRACE].contains(method) {
            return Err(Fault::RequestUnsendable);
        }
        let found = self.find(method, uri, origin)?;
        // INVARIANT: I2 — whatever is not listed is refused.
        match found {
            Some(choice) if !matches!(choice.route.rule(), RouteRule::Deny) => Ok(choice),
            _ => Err(Fault::DestinationUnlisted),
        }
    }

    /// The route whose path is the most specific one, if it takes the method.
    fn find(
        &self,
        method: &Method,
        uri: &Uri,
        origin: &Origin<'_>,
    ) -> Result<Option<RouteChoice<'_>>, Fault> {
        let mut best: Option<RouteChoice<'_>> = None;
        let mut longest = None;
        let (mut by_path, mut by_case) = (false, false);
        for (index, route) in self.0.iter().enumerate().filter(|(_, r)| r.destination().is(origin)) {
            by_path |= !route.path().is_empty();
            by_case |= route.covers_by_case(uri.path());
            let length = Some(route.path().len());
            if !route.covers(uri.path()) || length < longest {
                continue;
            }
            if length > longest {
                (longest, best) = (length, None);
            }
            if route.takes(method) && (best.is_none() || route.names_methods()) {
                best = Some(RouteChoice { index, route });
            }
        }
        if by_case || (by_path && is_ambiguous_path(uri.path())) {
            return Err(Fault::TargetUnreadable);
        }
        Ok(best)
    }

    /// The one route for a request with these words: what [`request_target_rejects`](crate::request_target_rejects)
    /// says of them, then [`choose`](Self::choose). Where routes of one path differ by method, a header that asks the
    /// peer to take the request for another method refuses.
    ///
    /// # Errors
    ///
    /// As both of these.
    pub fn judge(&self, method: &Method, uri: &Uri, headers: &HeaderMap) -> Result<RouteChoice<'_>, Fault> {
        let choice = self.choose_at(method, uri, &origin_of_target(uri, headers)?)?;
        let same_path = |other: &&Route| {
            other.destination() == choice.route.destination() && other.path() == choice.route.path()
        };
        if self.0.iter().filter(same_path).any(|route| route.names_methods())
            && OVERRIDES.iter().any(|name| headers.contains_key(name))
        {
            return Err(Fault::TargetUnreadable);
        }
        Ok(choice)
    }

    /// Which route a request with these words takes, and why none of the others. Nothing is sent or fetched.
    #[must_use]
    pub fn explain(&self, method: &Method, uri: &Uri, headers: &HeaderMap) -> Explanation {
        let verdict = self.judge(method, uri, headers);
        let taken = Origin::of(uri)
            .and_then(|origin| self.find(method, uri, &origin).ok())
            .and_then(|found| found.map(|choice| choice.index));
        let longest = self.0.iter().filter(|route| route.is_at(uri)).map(|route| route.path().len()).max();
        let considered = self.0.iter().enumerate().map(|(index, route)| {
            let fit = if !route.destination().is_of(uri) {
                Fit::OtherOrigin
            } else if route.covers_by_case(uri.path()) {
                Fit::PathDiffersByCase
            } else if !route.covers(uri.path()) {
                Fit::OtherPath
            } else if Some(route.path().len()) != longest {
                Fit::LessSpecificPath
            } else if !route.takes(method) {
                Fit::OtherMethod
            } else if taken.is_some_and(|taken| taken != index) {
                Fit::MethodNamedElsewhere
            } else if matches!(route.rule(), RouteRule::Deny) {
                Fit::Denies
            } else {
                Fit::Fits
            };
            Considered { index, route: route.to_string(), kind: route.rule().name(), fit }
        });
        let considered = considered.collect();
        Explanation::new(verdict.map(|choice| choice.route.rule().clone()), considered)
    }
}

/// Headers by which frameworks take a request for one with another method.
const OVERRIDES: [HeaderName; 3] = [
    HeaderName::from_static("x-http-method-override"),
    HeaderName::from_static("x-http-method"),
    HeaderName::from_static("x-method-override"),
];

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::Waiver;
    use crate::route::Exchange;

    fn map(routes: &[(&str, RouteRule)]) -> RouteMap {
        let routes = routes.iter().map(|(url, rule)| Route::new(url, rule.clone()).unwrap()).collect();
        RouteMap::new(routes).unwrap()
    }

    #[track_caller]
    fn choose(map: &RouteMap, uri: &str, expected: Result<usize, &str>) {
        let found =
            map.choose(&Method::GET, &uri.parse().unwrap()).map(|choice| choice.index).map_err(Fault::code);
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
                    map.choose(&Method::GET, &uri).map(|choice| choice.index),
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
        let listed: Vec<_> = map.routes().iter().map(Route::path).collect();
        assert_eq!(listed, ["", "/admin", "/admin/health"]);
        for path in ["/x/../admin", "/x%2f..%2fadmin", "//admin", "/admin;a=b", "/%61dmin/%2E%2e", "/./admin"]
        {
            choose(&map, &format!("https://a.internal{path}"), Err("target_unreadable"));
        }
    }

    /// Whatever the order in which routes were written.
    #[test]
    fn the_order_of_routes_means_nothing() {
        let urls = [
            "https://a.internal/x/y",
            "https://a.internal",
            "https://a.internal/x",
            "https://b.internal/x/y/z",
        ];
        for turn in 0..urls.len() {
            let mut turned = urls;
            turned.rotate_left(turn);
            let map = map(&turned.map(|url| (url, RouteRule::Anonymous)));
            let at = |url: &str| turned.iter().position(|one| *one == url).unwrap();
            choose(&map, "https://a.internal/x/y/z", Ok(at("https://a.internal/x/y")));
            choose(&map, "https://a.internal/x/z", Ok(at("https://a.internal/x")));
            choose(&map, "https://a.internal/z", Ok(at("https://a.internal")));
        }
    }

    #[test]
    fn no_route_takes_connect_or_trace() {
        let map = map(&[("https://a.internal", RouteRule::Anonymous)]);
        let uri = "https://a.internal/x".parse().unwrap();
        for (method, expected) in [
            (Method::CONNECT, Err("request_unsendable")),
            (Method::TRACE, Err("request_unsendable")),
            (Method::OPTIONS, Ok(0)),
            (Method::from_bytes(b"connect").unwrap(), Ok(0)),
        ] {
            let found = map.choose(&method, &uri).map(|choice| choice.index).map_err(Fault::code);
            assert_eq!(found, expected, "{method}");
            let judged = map.judge(&method, &uri, &HeaderMap::new());
            assert_eq!(judged.map(|choice| choice.index).map_err(Fault::code), expected, "{method}");
        }
    }

    /// Where no route goes by path, no reading of the path opens another.
    #[test]
    fn an_ambiguous_path_refuses_only_where_paths_decide() {
        let whole = map(&[
            ("https://a.internal", RouteRule::Anonymous),
            ("https://b.internal/x", RouteRule::Anonymous),
        ]);
        choose(&whole, "https://a.internal/x//y", Ok(0));
        choose(&whole, "https://b.internal/x//y", Err("target_unreadable"));
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
            (base().lifetime_at_most(Duration::from_secs(1)), true),
            (base().lifetime_at_most(Duration::from_millis(999)), false),
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

    fn for_methods(url: &str, methods: &[&str], rule: RouteRule) -> Route {
        let route = Route::new(url, rule).unwrap();
        let methods: Vec<Method> = methods.iter().map(|method| method.parse().unwrap()).collect();
        if methods.is_empty() { route } else { route.methods(methods).unwrap() }
    }

    #[test]
    fn the_most_specific_path_decides_and_then_the_method() {
        let route = |path: &str, methods: &[&str], rule| {
            for_methods(&format!("https://a.internal{path}"), methods, rule)
        };
        let map = RouteMap::new(vec![
            route("", &[], RouteRule::Anonymous),
            route("/x", &["GET", "HEAD"], RouteRule::Anonymous),
            route("/x", &[], RouteRule::Deny),
            route("/y", &["GET"], RouteRule::Anonymous),
            route("/y", &["PUT"], RouteRule::Deny),
            route("/y/z", &["POST"], RouteRule::Anonymous),
        ])
        .unwrap();
        let taken = |method: &str, path: &str| {
            let uri = format!("https://a.internal{path}").parse().unwrap();
            map.choose(&method.parse().unwrap(), &uri).map(|choice| choice.index).map_err(Fault::code)
        };
        let unlisted = Err("destination_unlisted");
        for (method, path, expected) in [
            ("GET", "/", Ok(0)),
            ("BREW", "/", Ok(0)),
            ("GET", "/x", Ok(1)),
            ("HEAD", "/x/deep", Ok(1)),
            ("POST", "/x", unlisted),
            ("GET", "/y", Ok(3)),
            ("PUT", "/y", unlisted),
            // Nothing above a path takes what the path does not.
            ("POST", "/y", unlisted),
            ("POST", "/y/z", Ok(5)),
            ("GET", "/y/z", unlisted),
            // Methods are compared with case (RFC 9110 section 9.1).
            ("get", "/y", unlisted),
        ] {
            assert_eq!(taken(method, path), expected, "{method} {path}");
        }
        assert!(Route::new("https://a.internal", RouteRule::Deny).unwrap().methods([]).is_err());
    }

    #[test]
    fn what_would_fit_equally_does_not_build() {
        let collide = |one: (&str, &[&str]), other: (&str, &[&str])| {
            let of = |(url, methods): (&str, &[&str])| for_methods(url, methods, RouteRule::Anonymous);
            RouteMap::new(vec![of(one), of(other)]).is_err()
        };
        let a = "https://a.internal/x";
        assert!(collide((a, &[]), (a, &[])));
        assert!(collide((a, &["GET", "PUT"]), (a, &["PUT", "POST"])));
        assert!(!collide((a, &["GET"]), (a, &["PUT"])));
        assert!(!collide((a, &["GET"]), (a, &[])));
        assert!(collide((a, &["GET"]), ("https://a.internal/X", &["PUT"])));
        assert!(!collide((a, &[]), ("https://b.internal/X", &[])));
    }

    #[test]
    fn a_method_cannot_be_had_by_a_header() {
        let map = RouteMap::new(vec![
            for_methods("https://a.internal/x", &["GET"], RouteRule::Anonymous),
            for_methods("https://a.internal/y", &[], RouteRule::Anonymous),
        ])
        .unwrap();
        let judged = |path: &str, header: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header.parse::<HeaderName>().unwrap(), http::HeaderValue::from_static("DELETE"));
            let uri = format!("https://a.internal{path}").parse().unwrap();
            map.judge(&Method::GET, &uri, &headers).map(|choice| choice.index).map_err(Fault::code)
        };
        for header in ["X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override"] {
            assert_eq!(judged("/x", header), Err("target_unreadable"));
            // Here the method chooses nothing.
            assert_eq!(judged("/y", header), Ok(1));
        }
        assert_eq!(judged("/x", "x-other"), Ok(0));
    }
}
