//! What a profile makes of one token: is it an access token, and what do its claims say?

use std::borrow::Cow;
use std::sync::Arc;

use hopguard_core::{Denial, ScopeSet};

use super::{Mark, Profile};
use crate::alike::Alike;
use crate::claims::client;
use crate::extra::Extra;
use crate::json::{Claim, Value};

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
        if typed && extra.find("events").is_absent() && self.marks.iter().all(|mark| self.holds(mark, extra))
        {
            Ok(())
        } else {
            Err(Denial::TokenTypeMismatch)
        }
    }

    fn holds(&self, mark: &Mark, extra: &Extra<'_>) -> bool {
        match mark {
            Mark::Present(claim) => !extra.find(claim).is_absent(),
            Mark::Is(claim, values) => {
                extra.text(claim).is_some_and(|text| values.iter().any(|one| **one == *text))
            }
            Mark::Begins(claim, prefix) => extra.text(claim).is_some_and(|text| text.starts_with(&**prefix)),
            Mark::Absent(claim) => extra.find(claim).is_absent(),
            Mark::ClientIsNoAudience => {
                let client = self.clients.iter().find_map(|claim| extra.text(claim));
                client.is_some_and(|client| {
                    let audience = extra.find("aud");
                    let mut is_among = false;
                    match audience.text() {
                        Claim::Is(audience) => audience != client,
                        Claim::Absent => false,
                        Claim::Wrong => {
                            let list =
                                audience.each(|one| is_among |= one.text().is().as_deref() == Some(&*client));
                            list == Claim::Is(()) && !is_among
                        }
                    }
                })
            }
        }
    }

    /// What this profile's claims say. Only after the signature was checked.
    pub(crate) fn read(&self, extra: &Extra<'_>, alike: &Alike) -> Result<Named, Denial> {
        let client = client(&first(&self.clients, extra)?.ok_or(Denial::ClaimMissing)?, alike)?;
        let token_id = first(&self.token_ids, extra)?.map(|id| Box::from(&*id));
        if self.token_id_required && token_id.is_none() {
            return Err(Denial::ClaimMissing);
        }
        let in_scope = self.scopes.iter().any(|claim| **claim == *"scope");
        Ok(Named { client, token_id, scopes: self.scopes(extra)?, in_scope })
    }

    fn scopes(&self, extra: &Extra<'_>) -> Result<ScopeSet, Denial> {
        let split = |list: &str| -> Vec<Box<str>> {
            list.split(' ').filter(|token| !token.is_empty()).map(Box::from).collect()
        };
        let mut tokens: Vec<Box<str>> = Vec::new();
        for claim in &self.scopes {
            let claim = extra.find(claim);
            match (claim.text(), claim.list(Value::text)) {
                (Claim::Absent, _) => {}
                (Claim::Is(list), _) => tokens.extend(split(&list)),
                (Claim::Wrong, Claim::Is(all)) => tokens.extend(all.iter().map(|one| Box::from(&**one))),
                (Claim::Wrong, _) => return Err(Denial::ClaimInvalid),
            }
        }
        if !self.roles.is_empty() {
            tokens.retain(|token| !token.starts_with(ROLE));
            for place in &self.roles {
                let roles = extra.names_at(place).into_iter().map(|role| format!("{ROLE}{role}"));
                tokens.extend(roles.filter(|role| ScopeSet::from_tokens([&**role]).is_ok()).map(Box::from));
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
fn first<'a>(claims: &[Box<str>], extra: &Extra<'a>) -> Result<Option<Cow<'a, str>>, Denial> {
    let found = claims.iter().map(|claim| extra.find(claim)).find(|value| !value.is_absent());
    match found.unwrap_or_default().text() {
        Claim::Absent => Ok(None),
        Claim::Is(text) if !text.is_empty() => Ok(Some(text)),
        Claim::Is(_) | Claim::Wrong => Err(Denial::ClaimInvalid),
    }
}

/// What a profile finds under its own names.
#[derive(Debug)]
pub(crate) struct Named {
    pub(crate) client: Arc<str>,
    pub(crate) token_id: Option<Box<str>>,
    pub(crate) scopes: ScopeSet,
    /// They were in `scope`, where the profile takes lists too.
    pub(crate) in_scope: bool,
}
