//! A value as it stands in a text that was read: looked into only where somebody asks for it.

use std::borrow::Cow;

use super::source::Source;
use super::{Claim, Malformed, Name};

/// What a value is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Kind {
    /// There is none.
    #[default]
    Absent,
    /// A string without escapes, less its quotes.
    Text,
    /// A string with escapes, and with its quotes.
    Escaped,
    /// Digits and nothing else.
    Integer,
    Object,
    List,
    /// Any other number, or a literal.
    Other,
}

/// Where a value stands in its text, which was read to its end, and strictly.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Found {
    from: usize,
    to: usize,
    kind: Kind,
}

impl Found {
    pub(super) fn new(kind: Kind, (from, to): (usize, usize)) -> Self {
        Self { from, to, kind }
    }

    pub(super) fn is_absent(self) -> bool {
        self.kind == Kind::Absent
    }
}

/// One value, or that there is none.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Value<'a> {
    /// All of the text that it stands in.
    text: &'a str,
    found: Found,
    /// The text has no escapes.
    is_plain: bool,
}

impl<'a> Value<'a> {
    pub(super) fn new(found: Found, text: &'a str, is_plain: bool) -> Self {
        Self { text, found, is_plain }
    }

    pub(crate) fn is_absent(self) -> bool {
        self.found.is_absent()
    }

    /// As it is written: two values that are written alike are alike.
    pub(crate) fn raw(self) -> &'a str {
        let Found { from, to, kind } = self.found;
        // A string is written with its quotes: `"[]"` is no list.
        let quote = usize::from(kind == Kind::Text);
        self.text.get(from.saturating_sub(quote)..to.saturating_add(quote)).unwrap_or_default()
    }

    /// A string.
    pub(crate) fn text(self) -> Claim<Cow<'a, str>> {
        match self.found.kind {
            Kind::Absent => Claim::Absent,
            _ => self.spelled().map_or(Claim::Wrong, Claim::Is),
        }
    }

    /// What a string spells.
    pub(super) fn spelled(self) -> Result<Cow<'a, str>, Malformed> {
        match self.found.kind {
            Kind::Text => self.cut().map(Cow::Borrowed),
            Kind::Escaped => self.source().spelled(self.found.from).map(Cow::Owned),
            _ => Err(Malformed),
        }
    }

    /// An integer that is not negative, written without fraction or exponent.
    pub(crate) fn integer(self) -> Claim<u64> {
        match self.found.kind {
            Kind::Absent => Claim::Absent,
            Kind::Integer => {
                self.cut().ok().and_then(|digits| digits.parse().ok()).map_or(Claim::Wrong, Claim::Is)
            }
            _ => Claim::Wrong,
        }
    }

    /// One string, or a list of strings.
    pub(crate) fn texts(self) -> Claim<Vec<Cow<'a, str>>> {
        match self.text() {
            Claim::Is(text) => Claim::Is(vec![text]),
            Claim::Absent => Claim::Absent,
            Claim::Wrong => self.list(Value::text),
        }
    }

    /// What `read` makes of each item of an array; one that is wrong makes all of it wrong.
    pub(crate) fn list<T>(self, read: impl Fn(Self) -> Claim<T>) -> Claim<Vec<T>> {
        let (mut all, mut right) = (Vec::new(), true);
        let was_list = self.each(|item| match read(item) {
            Claim::Is(item) => all.push(item),
            Claim::Absent | Claim::Wrong => right = false,
        });
        match was_list {
            Claim::Is(()) if right => Claim::Is(all),
            Claim::Absent => Claim::Absent,
            Claim::Is(()) | Claim::Wrong => Claim::Wrong,
        }
    }

    /// Shows each item of an array.
    pub(crate) fn each(self, mut show: impl FnMut(Self)) -> Claim<()> {
        match self.found.kind {
            Kind::Absent => Claim::Absent,
            Kind::List => self.source().items(&mut show).map_or(Claim::Wrong, Claim::Is),
            _ => Claim::Wrong,
        }
    }

    /// An object, with the members that `N` names.
    pub(crate) fn object<N: Name>(self) -> Claim<Object<'a, N>> {
        match self.found.kind {
            Kind::Absent => Claim::Absent,
            Kind::Object => Object::next(&mut self.source()).map_or(Claim::Wrong, Claim::Is),
            _ => Claim::Wrong,
        }
    }

    /// All members, if it is an object.
    pub(crate) fn entries(self) -> Option<Vec<(Cow<'a, str>, Self)>> {
        (self.found.kind == Kind::Object).then(|| self.source().entries().ok()).flatten()
    }

    fn cut(self) -> Result<&'a str, Malformed> {
        self.text.get(self.found.from..self.found.to).ok_or(Malformed)
    }

    /// To read it once more.
    fn source(self) -> Source<'a> {
        Source::again(self.text, self.is_plain).at(self.found.from)
    }
}

/// The members of an object that `N` names.
#[derive(Debug)]
pub(crate) struct Object<'a, N: Name> {
    text: &'a str,
    is_plain: bool,
    known: N::Places,
    /// How many others it has.
    pub(crate) others: usize,
}

impl<'a, N: Name> Object<'a, N> {
    /// The object that is next in a text.
    pub(super) fn next(source: &mut Source<'a>) -> Result<Self, Malformed> {
        let mut known = N::Places::default();
        let others = source.members(N::place_of, known.as_mut())?;
        Ok(Self { text: source.text, is_plain: source.is_plain, known, others })
    }

    /// The value of a member.
    pub(crate) fn of(&self, name: N) -> Value<'a> {
        let found = self.known.as_ref().get(name.place()).copied().unwrap_or_default();
        Value::new(found, self.text, self.is_plain)
    }
}
