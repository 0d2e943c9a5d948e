//! A request that may have to be sent once more: a copy that costs little, because most are dropped unused.

use std::ops::Range;

use http::header::{HeaderName, HeaderValue};
use http::{Extensions, Method, Uri, Version, request};

/// A request without its body, to be put together again. Its words lie one after the other in one buffer: a map of
/// headers is many times as dear to copy and to drop.
pub(super) struct Copied {
    method: Method,
    version: Version,
    extensions: Extensions,
    /// Each with its length before it: the URI, then name and value of each header.
    words: Vec<u8>,
}

/// Set in the length of a value that is sensitive. No header is as long.
const SENSITIVE: u32 = 1 << 31;

impl Copied {
    /// `None` for what is too long to be copied.
    pub(super) fn of(parts: &request::Parts) -> Option<Self> {
        let (uri, headers) = (&parts.uri, &parts.headers);
        let scheme = uri.scheme_str().unwrap_or_default();
        let authority = uri.authority().map_or("", |authority| authority.as_str());
        let target = uri.path_and_query().map_or("", |target| target.as_str());
        let uri = [scheme, "://", authority, target];
        let length: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 8).sum();
        let of_uri = uri.iter().map(|part| part.len()).sum();
        let mut words = Vec::with_capacity(length + of_uri + 4);
        words.extend_from_slice(&short(of_uri)?.to_le_bytes());
        uri.iter().for_each(|part| words.extend_from_slice(part.as_bytes()));
        for (name, value) in headers {
            let mark = if value.is_sensitive() { SENSITIVE } else { 0 };
            words.extend_from_slice(&short(name.as_str().len())?.to_le_bytes());
            words.extend_from_slice(name.as_str().as_bytes());
            words.extend_from_slice(&(short(value.len())? | mark).to_le_bytes());
            words.extend_from_slice(value.as_bytes());
        }
        // Extensions that once held something are dearer to copy than new ones.
        let extensions =
            if parts.extensions.is_empty() { Extensions::new() } else { parts.extensions.clone() };
        Some(Self { method: parts.method.clone(), version: parts.version, extensions, words })
    }

    /// `None` if a word is none, which cannot be: each was one.
    pub(super) fn into_parts(self) -> Option<request::Parts> {
        let (mut parts, ()) = http::Request::new(()).into_parts();
        let mut at = 0;
        let (uri, _) = self.word(&mut at)?;
        parts.uri = Uri::try_from(self.words.get(uri)?).ok()?;
        while at < self.words.len() {
            let ((name, _), (value, sensitive)) = (self.word(&mut at)?, self.word(&mut at)?);
            let mut value = HeaderValue::from_bytes(self.words.get(value)?).ok()?;
            value.set_sensitive(sensitive);
            parts.headers.append(HeaderName::from_bytes(self.words.get(name)?).ok()?, value);
        }
        (parts.method, parts.version, parts.extensions) = (self.method, self.version, self.extensions);
        Some(parts)
    }

    /// Where the word at `at` stands, and whether it is sensitive; `at` is moved behind it.
    fn word(&self, at: &mut usize) -> Option<(Range<usize>, bool)> {
        let length = u32::from_le_bytes(*self.words.get(*at..)?.first_chunk()?);
        let begin = *at + 4;
        *at = begin + usize::try_from(length & !SENSITIVE).ok()?;
        Some((begin..*at, length & SENSITIVE != 0))
    }
}

fn short(length: usize) -> Option<u32> {
    u32::try_from(length).ok().filter(|length| length & SENSITIVE == 0)
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, Request};

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
        let again = Copied::of(&parts).unwrap().into_parts().unwrap();
        assert_eq!((&again.method, &again.uri, again.version), (&parts.method, &parts.uri, parts.version));
        assert_eq!(again.headers, parts.headers);
        let all = |headers: &HeaderMap| headers.get_all("x-one").iter().cloned().collect::<Vec<_>>();
        assert_eq!(all(&again.headers), all(&parts.headers));
        assert!(again.headers["cookie"].is_sensitive() && !again.headers["accept"].is_sensitive());
        assert_eq!(again.extensions.get::<u8>(), Some(&7));
        let (mut bare, ()) = Request::new(()).into_parts();
        bare.uri = Uri::from_static("http://[::1]:8080");
        let again = Copied::of(&bare).unwrap().into_parts().unwrap();
        assert_eq!((again.uri, again.headers.len()), (bare.uri, 0));
    }
}
