//! Takes the one credential out of a request (RFC 6750 section 2.1).
//!
//! From `Authorization` only: never the query, the body or a cookie. The header is removed, so that no
//! handler can pass it on.

use hopguard_core::{Denial, PeerIdentity, Presented, RawToken};
use http::Request;
use http::header::AUTHORIZATION;

use super::stage::PeerAddress;
use crate::Hop;

/// Takes the credential out, whatever it is, and reads it if it is exactly one well-formed bearer token.
pub(super) fn extract<B>(hop: &Hop, request: &mut Request<B>) -> Result<Presented, Denial> {
    let mut values = request.headers().get_all(AUTHORIZATION).iter();
    // INVARIANT: I15 — a second credential refuses, instead of one of the two being picked.
    let outcome = match (values.next(), values.next()) {
        (None, _) => Err(Denial::TokenMissing),
        (Some(_), Some(_)) => Err(Denial::CredentialAmbiguous),
        (Some(value), None) => read(value.as_bytes()),
    };
    request.headers_mut().remove(AUTHORIZATION);
    let peer = request.extensions().get::<PeerAddress>().map(|peer| peer.0);
    let proven = request.extensions().get::<PeerIdentity>().cloned();
    outcome.map(|token| Presented::assert_extracted(hop.stack(), token, peer).by(proven))
}

fn read(value: &[u8]) -> Result<std::sync::Arc<RawToken>, Denial> {
    let text = std::str::from_utf8(value).map_err(|_| Denial::CredentialMalformed)?;
    let (scheme, rest) = text.split_once(' ').unwrap_or((text, ""));
    if !scheme.eq_ignore_ascii_case("bearer") {
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

/// Every byte is one of a `token68`, padding aside. Without a branch or an early end, so that the compiler makes
/// it look at many bytes at once.
fn is_token68(text: &[u8]) -> bool {
    let foreign = text.iter().fold(0_u8, |foreign, &byte| {
        let letter = (byte | 0x20).wrapping_sub(b'a') < 26;
        // `-`, `.`, `/` and the digits stand in one row.
        let digit = byte.wrapping_sub(b'-') < 13;
        let other = (byte == b'_') | (byte == b'~') | (byte == b'+');
        foreign | u8::from(!(letter | digit | other))
    });
    foreign == 0
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
