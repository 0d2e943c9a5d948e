//! Every interleaving of the flights' state machine, by `loom`: `cargo test -p hopguard-exchange --test
//! flight_model`, with `--release` if it is to be quick.
//!
//! The state machine is compiled here a second time, against `loom`'s primitives in place of the standard
//! library's, so that no build flag is needed and an ordinary test run models it too.

#[path = "../src/flight.rs"]
mod flight;

/// What `flight.rs` takes its primitives from.
mod sync {
    pub(crate) use loom::sync::{Mutex, MutexGuard, atomic};
}

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use flight::{Boarding, Flights};
use loom::future::block_on;
use loom::thread;
use sync::Mutex;
use sync::atomic::{AtomicUsize, Ordering};

type Model = Flights<u8, u32>;

/// All interleavings with at most three preemptions: beyond that the time grows and nothing was ever found.
fn model(body: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(body);
}

/// A caller as the exchanger has them: it looks in the cache while it boards, and who leads fills it first.
fn call(flights: &Arc<Model>, cache: &Mutex<Option<u32>>, exchanges: &AtomicUsize) -> Option<u32> {
    match flights.board(1, || cache.lock().ok().and_then(|kept| *kept)) {
        Boarding::Landed(value) => Some(value),
        Boarding::Full => None,
        Boarding::Follows(passenger) => block_on(passenger),
        Boarding::Leads(pilot, passenger) => {
            exchanges.fetch_add(1, Ordering::Relaxed);
            if let Ok(mut kept) = cache.lock() {
                *kept = Some(7);
            }
            pilot.land(7);
            block_on(passenger)
        }
    }
}

#[test]
fn callers_at_once_make_one_exchange_and_all_get_it() {
    model(|| {
        let flights = Model::new(9, 9);
        let (cache, exchanges) = (Arc::new(Mutex::new(None)), Arc::new(AtomicUsize::new(0)));
        let others: Vec<_> = (0..2)
            .map(|_| {
                let (flights, cache, exchanges) = (flights.clone(), cache.clone(), exchanges.clone());
                thread::spawn(move || assert_eq!(call(&flights, &cache, &exchanges), Some(7)))
            })
            .collect();
        assert_eq!(call(&flights, &cache, &exchanges), Some(7));
        others.into_iter().for_each(|other| other.join().unwrap());
        assert_eq!(exchanges.load(Ordering::Relaxed), 1);
        assert_eq!(flights.traffic(), (0, 0));
    });
}

#[test]
fn a_pilot_that_is_lost_strands_nobody() {
    model(|| {
        let flights = Model::new(9, 9);
        let Boarding::Leads(pilot, first) = flights.board(1, || None::<()>) else { panic!("nobody else") };
        let lost = thread::spawn(move || drop(pilot));
        let follower = {
            let flights = flights.clone();
            thread::spawn(move || match flights.board(1, || None::<()>) {
                Boarding::Follows(passenger) => assert_eq!(block_on(passenger), None),
                // The flight had ended: this one leads the next, and leaves it in turn.
                Boarding::Leads(pilot, passenger) => {
                    drop(pilot);
                    assert_eq!(block_on(passenger), None);
                }
                _ => panic!("there is room, and nothing has landed"),
            })
        };
        assert_eq!(block_on(first), None);
        lost.join().unwrap();
        follower.join().unwrap();
        assert_eq!(flights.traffic(), (0, 0));
    });
}

#[test]
fn a_passenger_may_leave_at_any_moment() {
    model(|| {
        let flights = Model::new(9, 9);
        let Boarding::Leads(pilot, first) = flights.board(1, || None::<()>) else { panic!("nobody else") };
        let Boarding::Follows(second) = flights.board(1, || None::<()>) else { panic!("it flies") };
        let landing = thread::spawn(move || pilot.land(7));
        let leaving = thread::spawn(move || {
            // Polled once, which leaves a waker behind unless it has landed, and cancelled.
            let mut first = pin!(first);
            let polled = first.as_mut().poll(&mut Context::from_waker(Waker::noop()));
            assert!(matches!(polled, Poll::Pending | Poll::Ready(Some(7))));
        });
        assert_eq!(block_on(second), Some(7));
        landing.join().unwrap();
        leaving.join().unwrap();
        assert_eq!(flights.traffic(), (0, 0));
    });
}

#[test]
fn no_more_than_the_bound_ever_wait() {
    model(|| {
        let flights = Model::new(9, 1);
        let (cache, exchanges) = (Arc::new(Mutex::new(None)), Arc::new(AtomicUsize::new(0)));
        let other = {
            let (flights, cache, exchanges) = (flights.clone(), cache.clone(), exchanges.clone());
            thread::spawn(move || call(&flights, &cache, &exchanges))
        };
        let found = [call(&flights, &cache, &exchanges), other.join().unwrap()];
        // Somebody leads, finds a seat and gets it; the other waits for nothing, or is told that it is full.
        assert!(found.contains(&Some(7)) && found.iter().all(|one| matches!(one, Some(7) | None)));
        assert_eq!(exchanges.load(Ordering::Relaxed), 1);
        assert_eq!(flights.traffic(), (0, 0));
    });
}
