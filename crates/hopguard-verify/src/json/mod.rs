//! A strict reader of JSON (RFC 8259): one document, one reading.
//!
//! It refuses what parsers disagree about: a member name that stands twice in one object, at any depth and also
//! when spelled with escapes; bytes after the document; invalid UTF-8; lone surrogates; numbers beyond a double;
//! nesting and objects beyond a bound. It reads a text once, to its end, and keeps where the values of the names stand
//! that it was asked for: no tree is built, no number is converted, and nothing unknown is kept. What is nested in a
//! value is read again by whoever looks into it, mostly after the signature was checked.
//!
//! It is a parser of its own, and a small one, because a general one changes what it reads by features that any
//! crate of the program can turn on: `serde_json`'s `arbitrary_precision` makes every number an object. A property
//! holds it against `serde_json`.

mod others;
mod source;
mod value;
mod words;

#[cfg(test)]
mod tests;

use std::borrow::Cow;

use self::source::Source;
pub(crate) use self::value::{Found, Object, Value};

/// How deep a document may nest, the outermost object included.
pub(crate) const DEPTH: u8 = 32;

/// How many members one object may have, known and unknown together; more is noise that would cost time to compare.
const MEMBERS: usize = 256;

/// The text is not what this reader takes. It says no more: the text may be a token's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

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

impl<T> Claim<T> {
    /// What is there, and right.
    pub(crate) fn is(self) -> Option<T> {
        match self {
            Self::Is(value) => Some(value),
            Self::Absent | Self::Wrong => None,
        }
    }
}

/// The member names that an object's reader knows; made by [`names!`].
pub(crate) trait Name: Copy {
    /// A place for the value of each.
    type Places: Default + AsRef<[Found]> + AsMut<[Found]> + std::fmt::Debug;

    /// The place of the name that `text` spells.
    fn place_of(text: &[u8]) -> Option<usize>;

    /// The place of this one.
    fn place(self) -> usize;
}

macro_rules! names {
    ($(#[$meta:meta])* $name:ident { $($variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug)]
        enum $name { $($variant),+ }

        impl $crate::json::Name for $name {
            type Places = [$crate::json::Found; [$(Self::$variant),+].len()];

            fn place_of(text: &[u8]) -> Option<usize> {
                match text {
                    $($text => Some(Self::$variant as usize),)+
                    _ => None,
                }
            }

            fn place(self) -> usize {
                self as usize
            }
        }
    };
}
pub(crate) use names;

/// Reads `text`, which must be exactly one object.
pub(crate) fn read<N: Name>(text: &[u8]) -> Result<Object<'_, N>, Malformed> {
    whole(text, Object::next)
}

/// Reads all members of `text`, which must be exactly one object.
pub(crate) fn entries(text: &[u8]) -> Result<Vec<(Cow<'_, str>, Value<'_>)>, Malformed> {
    whole(text, Source::entries)
}

fn whole<'a, T>(
    text: &'a [u8],
    read: impl FnOnce(&mut Source<'a>) -> Result<T, Malformed>,
) -> Result<T, Malformed> {
    let mut source = Source::of(text)?;
    let found = read(&mut source)?;
    if source.after_space().is_some() { Err(Malformed) } else { Ok(found) }
}
