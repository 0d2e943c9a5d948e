//! One exchange at a time for one key, whoever asks and whoever goes away.
//!
//! The first to ask for a key gets a [`Pilot`], which some task carries; everyone, the first included, gets a
//! [`Passenger`], a future of what the pilot brings back. A pilot that is dropped on the way (its task
//! panicked, or the runtime shut down) lands its passengers with nothing, so nobody is stranded.
//!
//! Built from a mutex and wakers alone, without types of any runtime, so that a model checker can run it:
//! `tests/flight_model.rs` compiles this very file against `loom`'s primitives, which is why it takes them from
//! `crate::sync`.
//! No lock is held while a waker is called or while a future is awaited.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::future::Future;
use std::hash::Hash;
use std::pin::Pin;
use std::sync::{Arc, PoisonError};
use std::task::{Context, Poll, Waker};

use crate::sync::atomic::{AtomicUsize, Ordering};
use crate::sync::{Mutex, MutexGuard};

/// What asking for a key led to.
pub(crate) enum Boarding<K: Hash + Eq, T, L> {
    /// It had landed already: what the caller's own look found.
    Landed(L),
    /// A flight is under way.
    Follows(Passenger<T>),
    /// There was none: carry the pilot to its end in a task of its own.
    Leads(Pilot<K, T>, Passenger<T>),
    /// Too many flights or passengers.
    Full,
}

/// The flights under way.
pub(crate) struct Flights<K, T> {
    under_way: Mutex<HashMap<K, Arc<Flight<T>>>>,
    waiting: Arc<AtomicUsize>,
    flights_at_most: usize,
    waiting_at_most: usize,
}

struct Flight<T>(Mutex<Stage<T>>);

enum Stage<T> {
    /// Whom to wake, by passenger.
    Flying { wakers: BTreeMap<usize, Waker>, next: usize },
    /// `None`: the pilot was lost.
    Landed(Option<T>),
}

impl<K: Hash + Eq + Clone, T: Clone> Flights<K, T> {
    pub(crate) fn new(flights_at_most: usize, waiting_at_most: usize) -> Arc<Self> {
        Arc::new(Self {
            under_way: Mutex::default(),
            waiting: Arc::default(),
            flights_at_most,
            waiting_at_most,
        })
    }

    /// Asks for `key`. `landed` looks once more for what a flight that has just ended brought back; what a
    /// pilot brings must be where `landed` finds it before the pilot lands.
    pub(crate) fn board<L>(
        self: &Arc<Self>,
        key: K,
        landed: impl FnOnce() -> Option<L>,
    ) -> Boarding<K, T, L> {
        let mut under_way = lock(&self.under_way);
        if let Some(flight) = under_way.get(&key) {
            let passenger = self.seat(flight);
            return passenger.map_or(Boarding::Full, Boarding::Follows);
        }
        if let Some(found) = landed() {
            return Boarding::Landed(found);
        }
        if under_way.len() >= self.flights_at_most {
            return Boarding::Full;
        }
        let flight = Arc::new(Flight(Mutex::new(Stage::Flying { wakers: BTreeMap::new(), next: 0 })));
        let Some(passenger) = self.seat(&flight) else { return Boarding::Full };
        under_way.insert(key.clone(), Arc::clone(&flight));
        Boarding::Leads(Pilot { flights: Arc::clone(self), key, flight, landed: false }, passenger)
    }

    fn seat(&self, flight: &Arc<Flight<T>>) -> Option<Passenger<T>> {
        // INVARIANT: I17 — whoever finds no seat is told so at once.
        let seat = |taken: usize| (taken < self.waiting_at_most).then_some(taken + 1);
        self.waiting.fetch_update(Ordering::Relaxed, Ordering::Relaxed, seat).ok()?;
        Some(Passenger { flight: Arc::clone(flight), waiting: Arc::clone(&self.waiting), seat: None })
    }
}

impl<K, T> Flights<K, T> {
    /// How many flights and passengers there are.
    pub(crate) fn traffic(&self) -> (usize, usize) {
        (lock(&self.under_way).len(), self.waiting.load(Ordering::Relaxed))
    }
}

impl<K, T> fmt::Debug for Flights<K, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flights")
            .field("waiting", &self.waiting.load(Ordering::Relaxed))
            .finish_non_exhaustive()
    }
}

/// The duty to end a flight. Dropping it ends the flight with nothing.
pub(crate) struct Pilot<K: Hash + Eq, T> {
    flights: Arc<Flights<K, T>>,
    key: K,
    flight: Arc<Flight<T>>,
    landed: bool,
}

impl<K: Hash + Eq, T> Pilot<K, T> {
    /// Ends the flight: every passenger gets `value`, and the next to ask begins anew.
    pub(crate) fn land(mut self, value: T) {
        self.end(Some(value));
    }

    fn end(&mut self, value: Option<T>) {
        if std::mem::replace(&mut self.landed, true) {
            return;
        }
        lock(&self.flights.under_way).remove(&self.key);
        let before = std::mem::replace(&mut *lock(&self.flight.0), Stage::Landed(value));
        if let Stage::Flying { wakers, .. } = before {
            wakers.into_values().for_each(Waker::wake);
        }
    }
}

impl<K: Hash + Eq, T> Drop for Pilot<K, T> {
    fn drop(&mut self) {
        self.end(None);
    }
}

/// A future of what the pilot brings back; `None` if the pilot was lost.
pub(crate) struct Passenger<T> {
    flight: Arc<Flight<T>>,
    waiting: Arc<AtomicUsize>,
    seat: Option<usize>,
}

impl<T: Clone> Future for Passenger<T> {
    type Output = Option<T>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { flight, seat, .. } = &mut *self;
        match &mut *lock(&flight.0) {
            Stage::Landed(value) => Poll::Ready(value.clone()),
            Stage::Flying { wakers, next } => {
                let seat = *seat.get_or_insert_with(|| {
                    *next += 1;
                    *next
                });
                wakers
                    .entry(seat)
                    .and_modify(|waker| waker.clone_from(context.waker()))
                    .or_insert_with(|| context.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl<T> Drop for Passenger<T> {
    fn drop(&mut self) {
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        let waker = match (self.seat, &mut *lock(&self.flight.0)) {
            (Some(seat), Stage::Flying { wakers, .. }) => wakers.remove(&seat),
            _ => None,
        };
        // Outside the lock: dropping a waker may run foreign code.
        drop(waker);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Every change under these locks is one insertion, removal or replacement, so a panic leaves none half done.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
