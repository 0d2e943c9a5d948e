//! What about a request's own words refuses it, whatever the routes are.

use http::uri::Authority;
use http::{HeaderMap, Uri, header};

use super::destination::{Destination, Origin};
use crate::Fault;

/// What about a request's target and `Host` refuses the call before any route is sought.
///
/// # Errors
///
/// [`Fault::TargetUnreadable`] without an absolute URI or with userinfo in it, [`Fault::HostMismatch`] if a
/// `Host` header names anything but the URI's own authority.
pub fn request_target_rejects(uri: &Uri, headers: &HeaderMap) -> Result<(), Fault> {
    origin_of_target(uri, headers).map(|_| ())
}

/// The origin of a request that nothing of the kind refuses.
pub(super) fn origin_of_target<'a>(uri: &'a Uri, headers: &HeaderMap) -> Result<Origin<'a>, Fault> {
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
    Ok(origin)
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
    // Most paths have none of what makes one; looking is cheaper than rewriting.
    if memchr::memchr3(b'.', b'%', b'\\', path.as_bytes()).is_none() {
        return false;
    }
    let lower = path.to_ascii_lowercase().replace("%2e", ".");
    lower.contains('\\') || lower.split('/').any(|segment| segment == "." || segment == "..")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dot_segments_are_refused_whatever_the_routes_are() {
        let check = |path: &str| {
            let uri = format!("https://a.internal{path}").parse().unwrap();
            request_target_rejects(&uri, &HeaderMap::new()).map_err(Fault::code)
        };
        for path in ["/", "/a", "/a/b/", "/a.b/..c", "/...", "/%2easter", "/a;b//c"] {
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
}
