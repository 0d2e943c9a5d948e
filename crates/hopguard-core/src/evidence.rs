//! Evidence: what one step has established and the next one needs.
//!
//! Each piece has private fields, no `Default` and no `Deserialize`, and exactly one constructor whose name
//! begins with `assert_`: `git grep assert_` lists every origin of trust. Each carries the id of the stack
//! that made it, and a gate takes only its own stack's.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use http::HeaderValue;

use crate::event::TraceContext;
use crate::{Facts, Fault, Fingerprint, Id, LedgerId, RawToken, Transaction, UnixTime, Waived};

/// Which stack made a piece of evidence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct StackId(u64);

impl StackId {
    /// An id that no other stack of this process has.
    #[must_use]
    pub fn unique() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// Who the transport's other end has proven to be: a SPIFFE id, or another name of the certificate with which it
/// opened the connection.
///
/// Whatever terminates TLS puts it into the request's extensions, before the stack. It says who holds the connection
/// and nothing about the token.
///
/// ```
/// use hopguard_core::PeerIdentity;
///
/// let gateway = PeerIdentity::assert_authenticated("spiffe://shop.internal/gateway");
/// assert_eq!(gateway.name(), "spiffe://shop.internal/gateway");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerIdentity(Arc<str>);

impl PeerIdentity {
    /// For whoever has verified the peer's certificate, and nobody else: never from a header.
    #[must_use]
    pub fn assert_authenticated(name: &str) -> Self {
        Self(name.into())
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0
    }
}

/// A credential was shown: exactly one, well formed, taken out of the request.
#[derive(Clone, Debug)]
pub struct Presented {
    stack: StackId,
    token: Arc<RawToken>,
    peer: Option<SocketAddr>,
    proven: Option<PeerIdentity>,
}

impl Presented {
    /// For the step that reads the credential out of the request, and nobody else.
    #[must_use]
    pub fn assert_extracted(stack: StackId, token: Arc<RawToken>, peer: Option<SocketAddr>) -> Self {
        Self { stack, token, peer, proven: None }
    }

    /// The same, shown by somebody whom the transport knows.
    #[must_use]
    pub fn by(self, proven: Option<PeerIdentity>) -> Self {
        Self { proven, ..self }
    }

    /// The token as shown. Nothing is known about it yet.
    #[must_use]
    pub fn token(&self) -> &Arc<RawToken> {
        &self.token
    }

    /// The transport's other end, where it is known.
    #[must_use]
    pub fn peer(&self) -> Option<SocketAddr> {
        self.peer
    }

    /// Who the transport's other end has proven to be, where the transport asks.
    #[must_use]
    pub fn peer_identity(&self) -> Option<&PeerIdentity> {
        self.proven.as_ref()
    }
}

/// The token is genuine: signed by its issuer, an access token, and valid at the time of the check.
#[derive(Clone, Debug)]
pub struct Verified {
    presented: Presented,
    facts: Arc<Facts>,
}

impl Verified {
    /// For the verifier, after the signature, type and time were checked, and nobody else.
    #[must_use]
    pub fn assert_genuine(presented: Presented, facts: Arc<Facts>) -> Self {
        Self { presented, facts }
    }

    /// What the token says.
    #[must_use]
    pub fn facts(&self) -> &Arc<Facts> {
        &self.facts
    }

    /// The credential as shown.
    #[must_use]
    pub fn presented(&self) -> &Presented {
        &self.presented
    }

    /// Refuses evidence that another stack made.
    ///
    /// # Errors
    ///
    /// [`Fault::EvidenceForeign`] if the evidence is not `stack`'s.
    pub fn belongs_to(&self, stack: StackId) -> Result<(), Fault> {
        if self.presented.stack == stack { Ok(()) } else { Err(Fault::EvidenceForeign) }
    }
}

/// Whoever shows the token may hold it: it is unbound, or the key it is bound to was proven.
#[derive(Clone, Debug)]
pub struct Bound {
    verified: Verified,
}

impl Bound {
    /// For the step that checked the holder, and nobody else.
    #[must_use]
    pub fn assert_held(verified: Verified) -> Self {
        Self { verified }
    }

    /// The verified token.
    #[must_use]
    pub fn verified(&self) -> &Verified {
        &self.verified
    }
}

/// Every guard of a complete stack let this request through.
///
/// This is what a handler gets and what a call onwards is made on behalf of.
#[derive(Clone, Debug)]
pub struct Admitted {
    bound: Bound,
    ledger: LedgerId,
    request: Id,
    trace: Option<TraceContext>,
    transaction: Option<Arc<Transaction>>,
}

impl Admitted {
    /// For the last step of the complete inbound stack, and nobody else.
    #[must_use]
    pub fn assert_all_guards_passed(
        bound: Bound,
        ledger: LedgerId,
        request: Id,
        trace: Option<TraceContext>,
    ) -> Self {
        Self { bound, ledger, request, trace, transaction: None }
    }

    /// For the layer that verified the transaction token of this request, and nobody else.
    #[must_use]
    pub fn assert_with_transaction(mut self, transaction: Transaction) -> Self {
        self.transaction = Some(Arc::new(transaction));
        self
    }

    /// The transaction token that came with the request, if one was verified.
    #[must_use]
    pub fn transaction(&self) -> Option<&Transaction> {
        self.transaction.as_deref()
    }

    /// What the caller's token says.
    #[must_use]
    pub fn facts(&self) -> &Arc<Facts> {
        &self.bound.verified.facts
    }

    /// The caller's token, to be exchanged; it must leave on no wire but to its own issuer's endpoints.
    #[must_use]
    pub fn subject_token(&self) -> &Arc<RawToken> {
        &self.bound.verified.presented.token
    }

    /// The evidence this was made from.
    #[must_use]
    pub fn bound(&self) -> &Bound {
        &self.bound
    }

    /// The ledger that knows the caller's token.
    #[must_use]
    pub fn ledger(&self) -> LedgerId {
        self.ledger
    }

    /// The id that every event of this hop carries.
    #[must_use]
    pub fn request_id(&self) -> Id {
        self.request
    }

    /// The W3C trace context that the request came with.
    #[must_use]
    pub fn trace(&self) -> Option<&TraceContext> {
        self.trace.as_ref()
    }
}

/// A token obtained by exchange or for ourselves, proven to be no wider than its route expects. Cloning it shares it.
#[derive(Clone, Debug)]
pub struct Granted(Arc<Grant>);

#[derive(Clone, Debug)]
struct Grant {
    token: Arc<RawToken>,
    // Made once, and wiped like the token itself when the last clone is dropped.
    authorization: Result<HeaderValue, Fault>,
    facts: Arc<Facts>,
    // Absent for a token of our own.
    parent: Option<Fingerprint>,
    obtained: UnixTime,
    // None for the many that need none.
    waived: Box<[Waived]>,
}

impl Granted {
    /// For the exchange, after [`prove_narrowing`](crate::prove_narrowing), and nobody else.
    #[must_use]
    pub fn assert_narrowed(
        token: Arc<RawToken>,
        facts: Arc<Facts>,
        parent: Fingerprint,
        obtained: UnixTime,
    ) -> Self {
        Self::made(token, facts, Some(parent), obtained)
    }

    /// For the client credentials grant, after [`prove_own`](crate::prove_own), and nobody else.
    #[must_use]
    pub fn assert_own(token: Arc<RawToken>, facts: Arc<Facts>, obtained: UnixTime) -> Self {
        Self::made(token, facts, None, obtained)
    }

    fn made(
        token: Arc<RawToken>,
        facts: Arc<Facts>,
        parent: Option<Fingerprint>,
        obtained: UnixTime,
    ) -> Self {
        let authorization = token.as_bearer().ok_or(Fault::GrantUnreadable);
        Self(Arc::new(Grant { token, authorization, facts, parent, obtained, waived: Box::default() }))
    }

    /// The same grant, with the relaxations that [`prove_narrowing`](crate::prove_narrowing) said it needed.
    #[must_use]
    pub fn needing(mut self, waived: Vec<Waived>) -> Self {
        Arc::make_mut(&mut self.0).waived = waived.into();
        self
    }

    /// The relaxations that it needed. Each use of the grant is a use of these, and worth a `waiver_used`
    /// event.
    #[must_use]
    pub fn waived(&self) -> &[Waived] {
        &self.0.waived
    }

    /// What the grant says.
    #[must_use]
    pub fn facts(&self) -> &Arc<Facts> {
        &self.0.facts
    }

    pub(crate) fn token(&self) -> &RawToken {
        &self.0.token
    }

    /// The token that was exchanged for it; `None` if it is our own.
    #[must_use]
    pub fn parent(&self) -> Option<Fingerprint> {
        self.0.parent
    }

    /// When it was obtained.
    #[must_use]
    pub fn obtained(&self) -> UnixTime {
        self.0.obtained
    }

    /// The `Authorization` value that shows this grant, marked sensitive.
    ///
    /// # Errors
    ///
    /// [`Fault::GrantUnreadable`] if the token has bytes that a header cannot hold.
    pub fn authorization(&self) -> Result<&HeaderValue, Fault> {
        self.0.authorization.as_ref().map_err(|fault| *fault)
    }
}
