//! What looks like a token is shown as its fingerprint, wherever somebody wrote it: into a claim, a path, a setting.
//!
//! Our own code never shows a token. But values that others choose are shown, and a token can stand in any of them.
//! A JWT gives itself away: its header and its payload are JSON objects in base64url, and so begin with `eyJ`.

use std::borrow::Cow;
use std::fmt;

use memchr::{memchr2, memmem};

use crate::Fingerprint;

/// A shorter run of such characters holds too little of a token to be one.
const SHORTEST: usize = 24;
/// `{"` in base64url, and that once more in base64.
const BEGINNINGS: [&str; 2] = ["eyJ", "ZXlK"];

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
    if !may_hold_one(text) {
        return Cow::Borrowed(text);
    }
    let (mut out, mut rest) = (String::new(), text);
    while let Some(at) =
        BEGINNINGS.iter().filter_map(|begin| memmem::find(rest.as_bytes(), begin.as_bytes())).min()
    {
        let (before, from) = rest.split_at(at);
        let end = from.bytes().position(|byte| !is_of_a_token(byte)).unwrap_or(from.len());
        let (run, after) = from.split_at(end);
        out.push_str(before);
        if run.len() < SHORTEST {
            out.push_str(run);
        } else {
            out.push_str("[token ");
            out.push_str(&Fingerprint::of_token(run).short());
            out.push(']');
        }
        rest = after;
    }
    if rest.len() == text.len() {
        return Cow::Borrowed(text);
    }
    out.push_str(rest);
    Cow::Owned(out)
}

/// Quick, and nearly always `false`.
pub(crate) fn may_hold_one(text: &str) -> bool {
    text.len() >= SHORTEST && memchr2(b'J', b'K', text.as_bytes()).is_some()
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
    use proptest::prelude::*;

    use super::*;

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

    #[test]
    fn everything_else_stays() {
        for text in [
            "",
            "alice",
            "eyJ",
            "key eyJhbGci",
            "https://sts.internal/K/J/a-rather-long-path",
            "KJKJKJKJKJKJKJKJKJKJKJKJKJKJ",
        ] {
            assert!(matches!(redacted(text), Cow::Borrowed(same) if same == text), "{text}");
        }
        assert_eq!(redacted(&format!("eyJabc {TOKEN}é")).matches("[token ").count(), 1);
    }

    proptest! {
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
