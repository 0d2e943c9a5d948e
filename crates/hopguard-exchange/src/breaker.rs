//! May the authorization server be asked at all at this moment?
//!
//! A server that fails again and again is left alone for a while, which spares it the load and our callers the
//! wait: closed (ask), open (do not ask), half-open (one asks, the others do not). A server that says how long
//! it wants to be left alone (`Retry-After`, RFC 9110 section 10.2.3) is taken at its word, within a bound.
//!
//! What may be the matter with one subject alone, such as a limit of its own or a token over which the server trips,
//! counts once for each subject: nobody shuts out the others by failing again and again.
//!
//! The state machine is pure: it is told the time and what happened, and reads no clock.

use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hopguard_core::{Fault, Monotonic};

/// So many failures in a row open the circuit.
const FAILURES: usize = 5;
/// How long it stays open at first, and at most; each failed trial doubles it.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// A server is left alone for this long at most, whatever it asks for.
const LONGEST_ASKED: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Circuit {
    Closed(Row),
    Open {
        until: Monotonic,
        pause: Duration,
        asked: bool,
    },
    /// One attempt is under way that decides.
    Trying {
        pause: Duration,
    },
}

/// A subject, by a hash that means nothing elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Whose(u64);

/// The failures since the last answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Row {
    failures: usize,
    /// The subjects that some of them may be about.
    about: [Option<Whose>; FAILURES],
    /// How long the circuit opens if it does.
    pause: Duration,
}

impl Row {
    const EMPTY: Self = Self { failures: 0, about: [None; FAILURES], pause: FIRST_PAUSE };

    /// One failure more, unless it may be about a subject that has failed already.
    fn and(mut self, about: Option<Whose>) -> Self {
        if about.is_none() || !self.about.contains(&about) {
            if let Some(place) = self.about.get_mut(self.failures) {
                *place = about;
            }
            self.failures += 1;
        }
        self
    }
}

/// The circuit of one authorization server.
#[derive(Debug)]
pub(crate) struct Breaker {
    circuit: Mutex<Circuit>,
    subjects: RandomState,
}

impl Breaker {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { circuit: Mutex::new(Circuit::Closed(Row::EMPTY)), subjects: RandomState::new() })
    }

    pub(crate) fn whose(&self, subject: &str) -> Whose {
        Whose(self.subjects.hash_one(subject))
    }

    /// Permission for one request.
    ///
    /// # Errors
    ///
    /// [`Fault::StsBusy`] while the server has asked to be left alone, [`Fault::StsUnavailable`] while it is
    /// left alone because it failed, or while another request finds out whether it is back.
    pub(crate) fn admit(self: &Arc<Self>, now: Monotonic) -> Result<Permit, Fault> {
        let mut circuit = self.lock();
        let deciding = match *circuit {
            Circuit::Closed(_) => false,
            Circuit::Open { until, pause, .. } if now >= until => {
                *circuit = Circuit::Trying { pause };
                true
            }
            Circuit::Open { until, asked: true, .. } => return Err(Fault::StsBusy(until.since(now))),
            Circuit::Open { .. } | Circuit::Trying { .. } => return Err(Fault::StsUnavailable),
        };
        Ok(Permit { breaker: Arc::clone(self), deciding, reported: false })
    }

    /// What happened to a request; `deciding` for the one of a half-open circuit.
    fn report(&self, deciding: bool, outcome: Outcome) {
        let mut circuit = self.lock();
        let longer = |pause: Duration| pause.saturating_mul(2).min(LONGEST_PAUSE);
        *circuit = match (*circuit, outcome) {
            // What set out before the circuit opened says nothing about the server as it is now.
            (state @ (Circuit::Open { .. } | Circuit::Trying { .. }), Outcome::Answered | Outcome::Lost)
                if !deciding =>
            {
                state
            }
            (_, Outcome::Answered) => Circuit::Closed(Row::EMPTY),
            (state, Outcome::Failed { now, asked: Some(wait), about: None }) => {
                let until = now.after(wait.min(LONGEST_ASKED));
                match state {
                    Circuit::Open { until: before, .. } if before >= until => state,
                    _ => Circuit::Open { until, pause: FIRST_PAUSE, asked: true },
                }
            }
            (Circuit::Trying { pause }, Outcome::Failed { now, about: None, .. }) if deciding => {
                let pause = longer(pause);
                Circuit::Open { until: now.after(pause), pause, asked: false }
            }
            // The server is there, and had trouble with one subject: another failure opens the circuit again.
            (Circuit::Trying { pause }, Outcome::Failed { about, .. }) if deciding => {
                let row = Row { failures: FAILURES - 2, pause: longer(pause), ..Row::EMPTY };
                Circuit::Closed(row.and(about))
            }
            (Circuit::Closed(row), Outcome::Failed { now, asked, about }) => match row.and(about) {
                row if row.failures < FAILURES => Circuit::Closed(row),
                Row { pause, .. } => {
                    let wait = asked.map_or(pause, |wait| wait.min(LONGEST_ASKED));
                    Circuit::Open { until: now.after(wait), pause, asked: asked.is_some() }
                }
            },
            // The deciding request went away undecided: the next one decides.
            (Circuit::Trying { pause }, Outcome::Lost) => {
                Circuit::Open { until: Monotonic::from_origin(Duration::ZERO), pause, asked: false }
            }
            (state, _) => state,
        };
    }

    fn lock(&self) -> MutexGuard<'_, Circuit> {
        // Every change is one assignment, so a panic leaves none half done.
        self.circuit.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Clone, Copy)]
enum Outcome {
    /// With whatever: the server is there.
    Answered,
    Failed {
        now: Monotonic,
        asked: Option<Duration>,
        about: Option<Whose>,
    },
    Lost,
}

/// Permission for one request, and the duty to say how it went. Dropped, it says that nothing is known.
#[derive(Debug)]
pub(crate) struct Permit {
    breaker: Arc<Breaker>,
    deciding: bool,
    reported: bool,
}

impl Permit {
    /// The server answered, be it with a refusal.
    pub(crate) fn answered(mut self) {
        self.report(Outcome::Answered);
    }

    /// The server did not answer or is in trouble. `asked` is for how long it wants to be left alone, where
    /// that is longer than a request waits; `about` is the subject that it may be about alone.
    pub(crate) fn failed(mut self, now: Monotonic, asked: Option<Duration>, about: Option<Whose>) {
        self.report(Outcome::Failed { now, asked, about });
    }

    fn report(&mut self, outcome: Outcome) {
        if !std::mem::replace(&mut self.reported, true) {
            self.breaker.report(self.deciding, outcome);
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.report(Outcome::Lost);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(millis: u64) -> Monotonic {
        Monotonic::from_origin(Duration::from_millis(1_000_000 + millis))
    }

    #[track_caller]
    fn admit(breaker: &Arc<Breaker>, millis: u64, expected: Result<(), &str>) -> Option<Permit> {
        let found = breaker.admit(at(millis));
        assert_eq!(found.as_ref().map(drop).map_err(|fault| fault.code()), expected, "at {millis}");
        found.ok()
    }

    #[track_caller]
    fn fails(breaker: &Arc<Breaker>, millis: u64) {
        admit(breaker, millis, Ok(())).unwrap().failed(at(millis), None, None);
    }

    fn opened() -> Arc<Breaker> {
        let breaker = Breaker::new();
        (0..5).for_each(|_| fails(&breaker, 0));
        breaker
    }

    #[test]
    fn failures_in_a_row_open_it_and_others_do_not() {
        let breaker = Breaker::new();
        for _ in 0..10 {
            (0..4).for_each(|_| fails(&breaker, 0));
            admit(&breaker, 0, Ok(())).unwrap().answered();
        }
        (0..5).for_each(|_| fails(&breaker, 0));
        admit(&breaker, 0, Err("sts_unavailable"));
        admit(&breaker, 999, Err("sts_unavailable"));
    }

    #[test]
    fn one_finds_out_whether_the_server_is_back() {
        let breaker = opened();
        let trial = admit(&breaker, 1000, Ok(())).unwrap();
        admit(&breaker, 1000, Err("sts_unavailable"));
        admit(&breaker, 60_000, Err("sts_unavailable"));
        trial.answered();
        (0..4).for_each(|_| fails(&breaker, 1000));
        admit(&breaker, 1000, Ok(()));
    }

    #[test]
    fn each_failed_trial_doubles_the_pause_up_to_its_bound() {
        let (breaker, mut now) = (opened(), 0);
        for pause in [1000, 2000, 4000, 8000, 10_000, 10_000] {
            admit(&breaker, now + pause - 1, Err("sts_unavailable"));
            now += pause;
            fails(&breaker, now);
        }
        admit(&breaker, now + 10_000, Ok(())).unwrap().answered();
        // Back to normal, the first pause is short again.
        (0..5).for_each(|_| fails(&breaker, now));
        fails(&breaker, now + 1000);
    }

    #[test]
    fn a_trial_that_is_lost_leaves_the_next_to_decide() {
        let breaker = opened();
        drop(admit(&breaker, 1000, Ok(())));
        let trial = admit(&breaker, 1000, Ok(())).unwrap();
        admit(&breaker, 1000, Err("sts_unavailable"));
        trial.answered();
        admit(&breaker, 1000, Ok(()));
    }

    #[test]
    fn what_set_out_earlier_neither_closes_nor_prolongs() {
        let breaker = Breaker::new();
        let mut early: Vec<_> = (0..4).map(|_| admit(&breaker, 0, Ok(())).unwrap()).collect();
        (0..5).for_each(|_| fails(&breaker, 0));
        early.pop().unwrap().answered();
        early.pop().unwrap().failed(at(500), None, None);
        admit(&breaker, 999, Err("sts_unavailable"));
        let trial = admit(&breaker, 1000, Ok(())).unwrap();
        early.pop().unwrap().answered();
        drop(early.pop());
        admit(&breaker, 1000, Err("sts_unavailable"));
        trial.answered();
        admit(&breaker, 1000, Ok(()));
    }

    #[test]
    fn a_server_that_asks_for_patience_gets_it_within_a_bound() {
        for (asked, left_alone) in [(1, 1), (30, 30), (60, 60), (61, 60), (u64::MAX, 60)] {
            let breaker = Breaker::new();
            let permit = admit(&breaker, 0, Ok(())).unwrap();
            permit.failed(at(0), Some(Duration::from_secs(asked)), None);
            let busy = breaker.admit(at(0)).unwrap_err();
            assert_eq!(busy, Fault::StsBusy(Duration::from_secs(left_alone)));
            admit(&breaker, left_alone * 1000 - 1, Err("sts_busy"));
            admit(&breaker, left_alone * 1000, Ok(()));
        }
        // The longest of several counts.
        let breaker = Breaker::new();
        let permits: Vec<_> = (0..3).map(|_| admit(&breaker, 0, Ok(())).unwrap()).collect();
        for (permit, asked) in permits.into_iter().zip([10, 30, 20]) {
            permit.failed(at(0), Some(Duration::from_secs(asked)), None);
        }
        admit(&breaker, 29_999, Err("sts_busy"));
        admit(&breaker, 30_000, Ok(()));
    }

    #[track_caller]
    fn fails_for(breaker: &Arc<Breaker>, millis: u64, subject: &str, asked: Option<u64>) {
        let about = Some(breaker.whose(subject));
        admit(breaker, millis, Ok(())).unwrap().failed(at(millis), asked.map(Duration::from_secs), about);
    }

    #[test]
    fn one_subject_shuts_out_nobody_and_five_do() {
        for asked in [None, Some(30)] {
            let breaker = Breaker::new();
            (0..50).for_each(|_| fails_for(&breaker, 0, "mallory", asked));
            for subject in ["bob", "carol", "dave"] {
                (0..10).for_each(|_| fails_for(&breaker, 0, subject, asked));
            }
            fails_for(&breaker, 0, "erin", asked);
            let (pause, code) = asked.map_or((1000, "sts_unavailable"), |wait| (wait * 1000, "sts_busy"));
            admit(&breaker, pause - 1, Err(code));
            admit(&breaker, pause, Ok(())).unwrap().answered();
            // What is about nobody in particular counts each time, beside what is.
            (0..9).for_each(|_| fails_for(&breaker, pause, "mallory", asked));
            (0..3).for_each(|_| fails(&breaker, pause));
            fails_for(&breaker, pause, "mallory", asked);
            admit(&breaker, pause, Ok(())).unwrap().failed(at(pause), None, None);
            admit(&breaker, pause, Err("sts_unavailable"));
        }
    }

    #[test]
    fn a_trial_that_fails_for_its_subject_alone_keeps_nobody_out() {
        let (breaker, mut now) = (opened(), 0);
        for pause in [1000, 2000, 4000, 8000, 10_000, 10_000] {
            admit(&breaker, now + pause - 1, Err("sts_unavailable"));
            now += pause;
            (0..9).for_each(|_| fails_for(&breaker, now, "mallory", Some(60)));
            // A second one, and the circuit opens for longer than before.
            fails_for(&breaker, now, "bob", None);
        }
        now += 10_000;
        fails_for(&breaker, now, "mallory", None);
        admit(&breaker, now, Ok(())).unwrap().answered();
        (0..4).for_each(|_| fails(&breaker, now));
        admit(&breaker, now, Ok(()));
    }

    /// While it is open, one subject's limit does not prolong it for all.
    #[test]
    fn what_is_about_one_subject_prolongs_nothing() {
        let breaker = Breaker::new();
        let early = admit(&breaker, 0, Ok(())).unwrap();
        (0..5).for_each(|_| fails(&breaker, 0));
        early.failed(at(0), Some(Duration::from_secs(60)), Some(breaker.whose("mallory")));
        admit(&breaker, 999, Err("sts_unavailable"));
        admit(&breaker, 1000, Ok(()));
    }

    proptest! {
        /// While the circuit is half-open exactly one request decides, and the circuit is never stuck.
        #[test]
        fn it_is_never_stuck(steps in proptest::collection::vec((0..5u8, 0..3000u64), 0..60)) {
            let (breaker, mut now, mut held) = (Breaker::new(), 0, Vec::new());
            for (what, later) in steps {
                now += later;
                match what {
                    0 => held.extend(breaker.admit(at(now)).ok()),
                    1 => drop(held.pop()),
                    2 => held.pop().into_iter().for_each(Permit::answered),
                    3 => held.pop().into_iter().for_each(|permit| permit.failed(at(now), None, None)),
                    _ => {
                        let about = Some(breaker.whose(&later.to_string()));
                        held.pop().into_iter().for_each(|permit| permit.failed(at(now), None, about));
                    }
                }
                let trying = held.iter().filter(|permit| permit.deciding).count();
                let state = *breaker.lock();
                if matches!(state, Circuit::Trying { .. }) {
                    prop_assert_eq!(trying, 1, "exactly one decides");
                }
            }
            drop(held);
            prop_assert!(breaker.admit(at(now + 10_000)).is_ok());
        }
    }

    #[test]
    fn what_set_out_before_decides_nothing_for_who_finds_out() {
        let breaker = Breaker::new();
        let before = admit(&breaker, 0, Ok(())).unwrap();
        (0..5).for_each(|_| fails(&breaker, 0));
        let trial = admit(&breaker, 1000, Ok(())).unwrap();
        before.failed(at(1000), None, None);
        admit(&breaker, 3000, Err("sts_unavailable"));
        trial.answered();
        admit(&breaker, 3000, Ok(()));
    }
}
