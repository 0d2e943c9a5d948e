//! Token bytes in memory, and the few things that may be done with them.
//!
//! A [`RawToken`] can be fingerprinted, appended to a token request form, and measured. It has no `Display`,
//! no `Serialize` and no way to a header value; whoever needs its bytes writes
//! [`RawToken::dangerous_expose`], which a reviewer can search for.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use http::HeaderValue;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};
use secrecy::{ExposeSecret, SecretSlice};
use zeroize::Zeroize as _;

use crate::Fingerprint;

/// What `application/x-www-form-urlencoded` leaves as it is (WHATWG URL, section 5.2), less the space.
const FORM: &AsciiSet = &NON_ALPHANUMERIC.remove(b'*').remove(b'-').remove(b'.').remove(b'_');

/// A token as it was received or granted. Wiped when dropped.
///
/// ```
/// use hopguard_core::RawToken;
///
/// let token = RawToken::new("secret-value");
/// assert_eq!(format!("{token:?}"), "RawToken(12 bytes)");
/// ```
///
/// None of these compiles:
///
/// ```compile_fail,E0277
/// # let token = hopguard_core::RawToken::new("secret-value");
/// let text = format!("{token}"); // no `Display`
/// ```
///
/// ```compile_fail,E0277
/// # let token = hopguard_core::RawToken::new("secret-value");
/// let json = serde_json::to_string(&*token); // no `Serialize`
/// ```
///
/// ```compile_fail,E0277
/// # let token = hopguard_core::RawToken::new("secret-value");
/// let value: http::HeaderValue = (&*token).try_into().unwrap(); // no way to a header value
/// ```
///
/// ```compile_fail,E0369
/// # let token = hopguard_core::RawToken::new("secret-value");
/// let same = *token == *token; // no comparison that takes longer the more is right
/// ```
///
/// ```compile_fail,E0599
/// # let token = hopguard_core::RawToken::new("secret-value");
/// let copy = hopguard_core::RawToken::clone(&*token); // no copy of the bytes that nobody wipes
/// ```
///
/// ```compile_fail,E0277
/// # let token = hopguard_core::RawToken::new("secret-value");
/// fn shown(text: impl AsRef<[u8]>) {}
/// shown(&*token); // no way to its bytes by accident: not as a slice,
/// ```
///
/// ```compile_fail,E0277
/// # let token = hopguard_core::RawToken::new("secret-value");
/// let text = String::from(&*token); // nor as a text
/// ```
///
/// ```compile_fail,E0277
/// # let token = hopguard_core::RawToken::new("secret-value");
/// let request = http::Request::get("/").header("x-token", &*token); // nor into a request
/// ```
pub struct RawToken(SecretSlice<u8>);

impl RawToken {
    /// Takes a copy of `text` into wiped memory.
    #[must_use]
    pub fn new(text: &str) -> Arc<Self> {
        Self::received(text.as_bytes())
    }

    /// Takes a copy of what a header held, be it text or not, into wiped memory.
    #[must_use]
    pub fn received(bytes: &[u8]) -> Arc<Self> {
        Arc::new(Self(SecretSlice::from(bytes.to_vec())))
    }

    /// Length in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.expose_secret().len()
    }

    /// True if the token has no bytes at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What stands for this token in logs; see [`Fingerprint`].
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        let bytes = self.dangerous_expose_bytes();
        std::str::from_utf8(bytes).map_or_else(|_| Fingerprint::of_bytes(bytes), Fingerprint::of_token)
    }

    /// The header value that shows this token, marked sensitive; `None` if a header cannot hold it.
    pub(crate) fn as_bearer(&self) -> Option<HeaderValue> {
        self.as_header("Bearer ")
    }

    /// The same behind another prefix.
    pub(crate) fn as_header(&self, prefix: &str) -> Option<HeaderValue> {
        let bytes = self.dangerous_expose_bytes();
        let mut value = Wiped::with_room(prefix.len() + bytes.len());
        value.0.extend_from_slice(prefix.as_bytes());
        value.0.extend_from_slice(bytes);
        let mut value = HeaderValue::from_maybe_shared(Bytes::from_owner(value)).ok()?;
        value.set_sensitive(true);
        Some(value)
    }

    /// The token's text, for the verifier and for attaching a grant; empty, and so nobody's, for bytes that are none.
    /// Never log, store or forward it.
    #[must_use]
    pub fn dangerous_expose(&self) -> &str {
        // Looked at here, because a token that is remembered is never asked for its text.
        std::str::from_utf8(self.dangerous_expose_bytes()).unwrap_or_default()
    }

    /// The token's bytes, as [`RawToken::dangerous_expose`].
    #[must_use]
    pub fn dangerous_expose_bytes(&self) -> &[u8] {
        self.0.expose_secret()
    }
}

impl fmt::Debug for RawToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RawToken({} bytes)", self.len())
    }
}

/// What other crates may hold as bytes. Wiped as a whole: `zeroize` takes a vector byte by byte.
#[derive(Default)]
struct Wiped(Vec<u8>);

impl Wiped {
    fn with_room(bytes: usize) -> Self {
        Self(Vec::with_capacity(bytes))
    }
}

impl AsRef<[u8]> for Wiped {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Wiped {
    fn drop(&mut self) {
        self.0.as_mut_slice().zeroize();
        self.0.spare_capacity_mut().zeroize();
    }
}

/// The body of a token endpoint request (RFC 6749 appendix B); wiped when dropped.
///
/// ```compile_fail,E0277
/// let form = hopguard_core::TokenForm::new();
/// let text = format!("{form}"); // no `Display`: it holds tokens
/// ```
#[derive(Default)]
pub struct TokenForm(Wiped);

/// Parameters of a token request that hold nothing secret, encoded once for many requests.
#[derive(Clone, Debug, Default)]
pub struct FormPart(Box<[u8]>);

impl FormPart {
    /// These parameters, in this order.
    #[must_use]
    pub fn of<N: AsRef<str>, V: AsRef<str>>(pairs: impl IntoIterator<Item = (N, V)>) -> Self {
        let mut form = TokenForm::new();
        pairs.into_iter().for_each(|(name, value)| form.append(name.as_ref(), value.as_ref()));
        Self(form.0.as_ref().into())
    }

    /// Length in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// True for none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl TokenForm {
    /// A new buffer has so many bytes at least: all that were set aside are wiped in the end.
    const LEAST: usize = 512;

    /// An empty form.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty form with room for so many bytes.
    #[must_use]
    pub fn with_room(bytes: usize) -> Self {
        Self(Wiped::with_room(bytes))
    }

    /// Adds one parameter.
    pub fn append(&mut self, name: &str, value: &str) {
        self.append_bytes(name.as_bytes(), value.as_bytes());
    }

    fn append_bytes(&mut self, name: &[u8], value: &[u8]) {
        let lengths = (encoded_len(name), encoded_len(value));
        self.make_room(lengths.0 + lengths.1 + 2);
        self.separate();
        self.push(name, lengths.0);
        self.0.0.push(b'=');
        self.push(value, lengths.1);
    }

    /// Adds parameters that are encoded already.
    pub fn append_part(&mut self, part: &FormPart) {
        if !part.is_empty() {
            self.make_room(part.len() + 1);
            self.separate();
            self.0.0.extend_from_slice(&part.0);
        }
    }

    fn make_room(&mut self, more: usize) {
        // Growing by doubling would leave unwiped copies of a token behind.
        let needed = self.0.0.len() + more;
        if needed > self.0.0.capacity() {
            let mut larger = Wiped::with_room(needed.max(Self::LEAST));
            larger.0.extend_from_slice(&self.0.0);
            self.0 = larger;
        }
    }

    fn separate(&mut self) {
        if !self.0.0.is_empty() {
            self.0.0.push(b'&');
        }
    }

    fn push(&mut self, text: &[u8], encoded: usize) {
        // Tokens are made of letters that stand for themselves.
        if encoded == text.len() {
            self.0.0.extend_from_slice(text);
        } else {
            percent_encode(text, FORM).for_each(|piece| self.0.0.extend_from_slice(piece.as_bytes()));
        }
    }

    /// Adds a parameter whose value is a token.
    pub fn append_token(&mut self, name: &str, token: &RawToken) {
        self.append_bytes(name.as_bytes(), token.dangerous_expose_bytes());
    }

    /// The encoded form. The bytes handed out wipe themselves when the last clone is dropped.
    #[must_use]
    pub fn into_bytes(self) -> Bytes {
        Bytes::from_owner(self.0)
    }
}

/// How long a text is as [`FORM`] encodes it.
fn encoded_len(text: &[u8]) -> usize {
    // Without branches, and summed up in bytes, so that many are looked at together.
    let is_escaped = |&byte: &u8| {
        let letter = (byte | 0x20).wrapping_sub(b'a') < 26;
        let other = (byte == b'*') | (byte == b'-') | (byte == b'.') | (byte == b'_');
        u8::from(!(letter | (byte.wrapping_sub(b'0') < 10) | other))
    };
    let escaped = |piece: &[u8]| usize::from(piece.iter().map(is_escaped).sum::<u8>());
    text.len() + 2 * text.chunks(128).map(escaped).sum::<usize>()
}

impl fmt::Debug for TokenForm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TokenForm({} bytes)", self.0.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_separates_and_encodes_hostile_values() {
        let mut form = TokenForm::new();
        form.append("scope", "a b&c=d");
        form.append_token("subject_token", &RawToken::new("x.y-z_%"));
        assert_eq!(form.into_bytes(), "scope=a%20b%26c%3Dd&subject_token=x.y-z_%25");
    }

    #[test]
    fn debug_shows_no_bytes() {
        let mut form = TokenForm::new();
        form.append_token("subject_token", &RawToken::new("hunter2"));
        assert!(!format!("{form:?} {:?}", RawToken::new("hunter2")).contains("hunter2"));
    }

    /// Nothing that asks for its text can take it for something else.
    #[test]
    fn what_is_no_text_has_none() {
        let token = RawToken::received(b"a.b.\xff");
        assert_eq!((token.len(), token.dangerous_expose()), (5, ""));
        assert_eq!(token.fingerprint(), Fingerprint::of_bytes(b"a.b.\xff"));
        assert_ne!(token.fingerprint(), RawToken::new("").fingerprint());
        assert_eq!(RawToken::received(b"a.b.c").dangerous_expose(), "a.b.c");
    }

    #[test]
    fn only_no_bytes_are_empty() {
        assert!(RawToken::new("").is_empty());
        assert!(!RawToken::new("x").is_empty());
    }

    #[test]
    fn what_is_encoded_beforehand_stands_as_if_it_were_not() {
        let pairs = [("scope", "a b"), ("audience", "https://ä")];
        let (mut one, mut other) = (TokenForm::new(), TokenForm::with_room(3));
        for form in [&mut one, &mut other] {
            form.append_token("subject_token", &RawToken::new("x.y-z_"));
        }
        pairs.iter().for_each(|(name, value)| one.append(name, value));
        other.append_part(&FormPart::of(Vec::<(&str, &str)>::new()));
        other.append_part(&FormPart::of(pairs));
        assert_eq!(one.into_bytes(), other.into_bytes());
        let mut alone = TokenForm::new();
        alone.append_part(&FormPart::of(pairs));
        assert_eq!(alone.into_bytes(), "scope=a%20b&audience=https%3A%2F%2F%C3%A4");
    }

    #[test]
    fn a_length_is_that_of_the_encoded_text() {
        for byte in 0..=255_u8 {
            let text = format!("a{}z", char::from(byte));
            assert_eq!(
                encoded_len(text.as_bytes()),
                percent_encode(text.as_bytes(), FORM).to_string().len(),
                "{byte}"
            );
        }
    }

    /// Growing in place would leave bytes behind that nobody wipes.
    #[test]
    fn a_form_never_grows_in_place() {
        let begun = || {
            let mut form = TokenForm::new();
            form.append("firs", "%");
            form
        };
        let (room, left) = (begun().0.0.capacity(), begun().0.0.capacity() - begun().0.0.len());
        let third = left / 3;
        for (name, value) in
            [(0, 0), (0, 1), (1, 0), (0, third - 1), (third - 1, 0), (0, third), (third, 0), (third, third)]
        {
            let mut form = begun();
            form.append(&"%".repeat(name), &"%".repeat(value));
            // Either it had room for all of it, or a new buffer was filled to measure.
            let needed = 3 * (name + value) + 2;
            assert_eq!(form.0.0.capacity() > room, needed > left, "{name} {value}");
            assert!(form.0.0.capacity() == room || form.0.0.capacity() == form.0.0.len(), "{name} {value}");
            let mut form = begun();
            let part = FormPart::of([("%".repeat(name), "%".repeat(value))]);
            form.append_part(&part);
            assert!(form.0.0.capacity() == room || form.0.0.capacity() == form.0.0.len(), "{name} {value}");
        }
    }
}
