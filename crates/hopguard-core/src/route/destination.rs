//! One origin in one spelling, and which URLs of the configuration name one.

use std::fmt;
use std::sync::Arc;

use http::Uri;
use http::uri::{Authority, Scheme};

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

    pub(super) fn is(&self, origin: &Origin<'_>) -> bool {
        let digits = origin.port.checked_ilog10().unwrap_or(0) as usize + 1;
        // Most that differ do so in length already.
        if self.0.len() != origin.scheme.len() + "://:".len() + origin.host.len() + digits {
            return false;
        }
        let rest = self.0.strip_prefix(origin.scheme).and_then(|rest| rest.strip_prefix("://"));
        rest.and_then(|rest| rest.split_at_checked(origin.host.len())).is_some_and(|(host, port)| {
            // Most URLs spell the host as we do.
            let same = host == origin.host || host.eq_ignore_ascii_case(origin.host);
            same && port.strip_prefix(':').is_some_and(|port| port.parse() == Ok(origin.port))
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
pub(super) struct Origin<'a> {
    scheme: &'a str,
    host: &'a str,
    port: u16,
}

impl<'a> Origin<'a> {
    pub(super) fn of(uri: &'a Uri) -> Option<Self> {
        let scheme = uri.scheme()?;
        let authority = uri.authority()?;
        let default_port = default_port(scheme)?;
        // Most authorities are a host and nothing else.
        if memchr::memchr3(b'@', b':', b'[', authority.as_str().as_bytes()).is_none() {
            let host = Some(authority.as_str()).filter(|host| !host.is_empty())?;
            return Some(Self { scheme: scheme.as_str(), host, port: default_port });
        }
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
    let usual = text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0');
    text.parse().ok().filter(|_| usual)
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
            "https://[::1]:443",
            "https://a.internal:44",
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
}
