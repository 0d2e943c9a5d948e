//! A request that may have to be sent once more: a copy that costs little, because most are dropped unused.

use http::header::{HeaderName, HeaderValue};
use http::{Extensions, Method, Request, Uri, Version};

/// A request without its body, to be put together again. Its values lie one after the other in one buffer: a map of
/// headers is many times as dear to copy and to drop.
pub(super) struct Copied {
    method: Method,
    uri: Uri,
    version: Version,
    extensions: Extensions,
    /// Each header's name, the length of its value, and whether that is sensitive.
    names: Vec<(HeaderName, u32, bool)>,
    values: Vec<u8>,
}

/// The length of a header's value, roughly; to count them all first would cost more than to be wrong at times.
const USUAL: usize = 80;

impl Copied {
    /// `None` for what is too long to be copied.
    pub(super) fn of<B>(request: &Request<B>) -> Option<Self> {
        let headers = request.headers();
        let mut names = Vec::with_capacity(headers.len());
        let mut values = Vec::with_capacity(headers.len() * USUAL);
        for (name, value) in headers {
            names.push((name.clone(), u32::try_from(value.len()).ok()?, value.is_sensitive()));
            values.extend_from_slice(value.as_bytes());
        }
        // Extensions that once held something are dearer to copy than new ones.
        let held = request.extensions();
        let extensions = if held.is_empty() { Extensions::new() } else { held.clone() };
        let (method, uri) = (request.method().clone(), request.uri().clone());
        Some(Self { method, uri, version: request.version(), extensions, names, values })
    }

    /// The request with this body; `None` if a value is none, which cannot be: each was one.
    pub(super) fn with_body<B>(self, body: B) -> Option<Request<B>> {
        let mut request = Request::new(body);
        let mut rest = self.values.as_slice();
        for (name, length, sensitive) in self.names {
            let (value, behind) = rest.split_at_checked(usize::try_from(length).ok()?)?;
            let mut value = HeaderValue::from_bytes(value).ok()?;
            value.set_sensitive(sensitive);
            request.headers_mut().append(name, value);
            rest = behind;
        }
        (*request.method_mut(), *request.uri_mut()) = (self.method, self.uri);
        (*request.version_mut(), *request.extensions_mut()) = (self.version, self.extensions);
        Some(request)
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::*;

    #[test]
    fn what_is_put_together_again_is_the_same() {
        let mut secret = HeaderValue::from_static("s3cret");
        secret.set_sensitive(true);
        let request = Request::put("https://inventory.internal/stock?x=1")
            .version(Version::HTTP_2)
            .header("accept", "text/html")
            .header("x-one", "")
            .header("x-one", "two")
            .header("x-raw", HeaderValue::from_bytes(b"\xfa\xfb").unwrap())
            .header("accept", "text/plain")
            .header("cookie", secret)
            .extension(7_u8)
            .body(())
            .unwrap();
        let (parts, ()) = request.clone().into_parts();
        let (again, ()) = Copied::of(&request).unwrap().with_body(()).unwrap().into_parts();
        assert_eq!((&again.method, &again.uri, again.version), (&parts.method, &parts.uri, parts.version));
        assert_eq!(again.headers, parts.headers);
        let all = |headers: &HeaderMap| headers.get_all("x-one").iter().cloned().collect::<Vec<_>>();
        assert_eq!(all(&again.headers), all(&parts.headers));
        assert!(again.headers["cookie"].is_sensitive() && !again.headers["accept"].is_sensitive());
        assert_eq!(again.extensions.get::<u8>(), Some(&7));
    }
}
