//! Takes the one credential out of a request (RFC 6750 section 2.1).
//!
//! From `Authorization` only: never the query, the body or a cookie. The header is removed, so that no
//! handler can pass it on.

use std::net::SocketAddr;
use std::sync::Arc;

use hopguard_core::{Denial, PeerIdentity, Presented, RawToken};
use http::Request;
use http::header::AUTHORIZATION;

use super::stage::PeerAddress;
use crate::Hop;

const SCHEME: &[u8] = b"Bearer";

/// Takes the credential out, whatever it is, and reads it if it is exactly one well-formed bearer token.
pub(crate) fn extract<B>(
    hop: &Hop,
    request: &mut Request<B>,
    peer: Option<PeerAddress>,
) -> Result<Presented, NotShown> {
    let headers = request.headers_mut();
    // Values are counted, not names: all that go are this name's.
    let before = headers.len();
    let first = headers.remove(AUTHORIZATION);
    // INVARIANT: I15 — a second credential refuses, instead of one of the two being picked.
    let outcome = match (first, before - headers.len()) {
        (None, _) => Err(Denial::TokenMissing),
        (Some(value), 1) => read(value.as_bytes()),
        (Some(_), _) => Err(Denial::CredentialAmbiguous),
    };
    let peer = peer.or_else(|| request.extensions().get().copied()).map(|PeerAddress(peer)| peer);
    match outcome {
        Ok(token) => {
            let proven = request.extensions().get::<PeerIdentity>().cloned();
            Ok(Presented::assert_extracted(hop.stack(), token, peer).by(proven))
        }
        Err(denial) => Err(NotShown { denial, peer }),
    }
}

/// Why there is no credential to look at, and who brought none.
pub(crate) struct NotShown {
    pub(crate) denial: Denial,
    pub(crate) peer: Option<SocketAddr>,
}

fn read(value: &[u8]) -> Result<Arc<RawToken>, Denial> {
    let (scheme, rest) = value.split_at_checked(SCHEME.len()).unwrap_or((value, &[]));
    if !scheme.eq_ignore_ascii_case(SCHEME) || !matches!(rest.first(), None | Some(b' ')) {
        return Err(Denial::CredentialUnsupported);
    }
    let first = rest.iter().position(|&byte| byte != b' ').unwrap_or(rest.len());
    let last = rest.iter().rposition(|&byte| byte != b' ').unwrap_or(first);
    let token = rest.get(first..=last).unwrap_or_default();
    if token.iter().all(|&byte| byte == b'=') {
        return Err(Denial::CredentialMalformed);
    }
    Ok(RawToken::received(token))
}

/// What is wrong with a credential that the verifier could not read: it may be no RFC 9110 `token68`, or several.
///
/// Asked afterwards: the three segments of a token that can be read are spelled with fewer bytes than a `token68`
/// may have, and nearly every token is remembered.
pub(crate) fn why_unreadable(token: &RawToken) -> Denial {
    let token = token.dangerous_expose_bytes();
    let unpadded = token.iter().rposition(|&byte| byte != b'=').map_or(0, |last| last + 1);
    if token.iter().take(unpadded).all(is_of_token68) {
        Denial::TokenMalformed
    } else if token.contains(&b',') {
        Denial::CredentialAmbiguous
    } else {
        Denial::CredentialMalformed
    }
}

/// A byte of a `token68`, padding aside.
fn is_of_token68(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~+/".contains(byte)
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
