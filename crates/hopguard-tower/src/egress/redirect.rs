//! Where does a redirect lead, and what may go there (RFC 9110 section 15.4)?
//!
//! Followed only by setting, and then the call begins anew: its URL is judged by the route map, gets a grant of
//! its own and passes the block. Nothing that was attached for the peer that redirects is carried on.
//!
//! A peer that may redirect chooses a URL among those that routes list. It gets no more say than that: to another
//! origin only `GET` and `HEAD` without a body follow, with the headers of the list below.

use http::header::{
    ACCEPT, ACCEPT_ENCODING, ACCEPT_LANGUAGE, CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_LOCATION,
    CONTENT_TYPE, HOST, LOCATION, USER_AGENT,
};
use http::{HeaderMap, HeaderName, Method, StatusCode, Uri, request};

use hopguard_core::Destination;

use super::renewal::Replayable;

/// What another origin may learn of the request.
const CARRIED: [HeaderName; 4] = [ACCEPT, ACCEPT_ENCODING, ACCEPT_LANGUAGE, USER_AGENT];
const OF_THE_BODY: [HeaderName; 4] = [CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_LOCATION, CONTENT_TYPE];
/// No URL of a peer's is longer.
const LONGEST: usize = 8 * 1024;

pub(super) fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

/// The request that a redirect asks for in place of the one in `parts` and `body`, which was kept before it was
/// sent; `None` if it may not be followed.
pub(super) fn onward<B: Replayable>(
    status: StatusCode,
    answer: &HeaderMap,
    parts: request::Parts,
    body: Option<B>,
) -> Option<(request::Parts, B)> {
    let uri = target(answer, &parts.uri)?;
    let is_read = matches!(parts.method, Method::GET | Method::HEAD);
    let drops_body = match status.as_u16() {
        303 => true,
        307 | 308 => false,
        // Section 15.4.2: some clients turn POST into GET here and some do not; the peer cannot know.
        301 | 302 if is_read => false,
        _ => return None,
    };
    let same_origin = Destination::of(&parts.uri).is_some_and(|here| here.is_of(&uri));
    let mut parts = parts;
    parts.uri = uri;
    parts.headers.remove(HOST);
    if drops_body {
        if parts.method != Method::HEAD {
            parts.method = Method::GET;
        }
    } else if !same_origin && !is_read {
        return None;
    }
    if !same_origin {
        let theirs = parts.headers.keys().filter(|name| !CARRIED.contains(name)).cloned();
        for name in theirs.collect::<Vec<_>>() {
            parts.headers.remove(name);
        }
    }
    let body = if drops_body || !same_origin {
        OF_THE_BODY.iter().for_each(|name| drop(parts.headers.remove(name)));
        B::empty()?
    } else {
        body?
    };
    Some((parts, body))
}

/// The one `Location`, resolved against the URL that was asked (RFC 3986 section 5.2) and without its fragment.
/// Dot segments stay, so that the route map refuses them.
fn target(answer: &HeaderMap, from: &Uri) -> Option<Uri> {
    let mut all = answer.get_all(LOCATION).iter();
    let (Some(one), None) = (all.next(), all.next()) else { return None };
    let text = one.to_str().ok().filter(|text| text.len() <= LONGEST)?;
    let text = text.split('#').next().filter(|text| !text.is_empty())?;
    let (scheme, authority) = (from.scheme_str()?, from.authority()?);
    // A scheme stands before the first slash or question mark.
    let head = text.split(['/', '?']).next().unwrap_or_default();
    let whole = if text.starts_with("//") {
        format!("{scheme}:{text}")
    } else if text.starts_with('/') {
        format!("{scheme}://{authority}{text}")
    } else if text.starts_with('?') {
        format!("{scheme}://{authority}{}{text}", from.path())
    } else if head.contains(':') {
        text.to_owned()
    } else {
        let folder = from.path().rsplit_once('/').map_or("", |(folder, _)| folder);
        format!("{scheme}://{authority}{folder}/{text}")
    };
    // `host:port` reads as a URL without a scheme.
    whole.parse().ok().filter(|uri: &Uri| uri.scheme().is_some())
}

#[cfg(test)]
mod tests {
    use http::{HeaderValue, Request};

    use super::*;

    const FROM: &str = "https://a.internal/x/y?z";

    #[track_caller]
    fn leads(location: &str, expected: Option<&str>) {
        let mut answer = HeaderMap::new();
        answer.insert(LOCATION, HeaderValue::from_str(location).unwrap());
        let found = target(&answer, &Uri::from_static(FROM)).map(|uri| uri.to_string());
        assert_eq!(found.as_deref(), expected, "{location}");
    }

    #[test]
    fn a_location_is_resolved() {
        leads("https://b.internal/p?q#f", Some("https://b.internal/p?q"));
        leads("//b.internal/p", Some("https://b.internal/p"));
        leads("/p?q", Some("https://a.internal/p?q"));
        leads("?q", Some("https://a.internal/x/y?q"));
        leads("p/q", Some("https://a.internal/x/p/q"));
        leads("../p", Some("https://a.internal/x/../p"));
        leads("p:8080", None);
        leads("", None);
        leads("#f", None);
        leads(&format!("/{}", "x".repeat(LONGEST)), None);
        let mut two = HeaderMap::new();
        two.append(LOCATION, HeaderValue::from_static("/a"));
        two.append(LOCATION, HeaderValue::from_static("/a"));
        assert_eq!(target(&two, &Uri::from_static(FROM)), None);
        assert_eq!(target(&HeaderMap::new(), &Uri::from_static(FROM)), None);
    }

    /// The method, the body and the headers that go on; `None` for a body that can be read once only.
    fn followed(status: u16, method: &str, to: &str, body: Option<&str>) -> Option<(String, String, String)> {
        let request = Request::builder().method(method).uri(FROM);
        let request = request.header("host", "a.internal").header("x-mine", "1").header("accept", "*/*");
        let (parts, ()) = request.header("content-type", "text/plain").body(()).unwrap().into_parts();
        let mut answer = HeaderMap::new();
        answer.insert(LOCATION, HeaderValue::from_str(to).unwrap());
        let status = StatusCode::from_u16(status).unwrap();
        let (parts, body) = onward(status, &answer, parts, body.map(str::to_owned))?;
        let mut names: Vec<_> = parts.headers.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        Some((parts.method.to_string(), body, names.join(" ")))
    }

    #[test]
    fn method_and_body_follow_the_status_and_little_goes_to_another_origin() {
        let (here, there) = ("/p", "https://b.internal/p");
        let went = |method: &str, body: &str, headers: &str| {
            Some((method.to_owned(), body.to_owned(), headers.to_owned()))
        };
        let (all, little) = ("accept content-type x-mine", "accept");
        for status in [301, 302, 307, 308] {
            assert_eq!(followed(status, "GET", here, Some("")), went("GET", "", all), "{status}");
            assert_eq!(followed(status, "HEAD", here, Some("")), went("HEAD", "", all), "{status}");
            assert_eq!(followed(status, "GET", there, Some("body")), went("GET", "", little), "{status}");
        }
        for status in [301, 302] {
            assert_eq!(followed(status, "POST", here, Some("b")), None, "{status}");
        }
        for status in [307, 308] {
            assert_eq!(followed(status, "POST", here, Some("b")), went("POST", "b", all), "{status}");
            assert_eq!(followed(status, "POST", here, None), None, "a body that was sent is gone: {status}");
            assert_eq!(followed(status, "POST", there, Some("b")), None, "{status}");
            assert_eq!(followed(status, "DELETE", there, Some("")), None, "{status}");
        }
        assert_eq!(followed(303, "POST", here, None), went("GET", "", "accept x-mine"));
        assert_eq!(followed(303, "PUT", there, Some("b")), went("GET", "", little));
        assert_eq!(followed(303, "HEAD", here, Some("")), went("HEAD", "", "accept x-mine"));
        assert_eq!(followed(304, "GET", here, Some("")), None);
    }
}
