//! Looks at eight bytes of a string at a time.

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
pub(super) fn plain(bytes: &[u8]) -> usize {
    let marks = |word| is(word, b'"') | is(word, b'\\') | below(word, b' ');
    until(bytes, marks, |byte| matches!(byte, b'"' | b'\\' | 0..=0x1f))
}

/// How many bytes stand before the first quote.
pub(super) fn quote(bytes: &[u8]) -> usize {
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
