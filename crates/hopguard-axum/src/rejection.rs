//! A call onwards that failed, as the answer to our own caller.

use axum::response::{IntoResponse, Response};
use hopguard_core::{Fault, Id, Refusal};
use hopguard_tower::{EgressError, Refused};

use crate::problem::render;

/// What a handler returns when a guarded call onwards failed: the refusal's own status, 502 if the peer could
/// not be reached. The peer's words are never passed on.
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
pub struct EgressRejection(Refused);

impl EgressRejection {
    /// The stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        self.0.refusal.code()
    }
}

impl<E> From<EgressError<E>> for EgressRejection {
    fn from(error: EgressError<E>) -> Self {
        match error {
            EgressError::Refused(refused) => Self(refused),
            // The egress stack has written the outcome `abandoned`; this id names the answer only.
            EgressError::Peer(_) => {
                Self(Refused { refusal: Refusal::Fault(Fault::PeerUnavailable), event: Id::fresh() })
            }
        }
    }
}

impl IntoResponse for EgressRejection {
    fn into_response(self) -> Response {
        render(self.0.into_response("hopguard"))
    }
}
