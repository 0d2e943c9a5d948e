//! The answer of an admitted request, given within its time or not at all.

use std::future::Future;
use std::hint::cold_path;
use std::pin::Pin;
use std::task::{Context, Poll};

use hopguard_core::{Denial, Refusal};
use http::Response;
use http_body::Body;
use pin_project_lite::pin_project;

use super::{Life, Standing, TimedBody};
use crate::answer::Refused;
use crate::audited::OutcomeGuard;
use crate::inbound::RouteTemplate;
use crate::inbound::response::Answer;
use crate::scanned::ScannedBody;

/// What goes with a request that was admitted.
#[derive(Debug)]
pub(in crate::inbound) struct Answering {
    pub(in crate::inbound) outcome: OutcomeGuard,
    pub(in crate::inbound) life: Life,
    /// There, if the caller asks to use the connection for something else.
    pub(in crate::inbound) offer: Option<Standing>,
}

pin_project! {
    /// The inner service's answer, watched to its end.
    #[derive(Debug)]
    pub struct ResponseFuture<F> {
        #[pin]
        future: Option<F>,
        answering: Option<Answering>,
    }
}

impl<F> ResponseFuture<F> {
    pub(in crate::inbound) fn calling(future: F, answering: Answering) -> Self {
        Self { future: Some(future), answering: Some(answering) }
    }
}

impl Answering {
    /// The time was up before the answer began: it does not begin.
    #[cold]
    pub(in crate::inbound) fn end<R>(mut self, over: Denial) -> Response<TimedBody<R>> {
        self.outcome.status(over.status());
        let hop = self.outcome.hop().clone();
        let event = self.outcome.ended(over.clone());
        Refused { refusal: Refusal::Denial(over), event }.answer(&hop)
    }

    /// The answer as it may leave, or the refusal in its place.
    fn judge<R: Body>(&self, response: Response<R>, context: &mut Context<'_>) -> Response<ScannedBody<R>> {
        let (hop, record) = self.outcome.of();
        let (rule, caller) = (&self.life.streams.response, Some(&self.life.token));
        Answer { hop, rule, record, caller }.judge(response, context)
    }

    fn begin<R: Body>(mut self, mut response: Response<R>) -> Response<TimedBody<R>> {
        if let Some(route) = response.extensions_mut().remove::<RouteTemplate>() {
            self.outcome.route(route);
        }
        self.outcome.status(response.status().as_u16());
        match self.offer.take() {
            Some(offer) if offer.is_taken_by(response.status()) => {
                cold_path();
                offer.begin(self.outcome, self.life);
                response.map(TimedBody::untimed)
            }
            _ => response.map(|body| TimedBody::watched(body, self.outcome, self.life)),
        }
    }
}

impl<F, R, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Response<R>, E>>,
    R: Body,
{
    type Output = Result<Response<TimedBody<ScannedBody<R>>>, E>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let (mut future, answering) = (this.future, this.answering);
        let Some(running) = future.as_mut().as_pin_mut() else { return Poll::Pending };
        // The handler first, so that it hears from its own upload that the time is up.
        let answer = running.poll(context);
        let Some(mut all) = answering.take() else { return Poll::Pending };
        // INVARIANT: I13 — no answer begins late, however long the handler took, or what is at hand of its body.
        let over = match answer {
            Poll::Ready(Ok(response)) => {
                let response = all.judge(response, context);
                match all.life.over_by_tick() {
                    None => return Poll::Ready(Ok(all.begin(response))),
                    Some(over) => over,
                }
            }
            Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
            Poll::Pending => match all.life.poll_over(context) {
                Poll::Ready(over) => over,
                Poll::Pending => {
                    *answering = Some(all);
                    return Poll::Pending;
                }
            },
        };
        future.set(None);
        Poll::Ready(Ok(all.end(over)))
    }
}
