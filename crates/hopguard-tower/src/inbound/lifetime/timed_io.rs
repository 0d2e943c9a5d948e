//! Reading and writing that ends when its time is up, whoever holds the connection.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};

use hopguard_core::Denial;
use hyper::rt::{Read, ReadBufCursor, Write};

use super::{Life, StreamError};
use crate::audited::OutcomeGuard;

/// A connection that its holder reads and writes, and that the stack closes.
pub(super) struct Kept<I>(Mutex<State<I>>);

pub(super) struct State<I> {
    pub(super) io: Option<I>,
    /// Nobody holds it any more.
    pub(super) closed: bool,
    /// There will be no connection.
    pub(super) failed: bool,
    pub(super) over: Option<Denial>,
    /// From now on it is judged by this.
    pub(super) life: Option<Life>,
    pub(super) outcome: Option<OutcomeGuard>,
    pub(super) wakers: Wakers,
    broken: bool,
}

#[derive(Default)]
pub(super) struct Wakers {
    pub(super) opening: Option<Waker>,
    pub(super) watching: Option<Waker>,
    reading: Option<Waker>,
    writing: Option<Waker>,
}

impl<I> Kept<I> {
    pub(super) fn new(io: Option<I>) -> Arc<Self> {
        Arc::new(Self(Mutex::new(State {
            io,
            closed: false,
            failed: false,
            over: None,
            life: None,
            outcome: None,
            wakers: Wakers::default(),
            broken: false,
        })))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State<I>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// There is no connection, or none any more, and nobody waits for it in vain.
    pub(super) fn fail(&self) {
        let mut state = self.lock();
        state.failed = true;
        let ended = state.end(None);
        drop(state);
        ended.finish();
    }

    /// The connection is there.
    pub(super) fn open(&self, io: I) {
        let mut state = self.lock();
        state.io = Some(io);
        let opening = state.wakers.opening.take();
        drop(state);
        if let Some(opening) = opening {
            opening.wake();
        }
    }

    /// True if nobody needs to be watched any more; else `context` is woken when that is so.
    pub(super) fn is_left(&self, context: &Context<'_>) -> bool {
        let mut state = self.lock();
        state.wakers.watching = Some(context.waker().clone());
        state.closed || state.over.is_some()
    }

    /// Closes the connection when its time is up; ready when that is so, or when there is nothing to close any more.
    pub(super) fn poll_end(&self, life: &mut Life, context: &mut Context<'_>) -> Poll<()> {
        if self.is_left(context) {
            return Poll::Ready(());
        }
        let over = ready!(life.poll_over(context));
        let ended = self.lock().end(Some(over));
        ended.finish();
        Poll::Ready(())
    }
}

impl<I> fmt::Debug for Kept<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kept").finish_non_exhaustive()
    }
}

/// A connection that was ended. What is left to do runs other people's code, and so without the lock.
#[must_use]
struct Ended<I> {
    io: Option<I>,
    over: Option<Denial>,
    outcome: Option<OutcomeGuard>,
    wakers: Wakers,
}

impl<I> Ended<I> {
    /// The connection is closed, the outcome is written, whoever waits is woken.
    fn finish(self) {
        let Self { io, over, outcome, wakers } = self;
        drop(io);
        match (outcome, over) {
            (Some(outcome), Some(over)) => _ = outcome.ended(over),
            // It writes `abandoned`.
            (outcome, _) => drop(outcome),
        }
        let Wakers { opening, reading, writing, watching } = wakers;
        [opening, reading, writing, watching].into_iter().flatten().for_each(Waker::wake);
    }
}

impl<I> State<I> {
    /// There is no connection any more: because its time is up, or because it failed.
    fn end(&mut self, over: Option<Denial>) -> Ended<I> {
        self.over = self.over.take().or_else(|| over.clone());
        let wakers = std::mem::take(&mut self.wakers);
        Ended { io: self.io.take(), over, outcome: self.outcome.take(), wakers }
    }

    /// The connection, unless there is none or its time is up.
    fn io(&mut self) -> io::Result<&mut I> {
        match (&self.over, &mut self.io) {
            (None, Some(io)) => Ok(io),
            (Some(over), _) => Err(io::Error::new(
                io::ErrorKind::ConnectionAborted,
                StreamError::<io::Error>::Ended(over.clone()),
            )),
            (None, None) => Err(io::ErrorKind::NotConnected.into()),
        }
    }
}

/// A connection that the stack closes when the token expires or is withdrawn: reading and writing fail with
/// [`io::ErrorKind::ConnectionAborted`] then. Whoever holds it has it; it is closed when this is dropped.
pub struct TimedIo<I>(pub(super) Arc<Kept<I>>);

impl<I> Drop for TimedIo<I> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.closed = true;
        let io = state.io.take();
        let (outcome, broken) = (state.outcome.take(), state.broken);
        let watching = state.wakers.watching.take();
        drop(state);
        if let Some(outcome) = outcome
            && io.is_some()
            && !broken
        {
            outcome.completed();
        }
        if let Some(watching) = watching {
            watching.wake();
        }
    }
}

impl<I: Unpin> TimedIo<I> {
    fn with<T>(
        &self,
        context: &mut Context<'_>,
        place: fn(&mut Wakers) -> &mut Option<Waker>,
        work: impl FnOnce(Pin<&mut I>, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        let mut state = self.0.lock();
        if state.over.is_none()
            && let Some(over) = state.life.as_ref().and_then(Life::over)
        {
            let ended = state.end(Some(over));
            drop(state);
            ended.finish();
            state = self.0.lock();
        }
        let done = work(Pin::new(state.io()?), context);
        match &done {
            // Closing the connection wakes nobody whom it has registered itself.
            Poll::Pending if state.life.is_some() => {
                *place(&mut state.wakers) = Some(context.waker().clone());
            }
            Poll::Pending => {}
            Poll::Ready(Err(_)) => state.broken = true,
            Poll::Ready(Ok(_)) => {}
        }
        done
    }
}

impl<I: Read + Unpin> Read for TimedIo<I> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        self.with(context, |wakers| &mut wakers.reading, |io, context| io.poll_read(context, buffer))
    }
}

impl<I: Write + Unpin> Write for TimedIo<I> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.with(context, |wakers| &mut wakers.writing, |io, context| io.poll_write(context, bytes))
    }

    fn is_write_vectored(&self) -> bool {
        self.0.lock().io.as_ref().is_some_and(I::is_write_vectored)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let write = |io: Pin<&mut I>, context: &mut Context<'_>| io.poll_write_vectored(context, pieces);
        self.with(context, |wakers| &mut wakers.writing, write)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.with(context, |wakers| &mut wakers.writing, |io, context| io.poll_flush(context))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.with(context, |wakers| &mut wakers.writing, |io, context| io.poll_shutdown(context))
    }
}

impl<I> fmt::Debug for TimedIo<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TimedIo").field(&self.0).finish()
    }
}
