//! How a sink says that an event is safe: on disk, or wherever it promises to keep it.
//!
//! Only a sink that promises *write before allow* makes anybody wait; from any other sink an
//! [`Acknowledgement`] is settled when it is made, and costs nothing.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use crate::AuditFull;

/// Settles when one event is safe: `Ok`, or [`AuditFull`] if the sink cannot say so.
///
/// It is a future for those who can await, and [`Acknowledgement::wait`] for those who cannot.
///
/// ```
/// use std::time::Duration;
///
/// use hopguard_core::Acknowledgement;
///
/// let (writer, event) = Acknowledgement::pair();
/// writer.acknowledge();
/// assert!(event.wait(Duration::from_secs(1)).is_ok());
///
/// let (writer, event) = Acknowledgement::pair();
/// drop(writer); // it ended without writing
/// assert!(event.wait(Duration::from_secs(1)).is_err());
/// ```
#[must_use = "an event is safe only when this is settled"]
pub struct Acknowledgement(Vec<Arc<Slot>>);

/// The sink's end of an [`Acknowledgement`]. Dropped unused, it refuses.
pub struct Acknowledger(Option<Arc<Slot>>);

#[derive(Default)]
struct Slot {
    state: Mutex<State>,
    settled: Condvar,
}

#[derive(Default)]
struct State {
    outcome: Option<Result<(), AuditFull>>,
    waker: Option<Waker>,
}

impl Acknowledgement {
    /// Settled already: the sink promises nothing that has to be waited for.
    pub const fn done() -> Self {
        Self(Vec::new())
    }

    /// True if nobody has to wait, because the sink promises nothing that takes time.
    #[must_use]
    pub const fn is_done(&self) -> bool {
        self.0.is_empty()
    }

    /// One that the other half settles.
    pub fn pair() -> (Acknowledger, Self) {
        let slot = Arc::new(Slot::default());
        (Acknowledger(Some(slot.clone())), Self(vec![slot]))
    }

    /// Settles when all of `parts` have; refuses when one of them does.
    pub fn all(parts: impl IntoIterator<Item = Self>) -> Self {
        Self(parts.into_iter().flat_map(|part| part.0).collect())
    }

    /// Blocks the thread until it is settled, for at most `at_most` per sink.
    ///
    /// # Errors
    ///
    /// [`AuditFull`] if the event could not be made safe, or the time was up.
    pub fn wait(self, at_most: Duration) -> Result<(), AuditFull> {
        self.0.iter().try_for_each(|slot| {
            let (state, _) = slot
                .settled
                .wait_timeout_while(slot.lock(), at_most, |state| state.outcome.is_none())
                .unwrap_or_else(PoisonError::into_inner);
            state.outcome.unwrap_or(Err(AuditFull))
        })
    }
}

impl Future for Acknowledgement {
    type Output = Result<(), AuditFull>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        for slot in &self.0 {
            let mut state = slot.lock();
            match state.outcome {
                Some(Ok(())) => (),
                Some(Err(full)) => return Poll::Ready(Err(full)),
                None => {
                    state.waker = Some(context.waker().clone());
                    return Poll::Pending;
                }
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl Acknowledger {
    /// The event is safe.
    pub fn acknowledge(mut self) {
        self.settle(Ok(()));
    }

    fn settle(&mut self, outcome: Result<(), AuditFull>) {
        let Some(slot) = self.0.take() else { return };
        let waker = {
            let mut state = slot.lock();
            state.outcome = Some(outcome);
            slot.settled.notify_all();
            state.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl Drop for Acknowledger {
    fn drop(&mut self) {
        self.settle(Err(AuditFull));
    }
}

impl Slot {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Acknowledgement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Acknowledgement").field("sinks", &self.0.len()).finish()
    }
}

impl fmt::Debug for Acknowledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Acknowledger").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn poll(event: &mut Acknowledgement) -> Poll<Result<(), AuditFull>> {
        Pin::new(event).poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn all_parts_have_to_agree() {
        assert_eq!(poll(&mut Acknowledgement::done()), Poll::Ready(Ok(())));
        let ((one, first), (other, second)) = (Acknowledgement::pair(), Acknowledgement::pair());
        let mut both = Acknowledgement::all([first, Acknowledgement::done(), second]);
        assert_eq!(poll(&mut both), Poll::Pending);
        one.acknowledge();
        assert_eq!(poll(&mut both), Poll::Pending);
        drop(other);
        assert_eq!(poll(&mut both), Poll::Ready(Err(AuditFull)));
    }

    #[test]
    fn waiting_ends() {
        let (kept, event) = Acknowledgement::pair();
        assert_eq!(event.wait(Duration::from_millis(1)), Err(AuditFull));
        kept.acknowledge();
        let (writer, event) = Acknowledgement::pair();
        let thread = std::thread::spawn(move || event.wait(Duration::from_secs(20)));
        writer.acknowledge();
        assert_eq!(thread.join().unwrap(), Ok(()));
    }
}
