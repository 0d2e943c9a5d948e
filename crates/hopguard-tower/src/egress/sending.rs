//! One call on its way: its grant, what is attached, the one renewal, and the redirects that it follows.

use std::sync::Arc;

use hopguard_client::{BoxFuture, Durably};
use hopguard_core::{
    Admitted, CacheState, Decision, Destination, EventKind, Fault, Granted, Refusal, Remembered, UnixTime,
};
use http::header::{AUTHORIZATION, HeaderName};
use http::{Request, Response, request};
use tower::ServiceExt;
use tower_service::Service;

use super::again::Copied;
use super::error::EgressError;
use super::exchange::Inner;
use super::outgoing::{Follows, Matched, Outgoing, still_good};
use super::redirect::{is_redirect, onward};
use super::renewal::{Replayable, asks_for_renewal, may_be_renewed};
use super::subject::OnBehalfOf;
use super::ticket::{Call, Need};
use crate::hop::{Passage, Record};

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

impl Inner {
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
        R: Send,
    {
        for hop in 0..=hops {
            let (mut parts, body) = request.into_parts();
            // Nobody's but ours to say.
            parts.extensions.remove::<Outgoing>();
            let spare = (parts.clone(), body.replay());
            parts.extensions.insert(Follows);
            let response = self.clone().run(inner.clone(), Request::from_parts(parts, body)).await?;
            if !is_redirect(response.status()) {
                return Ok(response);
            }
            let (parts, body) = spare;
            let subject = OnBehalfOf::of(&parts.extensions).cloned();
            let mut matched = Matched::new(self.record(&parts, subject.as_ref()), subject);
            matched.destination = Destination::of(&parts.uri);
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
        let (parts, _) = request.into_parts();
        let matched = Matched::new(self.record(&parts, None), None);
        Err(EgressError::Refused(matched.refuse(&self.hop, "egress", Fault::RedirectRefused.into())))
    }

    /// Sends the call. Whatever needs no waiting is judged at once, so that the future is no larger than the wait.
    pub(super) fn run<S, B, R>(
        self: Arc<Self>,
        mut inner: S,
        request: Request<B>,
    ) -> BoxFuture<'static, Result<Response<R>, EgressError<S::Error>>>
    where
        S: Service<Request<B>, Response = Response<R>> + Clone + Send + 'static,
        S::Future: Send,
        S::Error: Send,
        B: Replayable + Send + 'static,
        R: Send,
    {
        let (mut parts, body) = request.into_parts();
        // The evidence goes no further: a peer in the same process must not take it for its own.
        let (subject, as_ourselves) = OnBehalfOf::taken_from(&mut parts.extensions);
        let mut matched = Arc::new(Matched::new(self.record(&parts, subject.as_ref()), subject));
        let begun = Arc::make_mut(&mut matched);
        // Most calls carry nothing else, and then there is nothing to look for.
        if !parts.extensions.is_empty() {
            parts.extensions.remove::<Outgoing>();
            parts.extensions.remove::<Passage>();
            begun.follows = parts.extensions.remove::<Follows>().is_some();
        }
        let ticket = self.ticket(Call::of(&parts, as_ourselves), begun);
        Box::pin(async move {
            let index = ticket.map_err(|refusal| self.refused(&matched, refusal))?;
            let granted = self.grant(index, Arc::make_mut(&mut matched)).await;
            let granted = granted.map_err(|refusal| self.refused(&matched, refusal))?;
            // A copy is kept only where it may be needed.
            let begun = UnixTime::from_secs(matched.record.started_millis / 1000);
            let old = granted.filter(|grant| may_be_renewed(grant, begun));
            let again =
                old.and_then(|old| Some(Again { old, body: body.replay()?, copied: Copied::of(&parts)? }));
            let client = inner.ready().await.map_err(EgressError::Peer)?;
            self.judge_again(&mut matched)?;
            self.announce(&mut matched).await?;
            let response = client.call(attach(parts, body, &matched)).await.map_err(EgressError::Peer)?;
            match again {
                Some(again) if asks_for_renewal(response.status(), response.headers()) => {
                    // On the heap, so that those to whom this does not happen pay nothing for it.
                    Box::pin(self.renewed(&mut inner, index, matched, again, response)).await
                }
                _ => Ok(response),
            }
        })
    }

    /// The answer to the call with a new grant, if it may be sent once more.
    async fn renewed<S, B, R>(
        &self,
        inner: &mut S,
        index: usize,
        mut matched: Arc<Matched>,
        again: Again<B>,
        response: Response<R>,
    ) -> Result<Response<R>, EgressError<S::Error>>
    where
        S: Service<Request<B>, Response = Response<R>>,
    {
        let Again { old, body, copied } = again;
        if !self.budgets.get(index).is_some_and(|budget| budget.spend(self.hop.clock().monotonic())) {
            return Ok(response);
        }
        let Some(parts) = copied.into_parts() else { return Ok(response) };
        drop(response);
        match (self.need(index), &matched.subject) {
            (Ok(Need::Grant(prepared)), Some(subject)) => self.exchanger.forget(subject, prepared, &old),
            (Ok(Need::Own(target, destination)), _) => self.exchanger.forget_own(target, destination, &old),
            _ => {}
        }
        // INVARIANT: I13 — the peer may have taken its time, and nothing is asked for a caller who is gone.
        if let Some(subject) = &matched.subject {
            still_good(&self.hop, subject, self.hop.now())
                .map_err(|denial| self.refused(&matched, denial.into()))?;
        }
        Arc::make_mut(&mut matched).attempt = 2;
        let notice = Decision::Allow("grant_renewed");
        let mut event = matched.event(&self.hop, "egress", notice);
        event.kind = EventKind::Notice;
        let written = self.hop.audit().write(event);
        written.map_err(|full| self.refused(&matched, Refusal::Fault(full.into())))?;
        let granted = self.grant(index, Arc::make_mut(&mut matched)).await;
        granted.map_err(|refusal| self.refused(&matched, refusal))?;
        let client = inner.ready().await.map_err(EgressError::Peer)?;
        self.judge_again(&mut matched)?;
        self.announce(&mut matched).await?;
        client.call(attach(parts, body, &matched)).await.map_err(EgressError::Peer)
    }

    /// Judges what is attached once more, right before it is sent.
    fn judge_again<E>(&self, matched: &mut Arc<Matched>) -> Result<(), EgressError<E>> {
        // INVARIANT: I13, I18 — the authorization server and the client may have taken their time.
        let now = self.hop.now();
        Arc::make_mut(matched).record.now = now;
        let verdict = matched.still_sendable(&self.hop, now);
        verdict.map_err(|refusal| self.refused(matched, refusal))
    }

    /// Writes down what is attached, where no step below does.
    async fn announce<E>(&self, matched: &mut Arc<Matched>) -> Result<(), EgressError<E>> {
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

    fn refused<E>(&self, matched: &Matched, refusal: Refusal) -> EgressError<E> {
        EgressError::Refused(matched.refuse(&self.hop, "egress", refusal))
    }

    /// The record of the hop that makes this call: its caller's, or one of its own.
    fn record(&self, parts: &request::Parts, subject: Option<&Admitted>) -> Record {
        match subject {
            Some(caller) => self.hop.begin_for(caller, &parts.method, &parts.headers),
            None => self.hop.begin(Some(&parts.method), &parts.headers),
        }
    }

    async fn grant(&self, index: usize, matched: &mut Matched) -> Result<Option<Granted>, Refusal> {
        let need = self.need(index)?;
        let (granted, cache) = match &need {
            Need::Nothing => return Ok(None),
            Need::Secret(_, attachment) => {
                let attachment = (*attachment)?;
                let (name, value) = attachment.header();
                (matched.attached, matched.attached_in) = (Some(value), Some(name));
                matched.secret = Some(attachment.facts().clone());
                return Ok(None);
            }
            Need::Grant(prepared) => {
                // INVARIANT: I4 — a route that exchanges never goes on without.
                let subject = matched.subject.as_ref().ok_or(Fault::EvidenceMissing)?;
                match self.exchanger.cached(subject, prepared) {
                    Some(granted) => (granted, CacheState::Hit),
                    None => self.fetched(self.exchanger.grant(subject, prepared), matched).await?,
                }
            }
            Need::Own(target, destination) => match self.exchanger.own_cached(target, destination) {
                Some(granted) => (granted, CacheState::Hit),
                None => self.fetched(self.exchanger.own_grant(target, destination), matched).await?,
            },
        };
        matched.as_ourselves = matches!(need, Need::Own(..));
        matched.attached = Some(granted.authorization()?);
        matched.grant = Some(granted.facts().clone());
        matched.cache = Some(cache);
        // INVARIANT: I16 — each use is written down, and what cannot be written is not done.
        for waived in granted.waived() {
            let mut event = matched.event(&self.hop, "egress", Decision::Allow("waiver_used"));
            event.kind = EventKind::Notice;
            event.waiver = Some(Box::new(waived.clone()));
            self.hop.audit().write(event).map_err(Fault::from)?;
        }
        Ok(Some(granted))
    }

    /// A grant that had to be asked for, and what the ledger did about it.
    async fn fetched(
        &self,
        asking: BoxFuture<'static, Result<(Granted, CacheState), Refusal>>,
        matched: &Matched,
    ) -> Result<(Granted, CacheState), Refusal> {
        let answer = asking.await?;
        let evicted = self.exchanger.take_ledger_overflows() > 0;
        self.hop.note(Remembered { evicted }, &matched.record);
        Ok(answer)
    }
}

/// What it takes to send a call once more.
struct Again<B> {
    old: Granted,
    body: B,
    copied: Copied,
}

fn attach<B>(mut parts: request::Parts, body: B, matched: &Arc<Matched>) -> Request<B> {
    if let Some(value) = &matched.attached {
        let name = matched.attached_in.clone().unwrap_or(AUTHORIZATION);
        parts.headers.insert(name, value.clone());
    }
    if let Some(trace) = &matched.record.trace
        && !parts.headers.contains_key(TRACEPARENT)
        && let Some(value) = trace.header_value()
    {
        parts.headers.insert(TRACEPARENT, value);
    }
    parts.extensions.insert(Outgoing(matched.clone()));
    Request::from_parts(parts, body)
}
