//! A call onwards that failed, as the answer to our own caller.

use axum::response::{IntoResponse, Response};
use hopguard_core::{Fault, Id, Refusal};
use hopguard_tower::{EgressError, RealmOfStack, Refused};

use crate::problem::render;

/// What a handler returns when a guarded call onwards failed: the refusal's own status, 502 if the peer could
/// not be reached or answered otherwise than was asked. The peer's words are never passed on.
///
/// ```
/// use hopguard_axum::EgressRejection;
/// use hopguard_tower::EgressError;
///
/// async fn handler() -> Result<String, EgressRejection> {
///     let answer: Result<String, EgressError<std::io::Error>> = Ok("from the peer".into());
///     Ok(answer?)
/// }
/// # let _ = handler;
/// ```
#[derive(Debug)]
pub struct EgressRejection {
    refusal: Refusal,
    /// The audit event that says so. A failed client has none of its own: its call's outcome says so.
    event: Option<Id>,
}

impl EgressRejection {
    /// The stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        self.refusal.code()
    }
}

impl<E> From<EgressError<E>> for EgressRejection {
    fn from(error: EgressError<E>) -> Self {
        let alone = |fault| Self { refusal: Refusal::Fault(fault), event: None };
        match error {
            EgressError::Refused(refused) => Self { refusal: refused.refusal, event: Some(refused.event) },
            EgressError::Unsendable(_) => alone(Fault::RequestUnsendable),
            EgressError::Unexpected(_) => alone(Fault::PeerAnswerUnexpected),
            EgressError::Peer(_) => alone(Fault::PeerUnavailable),
        }
    }
}

impl IntoResponse for EgressRejection {
    fn into_response(self) -> Response {
        let Self { refusal, event } = self;
        let refused = Refused { refusal, event: event.unwrap_or_else(Id::fresh) };
        // Behind a stack the realm is its service's: it writes the challenge anew. Elsewhere nobody's is known.
        let mut response = refused.into_response("");
        response.extensions_mut().insert(RealmOfStack);
        if event.is_none() {
            // An id that no audit holds would send whoever looks for it on a chase.
            response.headers_mut().remove("hopguard-event");
        }
        render(response)
    }
}
