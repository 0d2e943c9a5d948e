//! The flights on their own, polled by hand and from many threads.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use crate::flight::{Boarding, Flights, Passenger, Pilot};

#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

type Test = Flights<u8, u32>;

fn leads(flights: &Arc<Test>, key: u8) -> (Pilot<u8, u32>, Passenger<u32>) {
    match flights.board(key, || None::<()>) {
        Boarding::Leads(pilot, passenger) => (pilot, passenger),
        _ => panic!("no lead"),
    }
}

fn follows(flights: &Arc<Test>, key: u8) -> Passenger<u32> {
    match flights.board(key, || None::<()>) {
        Boarding::Follows(passenger) => passenger,
        _ => panic!("no follower"),
    }
}

fn poll(passenger: &mut Passenger<u32>, waker: &Arc<Count>) -> Poll<Option<u32>> {
    pin!(passenger).poll(&mut Context::from_waker(&Waker::from(Arc::clone(waker))))
}

#[test]
fn everyone_lands_with_the_pilot() {
    let (flights, woken) = (Test::new(9, 9), Arc::new(Count::default()));
    let (pilot, mut first) = leads(&flights, 1);
    let (mut second, mut late) = (follows(&flights, 1), follows(&flights, 1));
    let (_other_pilot, mut other) = leads(&flights, 2);
    for passenger in [&mut first, &mut second, &mut other] {
        assert!(poll(passenger, &woken).is_pending());
    }
    pilot.land(7);
    assert_eq!(woken.0.load(Ordering::SeqCst), 2);
    for passenger in [&mut first, &mut second, &mut late] {
        assert_eq!(poll(passenger, &woken), Poll::Ready(Some(7)));
    }
    assert!(poll(&mut other, &woken).is_pending());
    drop((first, second, late));
    assert_eq!(flights.traffic(), (1, 1));
    let _next = leads(&flights, 1);
}

#[test]
fn a_lost_pilot_strands_nobody() {
    let (flights, woken) = (Test::new(9, 9), Arc::new(Count::default()));
    let (pilot, mut first) = leads(&flights, 1);
    let mut second = follows(&flights, 1);
    assert!(poll(&mut first, &woken).is_pending());
    assert!(poll(&mut second, &woken).is_pending());
    drop(pilot);
    assert_eq!(woken.0.load(Ordering::SeqCst), 2);
    assert_eq!(poll(&mut first, &woken), Poll::Ready(None));
    assert_eq!(poll(&mut second, &woken), Poll::Ready(None));
    let _next = leads(&flights, 1);
}

#[test]
fn the_first_passenger_may_leave() {
    let (flights, woken) = (Test::new(9, 9), Arc::new(Count::default()));
    let (pilot, mut first) = leads(&flights, 1);
    let mut second = follows(&flights, 1);
    assert!(poll(&mut first, &woken).is_pending());
    assert!(poll(&mut second, &woken).is_pending());
    drop(first);
    pilot.land(7);
    assert_eq!(woken.0.load(Ordering::SeqCst), 1, "whoever left is not woken");
    assert_eq!(poll(&mut second, &woken), Poll::Ready(Some(7)));
}

#[test]
fn a_flight_without_passengers_is_still_joined() {
    let (flights, woken) = (Test::new(9, 9), Arc::new(Count::default()));
    let (pilot, first) = leads(&flights, 1);
    drop(first);
    let mut second = follows(&flights, 1);
    pilot.land(7);
    assert_eq!(poll(&mut second, &woken), Poll::Ready(Some(7)));
}

#[test]
fn the_last_waker_counts() {
    let (flights, old, new) = (Test::new(9, 9), Arc::new(Count::default()), Arc::new(Count::default()));
    let (pilot, mut first) = leads(&flights, 1);
    assert!(poll(&mut first, &old).is_pending());
    assert!(poll(&mut first, &new).is_pending());
    pilot.land(7);
    assert_eq!((old.0.load(Ordering::SeqCst), new.0.load(Ordering::SeqCst)), (0, 1));
}

#[test]
fn what_has_just_landed_is_not_flown_again() {
    let flights = Test::new(9, 9);
    assert!(matches!(flights.board(1, || Some("there")), Boarding::Landed("there")));
    assert_eq!(flights.traffic(), (0, 0));
}

#[test]
fn both_bounds_hold_and_free_up() {
    let flights = Test::new(2, 3);
    let (one, _a) = leads(&flights, 1);
    let (_two, b) = leads(&flights, 2);
    assert!(matches!(flights.board(3, || None::<()>), Boarding::Full), "flights");
    let _c = follows(&flights, 1);
    assert!(matches!(flights.board(1, || None::<()>), Boarding::Full), "passengers");
    drop(b);
    let _d = follows(&flights, 1);
    one.land(1);
    assert!(matches!(flights.board(3, || None::<()>), Boarding::Full), "passengers, again");
    assert_eq!(flights.traffic(), (1, 3), "a refused lead leaves no flight behind");
}

#[test]
fn from_many_threads_each_key_flies_once_at_a_time() {
    let (flights, flying) = (Test::new(99, 99), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..200 {
                    match flights.board(1, || None::<()>) {
                        Boarding::Leads(pilot, _passenger) => {
                            assert_eq!(flying.fetch_add(1, Ordering::SeqCst), 0);
                            std::thread::yield_now();
                            flying.fetch_sub(1, Ordering::SeqCst);
                            pilot.land(1);
                        }
                        Boarding::Follows(mut passenger) => {
                            let woken = Arc::new(Count::default());
                            while poll(&mut passenger, &woken).is_pending() {
                                std::thread::yield_now();
                            }
                        }
                        Boarding::Landed(()) | Boarding::Full => panic!("neither can be"),
                    }
                }
            });
        }
    });
    assert_eq!(flights.traffic(), (0, 0));
}
