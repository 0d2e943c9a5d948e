//! Wakes what is running when something is withdrawn.
//!
//! Who uses a token once asks [`Withdrawals::strikes`](crate::Withdrawals::strikes) then. What runs on for minutes
//! would have to ask again and again; instead it leaves its waker here, and asks when it is woken.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

/// Everybody who wants to be woken. There is one place for each stream that runs, so that it is bounded by the
/// connections of the process.
#[derive(Debug, Default)]
pub(crate) struct Wakers(Mutex<Places>);

#[derive(Debug, Default)]
struct Places {
    wakers: Vec<Option<Waker>>,
    free: Vec<usize>,
}

impl Wakers {
    fn lock(&self) -> MutexGuard<'_, Places> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn wake_all(&self) {
        // Woken outside the lock: a waker may run what it wakes.
        let woken: Vec<Waker> = self.lock().wakers.iter_mut().filter_map(Option::take).collect();
        woken.into_iter().for_each(Waker::wake);
    }
}

/// A place among those who are woken by the next withdrawal; made by
/// [`Withdrawals::watch`](crate::Withdrawals::watch).
///
/// ```
/// use std::task::Waker;
///
/// use hopguard_core::Ledger;
///
/// let ledger = Ledger::bounded();
/// let mut watch = ledger.withdrawals().watch();
/// watch.wake_at_next(Waker::noop());
/// // Only now is it asked: a withdrawal in between has woken us, a later one will.
/// # let _ = watch;
/// ```
#[derive(Debug)]
pub struct WithdrawalWatch {
    wakers: Arc<Wakers>,
    place: Option<usize>,
}

impl WithdrawalWatch {
    pub(crate) fn new(wakers: Arc<Wakers>) -> Self {
        Self { wakers, place: None }
    }

    /// Wakes `waker` at the next withdrawal, in place of the one that was left before. Ask
    /// [`strikes`](crate::Withdrawals::strikes) after this call, not before it: then none is missed.
    pub fn wake_at_next(&mut self, waker: &Waker) {
        let mut places = self.wakers.lock();
        let Places { wakers, free } = &mut *places;
        let place = *self.place.get_or_insert_with(|| {
            free.pop().unwrap_or_else(|| {
                wakers.push(None);
                wakers.len() - 1
            })
        });
        if let Some(kept) = wakers.get_mut(place)
            && !kept.as_ref().is_some_and(|kept| kept.will_wake(waker))
        {
            *kept = Some(waker.clone());
        }
    }
}

impl Drop for WithdrawalWatch {
    fn drop(&mut self) {
        let Some(place) = self.place else { return };
        let mut places = self.wakers.lock();
        let waker = places.wakers.get_mut(place).and_then(Option::take);
        places.free.push(place);
        drop(places);
        drop(waker);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use crate::evidence_for_tests::facts;
    use crate::{UnixTime, Withdrawal, Withdrawals, seconds};

    use super::*;

    #[derive(Debug, Default)]
    struct Counted(AtomicUsize);

    impl Wake for Counted {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn withdraw(withdrawals: &Withdrawals) {
        let now = UnixTime::from_secs(1000);
        withdrawals.withdraw(Withdrawal::Token(facts().fingerprint), now, now.after(seconds(300))).unwrap();
    }

    #[test]
    fn everybody_is_woken_once_and_who_left_is_not() {
        let withdrawals = Withdrawals::new();
        let (one, other) = (Arc::new(Counted::default()), Arc::new(Counted::default()));
        let count = |counted: &Arc<Counted>| counted.0.load(Ordering::SeqCst);
        let mut watches = [withdrawals.watch(), withdrawals.watch(), withdrawals.watch()];
        watches[0].wake_at_next(&one.clone().into());
        watches[0].wake_at_next(&one.clone().into());
        watches[1].wake_at_next(&other.clone().into());
        drop(watches);
        withdraw(&withdrawals);
        assert_eq!((count(&one), count(&other)), (0, 0));

        let mut first = withdrawals.watch();
        first.wake_at_next(&one.clone().into());
        let mut second = withdrawals.watch();
        second.wake_at_next(&other.clone().into());
        // Moved to another task: the last waker counts.
        first.wake_at_next(&other.clone().into());
        withdraw(&withdrawals);
        assert_eq!((count(&one), count(&other)), (0, 2));
        withdraw(&withdrawals);
        assert_eq!((count(&one), count(&other)), (0, 2), "woken, and it has not asked to be again");
        second.wake_at_next(&other.clone().into());
        withdraw(&withdrawals);
        assert_eq!(count(&other), 3);
    }

    #[test]
    fn places_are_used_again() {
        let withdrawals = Withdrawals::new();
        for _ in 0..100 {
            let mut watches: Vec<_> = (0..10).map(|_| withdrawals.watch()).collect();
            watches.iter_mut().for_each(|watch| watch.wake_at_next(Waker::noop()));
        }
        assert_eq!(withdrawals.watch().wakers.lock().wakers.len(), 10);
    }

    /// Leaving the waker first and asking second misses nothing, whoever comes first.
    #[test]
    fn no_withdrawal_falls_between_waker_and_question() {
        for _ in 0..500 {
            let withdrawals = Withdrawals::new();
            let woken = Arc::new(Counted::default());
            let mut watch = withdrawals.watch();
            let seen = std::thread::scope(|scope| {
                scope.spawn(|| withdraw(&withdrawals));
                watch.wake_at_next(&woken.clone().into());
                withdrawals.strikes(&facts())
            });
            assert!(seen || woken.0.load(Ordering::SeqCst) == 1);
        }
    }
}
