//! What a call waits for: the authorization server, the client, a second grant, a redirect.

use std::sync::Arc;

use hopguard_client::Durably;
use hopguard_core::{Decision, Destination, EventKind, Fault, Refusal, Remembered};
use http::{Request, Response};
use tower::ServiceExt;
use tower_service::Service;

use super::again::Copied;
use super::error::EgressError;
use super::exchange::Inner;
use super::outgoing::{Follows, Matched, Outgoing, still_good};
use super::redirect::{is_redirect, onward};
use super::renewal::{Replayable, asks_for_renewal};
use super::sending::{ResponseFuture, Sending};
use super::subject::OnBehalfOf;
use super::ticket::Need;

impl<S, B, R> Sending<S, B>
where
    S: Service<Request<B>, Response = Response<R>>,
    B: Replayable,
{
    /// The answer, with a grant that has to be asked for first.
    pub(super) async fn exchanged(mut self) -> Result<Response<R>, EgressError<S::Error>> {
        let exchange = &self.begun.exchange;
        let fetched = exchange.fetch(self.index, &mut self.matched).await;
        fetched.map_err(|refusal| exchange.refused(&self.matched, refusal))?;
        self.once_ready().await
    }

    /// The answer, once the client takes the request.
    pub(super) async fn once_ready(mut self) -> Result<Response<R>, EgressError<S::Error>> {
        self.begun.inner.ready().await.map_err(EgressError::Peer)?;
        self.begun.exchange.judge_again(&mut self.matched)?;
        self.begun.exchange.announce(&mut self.matched).await?;
        let (future, renewable) = self.send()?;
        let response = future.await.map_err(EgressError::Peer)?;
        match renewable {
            Some(renewable) if asks_for_renewal(response.status(), response.headers()) => {
                // On the heap, so that those to whom this does not happen pay nothing for it.
                Box::pin(renewable.renewed(response)).await
            }
            _ => Ok(response),
        }
    }
}

/// What it takes to make a call once more, with another grant.
pub struct Renewable<S, B> {
    pub(super) exchange: Arc<Inner>,
    pub(super) inner: S,
    pub(super) body: B,
    pub(super) copied: Copied,
    pub(super) matched: Arc<Matched>,
    pub(super) index: usize,
}

impl<S, B, R> Renewable<S, B>
where
    S: Service<Request<B>, Response = Response<R>>,
{
    /// The answer to the call with a new grant in place of `response`, if it may be sent once more.
    pub(super) async fn renewed(
        self: Box<Self>,
        response: Response<R>,
    ) -> Result<Response<R>, EgressError<S::Error>> {
        let Self { exchange, mut inner, body, copied, mut matched, index } = *self;
        if !exchange.budgets.get(index).is_some_and(|budget| budget.spend(exchange.hop.clock().monotonic())) {
            return Ok(response);
        }
        let (Some(mut request), Some(old)) = (copied.with_body(body), matched.attached.grant()) else {
            return Ok(response);
        };
        drop(response);
        match (exchange.need(index), &matched.subject) {
            (Ok(Need::Grant(prepared)), Some(subject)) => exchange.exchanger.forget(subject, prepared, old),
            (Ok(Need::Own(target, destination)), _) => {
                exchange.exchanger.forget_own(target, destination, old);
            }
            _ => {}
        }
        // INVARIANT: I13 — the peer may have taken its time, and nothing is asked for a caller who is gone.
        if let Some(subject) = &matched.subject {
            still_good(&exchange.hop, subject, exchange.hop.now())
                .map_err(|denial| exchange.refused(&matched, denial.into()))?;
        }
        let again = Arc::make_mut(&mut matched);
        again.attempt = 2;
        let mut event = again.event(&exchange.hop, "egress", Decision::Allow("grant_renewed"));
        event.kind = EventKind::Notice;
        let written = exchange.hop.audit().write(event);
        written.map_err(|full| exchange.refused(again, Refusal::Fault(full.into())))?;
        let granted = match exchange.at_hand(index, again, exchange.hop.clock().unix_millis()) {
            Ok(false) => exchange.fetch(index, again).await,
            at_hand => at_hand.map(drop),
        };
        granted.map_err(|refusal| exchange.refused(again, refusal))?;
        let client = inner.ready().await.map_err(EgressError::Peer)?;
        exchange.judge_again(again)?;
        exchange.announce(again).await?;
        exchange.attach(&mut request, &matched)?;
        client.call(request).await.map_err(EgressError::Peer)
    }
}

impl Inner {
    /// Asks for what is to be attached, and takes it along.
    async fn fetch(&self, index: usize, matched: &mut Matched) -> Result<(), Refusal> {
        let asking = match self.need(index)? {
            Need::Grant(prepared) => {
                // INVARIANT: I4 — a route that exchanges never goes on without.
                let subject = matched.subject.as_ref().ok_or(Fault::EvidenceMissing)?;
                self.exchanger.grant(subject, prepared)
            }
            Need::Own(target, destination) => self.exchanger.own_grant(target, destination),
            // What is configured is at hand, or nowhere.
            Need::Nothing | Need::Secret(..) => return Err(Fault::EvidenceMissing.into()),
        };
        let (granted, cache) = asking.await?;
        let evicted = self.exchanger.take_ledger_overflows() > 0;
        self.hop.note(Remembered { evicted }, &matched.record);
        self.hold(granted, cache, matched)
    }

    /// Judges what is attached once more, right before it is sent.
    fn judge_again<E>(&self, matched: &mut Matched) -> Result<(), EgressError<E>> {
        // INVARIANT: I13, I18 — the authorization server and the client may have taken their time.
        matched.record.now = self.hop.now();
        let verdict = matched.still_sendable(&self.hop, matched.record.now);
        verdict.map_err(|refusal| self.refused(matched, refusal))
    }

    /// Writes down what is attached, where no step below does.
    async fn announce<E>(&self, matched: &mut Matched) -> Result<(), EgressError<E>> {
        if !self.alone {
            return Ok(());
        }
        let event = matched.event(&self.hop, "egress", Decision::Allow("passed"));
        // INVARIANT: I11 — what is not written down does not happen. The client that was ready is kept meanwhile.
        let full = |matched: &Matched, full| self.refused(matched, Refusal::Fault(Fault::from(full)));
        let safe = self.hop.audit().write_durably(event).map_err(|none| full(matched, none))?;
        if safe.is_done() {
            return Ok(());
        }
        Durably::new(safe).await.map_err(|late| full(matched, late))?;
        self.judge_again(matched)
    }

    /// Sends the call, and what its redirects ask for in its place.
    pub(super) async fn follow<S, B, R>(
        self: Arc<Self>,
        inner: S,
        mut request: Request<B>,
        hops: u8,
    ) -> Result<Response<R>, EgressError<S::Error>>
    where
        S: Service<Request<B>, Response = Response<R>> + Clone + Send + 'static,
        S::Future: Send,
        S::Error: Send,
        B: Replayable + Send + 'static,
        R: Send + 'static,
    {
        for hop in 0..=hops {
            // Nobody's but ours to say.
            request.extensions_mut().remove::<Outgoing>();
            let (parts, body) = request.into_parts();
            let (spare, spare_body) = (Request::from_parts(parts.clone(), ()), body.replay());
            let mut followed = Request::from_parts(parts, body);
            followed.extensions_mut().insert(Follows);
            let response = ResponseFuture::begin(self.clone(), inner.clone(), followed).await?;
            if !is_redirect(response.status()) {
                return Ok(response);
            }
            let subject = OnBehalfOf::of(spare.extensions()).cloned();
            let mut matched = Matched::new(self.record(&spare, subject.as_ref()), subject);
            matched.destination = Destination::of(spare.uri());
            let (parts, body) = (spare.into_parts().0, spare_body);
            let refuse = |refusal| EgressError::Refused(matched.refuse(&self.hop, "egress", refusal));
            let onward = onward(response.status(), response.headers(), parts, body).filter(|_| hop < hops);
            drop(response);
            // INVARIANT: I12 — what follows is a call of its own, or there is none.
            let (parts, body) = onward.ok_or_else(|| refuse(Fault::RedirectRefused.into()))?;
            let mut event = matched.event(&self.hop, "egress", Decision::Allow("redirect_followed"));
            event.kind = EventKind::Notice;
            self.hop.audit().write(event).map_err(|full| refuse(Refusal::Fault(full.into())))?;
            request = Request::from_parts(parts, body);
        }
        // The last round returns, because it follows nothing.
        let matched = Matched::new(self.record(&request, None), None);
        Err(EgressError::Refused(matched.refuse(&self.hop, "egress", Fault::RedirectRefused.into())))
    }
}
