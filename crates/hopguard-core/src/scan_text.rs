//! One text of a stream, looked through as it comes, with every text that is hidden in it.
//!
//! A text finds credentials as they stand. Where it holds escapes, or a run of base64 or hexadecimal digits
//! long enough to hide a credential, a text below it gets the decoded bytes at every alignment. All state is
//! bounded: a window of the longest live credential, per text.
//!
//! What is found depends on the bytes alone, never on where the chunks end: each decoder keeps its place, and
//! each text below begins at a place that the bytes determine.

use std::sync::RwLockReadGuard;

use crate::opaque::{self, Opaque};
use crate::scan::credential_at;
use crate::{Destination, Facts, Fingerprint, Ledger, UnixTime};

/// Bytes of signature behind the second dot that show a credential.
const ANCHOR: usize = 16;
/// A window and a block stay in the processor's nearer caches.
const BLOCK: usize = 8 * 1024;
/// No window is longer, whatever the ledger holds.
const LONGEST: usize = 64 * 1024;
/// A decoded copy is given up when no escape has come for so many windows.
const STALE: u64 = 10;

/// What is looked for, during one call.
pub(crate) struct Looking<'a> {
    ledger: &'a Ledger,
    destination: Option<&'a Destination>,
    own: Option<&'a Facts>,
    now: UnixTime,
    opaque: Option<RwLockReadGuard<'a, Opaque>>,
    least: usize,
    keep: usize,
}

impl<'a> Looking<'a> {
    /// `None` if there is nothing to look for.
    pub(crate) fn new(
        ledger: &'a Ledger,
        destination: Option<&'a Destination>,
        own: Option<&'a Facts>,
        now: UnixTime,
    ) -> Option<Self> {
        let (mut least, mut most) = ledger.shown();
        if let Some(own) = own {
            let shown = own.fingerprinted_len.saturating_add(1 + ANCHOR);
            (least, most) = (least.min(shown), most.max(shown));
        }
        // Four times, because what stands before the first escape may be encoded in a longer way.
        let keep = most.min(LONGEST).saturating_mul(4);
        (most > 0).then(|| Self { ledger, destination, own, now, opaque: ledger.opaque(), least, keep })
    }

    fn structured(&self, text: &[u8], dot: usize) -> Option<Fingerprint> {
        credential_at(self.ledger, self.own, self.destination, self.now, text, dot)
    }
}

/// A text; see the module docs.
pub(crate) struct Text {
    depth: u8,
    /// Bytes of the stream that one byte of this text stands for, at most.
    factor: u64,
    buffer: Vec<u8>,
    /// Where the buffer begins, counted from the beginning of this text.
    base: u64,
    /// Dots before this place were judged.
    dots: u64,
    /// Beginnings of opaque credentials before this place were nominated.
    nominated: u64,
    nominees: Vec<(u64, usize)>,
    percent: Escaped,
    json: Escaped,
    base64: Runs,
    hex: Runs,
}

impl Text {
    /// A text in which `depth` encodings inside each other are undone.
    pub(crate) fn new(depth: u8, factor: u64) -> Self {
        Self {
            depth,
            factor,
            buffer: Vec::new(),
            base: 0,
            dots: 0,
            nominated: 0,
            nominees: Vec::new(),
            percent: Escaped::new(b'%', 3),
            json: Escaped::new(b'\\', 6),
            base64: Runs::new(Code::Base64),
            hex: Runs::new(Code::Hex),
        }
    }

    /// Looks through the next bytes.
    pub(crate) fn feed(&mut self, looking: &Looking<'_>, bytes: &[u8]) -> Result<(), Fingerprint> {
        bytes.chunks(BLOCK).try_for_each(|block| self.block(looking, block))
    }

    fn block(&mut self, looking: &Looking<'_>, block: &[u8]) -> Result<(), Fingerprint> {
        let new = self.buffer.len();
        self.buffer.extend_from_slice(block);
        self.judge_dots(looking)?;
        self.judge_opaque(looking)?;
        if let Some(depth) = self.depth.checked_sub(1) {
            let at = At { text: &self.buffer, base: self.base, new, depth, factor: self.factor };
            self.percent.follow(looking, &at)?;
            self.json.follow(looking, &at)?;
            self.base64.follow(looking, &at)?;
            self.hex.follow(looking, &at)?;
        }
        let spare = self.buffer.len().saturating_sub(looking.keep);
        if spare > 2 * BLOCK {
            self.buffer.drain(..spare);
            self.base += spare as u64;
            self.dots = self.dots.max(self.base);
            self.nominated = self.nominated.max(self.base);
        }
        Ok(())
    }

    fn judge_dots(&mut self, looking: &Looking<'_>) -> Result<(), Fingerprint> {
        let (from, end) = (distance(self.base, self.dots), self.buffer.len().saturating_sub(ANCHOR));
        for offset in memchr::memchr_iter(b'.', self.buffer.get(from..end).unwrap_or_default()) {
            let dot = from + offset;
            let anchor = self.buffer.get(dot + 1..).and_then(|rest| rest.get(..ANCHOR)).unwrap_or_default();
            // Most dots end sentences.
            if anchor.iter().all(|&byte| is_base64url(byte))
                && let Some(found) = looking.structured(&self.buffer, dot)
            {
                return Err(found);
            }
        }
        self.dots = self.dots.max(self.base + end as u64);
        Ok(())
    }

    fn judge_opaque(&mut self, looking: &Looking<'_>) -> Result<(), Fingerprint> {
        let Some(index) = &looking.opaque else { return Ok(()) };
        let (from, end) = (self.nominated, self.base + self.buffer.len() as u64);
        let nominees = &mut self.nominees;
        let unseen = self.buffer.get(distance(self.base, from)..).unwrap_or_default();
        index.nominate(unseen, |start, length| nominees.push((from + start as u64, length)));
        self.nominated = from.max((end + 1).saturating_sub(opaque::ANCHOR as u64));
        let (buffer, base) = (&self.buffer, self.base);
        let mut found = None;
        nominees.retain(|&(start, length)| {
            let value = buffer.get(distance(base, start)..).and_then(|rest| rest.get(..length));
            if let Some(value) = value {
                let verdict = looking.ledger.foreign_opaque(index, value, looking.destination, looking.now);
                found = found.or(verdict);
            }
            value.is_none() && start >= base
        });
        found.map_or(Ok(()), Err)
    }

    /// How many of the last bytes of the stream may belong to the tail of a credential, the rest of which has
    /// matched.
    pub(crate) fn held(&self, looking: &Looking<'_>) -> u64 {
        let Some(index) = &looking.opaque else { return 0 };
        let own = self.nominees.iter().filter_map(|&(start, length)| {
            let head = opaque::head_length(length);
            let rest = self.buffer.get(distance(self.base, start)..)?;
            let tail = rest.len().checked_sub(head).filter(|tail| *tail > 0)?;
            // Digits of a code that is not complete yet count as a byte or two.
            index.knows_head(rest.get(..head)?).then(|| (tail as u64 + 2).saturating_mul(self.factor))
        });
        let below = [&self.percent, &self.json].into_iter().filter_map(|escaped| escaped.text.as_deref());
        let below = below.chain(self.base64.texts()).chain(self.hex.texts()).map(|text| text.held(looking));
        own.chain(below).max().unwrap_or(0)
    }
}

/// A block in its text, for what looks below.
struct At<'a> {
    text: &'a [u8],
    base: u64,
    /// Where the block begins in `text`.
    new: usize,
    depth: u8,
    factor: u64,
}

impl At<'_> {
    fn place(&self, index: usize) -> u64 {
        self.base + index as u64
    }
}

fn distance(from: u64, to: u64) -> usize {
    usize::try_from(to.saturating_sub(from)).unwrap_or(usize::MAX)
}

/// The text that is left when escapes are undone, while there are any.
struct Escaped {
    mark: u8,
    factor: u64,
    state: Escape,
    last: u64,
    text: Option<Box<Text>>,
}

/// Where in an escape the decoder is.
#[derive(Clone, Copy)]
enum Escape {
    Outside,
    Begun,
    Hex { digits: [u8; 4], length: u8 },
}

impl Escaped {
    fn new(mark: u8, factor: u64) -> Self {
        Self { mark, factor, state: Escape::Outside, last: 0, text: None }
    }

    fn follow(&mut self, looking: &Looking<'_>, at: &At<'_>) -> Result<(), Fingerprint> {
        let stale = STALE.saturating_mul(looking.keep as u64);
        let mut decoded = Vec::new();
        let mut from = at.new;
        while let Some(offset) = memchr::memchr(self.mark, at.text.get(from..).unwrap_or_default()) {
            let mark = from + offset;
            if at.place(mark).saturating_sub(self.last) > stale {
                self.text = None;
            }
            if self.text.is_some() {
                self.decode(at.text.get(from..mark).unwrap_or_default(), &mut decoded);
            } else {
                decoded.clear();
                self.state = Escape::Outside;
                let text =
                    self.text.insert(Box::new(Text::new(at.depth, at.factor.saturating_mul(self.factor))));
                let history = at.text.get(mark.saturating_sub(looking.keep)..mark).unwrap_or_default();
                text.feed(looking, history)?;
            }
            self.decode(&[self.mark], &mut decoded);
            self.last = at.place(mark);
            from = mark + 1;
        }
        if self.text.is_some() {
            self.decode(at.text.get(from..).unwrap_or_default(), &mut decoded);
        }
        if let Some(text) = &mut self.text {
            text.feed(looking, &decoded)?;
        }
        if at.place(at.text.len()).saturating_sub(self.last) > stale {
            self.text = None;
        }
        Ok(())
    }

    fn decode(&mut self, mut bytes: &[u8], out: &mut Vec<u8>) {
        while let Some((&byte, rest)) = bytes.split_first() {
            match self.state {
                Escape::Outside => {
                    let end = memchr::memchr(self.mark, bytes).unwrap_or(bytes.len());
                    let (plain, marked) = bytes.split_at_checked(end).unwrap_or((bytes, &[]));
                    out.extend_from_slice(plain);
                    bytes = marked.get(1..).unwrap_or_default();
                    if !marked.is_empty() {
                        self.state = self.begin();
                    }
                    continue;
                }
                Escape::Begun => {
                    self.state = Escape::Outside;
                    match byte {
                        b'u' => self.state = Escape::Hex { digits: [0; 4], length: 0 },
                        b'/' | b'"' | b'\\' => out.push(byte),
                        b'b' | b'f' | b'n' | b'r' | b't' => out.push(b' '),
                        _ => {
                            out.push(self.mark);
                            continue;
                        }
                    }
                }
                Escape::Hex { mut digits, length } => {
                    if !byte.is_ascii_hexdigit() {
                        self.give_up(&digits, length, out);
                        continue;
                    }
                    if let Some(digit) = digits.get_mut(usize::from(length)) {
                        *digit = byte;
                    }
                    let length = length + 1;
                    self.state = Escape::Hex { digits, length };
                    if length == self.wanted() {
                        let value = digits.iter().take(usize::from(length)).fold(0, |value, digit| {
                            value * 16 + char::from(*digit).to_digit(16).unwrap_or(0)
                        });
                        // What is no byte belongs to no credential.
                        out.push(u8::try_from(value).unwrap_or(0xFF));
                        self.state = Escape::Outside;
                    }
                }
            }
            bytes = rest;
        }
    }

    /// `%` is followed by two digits, a backslash by a letter.
    fn begin(&self) -> Escape {
        if self.mark == b'%' { Escape::Hex { digits: [0; 4], length: 0 } } else { Escape::Begun }
    }

    fn wanted(&self) -> u8 {
        if self.mark == b'%' { 2 } else { 4 }
    }

    /// It was no escape after all.
    fn give_up(&mut self, digits: &[u8], length: u8, out: &mut Vec<u8>) {
        out.push(self.mark);
        if self.mark == b'\\' {
            out.push(b'u');
        }
        out.extend(digits.iter().take(usize::from(length)));
        self.state = Escape::Outside;
    }
}

/// Which digits hide bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Code {
    /// Either alphabet (RFC 4648 sections 4 and 5).
    Base64,
    /// Either case (RFC 4648 section 8).
    Hex,
}

impl Code {
    fn is_digit(self, byte: u8) -> bool {
        match self {
            Self::Base64 => value64(byte) < 64,
            Self::Hex => byte.is_ascii_hexdigit(),
        }
    }

    /// The fewest digits that can hide so many bytes.
    fn digits(self, bytes: usize) -> usize {
        match self {
            Self::Base64 => bytes.saturating_add(bytes / 3),
            Self::Hex => bytes.saturating_mul(2),
        }
        .max(1)
    }
}

/// Runs of digits, and what they decode to at each alignment while they are long enough to matter.
struct Runs {
    code: Code,
    /// Where the run begins that the stream is in; digits between here and `seen` are known to be digits.
    start: u64,
    seen: u64,
    live: Vec<(Decoder, Text)>,
}

impl Runs {
    fn new(code: Code) -> Self {
        Self { code, start: 0, seen: 0, live: Vec::new() }
    }

    fn texts(&self) -> impl Iterator<Item = &Text> {
        self.live.iter().map(|(_, text)| text)
    }

    fn follow(&mut self, looking: &Looking<'_>, at: &At<'_>) -> Result<(), Fingerprint> {
        let (code, length) = (self.code, self.code.digits(looking.least));
        let mut fed = at.new;
        self.start = self.start.max(at.base);
        loop {
            let rest = at.text.get(fed..).unwrap_or_default();
            if !self.live.is_empty() {
                let end = rest.iter().position(|&byte| !code.is_digit(byte));
                let digits = rest.get(..end.unwrap_or(rest.len())).unwrap_or_default();
                for (decoder, text) in &mut self.live {
                    decoder.decode(digits, looking, text)?;
                }
                let Some(end) = end else { break };
                self.live.clear();
                self.start = at.place(fed + end + 1);
                self.seen = self.start;
            }
            // Looking back from where the run would be long enough passes over most of an ordinary text.
            let start = distance(at.base, self.start);
            let known = distance(at.base, self.seen.max(self.start));
            let goal = start.saturating_add(length);
            let looked = at.text.get(known..goal.min(at.text.len())).unwrap_or_default();
            match looked.iter().rposition(|&byte| !code.is_digit(byte)) {
                Some(other) => {
                    self.start = at.place(known + other + 1);
                    self.seen = at.place(known + looked.len());
                }
                None if goal <= at.text.len() => {
                    let factor = at.factor.saturating_mul(2);
                    let alignments = if code == Code::Base64 { 0..4 } else { 0..2 };
                    self.live = alignments
                        .map(|skip| (Decoder::new(code, skip), Text::new(at.depth, factor)))
                        .collect();
                    fed = start;
                    continue;
                }
                None => {
                    self.seen = at.place(at.text.len());
                    break;
                }
            }
            fed = at.text.len();
            if self.start >= at.place(at.text.len()) {
                break;
            }
        }
        Ok(())
    }
}

/// Decodes digits from one alignment on. A byte comes out as soon as its last digit is there.
struct Decoder {
    code: Code,
    skip: u8,
    bits: u32,
    held: u32,
}

impl Decoder {
    fn new(code: Code, skip: u8) -> Self {
        Self { code, skip, bits: 0, held: 0 }
    }

    fn decode(&mut self, digits: &[u8], looking: &Looking<'_>, text: &mut Text) -> Result<(), Fingerprint> {
        for part in digits.chunks(BLOCK) {
            let mut out = Vec::with_capacity(part.len());
            let skipped = part.len().min(usize::from(self.skip));
            self.skip -= u8::try_from(skipped).unwrap_or(self.skip);
            for &digit in part.iter().skip(skipped) {
                let (value, width) = match self.code {
                    Code::Base64 => (u32::from(value64(digit)), 6),
                    Code::Hex => (char::from(digit).to_digit(16).unwrap_or(0), 4),
                };
                self.bits = (self.bits << width) | value;
                self.held += width;
                if self.held >= 8 {
                    self.held -= 8;
                    out.push((self.bits >> self.held).to_le_bytes()[0]);
                    self.bits &= (1 << self.held) - 1;
                }
            }
            text.feed(looking, &out)?;
        }
        Ok(())
    }
}

const fn values64() -> [u8; 256] {
    let mut table = [0xFF; 256];
    let mut byte = 0_u8;
    loop {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            _ => 0xFF,
        };
        #[expect(clippy::indexing_slicing, reason = "a byte is always inside 256 places")]
        {
            table[byte as usize] = value;
        }
        if byte == 255 {
            return table;
        }
        byte += 1;
    }
}

static VALUES64: [u8; 256] = values64();

fn value64(byte: u8) -> u8 {
    VALUES64.get(usize::from(byte)).copied().unwrap_or(0xFF)
}

fn is_base64url(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_'
}
