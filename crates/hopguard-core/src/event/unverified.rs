//! What a token claims that nobody has verified.

use std::fmt;

use serde::Serialize;

use crate::redact::Redacted;

/// What a token that was never verified claimed of itself; bounded, and to be believed by nobody.
#[derive(Clone, Default, PartialEq, Eq, Serialize)]
pub struct Unverified {
    /// `iss`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issuer: Option<Box<str>>,
    /// `kid`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_id: Option<Box<str>>,
}

impl fmt::Debug for Unverified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (issuer, key_id) = (Redacted(&self.issuer), Redacted(&self.key_id));
        f.debug_struct("Unverified").field("issuer", &issuer).field("key_id", &key_id).finish()
    }
}

impl Unverified {
    /// The longest text that is kept of anything unverified.
    pub const LONGEST: usize = 128;

    /// `text`, cut to [`Unverified::LONGEST`] bytes at a character boundary.
    #[must_use]
    pub fn bounded(text: &str) -> Box<str> {
        let end =
            (0..=Self::LONGEST.min(text.len())).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
        text.get(..end).unwrap_or("").into()
    }
}
