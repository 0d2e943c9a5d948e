//! The caller, as a handler takes it.

use std::ops::Deref;

use axum::extract::FromRequestParts;
use axum::response::{IntoResponse, Response};
use hopguard_core::Admitted;
use hopguard_tower::{Refused, admitted, evidence_missing};
use http::request::Parts;

use crate::problem::render;

/// Whoever the inbound stack has admitted.
///
/// It is the evidence itself: hand it to a guarded client to call onwards on the caller's behalf. Cloning it
/// copies no token. On a path that no stack guards there is no caller, and the extractor answers 500: a
/// handler that needs to know who calls was mounted where nobody asked.
#[derive(Clone, Debug)]
pub struct Caller(Admitted);

impl Deref for Caller {
    type Target = Admitted;

    fn deref(&self) -> &Admitted {
        &self.0
    }
}

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = CallerMissing;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, CallerMissing> {
        // INVARIANT: I1 — no evidence, no handler.
        match admitted(&parts.extensions) {
            Some(evidence) => Ok(Self(evidence.clone())),
            None => Err(CallerMissing(evidence_missing(&parts.extensions))),
        }
    }
}

/// The handler asked for a caller, and no stack has admitted one.
#[derive(Debug)]
pub struct CallerMissing(Refused);

impl IntoResponse for CallerMissing {
    fn into_response(self) -> Response {
        render(self.0.into_response(""))
    }
}
