//! Which entry expires next? Kept by the second, because tokens are counted by the million and seconds are not.

use std::collections::BTreeMap;

use crate::UnixTime;

/// Entries by the second in which they expire. Among those of one second there is no order.
#[derive(Debug)]
pub(crate) struct Expiries<T>(BTreeMap<UnixTime, Vec<T>>);

impl<T> Default for Expiries<T> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<T> Expiries<T> {
    /// Adds an entry.
    pub(crate) fn insert(&mut self, expires: UnixTime, entry: T) {
        self.0.entry(expires).or_default().push(entry);
    }

    /// When the next entry expires.
    pub(crate) fn first(&self) -> Option<UnixTime> {
        self.0.first_key_value().map(|(expires, _)| *expires)
    }

    /// Takes one of those that expire next.
    pub(crate) fn pop(&mut self) -> Option<T> {
        let mut second = self.0.first_entry()?;
        let entry = second.get_mut().pop();
        // INVARIANT: I17 — a second without entries is not kept, so that there are never more seconds than entries.
        if second.get().is_empty() {
            second.remove();
        }
        entry
    }

    /// Keeps only the entries that are `wanted`.
    pub(crate) fn retain(&mut self, wanted: impl Fn(&T) -> bool) {
        self.0.retain(|_, entries| {
            entries.retain(&wanted);
            !entries.is_empty()
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_expires_first_goes_first() {
        let mut expiries = Expiries::default();
        for (at, entry) in [(30, 'c'), (10, 'a'), (20, 'b'), (10, 'z')] {
            expiries.insert(UnixTime::from_secs(at), entry);
        }
        expiries.retain(|entry| *entry != 'z');
        let mut order = Vec::new();
        while let Some(at) = expiries.first() {
            order.push((at.as_secs(), expiries.pop().unwrap()));
        }
        assert_eq!(order, [(10, 'a'), (20, 'b'), (30, 'c')]);
        assert_eq!(expiries.pop(), None);
        expiries.insert(UnixTime::from_secs(40), 'd');
        expiries.retain(|_| false);
        assert_eq!(expiries.first(), None);
    }
}
