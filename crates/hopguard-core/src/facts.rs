//! What a verified token says.

use std::fmt;
use std::sync::Arc;

use crate::redact::Redacted;
use crate::{ActorChain, Confirmation, Fingerprint, RawToken, ScopeSet, UnixTime};

/// The claims of a token whose signature was checked, and what identifies it.
///
/// Facts are data: holding them proves nothing. Trust comes from the evidence around them
/// ([`Verified`](crate::Verified) and what follows), which only a stack makes.
#[derive(Clone, PartialEq, Eq)]
pub struct Facts {
    /// What stands for the token in logs and lineage.
    pub fingerprint: Fingerprint,
    /// `iss`: the issuer whose key verified the token.
    pub issuer: Arc<str>,
    /// `sub`. Shared with the ledger.
    pub subject: Arc<str>,
    /// `client_id`, or what the profile names in its place.
    pub client: Option<Arc<str>>,
    /// `aud`, never empty.
    pub audiences: Arc<[Box<str>]>,
    /// `exp`: from this second on the token is expired.
    pub expires: UnixTime,
    /// `nbf`.
    pub not_before: Option<UnixTime>,
    /// `iat`.
    pub issued_at: Option<UnixTime>,
    /// `jti`.
    pub token_id: Option<Box<str>>,
    /// `scope`; absent means empty, and empty grants nothing.
    pub scopes: ScopeSet,
    /// `act`, the current actor first.
    pub actors: ActorChain,
    /// `may_act`; `None` when absent.
    pub may_act: Option<MayAct>,
    /// `cnf`.
    pub confirmation: Confirmation,
    /// `kid` of the key that verified it; `None` if the key set names none.
    pub key_id: Option<Arc<str>>,
    /// Length of the part that the fingerprint covers, in bytes; the ledger needs it to find the token again.
    pub fingerprinted_len: usize,
    /// True if the token is a JWS in compact form, false if it is opaque.
    pub structured: bool,
}

impl Facts {
    /// All that is known of a secret from the configuration: its bytes. It never expires.
    #[must_use]
    pub fn of_configured(secret: &RawToken) -> Self {
        Self {
            fingerprint: secret.fingerprint(),
            issuer: "".into(),
            subject: "".into(),
            client: None,
            audiences: Arc::default(),
            expires: UnixTime::from_secs(u64::MAX),
            not_before: None,
            issued_at: None,
            token_id: None,
            scopes: ScopeSet::empty(),
            actors: ActorChain::empty(),
            may_act: None,
            confirmation: Confirmation::None,
            key_id: None,
            fingerprinted_len: secret.len(),
            structured: false,
        }
    }

    /// The name of the service that acts with this token: the current actor, else the client.
    #[must_use]
    pub fn acting_party(&self) -> Option<&str> {
        self.actors.current().map(|actor| actor.subject.as_ref()).or(self.client.as_deref())
    }
}

impl fmt::Debug for Facts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // INVARIANT: I10 — a claim can hold a token.
        f.debug_struct("Facts")
            .field("fingerprint", &self.fingerprint)
            .field("issuer", &Redacted(&self.issuer))
            .field("subject", &Redacted(&self.subject))
            .field("client", &Redacted(&self.client))
            .field("audiences", &Redacted(&self.audiences))
            .field("expires", &self.expires)
            .field("not_before", &self.not_before)
            .field("issued_at", &self.issued_at)
            .field("token_id", &Redacted(&self.token_id))
            .field("scopes", &Redacted(&self.scopes))
            .field("actors", &self.actors)
            .field("may_act", &self.may_act)
            .field("confirmation", &Redacted(&self.confirmation))
            .field("key_id", &Redacted(&self.key_id))
            .field("structured", &self.structured)
            .finish_non_exhaustive()
    }
}

/// Who may act for the subject (RFC 8693 section 4.4).
///
/// The RFC writes an object; some issuers write a bare string or a list. Each is enforced, and an empty one
/// allows nobody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MayAct {
    /// The parties that may act; empty means nobody.
    pub parties: Vec<crate::Actor>,
}

impl MayAct {
    /// True if the party `subject`, known at `issuer`, is listed.
    #[must_use]
    pub fn allows(&self, subject: &str, issuer: &str) -> bool {
        self.parties.iter().any(|party| {
            party.subject.as_ref() == subject && party.issuer.as_deref().is_none_or(|named| named == issuer)
        })
    }
}
