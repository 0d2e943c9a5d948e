//! Where may a call go, and with what? The route map of the way out; default deny.
//!
//! A route names an origin (scheme, host, port) and a path prefix, and what is done for calls there. The most
//! specific prefix wins; a call that no route lists is refused, and so is one whose path could be read in two
//! ways where that would choose between routes.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::uri::{Authority, Scheme};
use http::{HeaderMap, Uri, header};

use crate::{Expectation, Facts, Fault, InvalidScope, Relaxation, ScopeSet, Waived, Waiver, minutes};

/// An origin in its one spelling: `scheme://host:port`, lower case, the port always written.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Destination(Arc<str>);

impl Destination {
    /// The origin of an absolute `http` or `https` URI without userinfo; `None` if it is not one.
    #[must_use]
    pub fn of(uri: &Uri) -> Option<Self> {
        let Origin { scheme, host, port } = Origin::of(uri)?;
        let mut text = String::with_capacity(scheme.len() + host.len() + "://:65535".len());
        text.extend([scheme, "://", host, ":"]);
        match port {
            443 => text.push_str("443"),
            other => text.push_str(&other.to_string()),
        }
        text.make_ascii_lowercase();
        Some(Self(text.into()))
    }

    /// True if `uri` has this origin: the same as comparing with [`Destination::of`], without making one.
    #[must_use]
    pub fn is_of(&self, uri: &Uri) -> bool {
        Origin::of(uri).is_some_and(|origin| self.is(&origin))
    }

    fn is(&self, origin: &Origin<'_>) -> bool {
        let rest = self.0.strip_prefix(origin.scheme).and_then(|rest| rest.strip_prefix("://"));
        rest.and_then(|rest| rest.rsplit_once(':')).is_some_and(|(host, port)| {
            host.eq_ignore_ascii_case(origin.host) && port.parse() == Ok(origin.port)
        })
    }

    /// The origin as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The shared text.
    #[must_use]
    pub fn shared(&self) -> &Arc<str> {
        &self.0
    }
}

/// What makes an origin, as a URI spells it.
struct Origin<'a> {
    scheme: &'a str,
    host: &'a str,
    port: u16,
}

impl<'a> Origin<'a> {
    fn of(uri: &'a Uri) -> Option<Self> {
        let scheme = uri.scheme()?;
        let authority = uri.authority()?;
        let default_port = default_port(scheme)?;
        let host = authority.host();
        if has_userinfo(authority) || host.is_empty() {
            return None;
        }
        // `Authority::port` is `None` both without a port and with one that is not a number.
        let port = match authority.as_str().strip_prefix(host)? {
            "" => default_port,
            rest => strict_port(rest.strip_prefix(':')?)?,
        };
        Some(Self { scheme: scheme.as_str(), host, port })
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Destination({self})")
    }
}

/// Which scopes the caller's own token must hold before a route is open to it (I6).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Requires {
    /// All of these, and at least one.
    AllOf(Result<ScopeSet, InvalidScope>),
    /// None, said by name.
    Nothing,
}

/// Marks an [`Exchange`] that does not say yet what it requires; it is no route until it does.
#[derive(Clone, Copy, Debug)]
pub struct Unstated;

/// Exchange the caller's token for one that is good at the destination only (RFC 8693).
///
/// ```
/// use hopguard_core::{Exchange, minutes};
///
/// let route = Exchange::audience("https://inventory.internal")
///     .scope("stock:read")
///     .lifetime_at_most(minutes(2))
///     .requires("orders:read");
/// # let _ = route;
/// ```
#[derive(Clone, Debug)]
pub struct Exchange<R = Requires> {
    audience: Arc<str>,
    expected_audience: Option<Arc<str>>,
    resources: Vec<Box<str>>,
    scopes: Result<ScopeSet, InvalidScope>,
    lifetime: Duration,
    wants_jwt: bool,
    relaxed: Vec<Waived>,
    requires: R,
}

impl Exchange<Unstated> {
    /// Ask for a token whose only audience is `audience` (the parameter of RFC 8693 section 2.1).
    #[must_use]
    pub fn audience(audience: &str) -> Self {
        Self {
            audience: audience.into(),
            expected_audience: None,
            resources: Vec::new(),
            scopes: Ok(ScopeSet::empty()),
            lifetime: minutes(5),
            wants_jwt: false,
            relaxed: Vec::new(),
            requires: Unstated,
        }
    }

    /// Open to callers whose token holds all of the space-delimited `scopes`.
    #[must_use]
    pub fn requires(self, scopes: &str) -> Exchange {
        self.state(Requires::AllOf(ScopeSet::parse(scopes)))
    }

    /// Open to every admitted caller.
    #[must_use]
    pub fn requires_none(self) -> Exchange {
        self.state(Requires::Nothing)
    }

    fn state(self, requires: Requires) -> Exchange {
        let Self {
            audience,
            expected_audience,
            resources,
            scopes,
            lifetime,
            wants_jwt,
            relaxed,
            requires: Unstated,
        } = self;
        Exchange { audience, expected_audience, resources, scopes, lifetime, wants_jwt, relaxed, requires }
    }
}

impl<R> Exchange<R> {
    /// Ask for the space-delimited `scopes`, beside those asked already.
    #[must_use]
    pub fn scope(mut self, scopes: &str) -> Self {
        self.scopes = match (self.scopes, ScopeSet::parse(scopes)) {
            (Ok(before), Ok(more)) => ScopeSet::from_tokens(before.iter().chain(more.iter())),
            (Err(invalid), _) | (_, Err(invalid)) => Err(invalid),
        };
        self
    }

    /// Also send `resource` (RFC 8707), for servers that select the audience by it. May be said several times.
    #[must_use]
    pub fn resource(mut self, resource: &str) -> Self {
        self.resources.push(resource.into());
        self
    }

    /// The grant's audience is `audience`, whatever was asked for: some servers know a service by one name in
    /// requests and by another in tokens. No other audience passes, the one asked for included.
    #[must_use]
    pub fn expects_audience(mut self, audience: &str) -> Self {
        self.expected_audience = Some(audience.into());
        self
    }

    /// Ask for a token of type `urn:ietf:params:oauth:token-type:jwt` (RFC 8693 section 3) in place of an
    /// access token, for servers whose access tokens are opaque unless a JWT is asked for.
    #[must_use]
    pub const fn wants_jwt(mut self) -> Self {
        self.wants_jwt = true;
        self
    }

    /// A grant that was issued for longer than `longest` is refused. Five minutes unless set.
    #[must_use]
    pub const fn lifetime_at_most(mut self, longest: Duration) -> Self {
        self.lifetime = longest;
        self
    }

    /// Takes a grant without `act`, from a server that does not write it.
    ///
    /// The peer then cannot tell us from the subject itself. A grant with an `act` that is not the parent's
    /// and us is refused as ever.
    #[must_use]
    pub fn dangerous_without_actor(self, waiver: Waiver) -> Self {
        self.relax(Relaxation::WithoutActor, waiver)
    }

    /// Takes a grant that names `audience` beside the one expected, from a server that always adds it.
    ///
    /// Whoever gets the grant can use it there too.
    #[must_use]
    pub fn dangerous_foreign_audience(self, audience: &str, waiver: Waiver) -> Self {
        self.relax(Relaxation::ForeignAudience(audience.into()), waiver)
    }

    /// Takes a grant that expires later than the token it was made from, from a server that knows one lifetime
    /// only. [`lifetime_at_most`](Self::lifetime_at_most) holds as ever.
    ///
    /// We stop using it when its parent expires; whoever got hold of it need not.
    #[must_use]
    pub fn dangerous_later_expiry(self, waiver: Waiver) -> Self {
        self.relax(Relaxation::LaterExpiry, waiver)
    }

    /// Takes an opaque grant, from a server that has no other.
    ///
    /// Nothing of it can be proven but what the answer says beside it: its life, which must be told
    /// (`expires_in`), and its scopes. Audience, subject and actor are taken to be those asked for. The
    /// passthrough block cannot find it where it does not belong. What looks like a JWS is verified as ever.
    #[must_use]
    pub fn dangerous_opaque(self, waiver: Waiver) -> Self {
        self.relax(Relaxation::Opaque, waiver)
    }

    fn relax(mut self, relaxation: Relaxation, waiver: Waiver) -> Self {
        self.relaxed.push(Waived { relaxation, waiver });
        self
    }
}

impl Exchange {
    /// The audience that is asked for, and expected unless [`expects_audience`](Self::expects_audience) says
    /// otherwise.
    #[must_use]
    pub fn target_audience(&self) -> &Arc<str> {
        &self.audience
    }

    /// The audience that the grant must have.
    #[must_use]
    pub fn expected_audience(&self) -> &Arc<str> {
        self.expected_audience.as_ref().unwrap_or(&self.audience)
    }

    /// The resource indicators that are sent.
    #[must_use]
    pub fn target_resources(&self) -> &[Box<str>] {
        &self.resources
    }

    /// True if a JWT is asked for by its type.
    #[must_use]
    pub const fn asks_for_jwt(&self) -> bool {
        self.wants_jwt
    }

    /// What the route relaxes, each with its waiver.
    #[must_use]
    pub fn relaxed(&self) -> &[Waived] {
        &self.relaxed
    }

    /// What the grant is held against; `actor` is the name under which the authorization server knows us.
    #[must_use]
    pub fn expectation(&self, actor: &Arc<str>) -> Expectation {
        Expectation {
            audience: Arc::clone(self.expected_audience()),
            scopes: self.target_scopes(),
            lifetime: self.lifetime,
            actor: Arc::clone(actor),
            relaxed: self.relaxed.clone(),
        }
    }

    /// The scopes that are asked for; the grant may hold no others. Nothing where they could not be read.
    #[must_use]
    pub fn target_scopes(&self) -> ScopeSet {
        self.scopes.clone().unwrap_or_default()
    }

    /// The longest life of a grant.
    #[must_use]
    pub const fn longest_life(&self) -> Duration {
        self.lifetime
    }

    /// Is this route open to a caller with these claims?
    ///
    /// # Errors
    ///
    /// [`Denial::RouteRequiresScope`](crate::Denial::RouteRequiresScope) if a scope is lacking.
    pub fn check_open_to(&self, parent: &Facts) -> Result<(), crate::Denial> {
        // INVARIANT: I6 — judged here, before anything is fetched; an empty demand is not "no demand".
        match &self.requires {
            Requires::Nothing => Ok(()),
            Requires::AllOf(Ok(needed)) if !needed.is_empty() && needed.is_subset_of(&parent.scopes) => {
                Ok(())
            }
            Requires::AllOf(needed) => {
                Err(crate::Denial::RouteRequiresScope(needed.clone().unwrap_or_default()))
            }
        }
    }

    fn problem(&self) -> Option<&'static str> {
        if self.audience.is_empty() {
            return Some("asks for an empty audience: name the destination's own URI");
        }
        if self.expected_audience.as_ref().is_some_and(|audience| audience.is_empty()) {
            return Some("expects an empty audience");
        }
        if self.resources.iter().any(|resource| resource.is_empty()) {
            return Some("asks for an empty resource");
        }
        if self.relaxed.iter().any(|one| !one.waiver.is_complete()) {
            return Some("relaxes a check without saying why, or who answers for it");
        }
        if self.relaxed.iter().any(|one| one.relaxation.audience() == Some("")) {
            return Some("tolerates an empty audience");
        }
        if self.scopes.is_err() {
            return Some("asks for a malformed scope");
        }
        if self.lifetime < Duration::from_secs(1) {
            return Some("allows grants of less than a second");
        }
        match &self.requires {
            Requires::AllOf(Err(_)) => Some("requires a malformed scope"),
            Requires::AllOf(Ok(set)) if set.is_empty() => {
                Some("requires an empty scope: write requires_none() if every caller may use it")
            }
            _ => None,
        }
    }
}

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

/// What about a request's target and `Host` refuses the call before any route is sought.
///
/// # Errors
///
/// [`Fault::TargetUnreadable`] without an absolute URI or with userinfo in it, [`Fault::HostMismatch`] if a
/// `Host` header names anything but the URI's own authority.
pub fn request_target_rejects(uri: &Uri, headers: &HeaderMap) -> Result<(), Fault> {
    // Clients resolve dot segments on their way, so that another path is sent than the one that was judged.
    if has_dot_segment(uri.path()) {
        return Err(Fault::TargetUnreadable);
    }
    let origin = Origin::of(uri).ok_or(Fault::TargetUnreadable)?;
    for host in headers.get_all(header::HOST) {
        let named = host.to_str().ok().and_then(|host| host.parse::<Authority>().ok());
        let named = named.and_then(|authority| {
            let parts = Uri::builder().scheme(uri.scheme()?.clone()).authority(authority).path_and_query("/");
            Destination::of(&parts.build().ok()?)
        });
        if !named.is_some_and(|named| named.is(&origin)) {
            return Err(Fault::HostMismatch);
        }
    }
    Ok(())
}

/// True if two readers of `path` could see two different paths: escapes of what needs none, encoded separators,
/// dot segments, segments that end in a dot, empty segments, path parameters, backslashes, broken escapes.
///
/// Of ASCII only the escaped space is left alone (RFC 3986 section 6.2.2.2: `%61` and `a` are one path to some
/// readers and two to others).
#[must_use]
pub fn is_ambiguous_path(path: &str) -> bool {
    let digit = |byte: Option<u8>| byte.and_then(|byte| char::from(byte).to_digit(16));
    let mut bytes = path.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            match (digit(bytes.next()), digit(bytes.next())) {
                (Some(high), Some(_)) if high >= 8 => {}
                (Some(2), Some(0)) => {}
                _ => return true,
            }
        }
    }
    let dotted = |segment: &str| segment.ends_with('.') || segment.ends_with("%20");
    path.contains("//") || path.contains(['\\', ';']) || path.split('/').any(dotted)
}

/// True if a segment is `.` or `..`, escaped or not, or a backslash could be read as a separator.
fn has_dot_segment(path: &str) -> bool {
    let lower = path.to_ascii_lowercase().replace("%2e", ".");
    lower.contains('\\') || lower.split('/').any(|segment| segment == "." || segment == "..")
}

/// Reads a URL of the configuration: absolute, `https`, or `http` to loopback.
///
/// # Errors
///
/// A sentence that reads on from the setting's name.
pub fn parse_absolute(url: &str) -> Result<Uri, &'static str> {
    let uri: Uri = url.parse().map_err(|_| "is not a URL")?;
    match (uri.scheme(), uri.authority()) {
        (Some(scheme), Some(authority)) if default_port(scheme).is_some() => {
            if has_userinfo(authority) {
                return Err("carries a user name or password: a URL is no place for a credential");
            }
            if *scheme == Scheme::HTTP && !is_loopback(authority.host()) {
                return Err("is plain http: only https, or http to a loopback address, is safe for tokens");
            }
            Ok(uri)
        }
        _ => Err("is not an absolute http or https URL"),
    }
}

/// A port as everybody writes it: `+443` and `00443` are none.
fn strict_port(text: &str) -> Option<u16> {
    let port: u16 = text.parse().ok().filter(|port| *port != 0)?;
    (port.to_string() == text).then_some(port)
}

fn has_userinfo(authority: &Authority) -> bool {
    authority.as_str().contains('@')
}

fn default_port(scheme: &Scheme) -> Option<u16> {
    match scheme.as_str() {
        "http" => Some(80),
        "https" => Some(443),
        _ => None,
    }
}

fn is_loopback(host: &str) -> bool {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    bare.eq_ignore_ascii_case("localhost")
        || bare.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn being_of_an_origin_is_having_it() {
        let uris = [
            "https://a.internal",
            "https://A.Internal:443/x?y",
            "https://a.internal:8443",
            "http://a.internal",
            "http://a.internal:80/",
            "http://a.internal:443",
            "https://a.internal.",
            "https://aa.internal",
            "https://[::1]:8443/",
            "https://[::1]",
            "https://u@a.internal",
            "/relative",
            "ftp://a.internal",
        ];
        for (a, b) in uris.iter().flat_map(|a| uris.iter().map(move |b| (a, b))) {
            let (one, other): (Uri, Uri) = (a.parse().unwrap(), b.parse().unwrap());
            let Some(origin) = Destination::of(&one) else { continue };
            assert_eq!(origin.is_of(&other), Destination::of(&other) == Some(origin), "{a} {b}");
        }
        assert_eq!(Destination::of(&Uri::from_static(uris[1])).unwrap().as_str(), "https://a.internal:443");
        assert_eq!(Destination::of(&Uri::from_static(uris[8])).unwrap().as_str(), "https://[::1]:8443");
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
    fn dot_segments_are_refused_whatever_the_routes_are() {
        let check = |path: &str| {
            let uri = format!("https://a.internal{path}").parse().unwrap();
            request_target_rejects(&uri, &HeaderMap::new()).map_err(Fault::code)
        };
        for path in ["/", "/a.b/..c", "/...", "/%2easter", "/a;b//c"] {
            assert_eq!(check(path), Ok(()), "{path}");
        }
        for path in ["/a/../b", "/..", "/./a", "/a/%2E%2e/b", "/a/.%2e", "/%2e"] {
            assert_eq!(check(path), Err("target_unreadable"), "{path}");
        }
    }

    #[test]
    fn a_host_header_must_agree() {
        let uri: Uri = "https://a.internal/x".parse().unwrap();
        let check = |hosts: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for &host in hosts {
                headers.append(header::HOST, http::HeaderValue::from_static(host));
            }
            request_target_rejects(&uri, &headers).map_err(Fault::code)
        };
        assert_eq!(check(&[]), Ok(()));
        assert_eq!(check(&["A.internal"]), Ok(()));
        assert_eq!(check(&["a.internal:443"]), Ok(()));
        for hosts in
            [&["b.internal"][..], &["a.internal:80"], &["a.internal", "b.internal"], &["u@a.internal"], &[""]]
        {
            assert_eq!(check(hosts), Err("host_mismatch"), "{hosts:?}");
        }
    }

    #[test]
    fn a_route_is_open_to_the_right_parent_only() {
        let parent = |scopes: &str| {
            let mut facts = crate::evidence_for_tests::facts();
            facts.scopes = ScopeSet::parse(scopes).unwrap();
            facts
        };
        let open =
            |exchange: &Exchange, scopes| exchange.check_open_to(&parent(scopes)).map_err(|d| d.code());
        let route = Exchange::audience("a").requires("orders:read orders:list");
        assert_eq!(open(&route, "orders:read orders:list x"), Ok(()));
        assert_eq!(open(&route, "orders:read"), Err("route_requires_scope"));
        assert_eq!(open(&route, ""), Err("route_requires_scope"));
        assert_eq!(open(&Exchange::audience("a").requires(""), "x"), Err("route_requires_scope"));
        assert_eq!(open(&Exchange::audience("a").requires_none(), ""), Ok(()));
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

    #[test]
    fn what_is_set_reaches_the_expectation() {
        let waiver = || Waiver::new("why", "who", crate::UnixTime::from_secs(9));
        let exchange = Exchange::audience("a")
            .expects_audience("b")
            .scope("s")
            .lifetime_at_most(minutes(3))
            .dangerous_opaque(waiver())
            .dangerous_later_expiry(waiver())
            .requires("r");
        assert_eq!((&**exchange.target_audience(), &**exchange.expected_audience()), ("a", "b"));
        let expected = exchange.expectation(&"us".into());
        assert_eq!((&*expected.audience, &*expected.actor), ("b", "us"));
        assert_eq!((expected.scopes.to_string().as_str(), expected.lifetime), ("s", minutes(3)));
        let relaxed: Vec<_> = expected.relaxed.iter().map(|one| one.relaxation.name()).collect();
        assert_eq!(relaxed, ["grant_opaque", "grant_later_expiry"]);
    }
}
