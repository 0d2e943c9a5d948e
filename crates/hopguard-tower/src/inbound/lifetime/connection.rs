//! A connection of a server's that the stack can close: what a handler makes of it by hyper's own upgrade ends in time.

use std::future::poll_fn;
use std::sync::Arc;

use hyper::rt::{Read, Write};

use super::timed_io::Kept;
use super::{Life, TimedIo};
use crate::audited::OutcomeGuard;

/// What a connection reads and writes by: whatever hyper can.
pub trait Duplex: Read + Write + Send + Unpin {}

impl<T: Read + Write + Send + Unpin> Duplex for T {}

/// A server's connection, between its socket and hyper. A request that comes over it may be upgraded by hyper's own
/// `OnUpgrade`, which is what axum's `WebSocketUpgrade` and others look for: from then on the connection lives as long
/// as that request's token. Before, and for all other requests, it makes no difference.
///
/// `hopguard_axum::TimedListener` makes these. For another server, wrap each connection and tell the stack of it:
///
/// ```
/// use hopguard_tower::TimedConnection;
/// use hopguard_tower::inbound::Front;
/// use hyper::rt::{Read, Write};
///
/// fn accepted<S>(
///     socket: impl Read + Write + Send + Unpin + 'static,
///     stack: Front<S>,
/// ) -> (TimedConnection, Front<S>) {
///     let connection = TimedConnection::over(socket);
///     let stack = stack.for_connection(connection.hangup());
///     (connection, stack) // to hyper's `http1::Builder::serve_connection(..).with_upgrades()`
/// }
/// ```
pub type TimedConnection = TimedIo<Box<dyn Duplex>>;

impl TimedConnection {
    /// A connection over `io`.
    pub fn over(io: impl Read + Write + Send + Unpin + 'static) -> Self {
        Self(Kept::new(Some(Box::new(io))))
    }

    /// What the stack closes it by; for [`Front::for_connection`](crate::inbound::Front::for_connection).
    #[must_use]
    pub fn hangup(&self) -> Hangup {
        Hangup(self.0.clone())
    }
}

/// Closes one [`TimedConnection`]. Only the stack can use it.
#[derive(Clone, Debug)]
pub struct Hangup(Arc<Kept<Box<dyn Duplex>>>);

impl Hangup {
    /// From now on the connection is this request's, and ends with its token. Its end is the outcome, if that is given.
    pub(super) fn begin(&self, life: Life, outcome: Option<OutcomeGuard>) {
        let Self(kept) = self;
        let (spawn, mut watched) = (life.streams.spawn, life.again());
        let mut state = kept.lock();
        (state.life, state.outcome) = (Some(life), outcome);
        drop(state);
        let ending = kept.clone();
        let watch = async move { poll_fn(|context| ending.poll_end(&mut watched, context)).await };
        // INVARIANT: I13 — without somebody to end it, it does not begin.
        if !spawn.try_spawn(watch) {
            kept.fail();
        }
    }
}
