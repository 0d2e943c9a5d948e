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

use std::borrow::Cow;

/// How deep a document may nest, the outermost object included.
pub(crate) const DEPTH: u8 = 32;

/// How many unknown members one object may have; more is noise that would cost time to compare.
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
    let text = std::str::from_utf8(text).map_err(|_| Malformed)?;
    // Most texts have neither: then a quote ends a string, and nothing else needs a look.
    let special = |byte: u8| u8::from(byte < b' ') | u8::from(byte == b'\\');
    let is_plain = text.bytes().fold(0, |found, byte| found | special(byte)) == 0;
    let mut source = Source { text, at: 0, depth: DEPTH, is_plain };
    if source.after_space() != Some(b'{') {
        return Err(Malformed);
    }
    source.value(into)?;
    if source.after_space().is_some() { Err(Malformed) } else { Ok(()) }
}

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
        let mut seen = 0;
        let mut others = Others::default();
        loop {
            if self.after_space() != Some(b'"') {
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
                None if others.count() == MEMBERS => return Err(Malformed),
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
    fn after_space(&mut self) -> Option<u8> {
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

/// The names of an object's unknown members. The first few take no memory of their own.
#[derive(Default)]
struct Others<'de> {
    few: [&'de str; 8],
    count: usize,
    more: Vec<Cow<'de, str>>,
}

impl<'de> Others<'de> {
    fn count(&self) -> usize {
        self.count + self.more.len()
    }

    fn add(&mut self, name: Cow<'de, str>) {
        match (self.few.get_mut(self.count), name) {
            (Some(place), Cow::Borrowed(name)) => {
                *place = name;
                self.count += 1;
            }
            (_, name) => self.more.push(name),
        }
    }

    /// True if two of the names are one.
    fn has_twins(mut self) -> bool {
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
fn has_twins(names: &mut [Cow<'_, str>]) -> bool {
    if names.len() <= 12 {
        return names
            .iter()
            .enumerate()
            .any(|(at, name)| names.iter().skip(at + 1).any(|other| other == name));
    }
    names.sort_unstable();
    names.iter().zip(names.iter().skip(1)).any(|(one, next)| one == next)
}

const ONES: u64 = u64::from_ne_bytes([1; 8]);
const HIGH: u64 = ONES << 7;

/// A lane's high bit is set where the lane is below `bound`. A borrow can mark lanes wrongly only behind one that is
/// marked rightly, and the first is what counts.
const fn below(word: u64, bound: u8) -> u64 {
    word.wrapping_sub(ONES * bound as u64) & !word
}

/// The same where the lane is `byte`.
const fn is(word: u64, byte: u8) -> u64 {
    below(word ^ (ONES * byte as u64), 1)
}

/// How many bytes from the start need no care in a string: up to a quote, a backslash or a control character.
fn plain(bytes: &[u8]) -> usize {
    let marks = |word| is(word, b'"') | is(word, b'\\') | below(word, b' ');
    until(bytes, marks, |byte| matches!(byte, b'"' | b'\\' | 0..=0x1f))
}

/// How many bytes stand before the first quote.
fn quote(bytes: &[u8]) -> usize {
    until(bytes, |word| is(word, b'"'), |byte| byte == b'"')
}

/// How many bytes stand before the first that is looked for: eight at a time by `marks`, the last few by `found`.
#[inline]
fn until(bytes: &[u8], marks: impl Fn(u64) -> u64, found: impl Fn(u8) -> bool) -> usize {
    let mut at = 0;
    while let Some(chunk) = bytes.get(at..).and_then(<[u8]>::first_chunk) {
        let marked = marks(u64::from_le_bytes(*chunk)) & HIGH;
        if marked != 0 {
            return at + marked.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    let tail = bytes.get(at..).unwrap_or_default();
    at + tail.iter().position(|&byte| found(byte)).unwrap_or(tail.len())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    names!(Field { Number = "number", Text = "text", Inner = "inner" });

    #[derive(Debug, Default)]
    struct Target<'a> {
        number: Claim<u64>,
        text: Claim<Cow<'a, str>>,
    }

    impl<'de> Shape<'de> for Target<'de> {
        fn wrong(&mut self) {}

        fn object(&mut self, source: &mut Source<'de>) -> Result<(), Malformed> {
            source
                .members(|name, source| match name {
                    Field::Number => source.value(&mut self.number),
                    Field::Text => source.value(&mut self.text),
                    Field::Inner => source.value(&mut Skip),
                })
                .map(|_| ())
        }
    }

    #[track_caller]
    fn taken(text: &[u8], expected: bool) {
        let found = read(text, &mut Target::default());
        assert_eq!(found.is_ok(), expected, "{}", String::from_utf8_lossy(text));
    }

    #[test]
    fn a_name_that_stands_twice_is_refused_at_every_level() {
        taken(br#"{"number":1,"text":"a","other":{"number":1}}"#, true);
        taken(br#"{"number":1,"number":1}"#, false);
        taken(br#"{"number":1,"n\u0075mber":1}"#, false);
        taken(br#"{"n\u0075mber":1,"number":1}"#, false);
        taken(br#"{"x":1,"y":2,"x":3}"#, false);
        taken(br#"{"x":1,"y":2,"\u0078":3}"#, false);
        taken(br#"{"x":{"y":{"z":1,"z":1}}}"#, false);
        taken(br#"{"x":[0,{"z":1,"\u007a":1}]}"#, false);
        taken(br#"{"inner":{"a":1,"b":[{"a":1,"a":1}]}}"#, false);
        taken(br#"{"number":{"a":1,"a":1}}"#, false);
        taken(br#"{"":1,"":2}"#, false);
    }

    #[test]
    fn one_object_and_nothing_else() {
        taken(b" {} ", true);
        taken(b"{}{}", false);
        taken(b"{} x", false);
        taken(b"{}\0", false);
        taken(b"", false);
        taken(b"[]", false);
        taken(b"null", false);
        taken(b"\"{}\"", false);
        taken(b"\xef\xbb\xbf{}", false);
        taken(b"{\"a\":1,}", false);
        taken(b"{'a':1}", false);
        taken(b"{\"a\":01}", false);
        taken(b"{\"a\":NaN}", false);
        taken(b"{\"a\":1e999}", false);
        taken(b"{\"a\":1/**/}", false);
    }

    #[test]
    fn text_is_valid_unicode() {
        taken(b"{\"x\":\"\xff\"}", false);
        taken(b"{\"\xc3\x28\":1}", false);
        taken(br#"{"x":"\ud800"}"#, false);
        taken(b"{\"x\":\"a\nb\"}", false);
        taken(br#"{"x":"\ud83d\ude00"}"#, true);
    }

    #[test]
    fn nesting_and_members_are_bounded() {
        let nested = |levels: usize| {
            format!("{{\"x\":{}{}}}", "[".repeat(levels - 1), "]".repeat(levels - 1)).into_bytes()
        };
        taken(&nested(usize::from(DEPTH)), true);
        taken(&nested(usize::from(DEPTH) + 1), false);
        taken(&nested(10_000), false);
        taken("{\"x\":".repeat(10_000).as_bytes(), false);
        let wide = |count: usize| {
            let members: Vec<_> = (0..count).map(|n| format!("\"m{n}\":0")).collect();
            format!("{{{}}}", members.join(",")).into_bytes()
        };
        taken(&wide(MEMBERS), true);
        taken(&wide(MEMBERS + 1), false);
    }

    #[test]
    fn a_string_ends_where_it_ends() {
        for length in 0..40 {
            for ending in ["\"", "\\", "\u{1f}", "\n", "\0"] {
                let text = format!("{}{ending}{}", "ä~\u{7f}a ".repeat(length), "\" \\ \n".repeat(3));
                let expected = text.find(ending).unwrap();
                assert_eq!(plain(text.as_bytes()), expected, "{text:?}");
                assert_eq!(quote(text.as_bytes()), text.find('"').unwrap(), "{text:?}");
            }
        }
        assert_eq!(plain(&[0xff; 20]), 20);
        taken(b"{\"a", false);
        taken(b"{\"a\\\"}", false);
        taken(br#"{"\"\\\/\b\f\n\r\t\u00e4":"\u0000"}"#, true);
        taken(br#"{"a":"\x"}"#, false);
        taken(br#"{"a":"\u00g0"}"#, false);
        taken(br#"{"a":"\udc00\ud800"}"#, false);
        taken(br#"{"a":"\ud800\u0041"}"#, false);
        taken(br#"{"a":"\ud800\ud800"}"#, false);
    }

    /// Another parser's opinion: whether any object of the text names a member twice.
    struct Twice(bool);

    impl<'de> serde::Deserialize<'de> for Twice {
        fn deserialize<D: serde::Deserializer<'de>>(source: D) -> Result<Self, D::Error> {
            source.deserialize_any(Opinion)
        }
    }

    struct Opinion;

    impl<'de> serde::de::Visitor<'de> for Opinion {
        type Value = Twice;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("anything")
        }

        fn visit_bool<E>(self, _: bool) -> Result<Twice, E> {
            Ok(Twice(false))
        }

        fn visit_i64<E>(self, _: i64) -> Result<Twice, E> {
            Ok(Twice(false))
        }

        fn visit_u64<E>(self, _: u64) -> Result<Twice, E> {
            Ok(Twice(false))
        }

        fn visit_f64<E>(self, _: f64) -> Result<Twice, E> {
            Ok(Twice(false))
        }

        fn visit_unit<E>(self) -> Result<Twice, E> {
            Ok(Twice(false))
        }

        fn visit_str<E>(self, _: &str) -> Result<Twice, E> {
            Ok(Twice(false))
        }

        fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut items: A) -> Result<Twice, A::Error> {
            let mut twice = false;
            while let Some(Twice(inner)) = items.next_element()? {
                twice |= inner;
            }
            Ok(Twice(twice))
        }

        fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Twice, A::Error> {
            let (mut names, mut twice) = (std::collections::HashSet::new(), false);
            while let Some((name, Twice(inner))) = map.next_entry::<String, _>()? {
                twice |= inner | !names.insert(name);
            }
            Ok(Twice(twice))
        }
    }

    #[track_caller]
    fn agrees(text: &str) {
        let mut target = Target::default();
        let ours = read(text.as_bytes(), &mut target).is_ok();
        let theirs = serde_json::from_str::<Twice>(text);
        let is_object = text.trim_ascii_start().starts_with('{');
        assert_eq!(ours, is_object && theirs.is_ok_and(|theirs| !theirs.0), "{text:?}");
        if ours {
            let theirs: serde_json::Value = serde_json::from_str(text).unwrap();
            assert_eq!(target.text == Claim::Absent, theirs.get("text").is_none(), "{text:?}");
            if let Claim::Is(found) = &target.text {
                assert_eq!(theirs["text"].as_str(), Some(&**found), "{text:?}");
            }
            let number = match target.number {
                Claim::Is(number) => Some(number),
                Claim::Absent | Claim::Wrong => None,
            };
            assert_eq!(theirs.get("number").and_then(serde_json::Value::as_u64), number, "{text:?}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(3000))]

        /// Takes exactly what `serde_json` takes, less names that stand twice, and reads the same values.
        #[test]
        fn it_agrees_with_another_parser(
            noise in "[ \\[\\]{}:,\"0-9eE.+\\-a-d\\\\untrflsä\n]{0,24}",
            name in "[a-c]|text|number|\\\\u006eumber|t\\\\u0065xt|[^\"]{0,6}",
            other in "[a-c]|text|number",
            inner in "[a-zä\\\\\"\u{1f600}/]{0,10}|(\\\\u[0-9a-fd]{4}){0,3}|[^\"]{0,10}",
            number in "-?[0-9]{1,3}(\\.[0-9]{0,3})?([eE][+-]?[0-9]{0,3})?|[0-9]{15,25}",
            space in "[ \t\n\r]{0,2}",
        ) {
            agrees(&noise);
            agrees(&format!("{{{noise}}}"));
            agrees(&format!("{{\"number\":{number}}}"));
            agrees(&format!("{{{space}\"text\"{space}:\"{inner}\"{space}}}{space}"));
            agrees(&format!("{{\"{name}\":[\"{inner}\",{number},[],{{}}]{space},\"{other}\":{space}\"{inner}\"}}"));
            agrees(&format!("{{\"x\":{{\"{name}\":{number},\"{other}\":[true,false,null]}}}}"));
        }
    }

    #[test]
    fn kinds_are_not_converted() {
        let number = |text: &str| {
            let mut target = Target::default();
            read(text.as_bytes(), &mut target).unwrap();
            target.number
        };
        assert_eq!(number(r#"{"number":7}"#), Claim::Is(7));
        assert_eq!(number("{}"), Claim::Absent);
        for wrong in ["-1", "-0", "7.0", "7e0", "\"7\"", "null", "true", "[7]", "{}", "18446744073709551616"]
        {
            assert_eq!(number(&format!("{{\"number\":{wrong}}}")), Claim::Wrong, "{wrong}");
        }
        let mut target = Target::default();
        read(br#"{"t\u0065xt":"\u0061b"}"#, &mut target).unwrap();
        assert_eq!(target.text, Claim::Is("ab".into()));
    }
}
