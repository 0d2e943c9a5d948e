//! What many tokens of one issuer say alike, kept once: their scopes, actors, clients and audiences.
//!
//! Thousands of remembered tokens then share a few pieces of memory, which are near, where each would have pieces of
//! its own, which are far away by the time they are given back. Only tokens whose signature was checked get here.

use std::sync::{Arc, Mutex, TryLockError};

use hopguard_core::{ActorChain, ScopeSet};

/// How many of each are kept; the one that came first goes.
const RECENT: usize = 8;

/// The last few of each.
#[derive(Debug, Default)]
pub(crate) struct Alike {
    pub(crate) scopes: Recent<ScopeSet>,
    pub(crate) actors: Recent<ActorChain>,
    pub(crate) clients: Recent<Arc<str>>,
    pub(crate) audiences: Recent<Arc<[Box<str>]>>,
}

/// What the texts of a claim were read as lately.
#[derive(Debug)]
pub(crate) struct Recent<T>(Mutex<Ring<T>>);

#[derive(Debug)]
struct Ring<T> {
    kept: Vec<(Box<[u8]>, T)>,
    next: usize,
}

impl<T> Default for Recent<T> {
    fn default() -> Self {
        Self(Mutex::new(Ring { kept: Vec::new(), next: 0 }))
    }
}

impl<T: Clone> Recent<T> {
    /// What `text` was read as before, or what `read` makes of it, which depends on nothing else. What it refuses is
    /// read anew each time.
    pub(crate) fn of<E>(&self, text: &str, read: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
        if let Some(value) = self.known(text.as_bytes()) {
            return Ok(value);
        }
        let value = read()?;
        self.add(text.as_bytes(), value.clone());
        Ok(value)
    }

    /// What `text` was read as before.
    pub(crate) fn known(&self, text: &[u8]) -> Option<T> {
        let known = |(known, value): &(Box<[u8]>, T)| (**known == *text).then(|| value.clone());
        self.with(|ring| ring.kept.iter().find_map(known))
    }

    /// Nobody waits here: where another thread is looking, the token gets pieces of its own.
    fn with<R>(&self, use_it: impl FnOnce(&mut Ring<T>) -> Option<R>) -> Option<R> {
        match self.0.try_lock() {
            Ok(mut ring) => use_it(&mut ring),
            Err(TryLockError::Poisoned(ring)) => use_it(&mut ring.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    // INVARIANT: I17 — the newest takes the place of the oldest.
    pub(crate) fn add(&self, text: &[u8], value: T) {
        let one = (text.into(), value);
        self.with(|ring| {
            match ring.kept.get_mut(ring.next) {
                Some(place) => *place = one,
                None => ring.kept.push(one),
            }
            ring.next = (ring.next + 1) % RECENT;
            Some(())
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_read_is_shared_and_what_differs_is_not() {
        let recent: Recent<Arc<str>> = Recent::default();
        let read = |text: &str| recent.of(text, || Ok::<_, ()>(Arc::from(text))).unwrap();
        for n in (0..20).chain(0..20) {
            assert_eq!(*read(&format!("b a{n}")), format!("b a{n}"));
        }
        assert_eq!(recent.0.lock().unwrap().kept.len(), RECENT);
        let first = read("web");
        for other in ["we", "webs", "", "web"] {
            assert_eq!(*read(other), *other);
        }
        assert!(Arc::ptr_eq(&first, &read("web")));
    }

    #[test]
    fn what_is_refused_is_read_again() {
        let recent: Recent<u8> = Recent::default();
        assert_eq!(recent.of("a", || Err("no")), Err("no"));
        assert_eq!(recent.of("a", || Ok::<_, &str>(1)), Ok(1));
        assert_eq!(recent.of("a", || Err("no")), Ok(1));
    }

    #[test]
    fn nobody_waits() {
        let recent: Recent<u8> = Recent::default();
        let _looking = recent.0.lock().unwrap();
        assert_eq!(recent.of("a", || Ok::<_, ()>(1)), Ok(1));
        assert_eq!(recent.of("a", || Ok::<_, ()>(2)), Ok(2));
    }
}
