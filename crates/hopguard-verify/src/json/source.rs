//! Reads a text value by value.

use std::borrow::Cow;

use super::others::{Others, has_twins};
use super::value::{Found, Kind, Value};
use super::words::{plain, quote};
use super::{DEPTH, MEMBERS, Malformed};

/// Tells at which place the value of a member is kept, if its name is known.
pub(super) type Place = fn(&[u8]) -> Option<usize>;

/// A text and how far it is read.
///
/// None of this is generic, so that there is one copy of it, and that copy is warm.
pub(crate) struct Source<'de> {
    pub(super) text: &'de str,
    at: usize,
    /// Where the value stands that was read last. What is returned beside it fits a register.
    last: (usize, usize),
    /// Levels of nesting that are left.
    depth: u8,
    /// There is no backslash and no control character in all of the text.
    pub(super) is_plain: bool,
}

impl<'de> Source<'de> {
    /// A text from its start.
    pub(super) fn of(text: &'de [u8]) -> Result<Self, Malformed> {
        let text = std::str::from_utf8(text).map_err(|_| Malformed)?;
        // Most texts have neither: then a quote ends a string, and nothing else needs a look.
        let is_plain = !text.bytes().fold(false, |special, byte| special | (byte < b' ' || byte == b'\\'));
        Ok(Self::again(text, is_plain))
    }

    /// A text that is known to be plain, or not.
    pub(super) fn again(text: &'de str, is_plain: bool) -> Self {
        Self { text, at: 0, last: (0, 0), depth: DEPTH, is_plain }
    }

    /// The same from another place on.
    pub(super) fn at(self, at: usize) -> Self {
        Self { at, ..self }
    }

    /// Reads one value to its end.
    fn value(&mut self) -> Result<Kind, Malformed> {
        let first = self.after_space();
        let from = self.at;
        let kind = match first {
            Some(b'"') => return self.string(),
            Some(b'{') => {
                self.members(|_| None, &mut [])?;
                Kind::Object
            }
            Some(b'[') => {
                self.items(&mut |_| {})?;
                Kind::List
            }
            Some(b'-' | b'0'..=b'9') => self.number()?,
            _ => {
                self.literal()?;
                Kind::Other
            }
        };
        self.last = (from, self.at);
        Ok(kind)
    }

    /// What was read last, which is of this kind.
    fn found(&self, kind: Kind) -> Found {
        Found::new(kind, self.last)
    }

    /// The same, for whoever looks into it.
    fn show(&self, kind: Kind) -> Value<'de> {
        Value::new(self.found(kind), self.text, self.is_plain)
    }

    /// Reads an array, whose bracket is next, to its end, and shows each of its items.
    pub(super) fn items(&mut self, each: &mut dyn FnMut(Value<'de>)) -> Result<(), Malformed> {
        self.enter(b'[')?;
        let mut is_done = self.leaves(b']');
        while !is_done {
            let item = self.value()?;
            each(self.show(item));
            is_done = self.leaves(b']');
            if !is_done {
                self.must_take(b',')?;
            }
        }
        Ok(())
    }

    /// Reads an object, whose brace is next, to its end. Where the values of known members stand is kept at their
    /// places; the others are skipped strictly. Returns how many were skipped.
    pub(super) fn members(&mut self, place: Place, known: &mut [Found]) -> Result<usize, Malformed> {
        self.enter(b'{')?;
        let mut others = Others::default();
        let mut is_done = self.leaves(b'}');
        // All are counted, in whatever order they stand, as `entries` does: what one reader takes, the other takes.
        let mut count = 0;
        while !is_done {
            count += 1;
            if let Some((name, value)) = self.plain_member() {
                if !self.keep(value, place(name), known)? {
                    others.add(name);
                }
            } else if self.name()? == Kind::Text {
                let name = self.last_bytes();
                if !self.member(place(name), known)? {
                    others.add(name);
                }
            } else {
                self.spelled_member(place, known, &mut others)?;
            }
            is_done = self.ends_member(count)?;
        }
        if others.has_twins() { Err(Malformed) } else { Ok(others.count()) }
    }

    /// Reads a member as most are: without white space, and with a string or a short integer as its value.
    /// `None` has read nothing, and says nothing of what stands there.
    fn plain_member(&mut self) -> Option<(&'de [u8], Kind)> {
        if !self.is_plain {
            return None;
        }
        let text = self.text.as_bytes();
        let rest = text.get(self.at..)?.strip_prefix(b"\"")?;
        let (name, rest) = rest.split_at_checked(quote(rest))?;
        let value = rest.strip_prefix(b"\":")?;
        let from = text.len() - value.len();
        match value.split_first()? {
            (b'"', value) => {
                let length = quote(value);
                if length == value.len() {
                    return None;
                }
                self.last = (from + 1, from + 1 + length);
                self.at = from + length + 2;
                Some((name, Kind::Text))
            }
            (b'1'..=b'9', _) => {
                let length = value.iter().take(20).position(|byte| !byte.is_ascii_digit())?;
                // Neither a fraction nor an exponent.
                if !matches!(value.get(length), Some(b',' | b'}')) {
                    return None;
                }
                self.at = from + length;
                self.last = (from, self.at);
                Some((name, Kind::Integer))
            }
            _ => None,
        }
    }

    /// Reads the value of a member; false if the member is not known.
    fn member(&mut self, place: Option<usize>, known: &mut [Found]) -> Result<bool, Malformed> {
        let value = self.value()?;
        self.keep(value, place, known)
    }

    /// Keeps where the value stands that was read last.
    fn keep(&self, value: Kind, place: Option<usize>, known: &mut [Found]) -> Result<bool, Malformed> {
        match place.and_then(|at| known.get_mut(at)) {
            Some(found) if !found.is_absent() => Err(Malformed),
            Some(found) => {
                *found = self.found(value);
                Ok(true)
            }
            None => Ok(false),
        }
    }

    /// The same for a name with escapes, which is compared as what it spells.
    #[cold]
    fn spelled_member(
        &mut self,
        place: Place,
        known: &mut [Found],
        others: &mut Others<'de>,
    ) -> Result<(), Malformed> {
        let name = self.spelled(self.last.0)?.into_bytes();
        if !self.member(place(&name), known)? {
            others.add_spelled(name);
        }
        Ok(())
    }

    /// Reads an object, whose brace is next, to its end, and keeps every member: for names that are not known when
    /// this is compiled.
    pub(super) fn entries(&mut self) -> Result<Vec<(Cow<'de, str>, Value<'de>)>, Malformed> {
        self.enter(b'{')?;
        let mut all = Vec::new();
        let mut is_done = self.leaves(b'}');
        while !is_done {
            let name = self.name()?;
            let name = self.show(name).spelled()?;
            let value = self.value()?;
            all.push((name, self.show(value)));
            is_done = self.ends_member(all.len())?;
        }
        let mut names: Vec<_> = all.iter().map(|(name, _)| name.as_bytes()).collect();
        if has_twins(&mut names) { Err(Malformed) } else { Ok(all) }
    }

    /// Reads what stands behind the `count`th member of an object: its end, or that another follows.
    fn ends_member(&mut self, count: usize) -> Result<bool, Malformed> {
        let is_done = match self.after_space() {
            Some(b'}') => true,
            Some(b',') if count < MEMBERS => false,
            _ => return Err(Malformed),
        };
        self.at += 1;
        self.depth += u8::from(is_done);
        Ok(is_done)
    }

    /// Reads the name of a member and the colon behind it.
    fn name(&mut self) -> Result<Kind, Malformed> {
        if self.after_space() != Some(b'"') {
            return Err(Malformed);
        }
        let name = self.string()?;
        self.must_take(b':')?;
        Ok(name)
    }

    fn last_bytes(&self) -> &'de [u8] {
        self.text.as_bytes().get(self.last.0..self.last.1).unwrap_or_default()
    }

    fn enter(&mut self, opening: u8) -> Result<(), Malformed> {
        self.must_take(opening)?;
        self.depth = self.depth.checked_sub(1).ok_or(Malformed)?;
        Ok(())
    }

    fn leaves(&mut self, closing: u8) -> bool {
        let leaves = self.takes(closing);
        self.depth += u8::from(leaves);
        leaves
    }

    /// What was read since `start`.
    fn since(&self, start: usize) -> Result<&'de str, Malformed> {
        self.text.get(start..self.at).ok_or(Malformed)
    }

    fn rest(&self) -> &'de [u8] {
        self.text.as_bytes().get(self.at..).unwrap_or_default()
    }

    /// Skips white space and shows the next byte.
    pub(super) fn after_space(&mut self) -> Option<u8> {
        loop {
            match self.text.as_bytes().get(self.at) {
                Some(b' ' | b'\t' | b'\n' | b'\r') => self.at += 1,
                next => return next.copied(),
            }
        }
    }

    fn takes(&mut self, byte: u8) -> bool {
        let found = self.after_space() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn must_take(&mut self, byte: u8) -> Result<(), Malformed> {
        if self.takes(byte) { Ok(()) } else { Err(Malformed) }
    }

    fn literal(&mut self) -> Result<(), Malformed> {
        let found = ["true", "false", "null"].into_iter().find(|one| self.rest().starts_with(one.as_bytes()));
        self.at += found.ok_or(Malformed)?.len();
        Ok(())
    }

    /// Reads a number: an integer if it has neither sign nor fraction nor exponent.
    fn number(&mut self) -> Result<Kind, Malformed> {
        let start = self.at;
        let mut kind = if self.skips(b'-') { Kind::Other } else { Kind::Integer };
        let first = self.at;
        self.digits()?;
        let length = self.at - first;
        if length > 1 && self.text.as_bytes().get(first) == Some(&b'0') {
            return Err(Malformed);
        }
        if self.skips(b'.') {
            kind = Kind::Other;
            self.digits()?;
        }
        if self.skips(b'e') || self.skips(b'E') {
            kind = Kind::Other;
            if !self.skips(b'+') {
                self.skips(b'-');
            }
            self.digits()?;
        }
        // Beyond a double, readers disagree about what it is. 308 digits are never beyond.
        if kind == Kind::Integer && length <= 308 {
            return Ok(kind);
        }
        if self.since(start)?.parse::<f64>().is_ok_and(f64::is_finite) { Ok(kind) } else { Err(Malformed) }
    }

    fn digits(&mut self) -> Result<(), Malformed> {
        let start = self.at;
        while self.text.as_bytes().get(self.at).is_some_and(u8::is_ascii_digit) {
            self.at += 1;
        }
        if self.at > start { Ok(()) } else { Err(Malformed) }
    }

    fn skips(&mut self, byte: u8) -> bool {
        let found = self.text.as_bytes().get(self.at) == Some(&byte);
        self.at += usize::from(found);
        found
    }

    /// Reads a string, whose first quote is the next byte.
    fn string(&mut self) -> Result<Kind, Malformed> {
        if !self.is_plain {
            return self.string_with_care();
        }
        let from = self.at + 1;
        let to = from + quote(self.text.as_bytes().get(from..).ok_or(Malformed)?);
        if to >= self.text.len() {
            return Err(Malformed);
        }
        self.at = to + 1;
        self.last = (from, to);
        Ok(Kind::Text)
    }

    #[cold]
    fn string_with_care(&mut self) -> Result<Kind, Malformed> {
        let quoted = self.at;
        self.at += 1;
        let from = self.at;
        self.at += plain(self.rest());
        match self.text.as_bytes().get(self.at) {
            Some(b'"') => {
                self.last = (from, self.at);
                self.at += 1;
                Ok(Kind::Text)
            }
            Some(b'\\') => {
                self.escaped(from)?;
                self.last = (quoted, self.at);
                Ok(Kind::Escaped)
            }
            _ => Err(Malformed),
        }
    }

    /// What a string with escapes spells, which was read before, and whose first quote stands there.
    pub(super) fn spelled(&self, quoted: usize) -> Result<String, Malformed> {
        let from = quoted + 1;
        let mut again = Self::again(self.text, false).at(from);
        again.at += plain(again.rest());
        again.escaped(from)
    }

    /// Goes on with a string that began at `start` and has a backslash here.
    fn escaped(&mut self, start: usize) -> Result<String, Malformed> {
        let mut text = String::from(self.since(start)?);
        loop {
            match self.next()? {
                b'"' => return Ok(text),
                b'\\' => text.push(self.escape()?),
                _ => return Err(Malformed),
            }
            let start = self.at;
            self.at += plain(self.rest());
            text.push_str(self.since(start)?);
        }
    }

    fn escape(&mut self) -> Result<char, Malformed> {
        Ok(match self.next()? {
            quoted @ (b'"' | b'\\' | b'/') => char::from(quoted),
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                let high = self.hex()?;
                let mut pair = [high, 0];
                let is_pair = (0xd800..=0xdbff).contains(&high);
                if is_pair {
                    if self.next()? != b'\\' || self.next()? != b'u' {
                        return Err(Malformed);
                    }
                    pair = [high, self.hex()?];
                }
                let mut read = char::decode_utf16(pair.into_iter().take(1 + usize::from(is_pair)));
                match (read.next(), read.next()) {
                    (Some(Ok(one)), None) => one,
                    // A surrogate without its other half is no character.
                    _ => return Err(Malformed),
                }
            }
            _ => return Err(Malformed),
        })
    }

    fn hex(&mut self) -> Result<u16, Malformed> {
        (0..4).try_fold(0, |unit, _| {
            let digit = char::from(self.next()?).to_digit(16).ok_or(Malformed)?;
            Ok(unit << 4 | u16::try_from(digit).map_err(|_| Malformed)?)
        })
    }

    fn next(&mut self) -> Result<u8, Malformed> {
        let byte = self.text.as_bytes().get(self.at).ok_or(Malformed)?;
        self.at += 1;
        Ok(*byte)
    }
}
