//! One fetch under way, and everyone who waits for it.
//!
//! Free of any runtime's types: a flight is landed by whoever runs it and awaited by any number of others. A
//! waiter that goes away takes only its own place with it.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// How many may wait at once; each is a request that is held up.
const WAITERS: usize = 8192;

/// A fetch under way.
#[derive(Debug, Default)]
pub(crate) struct Flight {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    landed: bool,
    next: u64,
    waiting: HashMap<u64, Waker>,
}

/// Too many wait already.
#[derive(Debug)]
pub(crate) struct Crowded;

impl Flight {
    /// Ends the flight and wakes everyone.
    pub(crate) fn land(&self) {
        let waiting = {
            let mut state = self.state();
            state.landed = true;
            std::mem::take(&mut state.waiting)
        };
        // Outside the lock: a waker may run anything.
        waiting.into_values().for_each(Waker::wake);
    }

    /// Waits until the flight has landed.
    pub(crate) fn landed(self: Arc<Self>) -> Landed {
        Landed { flight: self, place: None }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Resolves when the flight has landed.
#[derive(Debug)]
pub(crate) struct Landed {
    flight: Arc<Flight>,
    place: Option<u64>,
}

impl Future for Landed {
    type Output = Result<(), Crowded>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let flight = self.flight.clone();
        let mut state = flight.state();
        if state.landed {
            return Poll::Ready(Ok(()));
        }
        let place = match self.place {
            Some(place) => place,
            None if state.waiting.len() >= WAITERS => return Poll::Ready(Err(Crowded)),
            None => {
                let place = state.next;
                state.next += 1;
                self.place = Some(place);
                place
            }
        };
        state.waiting.insert(place, context.waker().clone());
        Poll::Pending
    }
}

impl Drop for Landed {
    fn drop(&mut self) {
        if let Some(place) = self.place {
            self.flight.state().waiting.remove(&place);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use super::*;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn poll(waiter: &mut Landed, count: &Arc<Count>) -> Poll<Result<(), Crowded>> {
        Pin::new(waiter).poll(&mut Context::from_waker(&count.clone().into()))
    }

    #[test]
    fn everyone_who_still_waits_is_woken_once() {
        let (flight, stays, leaves) = (Arc::new(Flight::default()), Arc::default(), Arc::default());
        let mut waiter = flight.clone().landed();
        let mut gone = flight.clone().landed();
        assert!(poll(&mut waiter, &stays).is_pending() && poll(&mut gone, &leaves).is_pending());
        assert!(poll(&mut waiter, &stays).is_pending());
        drop(gone);
        flight.land();
        assert_eq!((stays.0.load(Ordering::SeqCst), leaves.0.load(Ordering::SeqCst)), (1, 0));
        assert!(matches!(poll(&mut waiter, &stays), Poll::Ready(Ok(()))));
        assert!(matches!(poll(&mut flight.landed(), &stays), Poll::Ready(Ok(()))));
    }

    #[test]
    fn the_crowd_is_bounded_and_places_are_given_back() {
        let (flight, count) = (Arc::new(Flight::default()), Arc::default());
        let mut crowd: Vec<_> = (0..WAITERS).map(|_| flight.clone().landed()).collect();
        assert!(crowd.iter_mut().all(|waiter| poll(waiter, &count).is_pending()));
        let mut one_more = flight.clone().landed();
        assert!(matches!(poll(&mut one_more, &count), Poll::Ready(Err(Crowded))));
        crowd.pop();
        assert!(poll(&mut flight.landed(), &count).is_pending());
    }
}
