//! What a profile makes of one token: is it an access token, and what do its claims say?

use std::borrow::Cow;
use std::sync::Arc;

use hopguard_core::{Denial, ScopeSet};

use super::{Mark, Profile};
use crate::alike::Alike;
use crate::extra::{Extra, Value};

/// What a role becomes when roles are taken for scopes.
const ROLE: &str = "role:";

impl Profile {
    /// Refuses what is no access token of this profile. Nothing is verified yet, so this can only refuse.
    pub(crate) fn is_access_token(&self, typ: Option<&str>, extra: &Extra<'_>) -> Result<(), Denial> {
        let typed = match typ {
            Some(typ) => self.types.iter().any(|one| bare(typ).eq_ignore_ascii_case(one)),
            None => self.untyped,
        };
        // `events` makes it a logout token or another security event (RFC 8417 section 2.2).
        if typed && extra.find("events").is_none() && self.marks.iter().all(|mark| self.holds(mark, extra)) {
            Ok(())
        } else {
            Err(Denial::TokenTypeMismatch)
        }
    }

    fn holds(&self, mark: &Mark, extra: &Extra<'_>) -> bool {
        match mark {
            Mark::Present(claim) => extra.find(claim).is_some(),
            Mark::Is(claim, values) => {
                extra.text(claim).is_some_and(|text| values.iter().any(|one| **one == *text))
            }
            Mark::Begins(claim, prefix) => extra.text(claim).is_some_and(|text| text.starts_with(&**prefix)),
            Mark::Absent(claim) => extra.find(claim).is_none(),
            Mark::ClientIsNoAudience => {
                let client = self.clients.iter().find_map(|claim| extra.text(claim));
                client.is_some_and(|client| match extra.find("aud") {
                    Some(Value::Text(audience)) => *audience != *client,
                    Some(Value::List(all)) => {
                        all.iter().all(|one| !matches!(one, Value::Text(text) if *text == *client))
                    }
                    _ => false,
                })
            }
        }
    }

    /// What this profile's claims say. Only after the signature was checked.
    pub(crate) fn read(&self, extra: &Extra<'_>, alike: &Alike) -> Result<Named, Denial> {
        let client = alike.client(first(&self.clients, extra)?.ok_or(Denial::ClaimMissing)?);
        let token_id = first(&self.token_ids, extra)?.map(Box::from);
        if self.token_id_required && token_id.is_none() {
            return Err(Denial::ClaimMissing);
        }
        Ok(Named { client, token_id, scopes: self.scopes(extra)? })
    }

    fn scopes(&self, extra: &Extra<'_>) -> Result<ScopeSet, Denial> {
        let mut tokens: Vec<Cow<'_, str>> = Vec::new();
        for claim in &self.scopes {
            match extra.find(claim) {
                None => {}
                Some(Value::Text(list)) => {
                    tokens.extend(list.split(' ').filter(|token| !token.is_empty()).map(Cow::Borrowed));
                }
                Some(Value::List(all)) => {
                    for one in all {
                        let Value::Text(token) = one else { return Err(Denial::ClaimInvalid) };
                        tokens.push(Cow::Borrowed(token));
                    }
                }
                Some(Value::Object(_) | Value::Other) => return Err(Denial::ClaimInvalid),
            }
        }
        if !self.roles.is_empty() {
            tokens.retain(|token| !token.starts_with(ROLE));
            for place in &self.roles {
                let roles =
                    extra.at(place).into_iter().flat_map(Value::names).map(|role| format!("{ROLE}{role}"));
                tokens.extend(roles.filter(|role| ScopeSet::from_tokens([&**role]).is_ok()).map(Cow::Owned));
            }
        }
        ScopeSet::from_tokens(tokens.iter().map(|token| &**token)).map_err(|_| Denial::ClaimInvalid)
    }

    /// True if this profile has a use for the claim.
    pub(crate) fn reads(&self, claim: &str) -> bool {
        let named = |names: &[Box<str>]| names.iter().any(|name| **name == *claim);
        claim == "events"
            || claim == "aud"
            || named(&self.clients)
            || named(&self.scopes)
            || named(&self.token_ids)
            || self.roles.iter().any(|place| place.first().is_some_and(|name| **name == *claim))
            || self.marks.iter().any(|mark| mark.claim().is_some_and(|name| name == claim))
    }
}

/// Media types may leave `application/` out (RFC 7515 section 4.1.9).
pub(super) fn bare(typ: &str) -> &str {
    match typ.split_at_checked("application/".len()) {
        Some((prefix, rest)) if prefix.eq_ignore_ascii_case("application/") => rest,
        _ => typ,
    }
}

/// The first of these claims that is there; it must be a text, and not empty.
fn first<'a>(claims: &[Box<str>], extra: &'a Extra<'_>) -> Result<Option<&'a str>, Denial> {
    match claims.iter().find_map(|claim| extra.find(claim)) {
        None => Ok(None),
        Some(Value::Text(text)) if !text.is_empty() => Ok(Some(&**text)),
        Some(_) => Err(Denial::ClaimInvalid),
    }
}

/// What a profile finds under its own names.
#[derive(Debug)]
pub(crate) struct Named {
    pub(crate) client: Arc<str>,
    pub(crate) token_id: Option<Box<str>>,
    pub(crate) scopes: ScopeSet,
}
