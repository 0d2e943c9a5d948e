//! Is it worth asking the authorization server once more, and after what wait?
//!
//! Only for what says that the request was not processed: no connection, 429, 502, 503, 504. A token exchange
//! may be repeated without harm, but an answer that is slow or broken is a sign of load, and asking again adds
//! to it. Retries are paid out of a budget that answered requests fill, so that an outage never multiplies the
//! load: with the budget empty each caller asks once.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use hopguard_client::TransportError;
use hopguard_core::Monotonic;
use http::{HeaderMap, Response, StatusCode, header};

/// A request is sent so often at most.
const ATTEMPTS: u32 = 3;
/// The wait before the second attempt, before jitter; each further one is four times as long.
const FIRST_WAIT: Duration = Duration::from_millis(100);
/// A `Retry-After` beyond this is not waited for: the caller is told instead.
const LONGEST_WAIT: Duration = Duration::from_secs(2);
/// No attempt begins later than this after the first one began. The last one may take the transport's timeout.
const PATIENCE: Duration = Duration::from_secs(5);

/// Why a request brought no answer that can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Trouble {
    again: bool,
    asked: Option<Duration>,
    /// It may be about the request's subject alone.
    of_subject: bool,
}

impl Trouble {
    /// The trouble that `outcome` shows, if it is one of the server's.
    pub(crate) fn of(outcome: &Result<Response<Bytes>, TransportError>) -> Option<Self> {
        match outcome {
            Ok(response) => match response.status() {
                status @ (StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) => {
                    let asked = retry_after(response.headers());
                    // Too many requests of ours, and no word of when: one more at once is one too many.
                    let again = asked.is_some() || status == StatusCode::SERVICE_UNAVAILABLE;
                    Some(Self { again, asked, of_subject: status == StatusCode::TOO_MANY_REQUESTS })
                }
                StatusCode::BAD_GATEWAY | StatusCode::GATEWAY_TIMEOUT => Some(Self::of_server(true)),
                // It read the request, and tripped over it: over all of them, or over this one.
                status => {
                    status.is_server_error().then_some(Self { of_subject: true, ..Self::of_server(false) })
                }
            },
            Err(TransportError::Connect) => Some(Self::of_server(true)),
            Err(TransportError::Timeout | TransportError::Broken) => Some(Self::of_server(false)),
            // It answered too much, or nothing was sent: neither says that the server is down.
            Err(_) => None,
        }
    }

    const fn of_server(again: bool) -> Self {
        Self { again, asked: None, of_subject: false }
    }

    /// True if it may be about the request's subject alone: a limit of its own, or a token that the server cannot read.
    pub(crate) fn is_of_subject(&self) -> bool {
        self.of_subject
    }

    /// For how long the server asked to be left alone.
    pub(crate) fn asked(&self) -> Option<Duration> {
        self.asked
    }

    /// The same, where it is longer than a request waits.
    pub(crate) fn asked_too_long(&self) -> Option<Duration> {
        self.asked.filter(|&wait| wait > LONGEST_WAIT)
    }
}

/// `Retry-After` in seconds (RFC 9110 section 10.2.3). A date is not read: it would be judged by two clocks.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let mut all = headers.get_all(header::RETRY_AFTER).iter();
    let (Some(one), None) = (all.next(), all.next()) else { return None };
    let digits = one.as_bytes();
    let well_formed = (1..=9).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit);
    let seconds = well_formed.then(|| one.to_str().ok()?.parse().ok()).flatten()?;
    Some(Duration::from_secs(seconds))
}

/// The attempts at one exchange.
#[derive(Debug)]
pub(crate) struct Attempts {
    began: Monotonic,
    made: u32,
}

impl Attempts {
    /// The first one begins `now`.
    pub(crate) const fn begin(now: Monotonic) -> Self {
        Self { began: now, made: 1 }
    }

    /// The wait before the next attempt; `None` if there is none. `chance` is any number.
    pub(crate) fn next(
        &mut self,
        trouble: Trouble,
        now: Monotonic,
        chance: u64,
        budget: &Budget,
    ) -> Option<Duration> {
        if !trouble.again || trouble.asked_too_long().is_some() || self.made >= ATTEMPTS {
            return None;
        }
        let usual = FIRST_WAIT.saturating_mul(4_u32.saturating_pow(self.made - 1));
        // Half to one and a half times the usual, so that callers who failed together do not return together.
        let percent = u32::try_from(chance % 101).unwrap_or(0) + 50;
        let jittered = usual.saturating_mul(percent) / 100;
        let wait = trouble.asked.map_or(jittered, |asked| asked.saturating_add(jittered / 4));
        if now.since(self.began).saturating_add(wait) > PATIENCE || !budget.spend() {
            return None;
        }
        self.made += 1;
        Some(wait)
    }
}

/// What retries are paid from, per authorization server.
#[derive(Debug)]
pub(crate) struct Budget(Mutex<u32>);

impl Budget {
    /// So many retries at most are saved up, in tenths.
    const FULL: u32 = 100;
    /// What one retry costs, in tenths; an answered request brings in one tenth.
    const COST: u32 = 10;

    pub(crate) fn full() -> Self {
        Self(Mutex::new(Self::FULL))
    }

    /// A request was answered.
    pub(crate) fn earn(&self) {
        let mut saved = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *saved = saved.saturating_add(1).min(Self::FULL);
    }

    fn spend(&self) -> bool {
        let mut saved = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let left = saved.checked_sub(Self::COST);
        *saved = left.unwrap_or(*saved);
        left.is_some()
    }
}

/// A number that nobody chose, for jitter; nothing secret hangs on it.
pub(crate) fn chance() -> u64 {
    RandomState::new().build_hasher().finish()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const START: Monotonic = Monotonic::from_origin(Duration::from_secs(1000));

    fn answer(status: u16, after: &[&str]) -> Result<Response<Bytes>, TransportError> {
        let mut response = Response::new(Bytes::new());
        *response.status_mut() = StatusCode::from_u16(status).unwrap();
        for one in after {
            response.headers_mut().append(header::RETRY_AFTER, one.parse().unwrap());
        }
        Ok(response)
    }

    /// What is made of an outcome: whether it is trouble, how long is asked for, and the middling wait.
    #[track_caller]
    fn trouble(
        outcome: &Result<Response<Bytes>, TransportError>,
        expected: Option<(Option<u64>, Option<u64>)>,
    ) {
        let found = Trouble::of(outcome).map(|trouble| {
            let wait = Attempts::begin(START).next(trouble, START, 50, &Budget::full());
            let millis = wait.map(|wait| u64::try_from(wait.as_millis()).unwrap());
            (trouble.asked().map(|asked| asked.as_secs()), millis)
        });
        assert_eq!(found, expected, "{outcome:?}");
    }

    #[test]
    fn only_what_was_not_processed_is_tried_again() {
        for status in [200, 302, 400, 401, 403, 404] {
            trouble(&answer(status, &["1"]), None);
        }
        trouble(&answer(502, &[]), Some((None, Some(100))));
        trouble(&answer(503, &[]), Some((None, Some(100))));
        trouble(&answer(504, &[]), Some((None, Some(100))));
        trouble(&answer(429, &[]), Some((None, None)));
        trouble(&answer(500, &[]), Some((None, None)));
        trouble(&answer(501, &["1"]), Some((None, None)));
        trouble(&Err(TransportError::Connect), Some((None, Some(100))));
        trouble(&Err(TransportError::Timeout), Some((None, None)));
        trouble(&Err(TransportError::Broken), Some((None, None)));
        trouble(&Err(TransportError::TooLarge), None);
        trouble(&Err(TransportError::Insecure), None);
    }

    #[test]
    fn what_the_server_asks_for_is_waited_for_within_a_bound() {
        for status in [429, 503] {
            trouble(&answer(status, &["0"]), Some((Some(0), Some(25))));
            trouble(&answer(status, &["1"]), Some((Some(1), Some(1025))));
            trouble(&answer(status, &["2"]), Some((Some(2), Some(2025))));
            trouble(&answer(status, &["3"]), Some((Some(3), None)));
            trouble(&answer(status, &["999999999"]), Some((Some(999_999_999), None)));
        }
        for unreadable in [
            &["-1"][..],
            &["1.5"],
            &["1000000000"],
            &["Fri, 31 Dec 1999 23:59:59 GMT"],
            &["1", "1"],
            &[""],
            &["+1"],
        ] {
            trouble(&answer(503, unreadable), Some((None, Some(100))));
            trouble(&answer(429, unreadable), Some((None, None)));
        }
    }

    #[test]
    fn an_outage_costs_no_more_than_the_budget() {
        let (budget, trouble) = (Budget::full(), Trouble::of_server(true));
        let requests = |budget: &Budget| {
            let mut attempts = Attempts::begin(START);
            1 + (0..9).filter(|_| attempts.next(trouble, START, 0, budget).is_some()).count()
        };
        assert_eq!(requests(&budget), 3);
        assert_eq!((0..1000).map(|_| requests(&budget)).sum::<usize>(), 1008);
        (0..9).for_each(|_| budget.earn());
        assert_eq!(requests(&budget), 1);
        budget.earn();
        assert_eq!(requests(&budget), 2);
        (0..100_000).for_each(|_| budget.earn());
        assert_eq!((0..1000).map(|_| requests(&budget)).sum::<usize>(), 1010);
    }

    #[test]
    fn an_attempt_may_begin_in_the_last_moment_and_not_after() {
        let trouble = Trouble::of_server(true);
        let begun_after = |millis| {
            let now = START.after(Duration::from_millis(millis));
            Attempts::begin(START).next(trouble, now, 50, &Budget::full())
        };
        assert_eq!(begun_after(4900), Some(FIRST_WAIT));
        assert_eq!(begun_after(4901), None);
    }

    #[test]
    fn jitter_differs_from_caller_to_caller() {
        let distinct: std::collections::HashSet<u64> = (0..64).map(|_| chance() % 101).collect();
        assert!(distinct.len() > 8, "{distinct:?}");
    }

    proptest! {
        #[test]
        fn the_whole_time_is_bounded(
            asked in proptest::collection::vec(proptest::option::of(0..5u64), 5),
            took in proptest::collection::vec(0..4000u64, 5),
            chance: u64,
        ) {
            let (budget, mut now) = (Budget::full(), START);
            let (mut attempts, mut made) = (Attempts::begin(now), 1);
            for (asked, took) in asked.into_iter().zip(took) {
                now = now.after(Duration::from_millis(took));
                let asked = asked.map(Duration::from_secs);
                let trouble = Trouble { asked, ..Trouble::of_server(true) };
                let Some(wait) = attempts.next(trouble, now, chance, &budget) else { break };
                prop_assert!(trouble.asked.is_none_or(|asked| wait >= asked), "asked sooner than told");
                now = now.after(wait);
                made += 1;
                prop_assert!(now.since(START) <= PATIENCE);
            }
            prop_assert!(made <= ATTEMPTS);
        }
    }
}
