//! Which route a call would take, and why not another: for people, not for decisions.

use std::fmt;

use super::RouteRule;
use super::demand::Requires;
use crate::Fault;

/// How one route stands to a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fit {
    /// It is the one.
    Fits,
    /// It is the one, and it refuses.
    Denies,
    /// Scheme, host or port differ.
    OtherOrigin,
    /// The path is not at or below the route's.
    OtherPath,
    /// The path is the route's to a server that ignores case: the call is refused.
    PathDiffersByCase,
    /// Another route names more of the path.
    LessSpecificPath,
    /// The route does not take the method.
    OtherMethod,
    /// Another route of the same path names the method.
    MethodNamedElsewhere,
}

impl fmt::Display for Fit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Fits => "fits",
            Self::Denies => "fits, and denies",
            Self::OtherOrigin => "is for another scheme, host or port",
            Self::OtherPath => "is for another path",
            Self::PathDiffersByCase => "has a path that differs by case alone, which refuses the call",
            Self::LessSpecificPath => "has a shorter path than another one",
            Self::OtherMethod => "does not take the method",
            Self::MethodNamedElsewhere => "takes any method, where another one names this",
        })
    }
}

/// One route, as it was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Considered {
    /// Its place in the map.
    pub index: usize,
    /// Methods, origin and path.
    pub route: String,
    /// `exchange`, `as_ourselves`, `static`, `anonymous` or `deny`.
    pub kind: &'static str,
    /// How it stands to the call.
    pub fit: Fit,
}

/// Which route a call takes and why; holds no secret. Its text is for people and may change.
///
/// ```
/// use hopguard_core::{Anonymous, Deny, Fit, Route, RouteMap};
/// use http::{HeaderMap, Method, Uri};
///
/// let routes = vec![
///     Route::new("https://status.example", Anonymous.into())?,
///     Route::new("https://status.example/admin", Deny.into())?,
/// ];
/// let map = RouteMap::new(routes).map_err(|_| "two routes are equal")?;
/// let uri = Uri::from_static("https://status.example/admin/users");
/// let why = map.explain(&Method::GET, &uri, &HeaderMap::new());
/// assert_eq!(why.refused().map(|fault| fault.code()), Some("destination_unlisted"));
/// assert_eq!(why.considered()[0].fit, Fit::LessSpecificPath);
/// assert_eq!(why.considered()[1].fit, Fit::Denies);
/// println!("{why}");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Explanation {
    verdict: Result<RouteRule, Fault>,
    considered: Vec<Considered>,
}

impl Explanation {
    pub(super) const fn new(verdict: Result<RouteRule, Fault>, considered: Vec<Considered>) -> Self {
        Self { verdict, considered }
    }

    /// Why the call would be refused, whoever makes it; `None` if a route takes it.
    #[must_use]
    pub fn refused(&self) -> Option<Fault> {
        self.verdict.as_ref().err().copied()
    }

    /// What is done for the call.
    #[must_use]
    pub fn rule(&self) -> Option<&RouteRule> {
        self.verdict.as_ref().ok()
    }

    /// The route that takes it.
    #[must_use]
    pub fn chosen(&self) -> Option<&Considered> {
        let fits = |one: &&Considered| one.fit == Fit::Fits;
        self.rule().and_then(|_| self.considered.iter().find(fits))
    }

    /// Every route of the map, in its order.
    #[must_use]
    pub fn considered(&self) -> &[Considered] {
        &self.considered
    }

    fn verdict(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rule = match &self.verdict {
            Ok(rule) => rule,
            Err(fault) => return write!(f, "refused: {} ({fault})", fault.code()),
        };
        match rule {
            RouteRule::Exchange(exchange) => {
                let asked = exchange.asked();
                write!(f, "the caller's token is exchanged for {}", asked.expected_audience())?;
                scopes(f, &asked.scopes().to_string())
            }
            RouteRule::AsOurselves(own) => {
                write!(f, "a token of our own for {}", own.asked().expected_audience())?;
                scopes(f, &own.asked().scopes().to_string())
            }
            RouteRule::Static(fixed) => match fixed.header_name() {
                Some(name) => write!(f, "a configured secret in {name}"),
                None => f.write_str("a configured secret"),
            },
            RouteRule::Anonymous => f.write_str("sent without a credential"),
            RouteRule::Deny => f.write_str("refused"),
        }?;
        match rule.required() {
            Some(Requires::AllOf(Ok(needed))) => write!(f, "; the caller needs {needed}"),
            Some(Requires::Nothing) => f.write_str("; open to every caller"),
            _ => Ok(()),
        }
    }
}

fn scopes(f: &mut fmt::Formatter<'_>, scopes: &str) -> fmt::Result {
    if scopes.is_empty() { f.write_str(" without a scope") } else { write!(f, " with {scopes}") }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.verdict(f)?;
        for Considered { index, route, kind, fit } in &self.considered {
            write!(f, "\n  [{index}] {kind} {route}: {fit}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, Method};

    use super::*;
    use crate::{Exchange, RawToken, Route, RouteMap, Static};

    #[test]
    fn every_route_is_accounted_for_and_no_secret_is_shown() {
        let secret = RawToken::new("sk_live_4eC39HqLyjWDarjtT1zdp7dc");
        let route = |url: &str, rule: RouteRule| Route::new(url, rule).unwrap();
        let exchange = Exchange::audience("inventory").scope("stock:read").requires("orders:read");
        let map = RouteMap::new(vec![
            route("https://a.internal", exchange.into()),
            route("https://a.internal/keys", Static::header("x-api-key", secret).requires("k").into()),
            route("https://a.internal/only", RouteRule::Anonymous).methods([Method::GET]).unwrap(),
            route("https://a.internal/only", RouteRule::Anonymous).methods([Method::PUT]).unwrap(),
            route("https://a.internal/any", RouteRule::Anonymous).methods([Method::GET]).unwrap(),
            route("https://a.internal/any", RouteRule::Anonymous),
            route("https://b.internal", RouteRule::Deny),
        ])
        .unwrap();
        let explain = |uri: &str| map.explain(&Method::GET, &uri.parse().unwrap(), &HeaderMap::new());
        for (uri, chosen, fits) in [
            (
                "https://a.internal/stock",
                Some("exchange"),
                [Fit::Fits, Fit::OtherPath, Fit::OtherPath, Fit::OtherPath, Fit::OtherPath, Fit::OtherPath],
            ),
            (
                "https://a.internal/only",
                Some("anonymous"),
                [
                    Fit::LessSpecificPath,
                    Fit::OtherPath,
                    Fit::Fits,
                    Fit::OtherMethod,
                    Fit::OtherPath,
                    Fit::OtherPath,
                ],
            ),
            (
                "https://a.internal/any",
                Some("anonymous"),
                [
                    Fit::LessSpecificPath,
                    Fit::OtherPath,
                    Fit::OtherPath,
                    Fit::OtherPath,
                    Fit::Fits,
                    Fit::MethodNamedElsewhere,
                ],
            ),
            (
                "https://a.internal/KEYS",
                None,
                [
                    Fit::Fits,
                    Fit::PathDiffersByCase,
                    Fit::OtherPath,
                    Fit::OtherPath,
                    Fit::OtherPath,
                    Fit::OtherPath,
                ],
            ),
        ] {
            let why = explain(uri);
            assert_eq!(why.chosen().map(|one| one.kind), chosen, "{why}");
            let found: Vec<_> = why.considered().iter().map(|one| one.fit).take(6).collect();
            assert_eq!(found, fits, "{why}");
            assert_eq!(why.considered()[6].fit, Fit::OtherOrigin);
        }
        let shown = explain("https://a.internal/keys/1");
        assert!(shown.to_string().starts_with("a configured secret in x-api-key; the caller needs k\n"));
        assert!(!format!("{shown} {shown:?}").contains("sk_live"));
        let exchanged = explain("https://a.internal/x").to_string();
        let verdict =
            "the caller's token is exchanged for inventory with stock:read; the caller needs orders:read";
        assert_eq!(exchanged.lines().next(), Some(verdict));
        assert_eq!(explain("https://c.internal/").refused(), Some(Fault::DestinationUnlisted));
        assert_eq!(explain("https://u@a.internal/").refused(), Some(Fault::TargetUnreadable));
    }
}
