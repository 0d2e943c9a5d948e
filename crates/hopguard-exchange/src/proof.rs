//! What an answer is worth: its token verified like any token, then held against what was asked.

use std::sync::Arc;
use std::time::Duration;

use hopguard_core::{
    ActorChain, Asked, Confirmation, Denial, Facts, Fault, Granted, RawToken, Refusal, Relaxation, UnixTime,
    Waived, prove_narrowing, prove_own,
};

use crate::answer::Answer;
use crate::exchanger::{Inner, Purpose};

impl Inner {
    /// The grant in this answer.
    pub(crate) async fn prove(&self, answer: &Answer, purpose: &Purpose) -> Result<Granted, Refusal> {
        // INVARIANT: I5 — verified like any token, then proven; `Granted` is made nowhere else.
        let asked = purpose.asked();
        let facts = if is_opaque(&answer.token) && asked.relaxed().iter().any(is_of_opaque) {
            Arc::new(self.told(answer, purpose)?)
        } else {
            self.verifier.verify(&answer.token, self.ledger.withdrawals()).await.map_err(unverified)?
        };
        let (now, token) = (self.clock.now(), Arc::clone(&answer.token));
        let (granted, needed) = match purpose {
            Purpose::OnBehalf { parent, prepared, .. } => {
                let needed =
                    prove_narrowing(parent, &prepared.target().expectation(&self.acts_as), &facts, now)?;
                (Granted::assert_narrowed(token, facts, parent.fingerprint, now), needed)
            }
            Purpose::Own(target) => {
                let needed = prove_own(&target.expectation(&self.issuer, &self.client), &facts, now)?;
                (Granted::assert_own(token, facts, now), needed)
            }
        };
        for Waived { relaxation, waiver } in &needed {
            let (relaxation, owner) = (relaxation.name(), waiver.owner());
            tracing::warn!(relaxation, owner, until = waiver.until().as_secs(), "a grant needs a waiver");
        }
        Ok(granted.needing(needed))
    }

    /// What is said of a token that cannot be read: what was asked for, but for what the answer says itself.
    ///
    /// Its actor chain is left empty, because nothing at all is known of it.
    fn told(&self, answer: &Answer, purpose: &Purpose) -> Result<Facts, Fault> {
        if !answer.token.dangerous_expose_bytes().iter().all(u8::is_ascii_graphic) {
            return Err(Fault::GrantUnreadable);
        }
        // Without it the grant would have no end that anybody knows.
        let life = answer.expires_in.ok_or(Fault::StsAnswerInvalid)?;
        let now: UnixTime = self.clock.now();
        let asked: &Asked = purpose.asked();
        let subject = match purpose {
            Purpose::OnBehalf { parent, .. } => parent.subject.clone(),
            Purpose::Own(target) => target.expected_subject().unwrap_or(&self.client).as_ref().into(),
        };
        Ok(Facts {
            fingerprint: answer.token.fingerprint(),
            // A caller's token is exchanged at its own issuer only.
            issuer: Arc::clone(&self.issuer),
            subject,
            client: None,
            audiences: [asked.expected_audience().as_ref().into()].into(),
            expires: now.after(Duration::from_secs(life)),
            not_before: None,
            issued_at: Some(now),
            token_id: None,
            scopes: answer.told_scopes(asked.scopes())?,
            actors: ActorChain::empty(),
            may_act: None,
            confirmation: Confirmation::None,
            key_id: None,
            fingerprinted_len: answer.token.len(),
            structured: false,
        })
    }
}

fn is_of_opaque(waived: &Waived) -> bool {
    waived.relaxation == Relaxation::Opaque
}

/// True unless the token has the three parts of a JWS in compact form: whatever could be verified must be.
fn is_opaque(token: &RawToken) -> bool {
    memchr::memchr_iter(b'.', token.dangerous_expose_bytes()).take(3).count() != 2
}

/// What a refusal of the verifier means for a grant: never the caller's fault.
fn unverified(refusal: Refusal) -> Fault {
    match refusal {
        Refusal::Fault(Fault::KeysUnavailable) => Fault::KeysUnavailable,
        Refusal::Denial(Denial::TokenExpired) => Fault::GrantExpired,
        Refusal::Denial(Denial::TokenWithdrawn) => Fault::GrantWithdrawn,
        other => {
            tracing::warn!(code = other.code(), "the grant does not verify");
            Fault::GrantUnreadable
        }
    }
}
