//! Entries for `fuzz/`, and for the test that keeps its seeds in order. Built with `--cfg fuzzing` only, and no part of
//! what this crate offers.

use std::sync::{Arc, OnceLock};

use hopguard_client::{BoxFuture, Spawn, Transport, TransportError};
use hopguard_core::{Clock, Fingerprint, Ledger, Monotonic, RawToken};

use crate::alike::Alike;
use crate::claims::{Claims, Origin};
use crate::extra::Extra;
use crate::header::Header;
use crate::keys::KeySet;
use crate::{Check, Issuer, Profile, Verifier, metadata};

/// The issuer that the seeds name.
const ISSUER: &str = "https://sts.internal";

/// True if the header can be read, whatever it then asks for.
#[must_use]
pub fn header(text: &[u8]) -> bool {
    let Ok(header) = Header::read(text) else { return false };
    let _ = header.key_id();
    if let Ok(asked) = header.asks() {
        let _ = (asked.typ().is_ok(), asked.is_access_token());
    }
    true
}

/// True if the payload can be read; what the claims say is judged by every profile.
#[must_use]
pub fn claims(text: &[u8]) -> bool {
    let read = Claims::read(text).is_ok();
    let issuer = Arc::from(ISSUER);
    let fingerprint = Fingerprint::of_bytes(text);
    for profile in [
        None,
        Some(Profile::rfc9068().with_roles()),
        Some(Profile::keycloak().with_roles().roles_in(&["resource_access", "orders", "roles"])),
        Some(Profile::entra_v1().with_roles()),
        Some(Profile::entra_v2().with_roles()),
        Some(Profile::okta().with_roles()),
        Some(Profile::auth0().with_roles()),
        Some(Profile::zitadel().with_roles()),
    ] {
        let alike = &Alike::default();
        let named = match profile {
            None => None,
            Some(profile) => {
                let extra = Extra::read(text, &profile);
                // Both readers are equally strict.
                assert_eq!(extra.is_ok(), read, "one reader takes what the other refuses");
                let Ok(extra) = extra else { continue };
                let _ = profile.is_access_token(Some("JWT"), &extra);
                let Ok(named) = profile.read(&extra, alike) else { continue };
                Some(named)
            }
        };
        let origin =
            Origin { issuer: &issuer, key_id: None, fingerprint, fingerprinted_len: text.len(), alike };
        let _ = Claims::read(text).and_then(|claims| {
            claims.unverified_issuer()?;
            claims.facts(&origin, named, 8)
        });
    }
    read
}

/// True if the key set can be read, whatever its keys are good for.
#[must_use]
pub fn jwks(text: &[u8]) -> bool {
    let Ok(set) = KeySet::read(text, ISSUER, None, None) else { return false };
    // Read once more on top of itself, as a refresh would: the same keys.
    let again = KeySet::read(text, ISSUER, None, Some(&set));
    assert!(again.is_ok_and(|again| again.len() == set.len()), "a set is not what it was");
    true
}

/// True if the discovery document is one of the issuer's own.
#[must_use]
pub fn metadata(text: &[u8]) -> bool {
    metadata::jwks_uri(text, ISSUER).is_ok()
}

/// True if the token is genuine; its key is known to nobody.
#[must_use]
pub fn token(text: &str) -> bool {
    static VERIFIER: OnceLock<Option<(Verifier, Ledger)>> = OnceLock::new();
    let verifier = VERIFIER.get_or_init(|| {
        let issuer = Issuer::at(ISSUER).keys_fixed(KEYS);
        let builder = Verifier::builder(Arc::new(Nowhere), Arc::new(Never), Spawn::current());
        builder.issuer(issuer).build().ok().map(|verifier| (verifier, Ledger::bounded()))
    });
    let Some((verifier, ledger)) = verifier else { return true };
    let token = RawToken::new(text);
    let _ = verifier.claimed(&token);
    !matches!(verifier.check(&token, ledger.withdrawals()), Check::Done(Err(_)))
}

/// The figures of RFC 7517 appendix A.1 and RFC 8037 appendix A.2, under `kid`s that the seeds name.
const KEYS: &str = r#"{"keys":[
    {"kty":"EC","crv":"P-256","kid":"k1","alg":"ES256",
     "x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4","y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"},
    {"kty":"OKP","crv":"Ed25519","kid":"k2","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;

/// Keys are fixed: nothing is ever asked.
#[derive(Debug)]
struct Nowhere;

impl Transport for Nowhere {
    fn send(
        &self,
        _request: http::Request<bytes::Bytes>,
    ) -> BoxFuture<'static, Result<http::Response<bytes::Bytes>, TransportError>> {
        Box::pin(std::future::ready(Err(TransportError::Connect)))
    }
}

/// It is always the same time.
#[derive(Debug)]
struct Never;

impl Clock for Never {
    fn unix_millis(&self) -> u64 {
        1_750_000_000_000
    }

    fn monotonic(&self) -> Monotonic {
        Monotonic::from_origin(std::time::Duration::ZERO)
    }
}
