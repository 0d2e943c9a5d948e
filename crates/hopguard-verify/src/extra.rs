//! The claims that only a profile knows by name, read in a second, as strict pass.

use std::borrow::Cow;

use hopguard_core::Denial;

use crate::json::{self, Malformed, Shape, Source};
use crate::profile::Profile;

/// The claims that a profile names, as they stand there.
#[derive(Debug)]
pub(crate) struct Extra<'a> {
    members: Vec<(Cow<'a, str>, Value<'a>)>,
}

/// A claim of any kind.
#[derive(Debug)]
pub(crate) enum Value<'a> {
    Text(Cow<'a, str>),
    List(Vec<Self>),
    Object(Vec<(Cow<'a, str>, Self)>),
    Other,
}

impl<'a> Extra<'a> {
    /// Reads a decoded payload once more, for what `profile` names.
    pub(crate) fn read(text: &'a [u8], profile: &Profile) -> Result<Self, Denial> {
        let mut collected = Collect { profile, extra: Self { members: Vec::new() } };
        json::read(text, &mut collected).map_err(|_| Denial::TokenMalformed)?;
        Ok(collected.extra)
    }

    /// The claim of this name.
    pub(crate) fn find(&self, claim: &str) -> Option<&Value<'a>> {
        self.members.iter().find_map(|(name, value)| (*name == claim).then_some(value))
    }

    /// The claim of this name, if it is a text.
    pub(crate) fn text(&self, claim: &str) -> Option<&Cow<'a, str>> {
        match self.find(claim) {
            Some(Value::Text(text)) => Some(text),
            _ => None,
        }
    }

    /// What stands at the end of these nested names.
    pub(crate) fn at(&self, place: &[Box<str>]) -> Option<&Value<'a>> {
        let (outer, inner) = place.split_first()?;
        inner.iter().try_fold(self.find(outer)?, |value, name| match value {
            Value::Object(members) => {
                members.iter().find_map(|(found, value)| (**found == **name).then_some(value))
            }
            _ => None,
        })
    }
}

impl<'a> Value<'a> {
    /// The texts of a list, or the member names of an object.
    pub(crate) fn names(&self) -> Vec<&Cow<'a, str>> {
        match self {
            Self::List(all) => all
                .iter()
                .filter_map(|one| match one {
                    Self::Text(text) => Some(text),
                    _ => None,
                })
                .collect(),
            Self::Object(members) => members.iter().map(|(name, _)| name).collect(),
            Self::Text(_) | Self::Other => Vec::new(),
        }
    }
}

struct Collect<'p, 'a> {
    profile: &'p Profile,
    extra: Extra<'a>,
}

impl<'de> Shape<'de> for Collect<'_, 'de> {
    fn wrong(&mut self) {}

    fn object(&mut self, source: &mut Source<'de>) -> Result<(), Malformed> {
        source.entries(|name, source| {
            if !self.profile.reads(&name) {
                return source.value(&mut json::Skip);
            }
            let mut value = Value::Other;
            source.value(&mut value)?;
            self.extra.members.push((name, value));
            Ok(())
        })
    }
}

impl<'de> Shape<'de> for Value<'de> {
    /// That is what it is from the beginning.
    fn wrong(&mut self) {}

    fn text(&mut self, text: Cow<'de, str>) {
        *self = Self::Text(text);
    }

    fn list(&mut self, source: &mut Source<'de>) -> Result<(), Malformed> {
        let mut all = Vec::new();
        source.items(|source| {
            let mut one = Self::Other;
            source.value(&mut one)?;
            all.push(one);
            Ok(())
        })?;
        *self = Self::List(all);
        Ok(())
    }

    fn object(&mut self, source: &mut Source<'de>) -> Result<(), Malformed> {
        let mut members = Vec::new();
        source.entries(|name, source| {
            let mut value = Self::Other;
            source.value(&mut value)?;
            members.push((name, value));
            Ok(())
        })?;
        *self = Self::Object(members);
        Ok(())
    }
}
