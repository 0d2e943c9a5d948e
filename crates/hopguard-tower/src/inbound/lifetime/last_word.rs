//! A request has one outcome, though its answer may be whole while its upload goes on: whichever ends last has the
//! last word.

use std::sync::{Arc, Mutex, PoisonError};

use hopguard_core::Denial;

use crate::audited::OutcomeGuard;

/// What an answer and its upload share.
#[derive(Debug, Default)]
pub(crate) struct LastWord(Mutex<State>);

#[derive(Debug, Default)]
enum State {
    #[default]
    Uploading,
    /// On the heap, because it is rare.
    Answered(Box<OutcomeGuard>),
    Uploaded,
}

impl LastWord {
    /// The answer was whole: its outcome is the request's, unless the upload goes on.
    pub(crate) fn answered(&self, outcome: OutcomeGuard) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match *state {
            State::Uploading => *state = State::Answered(Box::new(outcome)),
            State::Answered(_) | State::Uploaded => {
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
        match (before, over) {
            (State::Answered(outcome), None) => outcome.completed(),
            (State::Answered(outcome), Some(over)) => _ = outcome.ended(over.clone()),
            // The outcome is the answer's to write.
            (State::Uploading | State::Uploaded, _) => {}
        }
    }
}

/// An upload goes on as long as this is there.
#[derive(Debug, Default)]
pub(crate) struct Uploading(Arc<LastWord>);

impl Uploading {
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
