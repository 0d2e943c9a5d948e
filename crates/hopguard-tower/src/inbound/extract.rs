//! Takes the one credential out of a request (RFC 6750 section 2.1).
//!
//! From `Authorization` only: never the query, the body or a cookie. The header is removed, so that no
//! handler can pass it on.

use hopguard_core::{Denial, Presented, RawToken};
use http::Request;
use http::header::AUTHORIZATION;

use super::stage::PeerAddress;
use crate::Hop;

const SCHEME: &str = "Bearer";

/// Takes the credential out, whatever it is, and reads it if it is exactly one well-formed bearer token.
pub(crate) fn extract<B>(hop: &Hop, request: &mut Request<B>) -> Result<Presented, Denial> {
    let mut values = request.headers().get_all(AUTHORIZATION).iter();
    // INVARIANT: I15 — a second credential refuses, instead of one of the two being picked.
    let outcome = match (values.next(), values.next()) {
        (None, _) => Err(Denial::TokenMissing),
        (Some(_), Some(_)) => Err(Denial::CredentialAmbiguous),
        (Some(value), None) => read(value.as_bytes()),
    };
    request.headers_mut().remove(AUTHORIZATION);
    let peer = request.extensions().get::<PeerAddress>().map(|peer| peer.0);
    outcome.map(|token| Presented::assert_extracted(hop.stack(), token, peer))
}

fn read(value: &[u8]) -> Result<std::sync::Arc<RawToken>, Denial> {
    let text = std::str::from_utf8(value).map_err(|_| Denial::CredentialMalformed)?;
    let (scheme, rest) = text.split_at_checked(SCHEME.len()).unwrap_or((text, ""));
    if !scheme.eq_ignore_ascii_case(SCHEME) || !(rest.is_empty() || rest.starts_with(' ')) {
        return Err(Denial::CredentialUnsupported);
    }
    let token = rest.trim_matches(' ');
    // RFC 9110's `token68`.
    let body = token.trim_end_matches('=');
    if body.is_empty() || !is_token68(body.as_bytes()) {
        let several = token.contains(',');
        return Err(if several { Denial::CredentialAmbiguous } else { Denial::CredentialMalformed });
    }
    Ok(RawToken::new(token))
}

/// Every byte is one of a `token68`, padding aside.
fn is_token68(text: &[u8]) -> bool {
    // What a JWT is written with is tried first: it takes fewer comparisons.
    all(text, is_common) || all(text, |byte| is_common(byte) | (byte == b'~') | (byte == b'+'))
}

/// Letters, digits, `-`, `.`, `/` and `_`.
fn is_common(byte: u8) -> bool {
    // The digits, and the three before them, stand in one row.
    is_among(byte | 0x20, b'a', 26) | is_among(byte, b'-', 13) | (byte == b'_')
}

/// One of the `count` bytes from `first` on. The vectors of every processor compare signed bytes only, so that the
/// range is moved to the bottom of those.
fn is_among(byte: u8, first: u8, count: u8) -> bool {
    byte.wrapping_sub(first).wrapping_add(0x80).cast_signed() < count.wrapping_add(0x80).cast_signed()
}

/// Without a branch or an early end, so that the compiler makes it look at many bytes at once.
fn all(text: &[u8], is_known: impl Fn(u8) -> bool) -> bool {
    text.iter().fold(0, |foreign, &byte| foreign | u8::from(!is_known(byte))) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn credential(value: &[u8], expected: Result<&str, &str>) {
        let found = read(value).map(|token| token.dangerous_expose().to_owned());
        assert_eq!(found.as_deref().map_err(Denial::code), expected, "{:?}", String::from_utf8_lossy(value));
    }

    #[test]
    fn token68_is_as_the_rfc_lists_it() {
        for byte in 0..=u8::MAX {
            let listed = byte.is_ascii_alphanumeric() || b"-._~+/".contains(&byte);
            assert_eq!(is_token68(&[b'a', byte]), listed, "{byte}");
        }
    }

    #[test]
    fn one_well_formed_bearer_token() {
        credential(b"Bearer abc.DEF-_~+/==", Ok("abc.DEF-_~+/=="));
        credential(b"bEARER abc", Ok("abc"));
        credential(b"Bearer   abc  ", Ok("abc"));
        for value in [
            &b"Bearer"[..],
            b"Bearer ",
            b"Bearer =",
            b"Bearer a b",
            b"Bearer a\tb",
            b"Bearer \xc3\xa4",
            b"Bearer a=b",
        ] {
            credential(value, Err("credential_malformed"));
        }
        for value in [&b""[..], b"Basic abc", b"DPoP abc", b"Bearer\tabc", b"Bearerabc", b" Bearer abc"] {
            credential(value, Err("credential_unsupported"));
        }
        for value in [&b"Bearer a, Bearer b"[..], b"Bearer a,b"] {
            credential(value, Err("credential_ambiguous"));
        }
        credential(b"Bearer \xff", Err("credential_malformed"));
    }
}
