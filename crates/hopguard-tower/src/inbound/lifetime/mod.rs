//! How long may what was admitted go on? Until its token expires or is withdrawn, and no longer (I13).
//!
//! A response, an upload or an upgraded connection (WebSocket, `CONNECT`) can run for hours, far beyond the few
//! minutes for which its token was judged. The complete stack ends it:
//!
//! - an answer that has not begun is replaced by 401, and the handler is dropped;
//! - an answer's body ends with an error, so that nobody takes what there is of it for the whole;
//! - an upload's body gives the handler an error;
//! - an upgraded connection is closed; see [`Upgrading`] and [`TimedConnection`].
//!
//! The outcome that is written is `stream_expired` or `stream_withdrawn` in place of `completed`. It is written when
//! answer and upload are both at their end: an upload that goes on after its answer, and is ended, is not `completed`.
//! One that is kept and never read ends with its token, too, for the audit; without a Tokio runtime, with its answer.
//!
//! A route whose streams live longer than their tokens says so by a [`LongStream`], with a cap:
//!
//! ```
//! use hopguard_core::minutes;
//! use hopguard_tower::LongStream;
//!
//! let events = LongStream::on("/orders/{id}/events", minutes(30));
//! # let _ = events;
//! ```
//!
//! # Security
//!
//! Time is judged before each frame, so that none passes late however late a timer is; a timer and a wake-up by
//! each withdrawal see to it that what stands still is ended too. An answer whose peer does not read is no exception for
//! the audit, but its body is there until the peer reads on or the connection is closed: a server does not ask for a
//! frame that it cannot send. What the server or the kernel has taken over is on its way. A key that its issuer merely
//! stops publishing ends no stream.

mod long;
mod last_word;
mod unread;
mod body;
mod answer;
mod timed_io;
mod upgrade;
mod connection;

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hopguard_client::{BoxFuture, Spawn, Timer};
use hopguard_core::{Denial, Facts, TtlGuard, UnixTime, WithdrawalWatch};
use http::Request;
use http_body::{Body, Frame};

use super::response::ResponseRule;
use crate::Hop;

pub(super) use answer::Answering;
pub(super) use answer::ResponseFuture;
pub use body::{StreamError, TimedBody, Upload};
pub use connection::{Duplex, Hangup, TimedConnection};
pub(crate) use last_word::{LastWord, Uploading};
pub use long::LongStream;
pub use timed_io::TimedIo;
pub(crate) use unread::Sending;
pub(super) use upgrade::{Offer, Standing};
pub use upgrade::{TimedUpgrade, UpgradeFailed, Upgrading};

/// Nobody sleeps longer than this without looking at the clock: it may have been set, or the machine suspended.
const LONGEST_SLEEP: Duration = Duration::from_secs(30);

/// What the lives of one stack share.
#[derive(Debug)]
pub(super) struct Streams {
    pub(super) hop: Hop,
    pub(super) response: ResponseRule,
    pub(super) timer: Arc<dyn Timer>,
    pub(super) spawn: Spawn,
    pub(super) long: Vec<LongStream>,
    pub(super) ttl: TtlGuard,
}

impl Streams {
    /// When what this token has opened ends: at its expiry, or before, if it may not grow so old.
    pub(super) fn ends(&self, token: &Facts) -> UnixTime {
        self.ttl.ends(token).map_or(token.expires, |ends| ends.min(token.expires))
    }

    /// The route that lets what is admitted by such a request run longer than its token, and until when. Of several the
    /// one with the smallest cap.
    pub(super) fn outlives<B>(
        &self,
        request: &Request<B>,
        token: &Facts,
        now: UnixTime,
    ) -> Option<(&LongStream, UnixTime)> {
        let covers = |long: &&LongStream| long.covers(request.method(), request.uri().path());
        let long = self.long.iter().filter(covers).min_by_key(|long| long.cap())?;
        let until = now.after(long.cap());
        (until > self.ends(token)).then_some((long, until))
    }
}

/// The time that an admitted request has.
#[derive(Debug)]
pub(super) struct Life {
    streams: Arc<Streams>,
    token: Arc<Facts>,
    until: UnixTime,
    // Set only once something stands still: most requests never do.
    alarm: Option<Box<Alarm>>,
}

struct Alarm {
    watch: WithdrawalWatch,
    sleep: Option<BoxFuture<'static, ()>>,
}

impl Life {
    pub(super) fn new(streams: &Arc<Streams>, token: &Arc<Facts>, until: UnixTime) -> Self {
        Self { streams: streams.clone(), token: token.clone(), until, alarm: None }
    }

    /// The same time, for something else that runs on it.
    pub(super) fn again(&self) -> Self {
        Self::new(&self.streams, &self.token, self.until)
    }

    /// Why it is over, if it is.
    pub(super) fn over(&self) -> Option<Denial> {
        self.over_at(self.streams.hop.now())
    }

    /// The same as of a moment ago, for what happens at every step.
    fn over_by_tick(&self) -> Option<Denial> {
        self.over_at(self.streams.hop.tick())
    }

    fn over_at(&self, now: UnixTime) -> Option<Denial> {
        let hop = &self.streams.hop;
        // INVARIANT: I13 — judged by the clock, at `until` and not after it.
        if now >= self.until {
            Some(Denial::StreamExpired)
        } else if hop.ledger().withdrawals().strikes(&self.token) {
            // INVARIANT: I18 — a longer stream is no excuse.
            Some(Denial::StreamWithdrawn)
        } else {
            None
        }
    }

    /// Ready when it is over, woken by time and by withdrawals.
    fn poll_over(&mut self, context: &mut Context<'_>) -> Poll<Denial> {
        let withdrawals = self.streams.hop.ledger().withdrawals();
        let alarm =
            self.alarm.get_or_insert_with(|| Box::new(Alarm { watch: withdrawals.watch(), sleep: None }));
        // First the waker, then the question: a withdrawal in between is seen by one of the two.
        alarm.watch.wake_at_next(context.waker());
        if let Some(denial) = self.over() {
            return Poll::Ready(denial);
        }
        let left = self.left();
        let Some(alarm) = &mut self.alarm else { return Poll::Pending };
        let timer = &self.streams.timer;
        let sleep = alarm.sleep.get_or_insert_with(|| timer.wait(left));
        if sleep.as_mut().poll(context).is_ready() {
            alarm.sleep = None;
            if let Some(denial) = self.over() {
                return Poll::Ready(denial);
            }
            // A timer that is ahead of the clock, or a long sleep in parts: asked once more, without holding up
            // whatever else this task does.
            context.waker().wake_by_ref();
        }
        Poll::Pending
    }

    fn left(&self) -> Duration {
        let end = self.until.as_secs().saturating_mul(1000);
        let left = end.saturating_sub(self.streams.hop.clock().unix_millis());
        Duration::from_millis(left.max(1)).min(LONGEST_SLEEP)
    }
}

type Framed<B> = Option<Result<Frame<<B as Body>::Data>, StreamError<<B as Body>::Error>>>;

/// A frame of `body`, or the error that ends it.
fn timed_frame<B: Body>(
    body: Pin<&mut B>,
    life: Option<&mut Life>,
    context: &mut Context<'_>,
) -> Poll<Framed<B>> {
    // INVARIANT: I13 — before each frame, so that none passes late however late the timer is.
    if let Some(over) = life.as_ref().and_then(|life| life.over_by_tick()) {
        return Poll::Ready(Some(Err(StreamError::Ended(over))));
    }
    match body.poll_frame(context) {
        Poll::Ready(frame) => Poll::Ready(frame.map(|frame| frame.map_err(StreamError::Inner))),
        Poll::Pending => match life {
            Some(life) => life.poll_over(context).map(|over| Some(Err(StreamError::Ended(over)))),
            None => Poll::Pending,
        },
    }
}

impl std::fmt::Debug for Alarm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Alarm").field("asleep", &self.sleep.is_some()).finish_non_exhaustive()
    }
}
