//! Takes the one credential out of a request (RFC 6750 section 2.1).
//!
//! From `Authorization` only: never the query, the body or a cookie. The header is removed, so that no
//! handler can pass it on.

use hopguard_core::{Denial, PeerIdentity, Presented, RawToken};
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
    let proven = request.extensions().get::<PeerIdentity>().cloned();
    outcome.map(|token| Presented::assert_extracted(hop.stack(), token, peer).by(proven))
}

fn read(value: &[u8]) -> Result<std::sync::Arc<RawToken>, Denial> {
    let text = std::str::from_utf8(value).map_err(|_| Denial::CredentialMalformed)?;
    let (scheme, rest) = text.split_at_checked(SCHEME.len()).unwrap_or((text, ""));
    if !scheme.eq_ignore_ascii_case(SCHEME) || !(rest.is_empty() || rest.starts_with(' ')) {
        return Err(Denial::CredentialUnsupported);
    }
    let token = rest.trim_matches(' ');
    if token.trim_end_matches('=').is_empty() {
        return Err(Denial::CredentialMalformed);
    }
    Ok(RawToken::new(token))
}

/// What is wrong with a credential that the verifier could not read: it may be no RFC 9110 `token68`, or several.
///
/// Asked afterwards: the three segments of a token that can be read are spelled with fewer bytes than a `token68`
/// may have, and nearly every token is remembered.
pub(crate) fn why_unreadable(token: &RawToken) -> Denial {
    let token = token.dangerous_expose();
    if is_token68(token.trim_end_matches('=').as_bytes()) {
        Denial::TokenMalformed
    } else if token.contains(',') {
        Denial::CredentialAmbiguous
    } else {
        Denial::CredentialMalformed
    }
}

/// Every byte is one of a `token68`, padding aside.
fn is_token68(text: &[u8]) -> bool {
    text.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-._~+/".contains(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn credential(value: &[u8], expected: Result<&str, &str>) {
        let found = read(value).and_then(|token| match why_unreadable(&token) {
            Denial::TokenMalformed => Ok(token.dangerous_expose().to_owned()),
            denial => Err(denial),
        });
        assert_eq!(found.as_deref().map_err(Denial::code), expected, "{:?}", String::from_utf8_lossy(value));
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
