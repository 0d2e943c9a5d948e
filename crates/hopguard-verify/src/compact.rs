//! Are the bytes a JWS in compact form (RFC 7515 section 3.1), spelled in the one canonical way?

use std::sync::LazyLock;

use base64::Engine;
use base64::engine::general_purpose::NO_PAD;
use base64::engine::simd::Simd;
use hopguard_core::Denial;

/// Canonical base64url: no padding, no white space, no bits beyond the last byte (RFC 4648 section 3.5), so that no
/// token has two spellings. It looks once for what the processor can do.
static BASE64URL: LazyLock<Simd> = LazyLock::new(|| Simd::url_safe(NO_PAD));

/// The longest signature that is read: RSA with 8192 bits.
const SIGNATURE: usize = 1024;

/// The three segments of a token, not decoded yet.
#[derive(Clone, Copy)]
pub(crate) struct Compact<'a> {
    /// What the signature covers: header, dot, payload (RFC 7515 section 5.1).
    pub(crate) signing_input: &'a [u8],
    pub(crate) encoded_header: &'a [u8],
    payload: &'a [u8],
    signature: &'a [u8],
}

impl<'a> Compact<'a> {
    /// Splits `token` into exactly three segments, none of them empty. A JWE has five and is refused, as is an
    /// unsecured JWS, whose third is empty.
    pub(crate) fn split(token: &'a [u8], at_most: usize) -> Result<Self, Denial> {
        if token.len() > at_most {
            return Err(Denial::TokenTooLarge);
        }
        let mut dots = memchr::memchr_iter(b'.', token);
        let (Some(first), Some(second), None) = (dots.next(), dots.next(), dots.next()) else {
            return Err(Denial::TokenMalformed);
        };
        let segments =
            (token.get(..first), token.get(first + 1..second), token.get(second + 1..), token.get(..second));
        match segments {
            (Some(encoded_header), Some(payload), Some(signature), Some(signing_input))
                if !encoded_header.is_empty() && !payload.is_empty() && !signature.is_empty() =>
            {
                Ok(Self { signing_input, encoded_header, payload, signature })
            }
            _ => Err(Denial::TokenMalformed),
        }
    }

    pub(crate) fn header(&self) -> Result<Vec<u8>, Denial> {
        decode(self.encoded_header)
    }

    pub(crate) fn payload(&self) -> Result<Vec<u8>, Denial> {
        decode(self.payload)
    }

    pub(crate) fn signature(&self) -> Result<Signature, Denial> {
        // The engine asks for room for a whole last group.
        let mut bytes = [0; SIGNATURE + 2];
        let len = BASE64URL.decode_slice(self.signature, &mut bytes);
        len.map(|len| Signature { bytes, len }).map_err(|_| Denial::TokenMalformed)
    }
}

/// A decoded signature, kept on the stack.
pub(crate) struct Signature {
    bytes: [u8; SIGNATURE + 2],
    len: usize,
}

impl Signature {
    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

fn decode(segment: &[u8]) -> Result<Vec<u8>, Denial> {
    BASE64URL.decode(segment).map_err(|_| Denial::TokenMalformed)
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn shape(token: &str, expected: Result<(), &str>) {
        let found = Compact::split(token.as_bytes(), 64)
            .and_then(|split| split.header().and(split.payload()).and(split.signature()).map(|_| ()));
        assert_eq!(found.as_ref().map_err(Denial::code), expected.as_ref().map_err(|code| *code), "{token}");
    }

    #[test]
    fn exactly_three_segments() {
        shape("YQ.YQ.YQ", Ok(()));
        for token in [
            "",
            "YQ",
            "YQ.YQ",
            "YQ.YQ.",
            ".YQ.YQ",
            "YQ..YQ",
            "..",
            "YQ.YQ.YQ.YQ",
            "YQ.YQ.YQ.YQ.YQ",
            "YQ.YQ.YQ.",
        ] {
            shape(token, Err("token_malformed"));
        }
    }

    #[test]
    fn one_spelling_only() {
        // "YR" has a bit beyond its last byte; "+" and "/" are of another alphabet.
        for bad in ["YR", "YQ==", "YQ=", "Y Q", " YQ", "YQ\n", "YQ\t", "Y", "YQ+/", "é", "YQ%3D", "YQ\u{0}"]
        {
            shape(&format!("{bad}.YQ.YQ"), Err("token_malformed"));
            shape(&format!("YQ.{bad}.YQ"), Err("token_malformed"));
            shape(&format!("YQ.YQ.{bad}"), Err("token_malformed"));
        }
    }

    #[test]
    fn sizes_are_bounded() {
        shape(&format!("YQ.YQ.{}", "A".repeat(58)), Ok(()));
        shape(&format!("YQ.YQ.{}", "A".repeat(60)), Err("token_too_large"));
        let long = format!("YQ.YQ.{}", "A".repeat(1400));
        assert!(Compact::split(long.as_bytes(), 4096).unwrap().signature().is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        /// Whatever the processor can do, what is read is what the scalar engine reads.
        #[test]
        fn vectors_read_what_scalars_read(text in "[A-Za-z0-9_-]{0,400}", at in 0_usize..400, odd in any::<u8>()) {
            prop_assert_eq!(BASE64URL.decode(&text).ok(), URL_SAFE_NO_PAD.decode(&text).ok());
            let mut text = text.into_bytes();
            if let Some(byte) = text.get_mut(at) {
                *byte = odd;
            }
            prop_assert_eq!(BASE64URL.decode(&text).ok(), URL_SAFE_NO_PAD.decode(&text).ok());
        }
    }
}
