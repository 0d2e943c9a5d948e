//! The names of unknown members, which must not stand twice.

use std::borrow::Cow;

/// The names of an object's unknown members. The first few take no memory of their own.
#[derive(Default)]
pub(super) struct Others<'de> {
    few: [&'de str; 8],
    count: usize,
    more: Vec<Cow<'de, str>>,
}

impl<'de> Others<'de> {
    pub(super) fn count(&self) -> usize {
        self.count + self.more.len()
    }

    pub(super) fn add(&mut self, name: Cow<'de, str>) {
        match (self.few.get_mut(self.count), name) {
            (Some(place), Cow::Borrowed(name)) => {
                *place = name;
                self.count += 1;
            }
            (_, name) => self.more.push(name),
        }
    }

    /// True if two of the names are one.
    pub(super) fn has_twins(mut self) -> bool {
        let few = self.few.get(..self.count).unwrap_or_default();
        if self.more.is_empty() {
            return few
                .iter()
                .enumerate()
                .any(|(at, name)| few.iter().skip(at + 1).any(|other| other == name));
        }
        self.more.extend(few.iter().map(|name| Cow::Borrowed(*name)));
        has_twins(&mut self.more)
    }
}

/// True if two of the names are one.
pub(super) fn has_twins(names: &mut [Cow<'_, str>]) -> bool {
    if names.len() <= 12 {
        return names
            .iter()
            .enumerate()
            .any(|(at, name)| names.iter().skip(at + 1).any(|other| other == name));
    }
    names.sort_unstable();
    names.iter().zip(names.iter().skip(1)).any(|(one, next)| one == next)
}
