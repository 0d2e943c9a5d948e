//! The other direction: no answer to the caller carries a credential of this process.
//!
//! Headers and whatever of the body is at hand are judged before the answer is given: a hit becomes 502 with
//! the code `response_leak`, in place of the handler's answer. A hit later on ends the stream. Looked for is
//! every live credential: the caller's own token, those of other callers, and grants obtained for peers.

use std::future::Future;
use std::hint::cold_path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use hopguard_core::{
    BodyScanner, Decision, Direction, Event, EventKind, Facts, Fault, Finding, FindingKind, Refusal, Scanner,
};
use http::{HeaderMap, HeaderName, Request, Response};
use http_body::Body;
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use crate::Hop;
use crate::answer::{Refused, challenge_anew};
use crate::hop::{Passage, Record};
use crate::scanned::{BodyScan, Judge, ScannedBody, Watcher};

/// So much of a body is judged before its head leaves, if it is at hand.
const WINDOW: usize = 64 * 1024;

/// What is done about credentials in answers to the caller.
///
/// ```
/// use hopguard_tower::{BodyScan, ResponseRule};
///
/// let rule = ResponseRule::default().scrub_headers().bodies(BodyScan::default());
/// # let _ = rule;
/// ```
#[derive(Clone, Copy, Debug)]
pub struct ResponseRule {
    scrub: bool,
    bodies: BodyScan,
}

impl Default for ResponseRule {
    /// A hit refuses. What cannot be looked through (past 64 MiB, an unknown compression) passes with an event.
    fn default() -> Self {
        Self { scrub: false, bodies: BodyScan::default().audit_beyond() }
    }
}

impl ResponseRule {
    /// Takes a header with a credential out instead of refusing the answer.
    #[must_use]
    pub fn scrub_headers(mut self) -> Self {
        self.scrub = true;
        self
    }

    pub(super) fn problem(&self) -> Option<&'static str> {
        self.bodies.problem()
    }

    /// How bodies are looked through.
    #[must_use]
    pub fn bodies(mut self, scan: BodyScan) -> Self {
        self.bodies = scan;
        self
    }
}

/// Makes [`Shield`] services.
#[derive(Clone, Debug)]
pub struct ShieldLayer {
    hop: Hop,
    rule: ResponseRule,
}

impl ShieldLayer {
    /// Looks through answers for what the ledger of `hop` holds.
    #[must_use]
    pub fn new(hop: &Hop, rule: ResponseRule) -> Self {
        Self { hop: hop.clone(), rule }
    }
}

impl<S> Layer<S> for ShieldLayer {
    type Service = Shield<S>;

    fn layer(&self, inner: S) -> Shield<S> {
        Shield { inner, layer: self.clone() }
    }
}

/// Looks through each answer; see the module docs.
#[derive(Clone, Debug)]
pub struct Shield<S> {
    inner: S,
    layer: ShieldLayer,
}

impl<S, B, R> Service<Request<B>> for Shield<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    R: Body,
{
    type Response = Response<ScannedBody<R>>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let ShieldLayer { hop, rule } = self.layer.clone();
        // Behind a complete stack it is there, and looked up once.
        let (record, caller) = match request.extensions().get::<Passage>() {
            Some(passage) => (passage.record, passage.admitted().map(|admitted| admitted.facts().clone())),
            None => (hop.record(&mut request), None),
        };
        ResponseFuture { future: self.inner.call(request), awaited: Awaited { hop, rule, record, caller } }
    }
}

/// What an answer is judged by.
#[derive(Clone, Copy)]
pub(super) struct Answer<'a> {
    pub(super) hop: &'a Hop,
    pub(super) rule: &'a ResponseRule,
    pub(super) record: &'a Record,
    pub(super) caller: Option<&'a Arc<Facts>>,
}

/// The same for what is yet to come: an answer, or a body that is looked through while it is sent.
#[derive(Debug)]
pub(super) struct Awaited {
    pub(super) hop: Hop,
    pub(super) rule: ResponseRule,
    pub(super) record: Record,
    pub(super) caller: Option<Arc<Facts>>,
}

impl Awaited {
    fn answer(&self) -> Answer<'_> {
        let Self { hop, rule, record, caller } = self;
        Answer { hop, rule, record, caller: caller.as_ref() }
    }

    /// The answer, or the refusal in its place.
    pub(super) fn judge<R: Body>(
        &self,
        response: Response<R>,
        context: &mut Context<'_>,
    ) -> Response<ScannedBody<R>> {
        self.answer().judge(response, context)
    }
}

impl<'a> Answer<'a> {
    fn keep(self) -> Awaited {
        let Self { hop, rule, record, caller } = self;
        Awaited { hop: hop.clone(), rule: *rule, record: *record, caller: caller.cloned() }
    }

    fn scanner(&self) -> Scanner<'a> {
        let scanner = Scanner::toward_caller(self.hop.ledger(), self.hop.tick());
        self.caller.map_or(scanner, |caller| scanner.with_own(caller))
    }

    fn event(&self, decision: Decision, finding: Option<&Finding>) -> Event {
        let kind = EventKind::Decision;
        let mut event = self.hop.event(self.record, Direction::Inbound, kind, "response", decision);
        event.token = self.caller.cloned();
        event.place = Some(finding.map_or("body".into(), |finding| finding.place.to_string().into()));
        if let Some(Finding { kind: FindingKind::LiveCredential(fingerprint), .. }) = finding {
            event.found = Some(*fingerprint);
        }
        event
    }

    #[cold]
    fn refuse(&self, finding: &Finding) -> Refused {
        let fault = match finding.kind {
            FindingKind::LiveCredential(_) => Fault::ResponseLeak,
            _ => Fault::BodyUnscannable,
        };
        let mut event = self.event(Decision::Fault(fault), Some(finding));
        event.status = Some(fault.status());
        let refused = Refused { refusal: Refusal::Fault(fault), event: event.id };
        self.hop.audit().refusal(event);
        refused
    }

    /// Judges the headers, and takes out what may be scrubbed.
    fn head(&self, headers: &mut HeaderMap) -> Result<(), Refused> {
        let mut scrubbed: Vec<HeaderName> = Vec::new();
        for (name, value) in headers.iter() {
            // Most values are too short for any credential, and cost no look at the clock.
            if !Scanner::could_hold_one(self.hop.ledger(), self.caller.map(|caller| &**caller), value) {
                continue;
            }
            cold_path();
            let Err(finding) = self.scanner().header(name, value) else { continue };
            // A header too long to look through, or a token for elsewhere in an answer's `Authorization`.
            if !matches!(finding.kind, FindingKind::LiveCredential(_) | FindingKind::TooLong) {
                continue;
            }
            if !self.rule.scrub {
                return Err(self.refuse(&finding));
            }
            let mut event = self.event(Decision::Allow("response_scrubbed"), Some(&finding));
            event.kind = EventKind::Notice;
            let id = event.id;
            let full = |full| Refused { refusal: Fault::from(full).into(), event: id };
            self.hop.audit().write(event).map_err(full)?;
            scrubbed.push(name.clone());
        }
        scrubbed.iter().for_each(|name| _ = headers.remove(name));
        Ok(())
    }

    /// The answer, or the refusal in its place.
    pub(super) fn judge<R: Body>(
        &self,
        response: Response<R>,
        context: &mut Context<'_>,
    ) -> Response<ScannedBody<R>> {
        self.judged(response, context).unwrap_or_else(|refused| refused.answer(self.hop))
    }

    fn judged<R: Body>(
        &self,
        response: Response<R>,
        context: &mut Context<'_>,
    ) -> Result<Response<ScannedBody<R>>, Refused> {
        let (mut parts, body) = response.into_parts();
        challenge_anew(self.hop, &mut parts.extensions, &mut parts.headers);
        self.head(&mut parts.headers)?;
        let judge = Judge {
            headers: &parts.headers,
            scan: &self.rule.bodies,
            hop: self.hop,
            clear: |whole: &[u8]| {
                BodyScanner::is_clear(self.hop.ledger(), self.caller.map(|caller| &**caller), whole)
            },
            make: || {
                let mut scanner = BodyScanner::new(self.hop.ledger(), None);
                if let Some(caller) = self.caller {
                    scanner = scanner.with_own(caller);
                }
                (scanner, Box::new(self.keep()) as Box<dyn Watcher>)
            },
        };
        let mut body = ScannedBody::judged(body, judge, WINDOW as u64, context)?;
        match body.peek(context, WINDOW) {
            Some(refused) => {
                cold_path();
                Err(refused)
            }
            None => Ok(Response::from_parts(parts, body)),
        }
    }
}

impl Watcher for Awaited {
    fn found(&self, finding: &Finding) -> Result<(), Refused> {
        Err(self.answer().refuse(finding))
    }

    fn beyond(&self) -> Result<(), Refused> {
        let mut event = self.answer().event(Decision::Allow("body_unscanned"), None);
        event.kind = EventKind::Notice;
        let id = event.id;
        let full = |full| Refused { refusal: Fault::from(full).into(), event: id };
        self.hop.audit().write(event).map_err(full)
    }

    fn trailers(&self, trailers: &HeaderMap) -> Result<(), Refused> {
        let answer = self.answer();
        let found = answer.scanner().trailers(trailers).next();
        found.map_or(Ok(()), |finding| Err(answer.refuse(&finding)))
    }
}

pin_project! {
    /// The handler's answer, judged.
    #[derive(Debug)]
    pub struct ResponseFuture<F> {
        #[pin]
        future: F,
        awaited: Awaited,
    }
}

impl<F, R, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Response<R>, E>>,
    R: Body,
{
    type Output = Result<Response<ScannedBody<R>>, E>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let response = ready!(this.future.poll(context))?;
        Poll::Ready(Ok(this.awaited.judge(response, context)))
    }
}
