//! A connection that the caller uses for something else (`Upgrade`, `CONNECT`), for as long as its token lives.
//!
//! hyper hands such a connection to the handler by an extension of the request, and knows nothing of tokens. So the
//! complete stack takes that extension away, and leaves an [`Upgrading`] in its place, whose connection is closed
//! when the token expires or is withdrawn. A handler, or a WebSocket library, that looks for hyper's own finds none.
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
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};

use hopguard_core::Denial;
use http::{Method, Request, StatusCode};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper::upgrade::{OnUpgrade, Upgraded};

use super::{Life, StreamError};
use crate::audited::OutcomeGuard;

/// What the stack keeps of an upgrade that a request asks for.
#[derive(Clone, Debug)]
pub(in crate::inbound) struct Offer(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    connect: bool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    on: Option<OnUpgrade>,
    /// A handler holds it.
    taken: bool,
    /// Nobody holds it any more.
    closed: bool,
    /// There will be no connection.
    failed: bool,
    io: Option<Upgraded>,
    broken: bool,
    over: Option<Denial>,
    life: Option<Life>,
    outcome: Option<OutcomeGuard>,
    wakers: Wakers,
}

#[derive(Debug, Default)]
struct Wakers {
    opening: Option<Waker>,
    reading: Option<Waker>,
    writing: Option<Waker>,
    watching: Option<Waker>,
}

impl Offer {
    /// Takes hyper's own upgrade out of the request, and leaves one that keeps time in its place.
    pub(in crate::inbound) fn instead<B>(request: &mut Request<B>) -> Option<Standing> {
        // INVARIANT: I13 — no handler gets at a connection that nobody would close, or that only a stack further out
        // would, whose token may live longer.
        let _outer = request.extensions_mut().remove::<Self>();
        let on = request.extensions_mut().remove::<OnUpgrade>()?;
        let connect = request.method() == Method::CONNECT;
        let state = Mutex::new(State { on: Some(on), ..State::default() });
        let offer = Self(Arc::new(Shared { connect, state }));
        request.extensions_mut().insert(offer.clone());
        Some(Standing(Some(offer)))
    }
}

/// The stack's own side of an offer. When it ends without a connection, whoever waits for one is told.
#[derive(Debug)]
pub(in crate::inbound) struct Standing(Option<Offer>);

impl Drop for Standing {
    fn drop(&mut self) {
        // INVARIANT: I17 — nobody waits for good for what will not come.
        if let Some(Offer(shared)) = self.0.take() {
            shared.fail();
        }
    }
}

impl Standing {
    /// True if this answer makes the connection the handler's, and the handler wants it.
    pub(super) fn is_taken_by(&self, status: StatusCode) -> bool {
        let Some(Offer(shared)) = &self.0 else { return false };
        let switches = status == StatusCode::SWITCHING_PROTOCOLS || (shared.connect && status.is_success());
        let state = shared.lock();
        switches && state.taken && !state.closed
    }

    /// The answer is given: from now on it is the connection that runs, and its end is the request's outcome.
    pub(super) fn begin(mut self, outcome: OutcomeGuard, life: Life) {
        let Some(Offer(shared)) = self.0.take() else { return };
        let mut state = shared.lock();
        let on = state.on.take();
        let spawn = life.streams.spawn;
        let watched = life.again();
        (state.outcome, state.life) = (Some(outcome), Some(life));
        drop(state);
        // Without somebody to end it, it does not begin.
        let begun = on.is_some_and(|on| spawn.try_spawn(watch(shared.clone(), on, watched)));
        if !begun {
            shared.fail();
        }
    }
}

/// Opens the connection, and closes it when its time is up, whatever the handler does with it meanwhile.
async fn watch(shared: Arc<Shared>, on: OnUpgrade, mut life: Life) {
    let mut opening = Some(on);
    poll_fn(|context| {
        let mut state = shared.lock();
        if state.closed || state.over.is_some() {
            return Poll::Ready(());
        }
        state.wakers.watching = Some(context.waker().clone());
        drop(state);
        match opening.as_mut().map(|on| Pin::new(on).poll(context)) {
            Some(Poll::Ready(Ok(io))) => {
                opening = None;
                let mut state = shared.lock();
                state.io = Some(io);
                wake(state.wakers.opening.take());
            }
            Some(Poll::Ready(Err(_))) => {
                shared.fail();
                return Poll::Ready(());
            }
            Some(Poll::Pending) | None => {}
        }
        let over = ready!(life.poll_over(context));
        shared.lock().end(over);
        Poll::Ready(())
    })
    .await;
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fail(&self) {
        let mut state = self.lock();
        state.failed = true;
        wake(state.wakers.opening.take());
        let outcome = state.outcome.take();
        drop(state);
        // Dropped without the lock: it writes `abandoned`.
        drop(outcome);
    }
}

fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}

impl State {
    /// The time is up: the connection is closed, whoever waits is woken, the outcome is written.
    fn end(&mut self, over: Denial) {
        self.io = None;
        if let Some(outcome) = self.outcome.take() {
            outcome.ended(over.clone());
        }
        self.over = Some(over);
        let Wakers { opening, reading, writing, watching } = std::mem::take(&mut self.wakers);
        [opening, reading, writing, watching].into_iter().for_each(wake);
    }

    /// The connection, unless its time is up.
    fn io(&mut self) -> io::Result<Pin<&mut Upgraded>> {
        if self.over.is_none()
            && let Some(over) = self.life.as_ref().and_then(Life::over)
        {
            self.end(over);
        }
        match (&self.over, &mut self.io) {
            (None, Some(io)) => Ok(Pin::new(io)),
            (Some(over), _) => Err(io::Error::new(
                io::ErrorKind::ConnectionAborted,
                StreamError::<io::Error>::Ended(over.clone()),
            )),
            (None, None) => Err(io::ErrorKind::NotConnected.into()),
        }
    }
}

/// Whoever holds it has the connection; it is closed when this is dropped.
#[derive(Debug)]
struct Held(Arc<Shared>);

impl Drop for Held {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.closed = true;
        let opened = state.io.take().is_some();
        let (outcome, broken) = (state.outcome.take(), state.broken);
        wake(state.wakers.watching.take());
        drop(state);
        if let Some(outcome) = outcome
            && opened
            && !broken
        {
            outcome.completed();
        }
    }
}

/// A connection that will be the handler's own, once the answer that says so is sent; see the module docs.
#[derive(Debug)]
pub struct Upgrading(Option<Held>);

impl Upgrading {
    /// The upgrade that `request` asks for; `None` if it asks for none, or it was taken before.
    pub fn of<B>(request: &mut Request<B>) -> Option<Self> {
        Self::among(request.extensions_mut())
    }

    /// As [`Upgrading::of`], for extractors.
    pub fn among(extensions: &mut http::Extensions) -> Option<Self> {
        let Offer(shared) = extensions.remove::<Offer>()?;
        let first = !std::mem::replace(&mut shared.lock().taken, true);
        first.then(|| Self(Some(Held(shared))))
    }
}

impl Future for Upgrading {
    type Output = Result<TimedUpgrade, UpgradeFailed>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(held) = &self.0 else { return Poll::Ready(Err(UpgradeFailed(()))) };
        let mut state = held.0.lock();
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
        Poll::Ready(self.0.take().map(TimedUpgrade).ok_or(UpgradeFailed(())))
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

/// A connection of the handler's own. When its token expires or is withdrawn it is closed, and reading and writing
/// fail with [`io::ErrorKind::ConnectionAborted`].
#[derive(Debug)]
pub struct TimedUpgrade(Held);

impl TimedUpgrade {
    fn with<T>(
        &self,
        context: &mut Context<'_>,
        place: fn(&mut Wakers) -> &mut Option<Waker>,
        work: impl FnOnce(Pin<&mut Upgraded>, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        let mut state = self.0.0.lock();
        let done = work(state.io()?, context);
        match &done {
            // Closing the connection wakes nobody whom it has registered itself.
            Poll::Pending => *place(&mut state.wakers) = Some(context.waker().clone()),
            Poll::Ready(Err(_)) => state.broken = true,
            Poll::Ready(Ok(_)) => {}
        }
        done
    }
}

impl Read for TimedUpgrade {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        self.with(context, |wakers| &mut wakers.reading, |io, context| io.poll_read(context, buffer))
    }
}

impl Write for TimedUpgrade {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.with(context, |wakers| &mut wakers.writing, |io, context| io.poll_write(context, bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.with(context, |wakers| &mut wakers.writing, |io, context| io.poll_flush(context))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.with(context, |wakers| &mut wakers.writing, |io, context| io.poll_shutdown(context))
    }
}
