//! An answer that is on its way and that nobody may be reading: its time is watched beside it, because a server asks for
//! no frame that it cannot send.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};

use super::Life;
use crate::audited::OutcomeGuard;

/// The outcome of an answer, as long as its body has it, and the body is what has it.
#[derive(Debug)]
pub(crate) struct Sending(Arc<Shared>);

#[derive(Debug)]
struct Shared(Mutex<State>);

#[derive(Debug)]
struct State {
    outcome: Option<OutcomeGuard>,
    /// Of whoever watches the time.
    watch: Option<Waker>,
}

impl Sending {
    /// Watches the time of the answer whose outcome this is.
    pub(super) fn begin(outcome: OutcomeGuard, life: &Life) -> Self {
        let shared = Arc::new(Shared(Mutex::new(State { outcome: Some(outcome), watch: None })));
        let watch = Watch { shared: shared.clone(), life: life.again() };
        // Without a runtime it ends when it is read on, or dropped.
        life.streams.spawn.try_spawn(watch);
        Self(shared)
    }

    /// The outcome, unless the time was up before.
    pub(crate) fn into_outcome(self) -> Option<OutcomeGuard> {
        self.0.take()
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        drop(self.0.take());
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self) -> Option<OutcomeGuard> {
        let mut state = self.lock();
        let (outcome, watch) = (state.outcome.take(), state.watch.take());
        drop(state);
        watch.into_iter().for_each(Waker::wake);
        outcome
    }
}

struct Watch {
    shared: Arc<Shared>,
    life: Life,
}

impl Future for Watch {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        let mut state = this.shared.lock();
        if state.outcome.is_none() {
            return Poll::Ready(());
        }
        state.watch = Some(context.waker().clone());
        drop(state);
        // INVARIANT: I13 — its place in the audit is not held any longer than the token lasts.
        let over = ready!(this.life.poll_over(context));
        if let Some(outcome) = this.shared.take() {
            outcome.ended(over);
        }
        Poll::Ready(())
    }
}
