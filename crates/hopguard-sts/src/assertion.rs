//! Is the client assertion genuine, fresh, and meant for us? (RFC 7523 section 3, RFC 7523bis)

use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use hopguard_core::{Denial, Refusal, UnixTime, minutes, seconds};
use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Deserializer};

use crate::client::{ClientKey, Credential, Registered};

const LONGEST_ASSERTION: usize = 4096;
const LONGEST_JTI: usize = 256;
const LONGEST_LIFE: Duration = minutes(5);
const LEEWAY: Duration = seconds(5);

/// What the header may say. A repeated member is an error of the reader.
#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    typ: Option<String>,
    #[serde(default)]
    crit: Present,
    #[serde(default)]
    jwk: Present,
    #[serde(default)]
    jku: Present,
    #[serde(default)]
    x5c: Present,
    #[serde(default)]
    x5u: Present,
    #[serde(default)]
    b64: Present,
}

/// True if the member is there at all, `null` included.
#[derive(Default)]
struct Present(bool);

impl<'de> Deserialize<'de> for Present {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        IgnoredAny::deserialize(deserializer).map(|_| Self(true))
    }
}

#[derive(Deserialize)]
struct Claims {
    iss: String,
    sub: String,
    aud: Audience,
    exp: u64,
    iat: Option<u64>,
    nbf: Option<u64>,
    jti: String,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    List(Vec<String>),
}

impl Audience {
    /// The audience, if there is exactly one.
    fn sole(&self) -> Option<&str> {
        match self {
            Self::One(one) => Some(one),
            Self::List(list) => match list.as_slice() {
                [one] => Some(one),
                _ => None,
            },
        }
    }
}

/// An assertion that is well-formed; nothing it says is known to be true.
pub(crate) struct Assertion<'a> {
    signed: &'a str,
    signature: Vec<u8>,
    header: Header,
    claims: Claims,
}

impl<'a> Assertion<'a> {
    /// Reads a JWS in compact form, of the right kind.
    pub(crate) fn read(jwt: &'a str) -> Result<Self, Denial> {
        if jwt.len() > LONGEST_ASSERTION {
            return Err(Denial::AssertionMalformed);
        }
        let (signed, signature) = jwt.rsplit_once('.').ok_or(Denial::AssertionMalformed)?;
        let (header, claims) = signed.split_once('.').ok_or(Denial::AssertionMalformed)?;
        let header: Header = json(header)?;
        let foreign = [&header.crit, &header.jwk, &header.jku, &header.x5c, &header.x5u, &header.b64];
        if foreign.iter().any(|member| member.0) {
            return Err(Denial::AssertionMalformed);
        }
        // INVARIANT: a token of another kind, an access token above all, is not taken for an assertion.
        let typ = header.typ.as_deref().map(|typ| typ.strip_prefix("application/").unwrap_or(typ));
        let known = ["jwt", "client-authentication+jwt"];
        if typ.is_some_and(|typ| !known.iter().any(|known| known.eq_ignore_ascii_case(typ))) {
            return Err(Denial::AssertionTypeMismatch);
        }
        let signature = BASE64_URL_SAFE_NO_PAD.decode(signature).map_err(|_| Denial::AssertionMalformed)?;
        let claims: Claims = json(claims)?;
        if claims.jti.is_empty() || claims.jti.len() > LONGEST_JTI {
            return Err(Denial::AssertionMalformed);
        }
        Ok(Self { signed, signature, header, claims })
    }

    /// The client that the assertion claims to come from: issuer and subject alike.
    pub(crate) fn client(&self) -> Result<&str, Denial> {
        if self.claims.iss == self.claims.sub {
            Ok(&self.claims.iss)
        } else {
            Err(Denial::AssertionPartyMismatch)
        }
    }

    /// Proves that `client` made it, for one of `ours`, now, and for the first time.
    pub(crate) fn prove(&self, client: &Registered, ours: &[&str], now: UnixTime) -> Result<(), Refusal> {
        let Credential::Keys(keys) = &client.credential else {
            return Err(Denial::ClientMethodMismatch.into());
        };
        let key = self.key(keys)?;
        if !self.claims.aud.sole().is_some_and(|audience| ours.contains(&audience)) {
            return Err(Denial::AssertionAudienceMismatch.into());
        }
        let expires = UnixTime::from_secs(self.claims.exp);
        self.check_time(expires, now)?;
        if !key.verifies(self.signed.as_bytes(), &self.signature) {
            return Err(Denial::AssertionSignatureInvalid.into());
        }
        // Last, so that a forger cannot use up the client's identifiers.
        client.replays.remember(&self.claims.jti, expires, now)
    }

    /// The one key to try. The header must equal the key's algorithm and never chooses it (RFC 8725 section 3.1).
    fn key<'k>(&self, keys: &'k [ClientKey]) -> Result<&'k ClientKey, Denial> {
        let key = match (&self.header.kid, keys) {
            (None, [one]) => Some(one),
            (None, _) => None,
            (Some(kid), keys) => keys
                .iter()
                .find(|key| key.id.as_deref() == Some(kid))
                // A key that was registered without a name is the one that is meant, if it is the only one.
                .or(match keys {
                    [one] if one.id.is_none() => Some(one),
                    _ => None,
                }),
        };
        let key = key.ok_or(Denial::AssertionKeyUnknown)?;
        if self.header.alg == key.algorithm { Ok(key) } else { Err(Denial::AssertionAlgorithmRefused) }
    }

    fn check_time(&self, expires: UnixTime, now: UnixTime) -> Result<(), Denial> {
        if now >= expires {
            return Err(Denial::AssertionExpired);
        }
        let early = |at: Option<u64>| at.is_some_and(|at| UnixTime::from_secs(at) > now.after(LEEWAY));
        if early(self.claims.nbf) || early(self.claims.iat) {
            return Err(Denial::AssertionExpired);
        }
        let ahead = |from: UnixTime| expires.since(from).is_none_or(|life| life > LONGEST_LIFE);
        if ahead(now) || self.claims.iat.is_some_and(|at| ahead(UnixTime::from_secs(at))) {
            return Err(Denial::AssertionLifetimeTooLong);
        }
        Ok(())
    }
}

fn json<T: DeserializeOwned>(segment: &str) -> Result<T, Denial> {
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(segment).map_err(|_| Denial::AssertionMalformed)?;
    // The reader would take a list for an object, its members by position.
    if bytes.first() != Some(&b'{') {
        return Err(Denial::AssertionMalformed);
    }
    serde_json::from_slice(&bytes).map_err(|_| Denial::AssertionMalformed)
}
