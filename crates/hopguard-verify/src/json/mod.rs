//! A strict reader of JSON (RFC 8259): one document, one reading.
//!
//! It refuses what parsers disagree about: a member name that stands twice in one object, at any depth and also
//! when spelled with escapes; bytes after the document; invalid UTF-8; lone surrogates; numbers beyond a double;
//! nesting and objects beyond a bound. What it reads goes straight into the target: no tree is built, no number
//! is converted, and nothing unknown is kept.
//!
//! It is a parser of its own, and a small one, because a general one changes what it reads by features that any
//! crate of the program can turn on: `serde_json`'s `arbitrary_precision` makes every number an object. A property
//! holds it against `serde_json`.

mod others;
mod source;
mod words;

#[cfg(test)]
mod tests;

use std::borrow::Cow;

pub(crate) use self::source::Source;

/// How deep a document may nest, the outermost object included.
pub(crate) const DEPTH: u8 = 32;

/// How many members one object may have, known and unknown together; more is noise that would cost time to compare.
const MEMBERS: usize = 256;

/// The text is not what this reader takes. It says no more: the text may be a token's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

/// What a value may be. Whatever is not overridden is consumed, still strictly, and noted as wrong.
pub(crate) trait Shape<'de> {
    /// The value is of a kind that this target does not take.
    fn wrong(&mut self);

    /// A string.
    fn text(&mut self, _text: Cow<'de, str>) {
        self.wrong();
    }

    /// An integer that is not negative, written without fraction or exponent.
    fn integer(&mut self, _integer: u64) {
        self.wrong();
    }

    /// An array, to be consumed by [`Source::items`].
    fn list(&mut self, source: &mut Source<'de>) -> Result<(), Malformed> {
        self.wrong();
        source.items(|source| source.value(&mut Skip))
    }

    /// An object, to be consumed by [`Source::members`].
    fn object(&mut self, source: &mut Source<'de>) -> Result<(), Malformed> {
        self.wrong();
        source.members(|name: Nothing, _| match name {}).map(|_| ())
    }
}

/// Takes anything and keeps nothing.
pub(crate) struct Skip;

impl Shape<'_> for Skip {
    fn wrong(&mut self) {}
}

/// A value that may be absent or of the wrong kind; which of these matters is judged later.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Claim<T> {
    /// Not there.
    #[default]
    Absent,
    /// There, and not what it must be.
    Wrong,
    /// There.
    Is(T),
}

impl<'de> Shape<'de> for Claim<Cow<'de, str>> {
    fn wrong(&mut self) {
        *self = Self::Wrong;
    }

    fn text(&mut self, text: Cow<'de, str>) {
        *self = Self::Is(text);
    }
}

impl Shape<'_> for Claim<u64> {
    fn wrong(&mut self) {
        *self = Self::Wrong;
    }

    fn integer(&mut self, integer: u64) {
        *self = Self::Is(integer);
    }
}

/// One string, or a list of strings.
impl<'de> Shape<'de> for Claim<Vec<Cow<'de, str>>> {
    fn wrong(&mut self) {
        *self = Self::Wrong;
    }

    fn text(&mut self, text: Cow<'de, str>) {
        *self = Self::Is(vec![text]);
    }

    fn list(&mut self, source: &mut Source<'de>) -> Result<(), Malformed> {
        *self = list_of(source)?;
        Ok(())
    }
}

/// Reads every item of an array as a `T`; one wrong item makes the whole list wrong.
pub(crate) fn list_of<'de, T>(source: &mut Source<'de>) -> Result<Claim<Vec<T>>, Malformed>
where
    Claim<T>: Shape<'de>,
{
    let (mut all, mut right) = (Vec::new(), true);
    source.items(|source| {
        let mut item = Claim::Absent;
        source.value(&mut item)?;
        match item {
            Claim::Is(item) => all.push(item),
            Claim::Absent | Claim::Wrong => right = false,
        }
        Ok(())
    })?;
    Ok(if right { Claim::Is(all) } else { Claim::Wrong })
}

/// The member names that an object's reader knows; made by [`names!`].
pub(crate) trait Name: Copy {
    /// The name that `text` spells.
    fn of(text: &str) -> Option<Self>;

    /// A bit of its own.
    fn bit(self) -> u32;
}

macro_rules! names {
    ($(#[$meta:meta])* $name:ident { $($variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Copy)]
        enum $name { $($variant),+ }

        impl $crate::json::Name for $name {
            fn of(text: &str) -> Option<Self> {
                match text {
                    $($text => Some(Self::$variant),)+
                    _ => None,
                }
            }

            fn bit(self) -> u32 {
                1 << (self as u32)
            }
        }
    };
}
pub(crate) use names;

/// Knows no name at all.
#[derive(Clone, Copy)]
enum Nothing {}

impl Name for Nothing {
    fn of(_text: &str) -> Option<Self> {
        None
    }

    fn bit(self) -> u32 {
        match self {}
    }
}

/// Reads `text`, which must be exactly one object.
pub(crate) fn read<'de, S: Shape<'de>>(text: &'de [u8], into: &mut S) -> Result<(), Malformed> {
    let mut source = Source::of(text)?;
    if source.after_space() != Some(b'{') {
        return Err(Malformed);
    }
    source.value(into)?;
    if source.after_space().is_some() { Err(Malformed) } else { Ok(()) }
}
