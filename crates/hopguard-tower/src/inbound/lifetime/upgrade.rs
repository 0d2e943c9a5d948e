//! A connection that the caller uses for something else (`Upgrade`, `CONNECT`), for as long as its token lives.
//!
//! hyper hands such a connection to the handler by an extension of the request, and knows nothing of tokens. So the
//! complete stack takes that extension away, and leaves an [`Upgrading`] in its place, whose connection is closed
//! when the token expires or is withdrawn. A handler, or a WebSocket library, that looks for hyper's own finds none;
//! unless the server's connections are [`TimedConnection`](crate::TimedConnection)s, which the stack can close itself:
//! then hyper's own is there as well, except over HTTP/2, whose connection others share.
//!
//! ```no_run
//! use hopguard_client::Spawn;
//! use hopguard_tower::Upgrading;
//! use http::{Request, Response, StatusCode};
//!
//! async fn echo(mut request: Request<String>) -> Response<String> {
//!     let mut response = Response::new(String::new());
//!     let Some(upgrading) = Upgrading::of(&mut request) else {
//!         *response.status_mut() = StatusCode::UPGRADE_REQUIRED;
//!         return response;
//!     };
//!     Spawn::current().spawn(async move {
//!         if let Ok(connection) = upgrading.await {
//!             // Reads and writes as hyper's own: wrap it in `hyper_util::rt::TokioIo`, for example.
//!             # let _ = connection;
//!         }
//!     });
//!     *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
//!     response.headers_mut().insert("connection", http::HeaderValue::from_static("upgrade"));
//!     response.headers_mut().insert("upgrade", http::HeaderValue::from_static("echo"));
//!     response
//! }
//! # let _ = echo;
//! ```

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use http::{Method, Request, StatusCode, Version};
use hyper::upgrade::{OnUpgrade, Upgraded};

use super::timed_io::Kept;
use super::{Hangup, Life, TimedIo};
use crate::audited::OutcomeGuard;

/// A connection of the handler's own.
pub type TimedUpgrade = TimedIo<Upgraded>;

/// What the stack keeps of an upgrade that a request asks for.
#[derive(Clone, Debug)]
pub(in crate::inbound) struct Offer(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    connect: bool,
    asked: Mutex<Asked>,
    kept: Arc<Kept<Upgraded>>,
}

#[derive(Debug)]
struct Asked {
    /// hyper's own; where it was left in the request, only once a handler has taken ours in its place.
    on: Option<OnUpgrade>,
    /// A handler holds it.
    taken: bool,
}

impl Offer {
    /// Takes hyper's own upgrade out of the request, and leaves one that keeps time in its place. Where the stack can
    /// close the connection itself, hyper's own is left beside it.
    pub(in crate::inbound) fn instead<B>(
        request: &mut Request<B>,
        hangup: Option<&Hangup>,
    ) -> Option<Standing> {
        // INVARIANT: I13 — no handler gets at a connection that nobody would close, or that only a stack further out
        // would, whose token may live longer.
        let _outer = request.extensions_mut().remove::<Self>();
        let mut on = Some(request.extensions_mut().remove::<OnUpgrade>()?);
        // A stream of HTTP/2 is not the connection, which others share.
        let hangup = hangup.filter(|_| request.version() <= Version::HTTP_11).cloned();
        if hangup.is_some()
            && let Some(on) = on.take()
        {
            request.extensions_mut().insert(on);
        }
        let connect = request.method() == Method::CONNECT;
        let asked = Mutex::new(Asked { on, taken: false });
        let offer = Self(Arc::new(Shared { connect, asked, kept: Kept::new(None) }));
        request.extensions_mut().insert(offer.clone());
        Some(Standing { offer: Some(offer), hangup })
    }
}

/// The stack's own side of an offer. When it ends without a connection, whoever waits for one is told.
#[derive(Debug)]
pub(in crate::inbound) struct Standing {
    offer: Option<Offer>,
    hangup: Option<Hangup>,
}

impl Drop for Standing {
    fn drop(&mut self) {
        // INVARIANT: I17 — nobody waits for good for what will not come.
        if let Some(Offer(shared)) = self.offer.take() {
            shared.kept.fail();
        }
    }
}

impl Standing {
    /// True if this answer makes the connection the handler's, and the handler wants it, or may have it by hyper's own.
    pub(super) fn is_taken_by(&self, status: StatusCode) -> bool {
        let Some(Offer(shared)) = &self.offer else { return false };
        let switches = status == StatusCode::SWITCHING_PROTOCOLS || (shared.connect && status.is_success());
        switches && (self.hangup.is_some() || shared.is_held())
    }

    /// The answer is given: from now on it is the connection that runs, and its end is the request's outcome.
    pub(super) fn begin(mut self, outcome: OutcomeGuard, life: Life) {
        let Some(Offer(shared)) = &self.offer else { return };
        match self.hangup.take() {
            Some(hangup) if shared.is_held() => hangup.begin(life.again(), None),
            Some(hangup) => return hangup.begin(life, Some(outcome)),
            None => {}
        }
        let Some(Offer(shared)) = self.offer.take() else { return };
        let on = shared.asked().on.take();
        let spawn = life.streams.spawn;
        let watched = life.again();
        let mut state = shared.kept.lock();
        (state.outcome, state.life) = (Some(outcome), Some(life));
        drop(state);
        // Without somebody to end it, it does not begin.
        let begun = on.is_some_and(|on| spawn.try_spawn(watch(shared.kept.clone(), on, watched)));
        if !begun {
            shared.kept.fail();
        }
    }
}

/// Opens the connection, and closes it when its time is up, whatever the handler does with it meanwhile.
async fn watch(kept: Arc<Kept<Upgraded>>, on: OnUpgrade, mut life: Life) {
    let mut opening = Some(on);
    poll_fn(|context| {
        if kept.poll_end(&mut life, context).is_ready() {
            return Poll::Ready(());
        }
        match opening.as_mut().map(|on| Pin::new(on).poll(context)) {
            Some(Poll::Ready(Ok(io))) => {
                opening = None;
                kept.open(io);
            }
            Some(Poll::Ready(Err(_))) => {
                kept.fail();
                return Poll::Ready(());
            }
            Some(Poll::Pending) | None => {}
        }
        Poll::Pending
    })
    .await;
}

impl Shared {
    fn asked(&self) -> MutexGuard<'_, Asked> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A handler has taken it, and has it still.
    fn is_held(&self) -> bool {
        self.asked().taken && !self.kept.lock().closed
    }
}

/// A connection that will be the handler's own, once the answer that says so is sent; see the module docs.
#[derive(Debug)]
pub struct Upgrading(Option<TimedUpgrade>);

impl Upgrading {
    /// The upgrade that `request` asks for; `None` if it asks for none, or it was taken before.
    pub fn of<B>(request: &mut Request<B>) -> Option<Self> {
        Self::among(request.extensions_mut())
    }

    /// As [`Upgrading::of`], for extractors.
    pub fn among(extensions: &mut http::Extensions) -> Option<Self> {
        let Offer(shared) = extensions.remove::<Offer>()?;
        let mut asked = shared.asked();
        let first = !std::mem::replace(&mut asked.taken, true);
        if asked.on.is_none() {
            // Whoever has hyper's own has the connection, and nobody else.
            asked.on = extensions.remove::<OnUpgrade>();
        }
        (first && asked.on.is_some()).then(|| Self(Some(TimedIo(shared.kept.clone()))))
    }
}

impl Future for Upgrading {
    type Output = Result<TimedUpgrade, UpgradeFailed>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(TimedIo(kept)) = &self.0 else { return Poll::Ready(Err(UpgradeFailed(()))) };
        let mut state = kept.lock();
        if state.failed || state.over.is_some() {
            drop(state);
            self.0 = None;
            return Poll::Ready(Err(UpgradeFailed(())));
        }
        if state.io.is_none() {
            state.wakers.opening = Some(context.waker().clone());
            return Poll::Pending;
        }
        drop(state);
        Poll::Ready(self.0.take().ok_or(UpgradeFailed(())))
    }
}

/// The connection was closed, or its time was up, before it was the handler's; or the answer did not allow it.
#[derive(Clone, Copy, Debug)]
pub struct UpgradeFailed(());

impl fmt::Display for UpgradeFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the connection could not be upgraded")
    }
}

impl std::error::Error for UpgradeFailed {}
