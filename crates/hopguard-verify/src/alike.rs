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
    scopes: Recent<(Box<str>, ScopeSet)>,
    actors: Recent<ActorChain>,
    clients: Recent<Arc<str>>,
    audiences: Recent<Arc<[Box<str>]>>,
}

impl Alike {
    /// The set that a `scope` claim was read as before, or what `read` makes of it.
    pub(crate) fn scopes<E>(
        &self,
        list: &str,
        read: impl FnOnce() -> Result<ScopeSet, E>,
    ) -> Result<ScopeSet, E> {
        let known = |(text, set): &(Box<str>, ScopeSet)| (**text == *list).then(|| set.clone());
        if let Some(set) = self.scopes.find(known) {
            return Ok(set);
        }
        let set = read()?;
        self.scopes.add((list.into(), set.clone()));
        Ok(set)
    }

    /// A chain that is as `is` says, or the one that `read` makes.
    pub(crate) fn actors(
        &self,
        is: impl Fn(&ActorChain) -> bool,
        read: impl FnOnce() -> ActorChain,
    ) -> ActorChain {
        self.actors.shared(is, read)
    }

    /// The name of a client.
    pub(crate) fn client(&self, name: &str) -> Arc<str> {
        self.clients.shared(|known| **known == *name, || name.into())
    }

    /// The audiences of a token, in its order.
    pub(crate) fn audiences(&self, named: &[impl AsRef<str>]) -> Arc<[Box<str>]> {
        let is = |known: &Arc<[Box<str>]>| {
            known.len() == named.len() && known.iter().zip(named).all(|(known, one)| **known == *one.as_ref())
        };
        self.audiences.shared(is, || named.iter().map(|one| Box::from(one.as_ref())).collect())
    }
}

#[derive(Debug)]
struct Recent<T>(Mutex<Ring<T>>);

#[derive(Debug)]
struct Ring<T> {
    kept: Vec<T>,
    next: usize,
}

impl<T> Default for Recent<T> {
    fn default() -> Self {
        Self(Mutex::new(Ring { kept: Vec::new(), next: 0 }))
    }
}

impl<T: Clone> Recent<T> {
    /// One that is as `is` says, or the one that `read` makes.
    fn shared(&self, is: impl Fn(&T) -> bool, read: impl FnOnce() -> T) -> T {
        self.find(|known| is(known).then(|| known.clone())).unwrap_or_else(|| {
            let one = read();
            self.add(one.clone());
            one
        })
    }
}

impl<T> Recent<T> {
    /// Nobody waits here: where another thread is looking, the token gets pieces of its own.
    fn with<R>(&self, use_it: impl FnOnce(&mut Ring<T>) -> Option<R>) -> Option<R> {
        match self.0.try_lock() {
            Ok(mut ring) => use_it(&mut ring),
            Err(TryLockError::Poisoned(ring)) => use_it(&mut ring.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    fn find<R>(&self, known: impl Fn(&T) -> Option<R>) -> Option<R> {
        self.with(|ring| ring.kept.iter().find_map(known))
    }

    // INVARIANT: I17 — the newest takes the place of the oldest.
    fn add(&self, one: T) {
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
    use hopguard_core::Actor;

    use super::*;

    #[test]
    fn what_was_read_is_shared_and_what_differs_is_not() {
        let alike = Alike::default();
        let read = |list: &str| alike.scopes(list, || ScopeSet::parse(list)).unwrap();
        for _ in 0..2 {
            for n in 0..20 {
                let list = format!("b a{n}");
                assert_eq!(read(&list), ScopeSet::parse(&list).unwrap());
            }
        }
        assert!(alike.scopes("a\t", || ScopeSet::parse("a\t")).is_err());
        assert!(alike.scopes("a\t", || ScopeSet::parse("a\t")).is_err());
        assert_eq!(alike.scopes.0.lock().unwrap().kept.len(), RECENT);
        let chain = |name: &str| {
            let wanted = ActorChain::from_outermost(vec![Actor::new(name)]);
            alike.actors(|known| *known == wanted, || wanted.clone())
        };
        for name in ["a", "b", "a", "c", "b"] {
            assert_eq!(chain(name).actors(), [Actor::new(name)]);
        }
        assert_eq!(alike.actors.0.lock().unwrap().kept.len(), 3);
        let audiences = |named: &[&str]| alike.audiences(named);
        for named in [&["a", "b"][..], &["a"], &["b", "a"], &["a", "b"], &["ab"], &["a"], &[]] {
            assert_eq!(audiences(named).iter().map(|one| &**one).collect::<Vec<_>>(), named);
        }
        assert_eq!(alike.audiences.0.lock().unwrap().kept.len(), 5);
        assert!(Arc::ptr_eq(&audiences(&["b", "a"]), &audiences(&["b", "a"])));
        for name in ["web", "we", "web", "webs"] {
            assert_eq!(&*alike.client(name), name);
        }
        assert!(Arc::ptr_eq(&alike.client("web"), &alike.client("web")));
    }
}
