//! The complete stack as one service: takes away evidence that is there already, tells open paths from guarded
//! ones, and takes a guarded request through every step up to the handler.
//!
//! The steps stand one after the other in one call, because a service for each would hand the request on, and look
//! the evidence up, six times. What each decides is written in its own file, and is the same for the layers that
//! stand alone.
//!
//! # Readiness
//!
//! Always ready: the inner service is reserved only once the request is known to be good, so that a stranger whose
//! keys must be fetched holds no place that others need. A load limit that shall also protect the verification
//! stands outside.

use std::collections::BTreeSet;
use std::future::Future;
use std::hint::cold_path;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use hopguard_client::{BoxFuture, Durably};
use hopguard_core::{Acknowledgement, Facts, Presented, Refusal, Verified, is_ambiguous_path};
use hopguard_verify::Check;
use http::header::AUTHORIZATION;
use http::{Request, Response};
use http_body::Body;
use pin_project_lite::pin_project;
use tower_service::Service;

use super::Inbound;
use super::admit::{Admission, admit};
use super::called::Called;
use super::extract::extract;
use super::lifetime::{Answering, Hangup, Offer, ResponseFuture as Timed, TimedBody, Upload};
use super::response::Awaited;
use super::stage::PeerAddress;
use crate::answer::Refused;
use crate::hop::{Passage, Record};
use crate::scanned::ScannedBody;

/// Paths that anybody may call: health checks, metadata. Compared letter by letter with the whole path.
///
/// ```
/// let open = hopguard_tower::OpenPaths::paths(["/health"]);
/// # let _ = open;
/// ```
#[derive(Clone, Debug, Default)]
pub struct OpenPaths(Arc<BTreeSet<Box<str>>>);

impl OpenPaths {
    /// Every path is guarded.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// These paths are open, all others guarded. No patterns: a path that is not spelled exactly so is
    /// guarded.
    #[must_use]
    pub fn paths<'a>(paths: impl IntoIterator<Item = &'a str>) -> Self {
        Self(Arc::new(paths.into_iter().map(Box::from).collect()))
    }

    pub(super) fn contains(&self, path: &str) -> bool {
        self.0.contains(path) && !is_ambiguous_path(path)
    }
}

/// A complete stack around a service.
#[derive(Clone, Debug)]
pub struct Front<S> {
    // In one piece: servers clone all of this for each request.
    pub(super) guard: Arc<Inbound>,
    pub(super) service: S,
    pub(super) peer: Option<PeerAddress>,
    pub(super) hangup: Option<Hangup>,
}

impl<S> Front<S> {
    /// The same for one connection, whose other end is `peer`. Else each request may say so by a [`PeerAddress`] in
    /// its extensions, at the price of an allocation.
    #[must_use]
    pub fn for_peer(self, peer: SocketAddr) -> Self {
        Self { peer: Some(PeerAddress(peer)), ..self }
    }

    /// The same for one connection, which `hangup` closes: a request that comes over it may be upgraded by hyper's own
    /// `OnUpgrade`, and ends with its token all the same.
    #[must_use]
    pub fn for_connection(self, hangup: Hangup) -> Self {
        Self { hangup: Some(hangup), ..self }
    }

    /// The stack: to warm it up, to see how its keys are.
    #[must_use]
    pub fn guard(&self) -> &Inbound {
        &self.guard
    }
}

impl<S, B, R> Service<Request<B>> for Front<S>
where
    S: Service<Request<Upload<B>>, Response = Response<R>> + Clone,
    B: Body,
    R: Body,
{
    type Response = Response<TimedBody<ScannedBody<R>>>;
    type Error = S::Error;
    type Future = ResponseFuture<S, B, R>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let Self { guard, service, .. } = self;
        let Inbound { open, verify, streams, .. } = &**guard;
        let hop = verify.hop();
        let record = hop.begin(Some(request.method()), request.headers());
        if open.contains(request.uri().path()) {
            cold_path();
            // INVARIANT: I1 — evidence that is here before the stack has begun is not the stack's.
            request.extensions_mut().insert(Passage::begun(hop, record));
            // Nobody has checked it, so nobody may take it for checked.
            request.headers_mut().remove(AUTHORIZATION);
            let request = request.map(Upload::untimed);
            let (hop, rule) = (hop.clone(), streams.response);
            let awaited = Box::new(Awaited { hop, rule, record, caller: None });
            return ResponseFuture::Open { future: Called::with(service, request), awaited };
        }
        let presented = match extract(hop, &mut request, self.peer) {
            Ok(presented) => presented,
            Err(not_shown) => {
                cold_path();
                return ResponseFuture::refused(verify.refuse_unshown(&record, not_shown));
            }
        };
        match verify.check(&presented, record.now) {
            Check::Done(Ok(facts)) => {
                self.proceed(request, Verified::assert_genuine(presented, facts), &record)
            }
            Check::Done(Err(denial)) => {
                cold_path();
                ResponseFuture::refused(verify.refuse(&record, Some(&presented), denial.into()))
            }
            Check::NeedsKeys(_) => {
                cold_path();
                let verdict = verify.wait(presented.token().clone());
                let waiting = Box::new(Waiting { request, presented, record, front: self.clone() });
                ResponseFuture::Checking { verdict, waiting: Some(waiting) }
            }
        }
    }
}

impl<S> Front<S> {
    /// Everything between a genuine token and the handler.
    fn admit<B>(
        &self,
        verified: Verified,
        record: &Record,
        request: &mut Request<B>,
    ) -> Result<Admission, Refused> {
        let Inbound { verify, rules, streams, .. } = &*self.guard;
        // Verification takes no time that matters to a rule: one reading of the clock serves the whole way in. Who
        // waited for keys has read it again.
        let bound = rules.judge(verify.hop(), record, verified, record.now)?;
        admit(streams, record, bound, request)
    }

    /// The token is genuine: judges it by the rules and hands the request on.
    fn proceed<B, R>(
        &mut self,
        mut request: Request<B>,
        verified: Verified,
        record: &Record,
    ) -> ResponseFuture<S, B, R>
    where
        S: Service<Request<Upload<B>>, Response = Response<R>> + Clone,
        B: Body,
        R: Body,
    {
        match self.admit(verified, record, &mut request) {
            Ok(admission) if admission.safe.is_done() => self.enter(request, admission),
            Ok(mut admission) => {
                cold_path();
                let safe = Durably::new(std::mem::replace(&mut admission.safe, Acknowledgement::done()));
                let held = Held { safe, request, admission, record: *record, front: self.clone() };
                ResponseFuture::Writing { held: Some(Box::new(held)) }
            }
            Err(refused) => {
                cold_path();
                ResponseFuture::refused(refused.answer(self.guard.hop()))
            }
        }
    }

    /// Calls the service.
    fn enter<B, R>(&mut self, mut request: Request<B>, admission: Admission) -> ResponseFuture<S, B, R>
    where
        S: Service<Request<Upload<B>>, Response = Response<R>> + Clone,
        B: Body,
        R: Body,
    {
        let Admission { mut outcome, life, .. } = admission;
        let offer = Offer::instead(&mut request, self.hangup.as_ref());
        let request = request.map(|body| Upload::watched(body, &life, &mut outcome));
        let future = Called::with(&mut self.service, request);
        ResponseFuture::Guarded { future: Timed::calling(future, Answering { outcome, life, offer }) }
    }
}

/// What waits for the disk. On the heap, so that those who do not wait pay nothing for it.
struct Held<S, B> {
    safe: Durably,
    request: Request<B>,
    admission: Admission,
    record: Record,
    front: Front<S>,
}

/// A request whose issuer's keys are being fetched.
struct Waiting<S, B> {
    request: Request<B>,
    presented: Presented,
    record: Record,
    front: Front<S>,
}

pin_project! {
    /// A refusal, or the answer of the inner service.
    #[project = ResponseProjection]
    pub enum ResponseFuture<S, B, R>
    where
        S: Service<Request<Upload<B>>>,
        R: Body,
    {
        /// Without a guard.
        Open { #[pin] future: Called<S, Request<Upload<B>>>, awaited: Box<Awaited> },
        /// Keys are being fetched.
        Checking {
            verdict: BoxFuture<'static, Result<Arc<Facts>, Refusal>>,
            waiting: Option<Box<Waiting<S, B>>>,
        },
        /// The admission is being written.
        Writing { held: Option<Box<Held<S, B>>> },
        /// Admitted.
        Guarded { #[pin] future: Timed<Called<S, Request<Upload<B>>>> },
        /// Refused.
        Refused { response: Option<Response<TimedBody<ScannedBody<R>>>> },
    }
}

impl<S, B, R> ResponseFuture<S, B, R>
where
    S: Service<Request<Upload<B>>>,
    R: Body,
{
    fn refused(response: Response<TimedBody<ScannedBody<R>>>) -> Self {
        Self::Refused { response: Some(response) }
    }
}

impl<S, B, R> Future for ResponseFuture<S, B, R>
where
    S: Service<Request<Upload<B>>, Response = Response<R>> + Clone,
    B: Body,
    R: Body,
{
    type Output = Result<Response<TimedBody<ScannedBody<R>>>, S::Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            let next = match self.as_mut().project() {
                ResponseProjection::Open { future, awaited } => {
                    cold_path();
                    let response = ready!(future.poll(context))?;
                    return Poll::Ready(Ok(awaited.judge(response, context).map(TimedBody::untimed)));
                }
                ResponseProjection::Guarded { future } => return future.poll(context),
                ResponseProjection::Checking { verdict, waiting } => {
                    cold_path();
                    let verdict = ready!(verdict.as_mut().poll(context));
                    let Some(waiting) = waiting.take() else { return Poll::Pending };
                    let Waiting { request, presented, record, mut front } = *waiting;
                    let verify = &front.guard.verify;
                    // INVARIANT: I13 — what was true before the wait may be so no longer.
                    let record = record.judged_at(verify.hop().now());
                    match verdict {
                        Ok(facts) => {
                            front.proceed(request, Verified::assert_genuine(presented, facts), &record)
                        }
                        Err(refusal) => Self::refused(verify.refuse(&record, Some(&presented), refusal)),
                    }
                }
                ResponseProjection::Writing { held } => {
                    cold_path();
                    let Some(waiting) = held.as_mut() else { return Poll::Pending };
                    let safe = ready!(Pin::new(&mut waiting.safe).poll(context));
                    let Some(held) = held.take() else { return Poll::Pending };
                    let Held { request, admission, record, mut front, .. } = *held;
                    match safe {
                        // INVARIANT: I13 — the token may have expired while the disk was slow.
                        Ok(()) => match admission.life.over() {
                            None => front.enter(request, admission),
                            Some(over) => {
                                let Admission { outcome, life, .. } = admission;
                                Self::refused(Answering { outcome, life, offer: None }.end(over))
                            }
                        },
                        // INVARIANT: I11 — what is not written down does not happen.
                        Err(full) => {
                            let hop = front.guard.hop();
                            Self::refused(admission.unwritten(hop, &record, full.into()).answer(hop))
                        }
                    }
                }
                ResponseProjection::Refused { response } => {
                    return response.take().map_or(Poll::Pending, |response| Poll::Ready(Ok(response)));
                }
            };
            self.set(next);
        }
    }
}
