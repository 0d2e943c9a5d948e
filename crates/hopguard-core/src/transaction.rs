//! A transaction token that came in with a request (draft-ietf-oauth-transaction-tokens): where may it go on?
//!
//! It is a credential like any other, and blocked like any other: in one header, [`TXN_TOKEN`], it passes, and only
//! to destinations that are said to be inside the trust domain for which it was verified.

use std::sync::Arc;

use http::{HeaderName, HeaderValue};

use crate::{Denial, Facts, UnixTime, Verified, Withdrawals};

/// The one header in which a transaction token travels.
pub const TXN_TOKEN: HeaderName = HeaderName::from_static("txn-token");

/// A transaction token that was verified for one request, and its trust domain.
///
/// It shows its bytes in one way, as the value of its header, which is marked sensitive:
///
/// ```compile_fail,E0277
/// fn log(transaction: &hopguard_core::Transaction) -> String {
///     format!("{transaction}") // no `Display`
/// }
/// ```
#[derive(Clone, Debug)]
pub struct Transaction {
    verified: Verified,
    domain: Arc<str>,
}

impl Transaction {
    /// For the layer that verified it and found it meant for this trust domain, and nobody else.
    #[must_use]
    pub fn assert_meant_for(verified: Verified, domain: Arc<str>) -> Self {
        Self { verified, domain }
    }

    /// What it says.
    #[must_use]
    pub fn facts(&self) -> &Arc<Facts> {
        self.verified.facts()
    }

    /// The trust domain inside which it may travel.
    #[must_use]
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// The value of its header, marked sensitive.
    ///
    /// # Errors
    ///
    /// [`Denial::SubjectExpired`] or [`Denial::TokenWithdrawn`] once it is good no more.
    pub fn header(&self, withdrawals: &Withdrawals, now: UnixTime) -> Result<HeaderValue, Denial> {
        // INVARIANT: I13, I18 — it was good when it came in; what counts is now.
        if now >= self.facts().expires {
            return Err(Denial::SubjectExpired);
        }
        if withdrawals.strikes(self.facts()) {
            return Err(Denial::TokenWithdrawn);
        }
        self.verified.presented().token().as_header("").ok_or(Denial::CredentialMalformed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence_for_tests::verified_token;
    use crate::{Ledger, Withdrawal};

    #[test]
    fn it_is_good_until_it_expires_or_is_withdrawn() {
        let transaction =
            Transaction::assert_meant_for(verified_token("a.b.c", 2000), "shop.internal".into());
        let (ledger, now) = (Ledger::bounded(), UnixTime::from_secs(1000));
        let header = |now| transaction.header(ledger.withdrawals(), now).map_err(|denial| denial.code());
        let value = header(now).unwrap();
        assert!(value == "a.b.c" && value.is_sensitive());
        assert_eq!(transaction.domain(), "shop.internal");
        assert_eq!(header(UnixTime::from_secs(2000)), Err("subject_expired"));
        let token = Withdrawal::Token(transaction.facts().fingerprint);
        ledger.withdrawals().withdraw(token, now, UnixTime::from_secs(3000)).unwrap();
        assert_eq!(header(now), Err("token_withdrawn"));
    }
}
