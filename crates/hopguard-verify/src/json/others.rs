//! The names of unknown members, which must not stand twice.

use std::borrow::Cow;

/// The names of an object's unknown members. The first few take no memory of their own.
#[derive(Default)]
pub(super) struct Others<'de> {
    few: [&'de [u8]; 8],
    count: usize,
    more: Vec<Cow<'de, [u8]>>,
}

impl<'de> Others<'de> {
    pub(super) fn count(&self) -> usize {
        self.count + self.more.len()
    }

    /// Adds a name as it stands.
    pub(super) fn add(&mut self, name: &'de [u8]) {
        match self.few.get_mut(self.count) {
            Some(place) => {
                *place = name;
                self.count += 1;
            }
            None => self.more.push(Cow::Borrowed(name)),
        }
    }

    /// Adds a name that is spelled with escapes.
    pub(super) fn add_spelled(&mut self, name: Vec<u8>) {
        self.more.push(Cow::Owned(name));
    }

    /// True if two of the names are one.
    pub(super) fn has_twins(&mut self) -> bool {
        let few = self.few.get_mut(..self.count).unwrap_or_default();
        if self.more.is_empty() {
            return has_twins(few);
        }
        let mut all: Vec<&[u8]> = self.more.iter().map(|name| &**name).collect();
        all.extend(few.iter());
        has_twins(&mut all)
    }
}

/// True if two of the names are one.
pub(super) fn has_twins(names: &mut [&[u8]]) -> bool {
    if names.len() > 12 {
        names.sort_unstable();
        return names.iter().zip(names.iter().skip(1)).any(|(one, next)| one == next);
    }
    names.iter().enumerate().any(|(at, name)| names.iter().skip(at + 1).any(|other| other == name))
}
