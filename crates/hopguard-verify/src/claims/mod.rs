//! What the claims say, read strictly (RFC 9068 section 2.2, RFC 8693 section 4, RFC 7800).
//!
//! Reading notes what is there and of which kind; nothing is judged before the signature is.

mod parties;
mod confirmation;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::sync::Arc;

use hopguard_core::{Confirmation, Denial, Facts, Fingerprint, ScopeSet, UnixTime};

use self::confirmation::Cnf;
use self::parties::{Actors, Party, may_act};
use crate::alike::Alike;
use crate::json::{self, Claim, Malformed, Shape, Source, names};
use crate::profile::Named;

/// The last second of the year 9999: later than any honest claim, early enough for any arithmetic.
const LATEST: u64 = 253_402_300_799;

names!(Member {
    Iss = "iss",
    Sub = "sub",
    Aud = "aud",
    Exp = "exp",
    Nbf = "nbf",
    Iat = "iat",
    Jti = "jti",
    ClientId = "client_id",
    Scope = "scope",
    Act = "act",
    MayAct = "may_act",
    Cnf = "cnf",
});

type Text<'a> = Cow<'a, str>;

/// The claims of one token, as they stand there.
#[derive(Debug, Default)]
pub(crate) struct Claims<'a> {
    issuer: Claim<Text<'a>>,
    subject: Claim<Text<'a>>,
    audiences: Claim<Vec<Text<'a>>>,
    expires: Claim<u64>,
    not_before: Claim<u64>,
    issued_at: Claim<u64>,
    token_id: Claim<Text<'a>>,
    client: Claim<Text<'a>>,
    scope: Claim<Text<'a>>,
    actors: Actors<'a>,
    may_act: Claim<Vec<Party<'a>>>,
    confirmation: Claim<Cnf<'a>>,
}

/// What identifies a token whose signature was checked.
pub(crate) struct Origin<'a> {
    pub(crate) issuer: &'a Arc<str>,
    pub(crate) key_id: Option<&'a Arc<str>>,
    pub(crate) fingerprint: Fingerprint,
    pub(crate) fingerprinted_len: usize,
    pub(crate) alike: &'a Alike,
}

impl<'a> Claims<'a> {
    /// Reads a decoded payload.
    pub(crate) fn read(text: &'a [u8]) -> Result<Self, Denial> {
        let mut claims = Self::default();
        json::read(text, &mut claims).map_err(|_| Denial::TokenMalformed)?;
        Ok(claims)
    }

    /// `iss`, unverified: good for choosing whose keys to try, and for nothing else.
    pub(crate) fn unverified_issuer(&self) -> Result<&str, Denial> {
        match &self.issuer {
            Claim::Is(issuer) if !issuer.is_empty() => Ok(issuer),
            Claim::Absent => Err(Denial::ClaimMissing),
            Claim::Is(_) | Claim::Wrong => Err(Denial::ClaimInvalid),
        }
    }

    /// The facts, if every claim that RFC 9068 requires is there and each is what it must be. `named` is what another
    /// profile found under names of its own.
    pub(crate) fn into_facts(
        self,
        origin: &Origin<'_>,
        named: Option<Named>,
        actors_at_most: usize,
    ) -> Result<Facts, Denial> {
        // INVARIANT: I14 — what is absent is never taken for something.
        let audiences = required(self.audiences)?;
        if audiences.is_empty() || audiences.iter().any(|one| one.is_empty()) {
            return Err(Denial::ClaimInvalid);
        }
        let named = match named {
            Some(named) => {
                // Named otherwise or not, what RFC 9068 has a name for is of its type, or the token is not what it seems.
                optional(self.client)?.map(present).transpose()?;
                optional(self.token_id)?.map(present).transpose()?;
                optional(self.scope)?;
                named
            }
            None => Named {
                client: origin.alike.client(&present(required(self.client)?)?),
                token_id: Some(filled(required(self.token_id)?)?),
                scopes: match optional(self.scope)? {
                    Some(list) => origin
                        .alike
                        .scopes(&list, || ScopeSet::parse(&list).map_err(|_| Denial::ClaimInvalid))?,
                    None => ScopeSet::empty(),
                },
            },
        };
        Ok(Facts {
            fingerprint: origin.fingerprint,
            issuer: origin.issuer.clone(),
            subject: filled(required(self.subject)?)?,
            client: Some(named.client),
            audiences: origin.alike.audiences(&audiences),
            expires: instant(required(self.expires)?)?,
            not_before: optional(self.not_before)?.map(instant).transpose()?,
            issued_at: Some(instant(required(self.issued_at)?)?),
            token_id: named.token_id,
            scopes: named.scopes,
            actors: self.actors.into_chain(actors_at_most, origin.alike)?,
            may_act: optional(self.may_act)?.map(may_act).transpose()?,
            confirmation: optional(self.confirmation)?
                .map_or(Ok(Confirmation::None), Cnf::into_confirmation)?,
            key_id: origin.key_id.cloned(),
            fingerprinted_len: origin.fingerprinted_len,
            structured: true,
        })
    }
}

fn required<T>(claim: Claim<T>) -> Result<T, Denial> {
    optional(claim)?.ok_or(Denial::ClaimMissing)
}

fn optional<T>(claim: Claim<T>) -> Result<Option<T>, Denial> {
    match claim {
        Claim::Is(value) => Ok(Some(value)),
        Claim::Absent => Ok(None),
        Claim::Wrong => Err(Denial::ClaimInvalid),
    }
}

fn filled<T: for<'a> From<&'a str>>(text: Text<'_>) -> Result<T, Denial> {
    present(text).map(|text| T::from(&text))
}

fn present(text: Text<'_>) -> Result<Text<'_>, Denial> {
    if text.is_empty() { Err(Denial::ClaimInvalid) } else { Ok(text) }
}

fn instant(seconds: u64) -> Result<UnixTime, Denial> {
    if seconds > LATEST { Err(Denial::ClaimInvalid) } else { Ok(UnixTime::from_secs(seconds)) }
}

impl<'de> Shape<'de> for Claims<'de> {
    fn wrong(&mut self) {}

    fn object(&mut self, source: &mut Source<'de>) -> Result<(), Malformed> {
        source
            .members(|name, source| match name {
                Member::Iss => source.value(&mut self.issuer),
                Member::Sub => source.value(&mut self.subject),
                Member::Aud => source.value(&mut self.audiences),
                Member::Exp => source.value(&mut self.expires),
                Member::Nbf => source.value(&mut self.not_before),
                Member::Iat => source.value(&mut self.issued_at),
                Member::Jti => source.value(&mut self.token_id),
                Member::ClientId => source.value(&mut self.client),
                Member::Scope => source.value(&mut self.scope),
                Member::Act => source.value(&mut self.actors),
                Member::MayAct => source.value(&mut self.may_act),
                Member::Cnf => source.value(&mut self.confirmation),
            })
            .map(|_| ())
    }
}
