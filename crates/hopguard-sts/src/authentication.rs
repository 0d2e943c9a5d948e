//! Which client asks? Exactly one way to prove it per request (RFC 6749 section 2.3).

use std::collections::HashMap;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use hopguard_core::{Denial, Fingerprint, Refusal, UnixTime};
use http::HeaderMap;
use http::header::AUTHORIZATION;
use zeroize::Zeroizing;

use crate::assertion::Assertion;
use crate::client::{Credential, Registered, is_secret};
use crate::form::{Form, decode};

const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
const LONGEST_BASIC: usize = 2048;

pub(crate) type Clients = HashMap<Box<str>, Registered>;

/// Finds out who asks.
pub(crate) fn authenticate<'c>(
    clients: &'c Clients,
    ours: &[&str],
    headers: &HeaderMap,
    form: &Form,
    now: UnixTime,
) -> Result<&'c Registered, Refusal> {
    let header = sole_authorization(headers)?;
    let assertion = form.get("client_assertion");
    let assertion_type = form.get("client_assertion_type");
    let posted = form.get("client_secret");
    let ways = [header.is_some(), assertion.is_some() || assertion_type.is_some(), posted.is_some()];
    if ways.iter().filter(|way| **way).count() > 1 {
        return Err(Denial::ClientAmbiguous.into());
    }
    let client = match (header, assertion, assertion_type) {
        (Some(header), ..) => basic(clients, header)?,
        (None, Some(assertion), Some(ASSERTION_TYPE)) => by_assertion(clients, ours, form, assertion, now)?,
        (None, Some(_), _) | (None, None, Some(_)) => return Err(Denial::AssertionMalformed.into()),
        // A secret in the body is a way that no client is registered for.
        (None, None, None) if posted.is_some() => return Err(Denial::ClientMethodMismatch.into()),
        (None, None, None) => return Err(Denial::ClientMissing.into()),
    };
    if form.get("client_id").is_some_and(|named| named != &*client.id) {
        return Err(Denial::ClientAmbiguous.into());
    }
    Ok(client)
}

fn sole_authorization(headers: &HeaderMap) -> Result<Option<&str>, Denial> {
    let mut all = headers.get_all(AUTHORIZATION).iter();
    match (all.next(), all.next()) {
        (None, _) => Ok(None),
        (Some(one), None) if one.len() <= LONGEST_BASIC => {
            one.to_str().map(Some).map_err(|_| Denial::ClientSecretWrong)
        }
        (Some(_), None) => Err(Denial::ClientSecretWrong),
        (Some(_), Some(_)) => Err(Denial::ClientAmbiguous),
    }
}

fn basic<'c>(clients: &'c Clients, header: &str) -> Result<&'c Registered, Denial> {
    let (scheme, encoded) = header.split_once(' ').ok_or(Denial::ClientSecretWrong)?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return Err(Denial::ClientMethodMismatch);
    }
    let pair = BASE64_STANDARD.decode(encoded.trim_matches(' ')).map(Zeroizing::new);
    let pair = pair.map_err(|_| Denial::ClientSecretWrong)?;
    let pair = str::from_utf8(&pair).map_err(|_| Denial::ClientSecretWrong)?;
    let (id, secret) = pair.split_once(':').ok_or(Denial::ClientSecretWrong)?;
    let (id, secret) = decode(id).zip(decode(secret)).ok_or(Denial::ClientSecretWrong)?;
    match clients.get(id.as_str()) {
        Some(client) => match &client.credential {
            Credential::Secret(digest) if is_secret(&secret, digest) => Ok(client),
            Credential::Secret(_) => Err(Denial::ClientSecretWrong),
            Credential::Keys(_) => Err(Denial::ClientMethodMismatch),
        },
        None => {
            // The same work as for a client that exists, so that the time taken tells nobody which do.
            let _ = is_secret(&secret, &Fingerprint::of_bytes(&[]));
            Err(Denial::ClientUnknown)
        }
    }
}

fn by_assertion<'c>(
    clients: &'c Clients,
    ours: &[&str],
    form: &Form,
    assertion: &str,
    now: UnixTime,
) -> Result<&'c Registered, Refusal> {
    let assertion = Assertion::read(assertion)?;
    let id = assertion.client()?;
    // RFC 7523 section 3: a client_id beside the assertion must name the same client.
    if form.get("client_id").is_some_and(|named| named != id) {
        return Err(Denial::AssertionPartyMismatch.into());
    }
    let client = clients.get(id).ok_or(Denial::ClientUnknown)?;
    assertion.prove(client, ours, now)?;
    Ok(client)
}
