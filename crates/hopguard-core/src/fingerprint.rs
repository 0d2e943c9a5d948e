//! What logs, lineage and the ledger hold in place of a token.

use std::fmt;

use aws_lc_rs::digest;
use serde::{Serialize, Serializer};

use crate::hex;

/// SHA-256 of a JWT's signing input (header and payload), or of the whole value of an opaque token.
///
/// The signature is left out because an ECDSA signature `(r, s)` can be turned into the equally valid
/// `(r, n - s)` without the key: two spellings of one token must have one fingerprint. For the same reason a
/// fingerprint is never the key under which a verdict is remembered.
///
/// ```
/// use hopguard_core::Fingerprint;
///
/// let one = Fingerprint::of_token("aaa.bbb.ccc");
/// assert_eq!(one, Fingerprint::of_token("aaa.bbb.ddd"));
/// assert_ne!(one, Fingerprint::of_token("aaa.bbc.ccc"));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// The fingerprint of a token, whatever its form: three segments are taken for a JWS in compact form.
    #[must_use]
    pub fn of_token(token: &str) -> Self {
        Self::of_bytes(fingerprinted_part(token).as_bytes())
    }

    /// SHA-256 of exactly these bytes.
    #[must_use]
    pub fn of_bytes(bytes: &[u8]) -> Self {
        #[cfg(test)]
        crate::costs::count(crate::costs::Cost::Hash, 1);
        let mut out = [0; 32];
        out.copy_from_slice(digest::digest(&digest::SHA256, bytes).as_ref());
        Self(out)
    }

    /// A fingerprint from a SHA-256 that the caller has computed anyway, as a verifier has.
    #[must_use]
    pub const fn from_sha256(digest: [u8; 32]) -> Self {
        Self(digest)
    }

    /// The 32 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The first 12 hexadecimal digits, for people.
    #[must_use]
    pub fn short(&self) -> String {
        let mut text = self.to_string();
        text.truncate(12);
        text
    }
}

impl Fingerprint {
    /// The 64 hexadecimal digits by which it is printed.
    pub(crate) fn digits(&self) -> [u8; 64] {
        let mut digits = [0; 64];
        hex::write(&self.0, &mut digits);
        digits
    }
}

/// The part of a token that its fingerprint covers.
pub(crate) fn fingerprinted_part(token: &str) -> &str {
    let mut segments = token.split('.');
    match (segments.next(), segments.next(), segments.next(), segments.next()) {
        (Some(header), Some(payload), Some(_), None) => {
            token.get(..header.len() + 1 + payload.len()).unwrap_or(token)
        }
        _ => token,
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(&self.digits()).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint({})", self.short())
    }
}

impl Serialize for Fingerprint {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
