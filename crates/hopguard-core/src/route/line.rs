//! One line of the route map: an origin, a path and methods, and what is done there.

use std::fmt;

use http::{Method, Uri};

use super::RouteRule;
use super::destination::{Destination, parse_absolute};
use super::target::is_ambiguous_path;

/// One line of the route map.
#[derive(Clone, Debug)]
pub struct Route {
    destination: Destination,
    prefix: Box<str>,
    /// Sorted; `None` for every method.
    methods: Option<Box<[Method]>>,
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
        if let Some(problem) = rule.problem() {
            return Err(InvalidRoute(problem));
        }
        let prefix = uri.path().trim_end_matches('/').into();
        Ok(Self { destination, prefix, methods: None, rule })
    }

    /// The same route for these methods only. A call with another method finds no route here, and none above
    /// it either: the most specific path decides.
    ///
    /// ```
    /// use hopguard_core::{Anonymous, Route};
    /// use http::Method;
    ///
    /// let route = Route::new("https://status.example", Anonymous.into())?.methods([Method::GET, Method::HEAD])?;
    /// assert_eq!(route.to_string(), "GET, HEAD https://status.example:443");
    /// # Ok::<(), hopguard_core::InvalidRoute>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`InvalidRoute`] for no method at all.
    pub fn methods(mut self, methods: impl IntoIterator<Item = Method>) -> Result<Self, InvalidRoute> {
        let mut all: Vec<Method> = methods.into_iter().collect();
        all.sort_by(|a, b| a.as_str().cmp(b.as_str()));
        all.dedup();
        if all.is_empty() {
            return Err(InvalidRoute("takes no method at all"));
        }
        self.methods = Some(all.into());
        Ok(self)
    }

    /// The path at and below which it holds; empty for the whole origin.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.prefix
    }

    pub(super) const fn names_methods(&self) -> bool {
        self.methods.is_some()
    }

    pub(super) fn takes(&self, method: &Method) -> bool {
        self.methods.as_ref().is_none_or(|methods| methods.contains(method))
    }

    /// True if some call would fit both equally well.
    pub(super) fn collides(&self, other: &Self) -> bool {
        let methods = match (&self.methods, &other.methods) {
            (None, None) => true,
            (Some(ours), Some(theirs)) => ours.iter().any(|method| theirs.contains(method)),
            // One that names the method fits better than one that takes any.
            _ => false,
        };
        // Prefixes that differ by case alone refuse each other's calls, so that neither could ever serve.
        let same = self.prefix == other.prefix && methods;
        let twins = self.prefix != other.prefix && self.prefix.eq_ignore_ascii_case(&other.prefix);
        self.destination == other.destination && (same || twins)
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

    pub(super) fn is_at(&self, uri: &Uri) -> bool {
        self.destination.is_of(uri) && self.covers(uri.path())
    }

    pub(super) fn covers(&self, path: &str) -> bool {
        path.strip_prefix(self.prefix.as_ref()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// True if a server that ignores case would see a path of this route, and we do not.
    pub(super) fn covers_by_case(&self, path: &str) -> bool {
        let same = |start: &str| start.eq_ignore_ascii_case(&self.prefix) && start != &*self.prefix;
        path.split_at_checked(self.prefix.len())
            .is_some_and(|(start, rest)| same(start) && (rest.is_empty() || rest.starts_with('/')))
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(methods) = &self.methods {
            for (at, method) in methods.iter().enumerate() {
                write!(f, "{}{method}", if at == 0 { "" } else { ", " })?;
            }
            f.write_str(" ")?;
        }
        write!(f, "{}{}", self.destination, self.prefix)
    }
}
