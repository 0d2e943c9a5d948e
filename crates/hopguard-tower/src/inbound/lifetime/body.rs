//! Bodies that end with their token: an answer's, and an upload's.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use hopguard_core::Denial;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use super::{Life, Sending, Uploading, timed_frame};
use crate::audited::{AuditedBody, OutcomeGuard};

/// Why a body ended early.
#[derive(Debug)]
pub enum StreamError<E> {
    /// Its token expired ([`Denial::StreamExpired`]) or was withdrawn ([`Denial::StreamWithdrawn`]).
    Ended(Denial),
    /// The body itself failed.
    Inner(E),
}

impl<E: fmt::Display> fmt::Display for StreamError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ended(denial) => denial.fmt(f),
            Self::Inner(error) => error.fmt(f),
        }
    }
}

impl<E: fmt::Debug + fmt::Display> std::error::Error for StreamError<E> {}

pin_project! {
    /// An answer's body: tells the audit how it ended, and ends with its token.
    #[derive(Debug)]
    pub struct TimedBody<B> {
        // Gone once it was ended, and with it whatever the handler had open.
        #[pin]
        inner: Option<AuditedBody<B>>,
        life: Option<Life>,
    }
}

impl<B> Default for TimedBody<B> {
    /// An empty body.
    fn default() -> Self {
        Self { inner: None, life: None }
    }
}

impl<B> TimedBody<B> {
    /// A body whose end is nobody's concern.
    pub(in crate::inbound) fn untimed(inner: B) -> Self {
        Self { inner: Some(AuditedBody::unaudited(inner)), life: None }
    }
}

impl<B: Body> TimedBody<B> {
    /// A body whose end is the request's outcome, and comes with `life`'s at the latest.
    pub(super) fn watched(inner: B, outcome: OutcomeGuard, life: Life) -> Self {
        Self { inner: Some(AuditedBody::watched(inner, outcome)), life: Some(life) }
    }
}

impl<B: Body> Body for TimedBody<B> {
    type Data = B::Data;
    type Error = StreamError<B::Error>;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let mut this = self.project();
        let Some(inner) = this.inner.as_mut().as_pin_mut() else { return Poll::Ready(None) };
        let frame = ready!(timed_frame(inner, this.life.as_mut(), context));
        if let Some(Err(StreamError::Ended(over))) = &frame {
            if let Some(inner) = this.inner.as_mut().as_pin_mut() {
                inner.ended(over);
            }
            this.inner.set(None);
            *this.life = None;
        }
        if let (Some(Ok(_)), Some(life), Some(inner)) = (&frame, &this.life, this.inner.as_mut().as_pin_mut())
        {
            inner.is_sending(|outcome| Sending::begin(outcome, life));
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

pin_project! {
    /// A request's body, as the service behind a complete stack reads it: it fails when its token expires or is
    /// withdrawn while it is read.
    #[derive(Debug)]
    pub struct Upload<B> {
        #[pin]
        inner: Option<B>,
        life: Option<Life>,
        uploading: Option<Uploading>,
    }
}

impl<B> Default for Upload<B> {
    /// An empty body.
    fn default() -> Self {
        Self { inner: None, life: None, uploading: None }
    }
}

impl<B> Upload<B> {
    /// A body that anybody may send as long as they like.
    pub(in crate::inbound) fn untimed(inner: B) -> Self {
        Self { inner: Some(inner), life: None, uploading: None }
    }

    /// The body itself, if it has no time to keep: it was sent to an open path, or is empty.
    ///
    /// # Errors
    ///
    /// The body as it was, if its time is watched.
    pub fn into_untimed(self) -> Result<B, Self> {
        match self {
            Self { inner: Some(inner), life: None, .. } => Ok(inner),
            timed => Err(timed),
        }
    }
}

impl<B: Body> Upload<B> {
    /// A body that ends with `life` at the latest, and `outcome` not before it. An empty one has ended, and no clock
    /// need be read for it.
    pub(in crate::inbound) fn watched(inner: B, life: &Life, outcome: &mut OutcomeGuard) -> Self {
        if inner.is_end_stream() {
            return Self::untimed(inner);
        }
        let uploading = Uploading::for_life(life.again());
        outcome.waits_for(&uploading);
        Self { inner: Some(inner), life: Some(life.again()), uploading: Some(uploading) }
    }
}

impl<B: Body> Body for Upload<B> {
    type Data = B::Data;
    type Error = StreamError<B::Error>;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let mut this = self.project();
        let Some(inner) = this.inner.as_mut().as_pin_mut() else { return Poll::Ready(None) };
        let frame = ready!(timed_frame(inner, this.life.as_mut(), context));
        match &frame {
            Some(Err(StreamError::Ended(over))) => {
                this.inner.set(None);
                if let Some(uploading) = this.uploading.take() {
                    uploading.ended(over);
                }
            }
            Some(Ok(_))
                if this.inner.as_ref().get_ref().as_ref().is_some_and(|inner| !inner.is_end_stream()) => {}
            _ => drop(this.uploading.take()),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}
