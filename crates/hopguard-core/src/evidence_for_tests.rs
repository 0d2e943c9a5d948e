//! Evidence for the unit tests of this crate.

use std::sync::Arc;

use crate::fingerprint::fingerprinted_part;
use crate::{
    ActorChain, Confirmation, Facts, Fingerprint, Presented, RawToken, ScopeSet, StackId, UnixTime, Verified,
};

pub(crate) fn facts() -> Facts {
    Facts {
        fingerprint: Fingerprint::of_token("a.b.c"),
        issuer: "https://sts.internal".into(),
        subject: "alice".into(),
        client: None,
        audiences: ["https://orders.internal".into()].into(),
        expires: UnixTime::from_secs(1300),
        not_before: None,
        issued_at: None,
        token_id: None,
        scopes: ScopeSet::empty(),
        actors: ActorChain::empty(),
        may_act: None,
        confirmation: Confirmation::None,
        key_id: None,
        fingerprinted_len: 3,
        structured: true,
    }
}

pub(crate) fn verified_with(change: impl FnOnce(&mut Facts)) -> Verified {
    let mut facts = facts();
    change(&mut facts);
    let presented = Presented::assert_extracted(StackId::unique(), RawToken::new("a.b.c"), None);
    Verified::assert_genuine(presented, Arc::new(facts))
}

pub(crate) fn verified_token(text: &str, expires: u64) -> Verified {
    let mut facts = facts();
    facts.fingerprint = Fingerprint::of_token(text);
    facts.fingerprinted_len = fingerprinted_part(text).len();
    facts.expires = UnixTime::from_secs(expires);
    let presented = Presented::assert_extracted(StackId::unique(), RawToken::new(text), None);
    Verified::assert_genuine(presented, Arc::new(facts))
}

pub(crate) fn opaque_token(text: &str, expires: u64) -> Verified {
    let mut facts = facts();
    facts.fingerprint = Fingerprint::of_bytes(text.as_bytes());
    facts.fingerprinted_len = text.len();
    facts.structured = false;
    facts.expires = UnixTime::from_secs(expires);
    let presented = Presented::assert_extracted(StackId::unique(), RawToken::new(text), None);
    Verified::assert_genuine(presented, Arc::new(facts))
}
