//! What looks like a token is shown as its fingerprint, wherever somebody wrote it: into a claim, a path, a setting.
//!
//! Our own code never shows a token. But values that others choose are shown, and a token can stand in any of them.
//! A JWT gives itself away: its header and its payload are JSON objects in base64url. Most begin with `eyJ`, but JSON
//! may hold white space before and after its brace (RFC 8259 section 2), so the first characters are decoded.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use crate::Fingerprint;
use crate::scan_text::value64;

/// A shorter run of such characters holds too little of a token to be one.
const SHORTEST: usize = 24;
/// So many characters are decoded to see an object in them: nothing here reads on from any place without end.
const READ: usize = SHORTEST;
/// The same, where they are base64 of base64: a third more, and for the two bytes that may stand before.
const READ_WRAPPED: usize = 36;

/// `text` with everything that looks like a token, or like the beginning of one, replaced by `[token ...]` and the
/// first digits of its fingerprint. A whole JWT keeps the fingerprint by which it is known elsewhere.
///
/// ```
/// use hopguard_core::{Fingerprint, redacted};
///
/// let token = "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhbGljZSJ9.c2lnbmF0dXJl";
/// let short = Fingerprint::of_token(token).short();
/// assert_eq!(redacted(&format!("/orders/{token}?x")), format!("/orders/[token {short}]?x"));
/// assert_eq!(redacted("alice"), "alice");
/// ```
///
/// # Security
///
/// It knows tokens by their shape. An opaque token has none: whoever writes one into a claim shows it. So does
/// whoever encodes a JWT in another way than base64 or percent signs.
#[must_use]
pub fn redacted(text: &str) -> Cow<'_, str> {
    let (mut out, mut shown, mut at) = (String::new(), 0, 0);
    while let Some(run) = next_run(text.as_bytes(), at) {
        at = run.end;
        let Some(found) = text.get(run).and_then(beginning) else { continue };
        // The run has ASCII characters only, so that every place in it is a character's.
        let Some(begin) = at.checked_sub(found) else { continue };
        let (Some(before), Some(token)) = (text.get(shown..begin), text.get(begin..at)) else { continue };
        out.push_str(before);
        out.push_str("[token ");
        out.push_str(&Fingerprint::of_token(token).short());
        out.push(']');
        shown = at;
    }
    match text.get(shown..) {
        Some(rest) if shown > 0 => {
            out.push_str(rest);
            Cow::Owned(out)
        }
        _ => Cow::Borrowed(text),
    }
}

/// The next run from `from` on that is long enough to hold a token. Every run of that length covers a place that is
/// looked at, so most of a text is not.
fn next_run(text: &[u8], from: usize) -> Option<Range<usize>> {
    let belongs = |byte: &u8| is_of_a_token(*byte);
    let mut start = from;
    loop {
        let window = text.get(start..start + SHORTEST)?;
        let Some(last) = window.iter().rposition(|byte| !belongs(byte)) else {
            let rest = text.get(start..).unwrap_or_default();
            let length = rest.iter().position(|byte| !belongs(byte)).unwrap_or(rest.len());
            return Some(start..start + length);
        };
        start += last + 1;
    }
}

/// How many characters from the end of `run` the first token in it begins.
fn beginning(run: &str) -> Option<usize> {
    // What only counts in hexadecimal, as our fingerprints do, encodes no text.
    if run.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f' | b'-')) {
        return None;
    }
    let mut rest = run.as_bytes();
    while rest.len() >= SHORTEST {
        #[cfg(test)]
        tests::count_step();
        if begins_token(rest) {
            return Some(rest.len());
        }
        rest = rest.get(1..)?;
    }
    None
}

/// True if a JSON object in base64 begins here, or, within the first three bytes, that in base64 once more.
fn begins_token(run: &[u8]) -> bool {
    let chars = || run.iter().copied();
    // No more is asked of these two: they have always been enough.
    if run.starts_with(b"eyJ") || run.starts_with(b"ZXlK") {
        return true;
    }
    let may_begin = |byte: u8| matches!(byte, b'e' | b'I' | b'C' | b'D');
    if run.first().copied().is_some_and(may_begin) && begins_object(decoded(chars().take(READ))) {
        return true;
    }
    // The alignments: a text of any length may stand before the token that was encoded with it. The first byte at each
    // is worked out by itself, because this is asked at every place of every key's name in a log.
    let Some([one, two, three, four]) = run.first_chunk().map(|four| four.map(value64)) else { return false };
    let first = [(one << 2, two >> 4), (two << 4, three >> 2), (three << 6, four)];
    let first = first.map(|(upper, lower)| upper.wrapping_add(lower));
    (0..3).zip(first).any(|(before, first)| {
        may_begin(first) && begins_object(decoded(decoded(chars().take(READ_WRAPPED)).skip(before)))
    })
}

/// True for white space, a brace, white space, and a name's first letters. Eight letters, or as much white space, are
/// asked for, because random characters decode to that as good as never.
fn begins_object(bytes: impl Iterator<Item = u8>) -> bool {
    let (mut spaces, mut is_open) = (0, false);
    let mut bytes = bytes;
    while let Some(byte) = bytes.next() {
        match byte {
            b' ' | b'\t' | b'\n' | b'\r' => spaces += 1,
            b'{' if !is_open => is_open = true,
            b'"' if is_open => {
                let letters = bytes.by_ref().take(8).take_while(|byte| matches!(byte, b' '..=b'~')).count();
                return spaces + letters >= 8;
            }
            _ => return false,
        }
    }
    is_open && spaces >= 8
}

/// The bytes that these characters stand for, up to the first that is not of base64.
fn decoded(chars: impl Iterator<Item = u8>) -> impl Iterator<Item = u8> {
    let (mut held, mut bits) = (0_u16, 0_u8);
    chars.map(value64).take_while(|sextet| *sextet < 64).filter_map(move |sextet| {
        (held, bits) = ((held << 6) + u16::from(sextet), bits + 6);
        let whole = bits.checked_sub(8)?;
        bits = whole;
        let [lowest, _] = (held >> whole).to_le_bytes();
        Some(lowest)
    })
}

/// The alphabets of base64, the dots of a JWT, and what percent-encodes them.
const fn is_of_a_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'%' | b'+' | b'=' | b'~')
}

/// Shows a value by its `Debug`, with tokens redacted.
pub(crate) struct Redacted<T>(pub(crate) T);

impl<T: fmt::Debug> fmt::Debug for Redacted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&redacted(&format!("{:?}", self.0)))
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use base64::Engine as _;
    use base64::prelude::BASE64_URL_SAFE_NO_PAD;
    use proptest::prelude::*;

    use super::*;

    thread_local! {
        static STEPS: Cell<usize> = const { Cell::new(0) };
    }

    /// One place of a text was looked at.
    pub(super) fn count_step() {
        STEPS.set(STEPS.get() + 1);
    }

    const TOKEN: &str =
        "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhbGljZSIsImlzcyI6Imh0dHBzOi8vc3RzIn0.c2lnbmF0dXJlLW9mLXRoZS10b2tlbg";

    #[track_caller]
    fn hidden(text: &str, expected: &str) {
        assert_eq!(redacted(text), expected);
    }

    #[test]
    fn tokens_are_known_by_their_shape() {
        let short = Fingerprint::of_token(TOKEN).short();
        hidden(TOKEN, &format!("[token {short}]"));
        hidden(&format!("a {TOKEN} b {TOKEN}"), &format!("a [token {short}] b [token {short}]"));
        let (_, payload) = TOKEN.split_once('.').unwrap();
        for part in [payload, &TOKEN[..40], &TOKEN.replace('.', "%2E"), "ZXlKaGJHY2lPaUpGVXpJMU5pSjkuZXlK"] {
            let out = redacted(part);
            assert!(out.starts_with("[token ") && out.len() == 20, "{out}");
        }
    }

    /// Few letters are enough behind a brace and a quote.
    #[test]
    fn a_short_header_shows_a_token() {
        let token = "eyJhIjoxfQ.eyJiIjoyfQ.c2lnbmF0dXJl";
        for text in [token, &encoded(token)] {
            hidden(text, &format!("[token {}]", Fingerprint::of_token(text).short()));
        }
    }

    fn encoded(bytes: impl AsRef<[u8]>) -> String {
        BASE64_URL_SAFE_NO_PAD.encode(bytes)
    }

    /// JSON may hold white space around its brace, as much as it likes.
    #[test]
    fn white_space_hides_no_token_at_any_alignment() {
        let long = " \n".repeat(20);
        let spaces = ["", " ", "\n", "\t", "\r\n", "    ", "\n\t ", long.as_str()];
        for (before, after) in spaces.iter().flat_map(|before| spaces.map(|after| (before, after))) {
            let header = encoded(format!("{before}{{{after}\"alg\":\"RS256\"}}"));
            let payload = encoded(format!("{before}{{{after}\"sub\":\"alice-of-the-shop\"}}"));
            let token = format!("{header}.{payload}.c2lnbmF0dXJlLW9mLXRoZS10b2tlbg");
            for text in [token.clone(), payload.clone(), token.replace('.', "%2E")] {
                let out = redacted(&text).into_owned();
                // Of long white space some is left, and nothing else.
                let left = out.split("[token ").next().unwrap_or_default();
                assert!(
                    out.len() <= left.len() + 20
                        && decoded(left.bytes()).all(|byte| byte.is_ascii_whitespace()),
                    "{out}"
                );
                assert!(before.len() > 4 || left.is_empty(), "{out}");
            }
            for prefix in ["", "a", "ab", "a:", "Bearer ", "Bearer: "] {
                let out = redacted(&encoded(format!("{prefix}{token}"))).into_owned();
                let (left, _) = out.split_once("[token ").unwrap_or((&out, ""));
                assert!(before.len() > 4 || left.len() <= 12, "{out}");
                assert!(out.ends_with(']'), "{out}");
            }
        }
    }

    /// A line break ends it, as all that is no digit does.
    #[test]
    fn digits_are_decoded_up_to_the_first_other_byte() {
        for other in [b'\n', b'\r', b'.', b'=', 0xFF] {
            let text = [&b"eyJh"[..], &[other], b"eyJh"].concat();
            assert_eq!(decoded(text.into_iter()).collect::<Vec<_>>(), b"{\"a", "{other}");
        }
    }

    /// Whatever the text, each place is looked at once, and from none is read on without end.
    #[test]
    fn each_place_is_looked_at_once() {
        for unit in
            ["eyJ ", "eyJ", "ZXlK", "e", "I", "ICAg", "IHs", "ZXl", "J ", "eyJhbGciOiJFUzI1NiJ9 ", "a.", "é"]
        {
            let text = unit.repeat(20_000);
            STEPS.set(0);
            let _ = redacted(&text);
            assert!(STEPS.get() <= text.len(), "{unit}: {} of {}", STEPS.get(), text.len());
        }
    }

    #[test]
    fn everything_else_stays() {
        for text in [
            "",
            "alice",
            "eyJ",
            "key eyJhbGci",
            "https://sts.internal/K/J/a-rather-long-path",
            "KJKJKJKJKJKJKJKJKJKJKJKJKJKJ",
            "IIIIIIIIIIIIIIIIIIIIIIIIIIIIICCCCDDDDeeeeeeeeeeee",
            "eyKAgYKDhIWGh4iJiouMjY6PkJGSk5SVlpeYmZqbnJ2e",
            "550e8400-e29b-41d4-a716-446655440000",
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            "ICAgICAgICAgICAgICAgICAgICAgICAgICAg",
            // Two braces begin no object, nor does a name without one.
            "ICJhbGciOiJSUzI1NiIsIngiOjE",
            "e3siYWxnIjoiUlMyNTYifX0gYW5kIG1vcmU",
            "service-account-Indigo.eyjafjallajokull.example.internal",
        ] {
            assert!(matches!(redacted(text), Cow::Borrowed(same) if same == text), "{text}");
        }
        assert_eq!(redacted(&format!("eyJabc {TOKEN}é")).matches("[token ").count(), 1);
    }

    proptest! {
        /// A thumbprint or a random identifier is shown as it is.
        #[test]
        fn random_bytes_are_no_token(bytes in prop::array::uniform32(any::<u8>())) {
            prop_assume!(!encoded(bytes).contains("eyJ") && !encoded(bytes).contains("ZXlK"));
            prop_assert!(matches!(redacted(&encoded(bytes)), Cow::Borrowed(_)));
        }

        /// Wherever it stands, no telling part of the payload or the signature is left.
        #[test]
        fn no_part_is_left(before in "[ -~é]{0,40}", after in "[ -~é]{0,40}") {
            let out = redacted(&format!("{before}{TOKEN}{after}")).into_owned();
            for part in TOKEN.split('.').skip(1) {
                prop_assert!(!out.contains(&part[..SHORTEST]), "{}", out);
            }
            prop_assert!(out.starts_with(before.split("eyJ").next().unwrap_or("")));
        }
    }
}
