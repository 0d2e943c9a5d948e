//! One text of a stream, looked through as it comes, with every text that is hidden in it.
//!
//! A text finds credentials as they stand. Where it holds escapes, or a run of base64 or hexadecimal digits
//! long enough to hide a credential, a text below it gets the decoded bytes at every alignment. All state is
//! bounded: a window of the longest live credential, per text.
//!
//! What is found depends on the bytes alone, never on where the chunks end: each decoder keeps its place, and
//! each text below begins at a place that the bytes determine.
//!
//! A text below begins only at an escape that could stand in a credential: the line breaks and quotes of an
//! ordinary document, and the random bytes of a picture, open none.

use std::cell::RefCell;
use std::sync::RwLockReadGuard;

#[cfg(test)]
use crate::costs::{self, Cost};
use crate::opaque::{self, Opaque};
use crate::scan::credential_at;
use crate::{Destination, Facts, Fingerprint, Ledger, UnixTime};

/// Bytes of signature behind the second dot that show a credential.
const ANCHOR: usize = 16;
/// A window and a block stay in the processor's nearer caches.
const BLOCK: usize = 8192;
/// What stands beyond a window is cut off once it is more than this.
const SPARE: usize = 16_384;
/// No window is longer, whatever the ledger holds.
const LONGEST: usize = 65_536;
/// Credentials that one call tells apart; more in one chunk are told as these are.
const MOST_FOUND: usize = 64;
/// A line break hides inside base64 or hexadecimal only behind a line of at least so many digits.
const LINE: usize = 8;

/// What is looked for, during one call.
pub(crate) struct Looking<'a> {
    ledger: &'a Ledger,
    destination: Option<&'a Destination>,
    own: Option<&'a Facts>,
    now: UnixTime,
    opaque: Option<RwLockReadGuard<'a, Opaque>>,
    /// So many bytes decoded may be as much of a credential as leaves before its tail is withheld.
    begin: usize,
    keep: usize,
    care: Care,
    found: RefCell<Vec<Fingerprint>>,
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
        let (opaque, found) = (ledger.opaque(), RefCell::default());
        let care = opaque
            .as_ref()
            .map_or(Care::Structured, |index| if index.is_odd() { Care::Anything } else { Care::Bearer });
        let begin = if opaque.is_some() { opaque::head_length(least) } else { least };
        (most > 0).then(|| Self { ledger, destination, own, now, opaque, begin, keep, care, found })
    }

    /// What was found, each credential once.
    pub(crate) fn into_found(self) -> Vec<Fingerprint> {
        self.found.into_inner()
    }

    fn report(&self, found: Fingerprint) {
        let mut all = self.found.borrow_mut();
        if !all.contains(&found) && all.len() < MOST_FOUND {
            all.push(found);
        }
    }

    fn structured(&self, text: &[u8], dot: usize) -> Option<Fingerprint> {
        credential_at(self.ledger, self.own, self.destination, self.now, text, dot)
    }
}

/// What the live credentials are made of.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Care {
    /// All of them are JWTs.
    Structured,
    /// Some are opaque.
    Bearer,
    /// Some are opaque and hold what no bearer token may.
    Anything,
}

impl Care {
    /// Can a credential, or a code that hides one, hold this byte?
    fn matters(self, byte: u8) -> bool {
        let hides = matches!(byte, b'.' | b'%' | b'\\') || value64(byte) < 64;
        hides || self == Self::Anything || self == Self::Bearer && opaque::is_ordinary(byte)
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
        #[cfg(test)]
        costs::count(Cost::Text, 1);
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
    pub(crate) fn feed(&mut self, looking: &Looking<'_>, bytes: &[u8]) {
        bytes.chunks(BLOCK).for_each(|block| self.block(looking, block));
    }

    fn block(&mut self, looking: &Looking<'_>, block: &[u8]) {
        let new = self.buffer.len();
        if self.buffer.capacity() == 0 && block.len() == BLOCK {
            // More is to come: room for a window, what may stand beyond it, and the block that makes it too much.
            self.buffer.reserve_exact(looking.keep.saturating_add(SPARE).saturating_add(BLOCK));
        }
        self.buffer.extend_from_slice(block);
        let (percent, json) = self.judge_marks(looking);
        self.judge_opaque(looking);
        if let Some(depth) = self.depth.checked_sub(1) {
            let at = At { text: &self.buffer, base: self.base, new, depth, factor: self.factor };
            if percent || self.percent.text.is_some() {
                self.percent.follow(looking, &at);
            }
            if json || self.json.text.is_some() {
                self.json.follow(looking, &at);
            }
            self.base64.follow(looking, &at);
            self.hex.follow(looking, &at);
        }
        let spare = self.buffer.len().saturating_sub(looking.keep);
        if spare > SPARE {
            self.buffer.drain(..spare);
            self.base += spare as u64;
            self.dots = self.dots.max(self.base);
            self.nominated = self.nominated.max(self.base);
        }
    }

    /// Judges each dot behind which enough stands, and says whether there are percent signs and backslashes.
    fn judge_marks(&mut self, looking: &Looking<'_>) -> (bool, bool) {
        let (mut percent, mut json) = (false, false);
        let (from, end) = (distance(self.base, self.dots), self.buffer.len().saturating_sub(ANCHOR));
        let text = self.buffer.get(from..).unwrap_or_default();
        for (offset, rest) in memchr::memchr3_iter(b'.', b'%', b'\\', text)
            .filter_map(|offset| Some((offset, text.get(offset..)?)))
        {
            match (rest.split_first(), rest.get(1..=ANCHOR)) {
                (Some((b'%', _)), _) => percent = true,
                (Some((b'\\', _)), _) => json = true,
                // Most dots end sentences.
                (_, Some(anchor)) if anchor.iter().all(|&byte| is_base64url(byte)) => {
                    if let Some(found) = looking.structured(&self.buffer, from + offset) {
                        looking.report(found);
                    }
                }
                _ => {}
            }
        }
        self.dots = self.dots.max(self.base + end as u64);
        (percent, json)
    }

    fn judge_opaque(&mut self, looking: &Looking<'_>) {
        let Some(index) = &looking.opaque else { return };
        let (from, end) = (self.nominated, self.base + self.buffer.len() as u64);
        let nominees = &mut self.nominees;
        let unseen = self.buffer.get(distance(self.base, from)..).unwrap_or_default();
        index.nominate(unseen, |start, length| nominees.push((from + start as u64, length)));
        self.nominated = from.max((end + 1).saturating_sub(opaque::ANCHOR as u64));
        let (buffer, base) = (&self.buffer, self.base);
        nominees.retain(|&(start, length)| {
            let value = buffer.get(distance(base, start)..).and_then(|rest| rest.get(..length));
            if let Some(value) = value {
                let verdict = looking.ledger.foreign_opaque(index, value, looking.destination, looking.now);
                verdict.into_iter().for_each(|found| looking.report(found));
            }
            value.is_none() && start >= base
        });
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
    /// Bytes before this place were followed; from there on some wait to be told apart.
    seen: u64,
    waiting: bool,
    last: u64,
    text: Option<Box<Text>>,
    decoded: Vec<u8>,
}

/// Where in an escape the decoder is.
#[derive(Clone, Copy)]
enum Escape {
    Outside,
    Begun,
    Hex { digits: [u8; 4], length: u8 },
}

/// What stands at a mark.
enum Mark {
    /// An escape that could stand in a credential.
    Matters,
    /// Another escape, or none at all.
    Idle,
    /// The text ends before it can be told.
    Open,
}

impl Escaped {
    fn new(mark: u8, factor: u64) -> Self {
        Self {
            mark,
            factor,
            state: Escape::Outside,
            seen: 0,
            waiting: false,
            last: 0,
            text: None,
            decoded: Vec::new(),
        }
    }

    fn follow(&mut self, looking: &Looking<'_>, at: &At<'_>) {
        // No credential spans so many bytes without an escape and then has one.
        let stale = looking.keep as u64;
        let mut decoded = std::mem::take(&mut self.decoded);
        // Where nothing waits to be told apart, all before this block is done with.
        let mut from = if self.waiting { distance(at.base, self.seen) } else { at.new };
        self.waiting = false;
        while let Some(offset) = memchr::memchr(self.mark, at.text.get(from..).unwrap_or_default()) {
            let mark = from + offset;
            if self.text.is_some() && at.place(mark).saturating_sub(self.last) > stale {
                // What stands behind the last escape may end a credential that it is part of.
                self.decode(at.text.get(from..mark).unwrap_or_default(), &mut decoded);
                self.close(looking, &mut decoded);
            }
            if self.text.is_some() {
                self.decode(at.text.get(from..=mark).unwrap_or_default(), &mut decoded);
                self.last = at.place(mark);
            } else {
                match what(self.mark, looking.care, at.text, mark) {
                    Mark::Idle => {}
                    Mark::Open => {
                        (self.seen, self.waiting) = (at.place(mark), true);
                        self.decoded = decoded;
                        return;
                    }
                    Mark::Matters => {
                        let factor = at.factor.saturating_mul(self.factor);
                        let mut text = Box::new(Text::new(at.depth, factor));
                        let begin = mark.saturating_sub(looking.keep);
                        text.feed(looking, at.text.get(begin..mark).unwrap_or_default());
                        self.text = Some(text);
                        self.state = Escape::Outside;
                        self.decode(&[self.mark], &mut decoded);
                        self.last = at.place(mark);
                    }
                }
            }
            from = mark + 1;
        }
        self.seen = at.place(at.text.len());
        if self.text.is_some() {
            self.decode(at.text.get(from..).unwrap_or_default(), &mut decoded);
            if self.seen.saturating_sub(self.last) > stale {
                self.close(looking, &mut decoded);
            }
        }
        if let Some(text) = &mut self.text {
            text.feed(looking, &decoded);
        }
        decoded.clear();
        self.decoded = decoded;
    }

    /// Judges what was decoded, and gives the decoded text up.
    fn close(&mut self, looking: &Looking<'_>, decoded: &mut Vec<u8>) {
        if let Some(mut text) = self.text.take() {
            text.feed(looking, decoded);
        }
        decoded.clear();
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
                        b'n' => out.push(b'\n'),
                        b'r' => out.push(b'\r'),
                        b't' => out.push(b'\t'),
                        b'b' => out.push(0x08),
                        b'f' => out.push(0x0c),
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
                    if length == wanted(self.mark) {
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

/// Could the escape at `mark`, which begins with the byte `sign`, stand in a credential, or in a code that hides
/// one?
fn what(sign: u8, care: Care, text: &[u8], mark: usize) -> Mark {
    let rest = text.get(mark + 1..).unwrap_or_default();
    let digits = if sign == b'%' {
        rest
    } else {
        match rest.first() {
            None => return Mark::Open,
            Some(b'u') => rest.get(1..).unwrap_or_default(),
            Some(b'/' | b'\\') => return Mark::Matters,
            Some(b'n' | b'r') => return broken_line(care, text, mark),
            // A quote, say: no part of a JWT, nor of a code that hides one.
            Some(b'"' | b'b' | b'f' | b't') if care == Care::Anything => return Mark::Matters,
            Some(_) => return Mark::Idle,
        }
    };
    let mut value = 0;
    for place in 0..wanted(sign) {
        let Some(&digit) = digits.get(usize::from(place)) else { return Mark::Open };
        let Some(digit) = char::from(digit).to_digit(16) else { return Mark::Idle };
        value = value * 16 + digit;
    }
    match u8::try_from(value) {
        Ok(b'\n' | b'\r') => broken_line(care, text, mark),
        Ok(byte) if care.matters(byte) => Mark::Matters,
        _ => Mark::Idle,
    }
}

/// How many digits follow: two a percent sign, four a `u`.
fn wanted(sign: u8) -> u8 {
    if sign == b'%' { 2 } else { 4 }
}

/// The escaped line break at `mark` matters where a line of digits ends.
fn broken_line(care: Care, text: &[u8], mark: usize) -> Mark {
    let line = mark.checked_sub(LINE).and_then(|from| text.get(from..mark)).unwrap_or_default();
    let digits = !line.is_empty() && line.iter().all(|&byte| value64(byte) < 64);
    if digits || care == Care::Anything { Mark::Matters } else { Mark::Idle }
}

/// True if a whole text that holds no more than `text` holds nothing that would be looked at twice: no place
/// where a JWT could end, no escape that matters, no run of digits that could hide a credential.
pub(crate) fn is_clear(ledger: &Ledger, own: Option<&Facts>, text: &[u8]) -> bool {
    let (mut least, _) = ledger.shown();
    if let Some(own) = own {
        least = least.min(own.fingerprinted_len.saturating_add(1 + ANCHOR));
    }
    if text.len() < least {
        return true;
    }
    let ends_a_jwt = |dot: usize| {
        let anchor = text.get(dot + 1..).and_then(|rest| rest.get(..ANCHOR));
        anchor.is_some_and(|anchor| anchor.iter().all(|&byte| is_base64url(byte)))
    };
    let matters = |sign: u8| {
        memchr::memchr_iter(sign, text)
            .any(|mark| matches!(what(sign, Care::Structured, text, mark), Mark::Matters))
    };
    // Hexadecimal digits are digits of base64, and need more of them.
    let digits = Code::Base64.digits(least);
    let mut start = 0;
    while let Some(run) = text.get(start..).and_then(|rest| rest.get(..digits)) {
        match run.iter().rposition(|&byte| !Code::Base64.belongs(byte)) {
            Some(other) => start += other + 1,
            None => return false,
        }
    }
    ledger.opaque().is_none()
        && !memchr::memchr_iter(b'.', text).any(ends_a_jwt)
        && !matters(b'%')
        && !matters(b'\\')
}

/// `text` with its JSON escapes undone.
pub(crate) fn without_json_escapes(text: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(text.len());
    Escaped::new(b'\\', 6).decode(text, &mut plain);
    plain
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
    /// Digits, and the line breaks between them: mail and certificates are wrapped (RFC 2045 section 6.8).
    fn belongs(self, byte: u8) -> bool {
        match self {
            Self::Base64 => value64(byte) <= BREAK,
            Self::Hex => byte.is_ascii_hexdigit() || value64(byte) == BREAK,
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

    /// Bytes of the text above that one decoded byte stands for, at most, in lines that anybody writes.
    fn factor(self) -> u64 {
        match self {
            Self::Base64 => 2,
            Self::Hex => 3,
        }
    }
}

/// Runs of digits, and what they decode to at each alignment while they are long enough to matter.
struct Runs {
    code: Code,
    /// Where the run begins that the stream is in; digits between here and `seen` are known to be digits.
    start: u64,
    seen: u64,
    live: Vec<(Decoder, Text)>,
    values: Vec<u8>,
    decoded: Vec<u8>,
}

impl Runs {
    fn new(code: Code) -> Self {
        Self { code, start: 0, seen: 0, live: Vec::new(), values: Vec::new(), decoded: Vec::new() }
    }

    fn texts(&self) -> impl Iterator<Item = &Text> {
        self.live.iter().map(|(_, text)| text)
    }

    fn follow(&mut self, looking: &Looking<'_>, at: &At<'_>) {
        let (code, length) = (self.code, self.code.digits(looking.begin));
        let mut fed = at.new;
        self.start = self.start.max(at.base);
        loop {
            if !self.live.is_empty() {
                let rest = at.text.get(fed..).unwrap_or_default();
                let end = rest.iter().position(|&byte| !code.belongs(byte));
                let digits = rest.get(..end.unwrap_or(rest.len())).unwrap_or_default();
                for part in digits.chunks(BLOCK) {
                    self.decode(looking, part);
                }
                let Some(end) = end else { break };
                self.live.clear();
                self.start = at.place(fed + end + 1);
            }
            // Looking back from where the run would be long enough passes over most of an ordinary text.
            let start = distance(at.base, self.start);
            let known = distance(at.base, self.seen.max(self.start));
            let goal = start.saturating_add(length);
            let looked = at.text.get(known..goal.min(at.text.len())).unwrap_or_default();
            #[cfg(test)]
            costs::count(Cost::Look, looked.len());
            match looked.iter().rposition(|&byte| !code.belongs(byte)) {
                Some(other) => {
                    self.start = at.place(known + other + 1);
                    self.seen = at.place(known + looked.len());
                }
                None if goal <= at.text.len() => {
                    let factor = at.factor.saturating_mul(code.factor());
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
        }
    }

    /// Feeds what the digits hide to the text of each alignment.
    fn decode(&mut self, looking: &Looking<'_>, digits: &[u8]) {
        #[cfg(test)]
        costs::count(Cost::Digit, digits.len());
        let Self { code, live, values, decoded, .. } = self;
        values.clear();
        match code {
            Code::Base64 => values.extend(digits.iter().map(|&digit| value64(digit))),
            Code::Hex => values.extend(digits.iter().map(|&digit| value16(digit))),
        }
        if memchr::memchr(BREAK, values).is_some() {
            values.retain(|&value| value != BREAK);
        }
        for (decoder, text) in live {
            decoded.clear();
            decoder.decode(values, decoded);
            text.feed(looking, decoded);
        }
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

    fn decode(&mut self, mut values: &[u8], out: &mut Vec<u8>) {
        let skipped = values.len().min(usize::from(self.skip));
        self.skip -= u8::try_from(skipped).unwrap_or(self.skip);
        values = values.get(skipped..).unwrap_or_default();
        // One at a time until nothing is held over, then as many at a time as make whole bytes.
        while self.held > 0
            && let Some((&value, rest)) = values.split_first()
        {
            self.one(value, out);
            values = rest;
        }
        let rest = match self.code {
            Code::Base64 => {
                let (fours, rest) = values.as_chunks::<4>();
                out.extend(
                    fours
                        .iter()
                        .flat_map(|&[a, b, c, d]| [(a << 2) + (b >> 4), (b << 4) + (c >> 2), (c << 6) + d]),
                );
                rest
            }
            Code::Hex => {
                let (pairs, rest) = values.as_chunks::<2>();
                out.extend(pairs.iter().map(|&[a, b]| (a << 4) + b));
                rest
            }
        };
        rest.iter().for_each(|&value| self.one(value, out));
    }

    fn one(&mut self, value: u8, out: &mut Vec<u8>) {
        #[cfg(test)]
        costs::count(Cost::Single, 1);
        let width = if self.code == Code::Base64 { 6 } else { 4 };
        self.bits = (self.bits << width) + u32::from(value);
        self.held += width;
        if self.held >= 8 {
            self.held -= 8;
            out.push((self.bits >> self.held).to_le_bytes()[0]);
        }
    }
}

/// In place of a value: a line break, which no decoder counts.
const BREAK: u8 = 64;

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
            b'\r' | b'\n' => BREAK,
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

pub(crate) fn value64(byte: u8) -> u8 {
    VALUES64.get(usize::from(byte)).copied().unwrap_or(0xFF)
}

fn value16(byte: u8) -> u8 {
    match byte {
        b'\r' | b'\n' => BREAK,
        // A letter of either case ends in the bits 1 to 6.
        b'A'..=b'F' | b'a'..=b'f' => (byte & 0x0F) + 9,
        _ => byte & 0x0F,
    }
}

fn is_base64url(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_'
}

#[cfg(test)]
#[path = "scan_costs_tests.rs"]
mod costs_tests;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence_for_tests::opaque_token;

    /// However long a body is, and however often it begins like a credential.
    #[test]
    fn a_text_keeps_a_window_and_no_more() {
        let (ledger, now) = (Ledger::bounded(), UnixTime::from_secs(1000));
        let credential = "opaque-7Qm2ZkV9xT4bLw8RnYc5Jd1H";
        ledger.remember_received(&opaque_token(credential, 2000), now).unwrap();
        let looking = Looking::new(&ledger, None, None, now).unwrap();
        let mut text = Text::new(1, 1);
        let part = format!("{} and something else; ", &credential[..20]);
        for _ in 0..10 {
            text.feed(&looking, part.repeat(1000).as_bytes());
            assert!(text.buffer.len() <= looking.keep + 3 * BLOCK, "{}", text.buffer.len());
            assert!(text.nominees.len() <= 1, "{}", text.nominees.len());
        }
        assert!(text.base > 300_000);
        assert!(looking.into_found().is_empty());
    }
}
