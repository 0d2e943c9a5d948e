//! Reads a text value by value.

use std::borrow::Cow;

use super::others::{Others, has_twins};
use super::words::{plain, quote};
use super::{DEPTH, MEMBERS, Malformed, Name, Shape, Skip};

/// A text and how far it is read.
pub(crate) struct Source<'de> {
    text: &'de str,
    at: usize,
    /// Levels of nesting that are left.
    depth: u8,
    /// There is no backslash and no control character in all of the text.
    is_plain: bool,
}

impl<'de> Source<'de> {
    /// A text from its start.
    pub(super) fn of(text: &'de [u8]) -> Result<Self, Malformed> {
        let text = std::str::from_utf8(text).map_err(|_| Malformed)?;
        // Most texts have neither: then a quote ends a string, and nothing else needs a look.
        let special = |byte: u8| u8::from(byte < b' ') | u8::from(byte == b'\\');
        let is_plain = text.bytes().fold(0, |found, byte| found | special(byte)) == 0;
        Ok(Self { text, at: 0, depth: DEPTH, is_plain })
    }

    /// Reads one value into a shape.
    pub(crate) fn value<S: Shape<'de>>(&mut self, into: &mut S) -> Result<(), Malformed> {
        match self.after_space().ok_or(Malformed)? {
            b'"' => into.text(self.string()?),
            b'{' => return self.nested(|source| into.object(source)),
            b'[' => return self.nested(|source| into.list(source)),
            b'-' | b'0'..=b'9' => match self.number()? {
                Some(integer) => into.integer(integer),
                None => into.wrong(),
            },
            _ => {
                self.literal()?;
                into.wrong();
            }
        }
        Ok(())
    }

    /// Reads the items of an array, whose bracket was read, to its end. `read` must consume one value.
    pub(crate) fn items(
        &mut self,
        mut read: impl FnMut(&mut Self) -> Result<(), Malformed>,
    ) -> Result<(), Malformed> {
        if self.takes(b']') {
            return Ok(());
        }
        loop {
            read(self)?;
            if self.takes(b']') {
                return Ok(());
            }
            self.must_take(b',')?;
        }
    }

    /// Reads the members of an object, whose brace was read, to its end. Each known one is handed to `read`, which
    /// must consume its value; the others are skipped strictly. Returns how many were skipped.
    pub(crate) fn members<N: Name>(
        &mut self,
        mut read: impl FnMut(N, &mut Self) -> Result<(), Malformed>,
    ) -> Result<usize, Malformed> {
        if self.takes(b'}') {
            return Ok(0);
        }
        let mut seen = 0_u32;
        let mut others = Others::default();
        loop {
            // All are counted, in whatever order they stand, as `entries` does: what one reader takes, the other takes.
            let count = others.count() + seen.count_ones() as usize;
            if self.after_space() != Some(b'"') || count == MEMBERS {
                return Err(Malformed);
            }
            // A name with escapes is compared as what it spells.
            let name = self.string()?;
            self.must_take(b':')?;
            match N::of(&name) {
                Some(name) if seen & name.bit() != 0 => return Err(Malformed),
                Some(name) => {
                    seen |= name.bit();
                    read(name, self)?;
                }
                None => {
                    others.add(name);
                    self.value(&mut Skip)?;
                }
            }
            if self.takes(b'}') {
                let count = others.count();
                return if others.has_twins() { Err(Malformed) } else { Ok(count) };
            }
            self.must_take(b',')?;
        }
    }

    /// Reads the members of an object, whose brace was read, to its end, and hands every one to `read`, which must
    /// consume its value: for names that are not known when this is compiled.
    pub(crate) fn entries(
        &mut self,
        mut read: impl FnMut(Cow<'de, str>, &mut Self) -> Result<(), Malformed>,
    ) -> Result<(), Malformed> {
        if self.takes(b'}') {
            return Ok(());
        }
        let mut names: Vec<Cow<'de, str>> = Vec::new();
        loop {
            if self.after_space() != Some(b'"') || names.len() == MEMBERS {
                return Err(Malformed);
            }
            let name = self.string()?;
            self.must_take(b':')?;
            names.push(name.clone());
            read(name, self)?;
            if self.takes(b'}') {
                return if has_twins(&mut names) { Err(Malformed) } else { Ok(()) };
            }
            self.must_take(b',')?;
        }
    }

    fn nested(&mut self, read: impl FnOnce(&mut Self) -> Result<(), Malformed>) -> Result<(), Malformed> {
        self.at += 1;
        self.depth = self.depth.checked_sub(1).ok_or(Malformed)?;
        read(self)?;
        self.depth += 1;
        Ok(())
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

    /// Reads a number; `None` unless it is an integer that fits a `u64`.
    fn number(&mut self) -> Result<Option<u64>, Malformed> {
        let start = self.at;
        let negative = self.skips(b'-');
        let first = self.at;
        let mut value = 0_u64;
        while let Some(digit @ b'0'..=b'9') = self.text.as_bytes().get(self.at) {
            value = value.wrapping_mul(10).wrapping_add(u64::from(digit - b'0'));
            self.at += 1;
        }
        let length = self.at - first;
        // Nineteen digits always fit; what is longer is read once more.
        let value = match length {
            0..=19 => Some(value),
            _ => self.text.get(first..self.at).and_then(|digits| digits.parse().ok()),
        };
        if length == 0 || (length > 1 && self.text.as_bytes().get(first) == Some(&b'0')) {
            return Err(Malformed);
        }
        let mut integer = !negative;
        if self.skips(b'.') {
            integer = false;
            self.digits()?;
        }
        if self.skips(b'e') || self.skips(b'E') {
            integer = false;
            if !self.skips(b'+') {
                self.skips(b'-');
            }
            self.digits()?;
        }
        if integer && value.is_some() {
            return Ok(value);
        }
        // Beyond a double, readers disagree about what it is.
        let text = self.text.get(start..self.at).ok_or(Malformed)?;
        if text.parse::<f64>().is_ok_and(f64::is_finite) { Ok(None) } else { Err(Malformed) }
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
    fn string(&mut self) -> Result<Cow<'de, str>, Malformed> {
        self.at += 1;
        let start = self.at;
        self.at += if self.is_plain { quote(self.rest()) } else { plain(self.rest()) };
        match self.text.as_bytes().get(self.at) {
            Some(b'"') => {
                let text = self.text.get(start..self.at).ok_or(Malformed)?;
                self.at += 1;
                Ok(Cow::Borrowed(text))
            }
            Some(b'\\') => self.escaped(start).map(Cow::Owned),
            _ => Err(Malformed),
        }
    }

    /// Goes on with a string that began at `start` and has a backslash here.
    fn escaped(&mut self, start: usize) -> Result<String, Malformed> {
        let mut text = String::from(self.text.get(start..self.at).ok_or(Malformed)?);
        loop {
            match self.next()? {
                b'"' => return Ok(text),
                b'\\' => text.push(self.escape()?),
                _ => return Err(Malformed),
            }
            let start = self.at;
            self.at += plain(self.rest());
            text.push_str(self.text.get(start..self.at).ok_or(Malformed)?);
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
