//! May the authorization server be asked at all at this moment?
//!
//! A server that fails again and again is left alone for a while, which spares it the load and our callers the
//! wait: closed (ask), open (do not ask), half-open (one asks, the others do not). A server that says how long
//! it wants to be left alone (`Retry-After`, RFC 9110 section 10.2.3) is taken at its word, within a bound.
//!
//! The state machine is pure: it is told the time and what happened, and reads no clock.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hopguard_core::{Fault, Monotonic};

/// So many failures in a row open the circuit.
const FAILURES: u32 = 5;
/// How long it stays open at first, and at most; each failed trial doubles it.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// A server is left alone for this long at most, whatever it asks for.
const LONGEST_ASKED: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Circuit {
    Closed {
        failures: u32,
    },
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

/// The circuit of one authorization server.
#[derive(Debug)]
pub(crate) struct Breaker(Mutex<Circuit>);

impl Breaker {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self(Mutex::new(Circuit::Closed { failures: 0 })))
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
            Circuit::Closed { .. } => false,
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
        *circuit = match (*circuit, outcome) {
            // What set out before the circuit opened says nothing about the server as it is now.
            (state @ (Circuit::Open { .. } | Circuit::Trying { .. }), Outcome::Answered | Outcome::Lost)
                if !deciding =>
            {
                state
            }
            (_, Outcome::Answered) => Circuit::Closed { failures: 0 },
            (state, Outcome::Failed { now, asked: Some(wait) }) => {
                let until = now.after(wait.min(LONGEST_ASKED));
                match state {
                    Circuit::Open { until: before, .. } if before >= until => state,
                    _ => Circuit::Open { until, pause: FIRST_PAUSE, asked: true },
                }
            }
            (Circuit::Trying { pause }, Outcome::Failed { now, .. }) if deciding => {
                let pause = pause.saturating_mul(2).min(LONGEST_PAUSE);
                Circuit::Open { until: now.after(pause), pause, asked: false }
            }
            (Circuit::Closed { failures }, Outcome::Failed { now, .. }) if failures + 1 >= FAILURES => {
                Circuit::Open { until: now.after(FIRST_PAUSE), pause: FIRST_PAUSE, asked: false }
            }
            (Circuit::Closed { failures }, Outcome::Failed { .. }) => {
                Circuit::Closed { failures: failures + 1 }
            }
            // The deciding request went away undecided: the next one decides.
            (Circuit::Trying { pause }, Outcome::Lost) => {
                Circuit::Open { until: Monotonic::from_origin(Duration::ZERO), pause, asked: false }
            }
            (state, _) => state,
        };
    }

    fn lock(&self) -> MutexGuard<'_, Circuit> {
        // Every change is one assignment, so a panic leaves none half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Clone, Copy)]
enum Outcome {
    /// With whatever: the server is there.
    Answered,
    Failed {
        now: Monotonic,
        asked: Option<Duration>,
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
    /// that is longer than a request waits.
    pub(crate) fn failed(mut self, now: Monotonic, asked: Option<Duration>) {
        self.report(Outcome::Failed { now, asked });
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
        admit(breaker, millis, Ok(())).unwrap().failed(at(millis), None);
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
        early.pop().unwrap().failed(at(500), None);
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
            permit.failed(at(0), Some(Duration::from_secs(asked)));
            let busy = breaker.admit(at(0)).unwrap_err();
            assert_eq!(busy, Fault::StsBusy(Duration::from_secs(left_alone)));
            admit(&breaker, left_alone * 1000 - 1, Err("sts_busy"));
            admit(&breaker, left_alone * 1000, Ok(()));
        }
        // The longest of several counts.
        let breaker = Breaker::new();
        let permits: Vec<_> = (0..3).map(|_| admit(&breaker, 0, Ok(())).unwrap()).collect();
        for (permit, asked) in permits.into_iter().zip([10, 30, 20]) {
            permit.failed(at(0), Some(Duration::from_secs(asked)));
        }
        admit(&breaker, 29_999, Err("sts_busy"));
        admit(&breaker, 30_000, Ok(()));
    }

    proptest! {
        /// While the circuit is half-open exactly one request decides, and the circuit is never stuck.
        #[test]
        fn it_is_never_stuck(steps in proptest::collection::vec((0..4u8, 0..3000u64), 0..60)) {
            let (breaker, mut now, mut held) = (Breaker::new(), 0, Vec::new());
            for (what, later) in steps {
                now += later;
                match what {
                    0 => held.extend(breaker.admit(at(now)).ok()),
                    1 => drop(held.pop()),
                    2 => held.pop().into_iter().for_each(Permit::answered),
                    _ => held.pop().into_iter().for_each(|permit| permit.failed(at(now), None)),
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
        before.failed(at(1000), None);
        admit(&breaker, 3000, Err("sts_unavailable"));
        trial.answered();
        admit(&breaker, 3000, Ok(()));
    }
}
