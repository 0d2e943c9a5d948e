//! The claims that only a profile knows by name, read in a second, as strict pass.

use std::borrow::Cow;

use hopguard_core::Denial;

use crate::json::{self, Claim, Value};
use crate::profile::Profile;

/// The claims that a profile names, as they stand there.
#[derive(Debug)]
pub(crate) struct Extra<'a>(Vec<(Cow<'a, str>, Value<'a>)>);

impl<'a> Extra<'a> {
    /// Reads a decoded payload once more, for what `profile` names.
    pub(crate) fn read(text: &'a [u8], profile: &Profile) -> Result<Self, Denial> {
        let mut members = json::entries(text).map_err(|_| Denial::TokenMalformed)?;
        members.retain(|(name, _)| profile.reads(name));
        Ok(Self(members))
    }

    /// The claim of this name, or the absence of it.
    pub(crate) fn find(&self, claim: &str) -> Value<'a> {
        named(&self.0, claim)
    }

    /// The claim of this name, if it is a text.
    pub(crate) fn text(&self, claim: &str) -> Option<Cow<'a, str>> {
        self.find(claim).text().is()
    }

    /// What stands at the end of these nested names: the texts of a list, or the member names of an object.
    pub(crate) fn names_at(&self, place: &[Box<str>]) -> Vec<Cow<'a, str>> {
        let Some((outer, inner)) = place.split_first() else { return Vec::new() };
        let end = inner.iter().fold(self.find(outer), |value, name| {
            value.entries().map(|members| named(&members, name)).unwrap_or_default()
        });
        if let Some(members) = end.entries() {
            return members.into_iter().map(|(name, _)| name).collect();
        }
        let mut texts = Vec::new();
        let list = end.each(|item| texts.extend(item.text().is()));
        if list == Claim::Is(()) { texts } else { Vec::new() }
    }
}

fn named<'a>(members: &[(Cow<'a, str>, Value<'a>)], name: &str) -> Value<'a> {
    members.iter().find_map(|(found, value)| (*found == *name).then_some(*value)).unwrap_or_default()
}
