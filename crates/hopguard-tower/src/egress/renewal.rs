//! The one retry after a peer's 401, and what of a request can be sent twice.
//!
//! A peer that answers `invalid_token` to a grant may have lost the issuer's old key, or hold a withdrawal
//! that we have not heard of: one exchange anew is worth trying. A hostile peer may answer so every time, to
//! make us hammer the authorization server: hence the minimum age and the budget per destination.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use hopguard_core::{Granted, Monotonic, UnixTime};
use http::header::WWW_AUTHENTICATE;
use http::{HeaderMap, StatusCode};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{Empty, Full};
use pin_project_lite::pin_project;

use std::pin::Pin;
use std::task::{Context, Poll};

/// A grant younger than this is not exchanged anew: the answer would be the same.
const YOUNGEST: Duration = Duration::from_secs(5);
const RENEWALS_PER_WINDOW: u32 = 5;
const WINDOW: Duration = Duration::from_secs(10);

/// A request body that may be sent a second time.
pub trait Replayable: Sized {
    /// The same body once more; `None` if it can be read once only.
    fn replay(&self) -> Option<Self>;

    /// A body of nothing, for a redirect that drops the body; `None` if there is none of this type.
    #[must_use]
    fn empty() -> Option<Self> {
        None
    }
}

impl Replayable for () {
    fn replay(&self) -> Option<Self> {
        Some(())
    }

    fn empty() -> Option<Self> {
        Some(())
    }
}

impl Replayable for String {
    fn replay(&self) -> Option<Self> {
        Some(self.clone())
    }

    fn empty() -> Option<Self> {
        Some(Self::new())
    }
}

impl Replayable for Empty<Bytes> {
    fn replay(&self) -> Option<Self> {
        Some(Self::new())
    }

    fn empty() -> Option<Self> {
        Some(Self::new())
    }
}

impl Replayable for Full<Bytes> {
    fn replay(&self) -> Option<Self> {
        Some(self.clone())
    }

    fn empty() -> Option<Self> {
        Some(Self::new(Bytes::new()))
    }
}

pin_project! {
    /// A body that is sent at most once, for types that cannot implement [`Replayable`] themselves.
    #[derive(Debug, Default)]
    pub struct Once<B> {
        #[pin]
        inner: B,
    }
}

impl<B> Once<B> {
    /// `body`, to be sent at most once.
    pub const fn new(body: B) -> Self {
        Self { inner: body }
    }

    /// The body.
    pub fn into_inner(self) -> B {
        self.inner
    }
}

impl<B> Replayable for Once<B> {
    fn replay(&self) -> Option<Self> {
        None
    }
}

impl<B: Body> Body for Once<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        self.project().inner.poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// How often grants for one destination may be exchanged anew because a peer said so.
#[derive(Debug, Default)]
pub(super) struct Budget(Mutex<Option<(Monotonic, u32)>>);

impl Budget {
    pub(super) fn spend(&self, now: Monotonic) -> bool {
        let mut window = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (start, spent) = window.filter(|(start, _)| now.since(*start) < WINDOW).unwrap_or((now, 0));
        let allowed = spent < RENEWALS_PER_WINDOW;
        *window = Some((start, spent + u32::from(allowed)));
        allowed
    }
}

/// Is this grant old enough that a new one might fare better with the peer?
pub(super) fn may_be_renewed(grant: &Granted, now: UnixTime) -> bool {
    now.since(grant.obtained()).is_some_and(|age| age >= YOUNGEST)
}

/// Does this answer say that the grant is no longer good (RFC 6750 section 3.1)?
pub(super) fn asks_for_renewal(status: StatusCode, headers: &HeaderMap) -> bool {
    let says_invalid = |value: &http::HeaderValue| {
        value.to_str().is_ok_and(|text| {
            let text = text.to_ascii_lowercase();
            text.contains("error=\"invalid_token\"") || text.contains("error=invalid_token")
        })
    };
    status == StatusCode::UNAUTHORIZED && headers.get_all(WWW_AUTHENTICATE).iter().any(says_invalid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_budget_is_spent_and_comes_back() {
        let budget = Budget::default();
        let at = |seconds| Monotonic::from_origin(Duration::from_secs(seconds));
        assert_eq!((0..20).filter(|_| budget.spend(at(1))).count(), 5);
        assert!(!budget.spend(at(10)));
        assert!(budget.spend(at(11)));
    }
}
