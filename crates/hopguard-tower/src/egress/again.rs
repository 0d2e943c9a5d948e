//! A request that may have to be sent once more: a copy that costs little, because most are dropped unused.

use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::{Extensions, Method, Uri, Version, request};

/// A request without its body, to be put together again. The values lie one after the other in one buffer: a map
/// of headers is twice as dear to copy.
pub(super) struct Copied {
    method: Method,
    uri: Uri,
    version: Version,
    extensions: Extensions,
    values: Vec<u8>,
    /// The name of each value, in their order, where it ends, and whether it is sensitive.
    names: Vec<(HeaderName, usize, bool)>,
}

impl Copied {
    pub(super) fn of(parts: &request::Parts) -> Self {
        let length = parts.headers.values().map(HeaderValue::len).sum();
        let (mut values, mut names) = (Vec::with_capacity(length), Vec::with_capacity(parts.headers.len()));
        for (name, value) in &parts.headers {
            values.extend_from_slice(value.as_bytes());
            names.push((name.clone(), values.len(), value.is_sensitive()));
        }
        // Extensions that once held something are dearer to copy than new ones.
        let extensions =
            if parts.extensions.is_empty() { Extensions::new() } else { parts.extensions.clone() };
        let (method, uri, version) = (parts.method.clone(), parts.uri.clone(), parts.version);
        Self { method, uri, version, extensions, values, names }
    }

    /// `None` if a value is none, which cannot be: each was one.
    pub(super) fn into_parts(self) -> Option<request::Parts> {
        let mut headers = HeaderMap::with_capacity(self.names.len());
        let mut begin = 0;
        for (name, end, sensitive) in self.names {
            let mut value = HeaderValue::from_bytes(self.values.get(begin..end)?).ok()?;
            value.set_sensitive(sensitive);
            headers.append(name, value);
            begin = end;
        }
        let (mut parts, ()) = http::Request::new(()).into_parts();
        (parts.method, parts.uri, parts.version) = (self.method, self.uri, self.version);
        (parts.headers, parts.extensions) = (headers, self.extensions);
        Some(parts)
    }
}

#[cfg(test)]
mod tests {
    use http::Request;

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
        let (parts, ()) = request.into_parts();
        let again = Copied::of(&parts).into_parts().unwrap();
        assert_eq!((&again.method, &again.uri, again.version), (&parts.method, &parts.uri, parts.version));
        assert_eq!(again.headers, parts.headers);
        let all = |headers: &HeaderMap| headers.get_all("x-one").iter().cloned().collect::<Vec<_>>();
        assert_eq!(all(&again.headers), all(&parts.headers));
        assert!(again.headers["cookie"].is_sensitive() && !again.headers["accept"].is_sensitive());
        assert_eq!(again.extensions.get::<u8>(), Some(&7));
        let (none, ()) = Request::new(()).into_parts();
        assert!(Copied::of(&none).into_parts().unwrap().headers.is_empty());
    }
}
