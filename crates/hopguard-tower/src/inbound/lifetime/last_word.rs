//! A request has one outcome, though its answer may be whole while its upload goes on: whichever ends last has the
//! last word. An upload that nobody reads any more ends with its token, as every stream does.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker, ready};

use hopguard_core::Denial;

use super::Life;
use crate::audited::OutcomeGuard;

/// What an answer and its upload share.
#[derive(Debug)]
pub(crate) struct LastWord(Mutex<State>);

#[derive(Debug)]
enum State {
    Uploading(Life),
    /// The outcome is on the heap, because this is rare. The waker is that of whoever watches the time.
    Answered(Box<OutcomeGuard>, Option<Waker>),
    Uploaded,
}

impl LastWord {
    /// The answer was whole: its outcome is the request's, unless the upload goes on.
    pub(crate) fn answered(self: &Arc<Self>, outcome: OutcomeGuard) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match std::mem::replace(&mut *state, State::Uploaded) {
            State::Uploading(life) => {
                *state = State::Answered(Box::new(outcome), None);
                drop(state);
                let spawn = life.streams.spawn;
                // Without a runtime it is dropped, and says that the answer was whole.
                spawn.try_spawn(Unread { word: self.clone(), life });
            }
            State::Answered(..) | State::Uploaded => {
                drop(state);
                outcome.completed();
            }
        }
    }

    fn uploaded(&self, over: Option<&Denial>) {
        let before = {
            let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *state, State::Uploaded)
        };
        // The outcome is the answer's to write, unless it was whole before.
        let State::Answered(outcome, watch) = before else { return };
        match over {
            None => outcome.completed(),
            Some(over) => _ = outcome.ended(over.clone()),
        }
        watch.into_iter().for_each(Waker::wake);
    }
}

/// An upload goes on as long as this is there.
#[derive(Debug)]
pub(crate) struct Uploading(Arc<LastWord>);

impl Uploading {
    /// One that has as long as `life`.
    pub(super) fn for_life(life: Life) -> Self {
        Self(Arc::new(LastWord(Mutex::new(State::Uploading(life)))))
    }

    pub(crate) fn last_word(&self) -> Arc<LastWord> {
        self.0.clone()
    }

    /// Its time was up before it was whole.
    pub(super) fn ended(self, over: &Denial) {
        self.0.uploaded(Some(over));
    }
}

impl Drop for Uploading {
    fn drop(&mut self) {
        self.0.uploaded(None);
    }
}

/// Watches the time of an upload whose answer was whole: whoever has it need not read it, nor drop it.
struct Unread {
    word: Arc<LastWord>,
    life: Life,
}

impl Future for Unread {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        match &mut *this.word.0.lock().unwrap_or_else(PoisonError::into_inner) {
            State::Answered(_, watch) => *watch = Some(context.waker().clone()),
            State::Uploading(_) | State::Uploaded => return Poll::Ready(()),
        }
        // INVARIANT: I13 — its place in the audit is not held any longer than the token lasts.
        let over = ready!(this.life.poll_over(context));
        this.word.uploaded(Some(&over));
        Poll::Ready(())
    }
}

impl Drop for Unread {
    /// With nobody left to watch the time, the answer's end is the request's.
    fn drop(&mut self) {
        self.word.uploaded(None);
    }
}
