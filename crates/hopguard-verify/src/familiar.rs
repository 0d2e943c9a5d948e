//! Has a token with this header been verified lately, and what did the header ask for?
//!
//! Nearly every token is remembered, and looked up before anything of it is read. Nearly every one that strangers send
//! is refused by its header, for which the hash of the whole token is not needed. Which of the two comes first is
//! decided by the header's bytes. It decides nothing else: the verdict is the same in either order.
//!
//! A new token has mostly an old header, which was decoded and read once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::alike::Recent;
use crate::header::Asked;

/// Where the dot behind a header is looked for.
const HEADER: usize = 512;
/// The mark of what has no header, one too short to name an algorithm, or one too long to be looked at. Never added.
const UNMARKED: u64 = 1;
/// Any number with as many bits set as not.
const ODD: u64 = 0x9e37_79b9_7f4a_7c15;

/// The headers of tokens that were verified: an issuer writes as many as it has keys. One may push another out.
#[derive(Debug, Default)]
pub(crate) struct Familiar {
    marks: [AtomicU64; 8],
    asked: Recent<Arc<Asked<'static>>>,
}

/// What stands for a header here. Anybody can find another with the same, and has the hash computed for it.
#[derive(Clone, Copy)]
pub(crate) struct Mark(u64);

impl Mark {
    /// Of the header that `token` begins with.
    pub(crate) fn of(token: &[u8]) -> Self {
        let beginning = token.get(..HEADER).unwrap_or(token);
        let header = memchr::memchr(b'.', beginning).and_then(|dot| token.get(..dot)).unwrap_or_default();
        // What the whole chunks leave over is in the last one, with some of what stands before it.
        let Some(last) = header.last_chunk() else { return Self(UNMARKED) };
        let (chunks, _) = header.as_chunks();
        let mark = chunks.iter().chain([last]).fold(header.len() as u64, |mark, chunk: &[u8; 16]| {
            let [a, b, c, d, e, f, g, h, rest @ ..] = *chunk;
            let (one, other) = (u64::from_le_bytes([a, b, c, d, e, f, g, h]), u64::from_le_bytes(rest));
            let (low, high) = (one ^ mark).carrying_mul(other ^ ODD, 0);
            low ^ high
        });
        // Zero is what no header was marked with.
        Self(mark.max(2))
    }
}

impl Familiar {
    pub(crate) fn has(&self, mark: Mark) -> bool {
        self.place(mark).is_some_and(|place| place.load(Ordering::Relaxed) == mark.0)
    }

    /// What a header asks for that is spelled so.
    pub(crate) fn asked(&self, encoded_header: &[u8]) -> Option<Arc<Asked<'static>>> {
        self.asked.known(encoded_header)
    }

    /// Adds the header of a token that was verified.
    // INVARIANT: I17 — what has a mark is short, and the newest takes the place of the oldest.
    pub(crate) fn add(&self, mark: Mark, encoded_header: &[u8], asked: &Asked<'_>) {
        if mark.0 != UNMARKED
            && let Some(place) = self.place(mark)
        {
            place.store(mark.0, Ordering::Relaxed);
            if self.asked(encoded_header).is_none() {
                self.asked.add(encoded_header, Arc::new(asked.to_owned()));
            }
        }
    }

    fn place(&self, Mark(mark): Mark) -> Option<&AtomicU64> {
        // The upper bits depend on all below them.
        self.marks.get(usize::try_from(mark >> 61).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use hopguard_core::Denial;

    use super::*;
    use crate::algorithm::Algorithm;
    use crate::header::Header;

    impl Familiar {
        pub(crate) fn add_any(&self, mark: Mark) {
            self.add(mark, b"", &asks(r#"{"alg":"ES256"}"#));
        }
    }

    #[test]
    fn a_header_is_familiar_once_it_was_added() {
        let familiar = Familiar::default();
        let mark = Mark::of(b"eyJhbGciOiJFUzI1NiJ9.payload.signature");
        assert!(!familiar.has(mark));
        familiar.add_any(mark);
        assert!(familiar.has(mark));
        assert!(familiar.has(Mark::of(b"eyJhbGciOiJFUzI1NiJ9.another.one")));
    }

    #[test]
    fn every_byte_of_a_header_counts() {
        let header = b"eyJhbGciOiJFUzI1NiIsInR5cCI6ImF0K2p3dCIsImtpZCI6IjEifQ";
        let token = |header: &[u8]| [header, b".payload.signature"].concat();
        let familiar = Familiar::default();
        familiar.add_any(Mark::of(&token(header)));
        for at in 0..header.len() {
            let mut other = header.to_vec();
            other[at] ^= 1;
            assert!(!familiar.has(Mark::of(&token(&other))), "byte {at}");
            assert!(!familiar.has(Mark::of(&token(&header[..at]))), "{at} bytes");
        }
        for strange in [&b""[..], b".", b"short.p.s", b"no dot at all in here", &[b'a'; 2 * HEADER]] {
            assert!(!familiar.has(Mark::of(strange)));
        }
    }

    /// Else one token with a long header would make all garbage familiar.
    #[test]
    fn what_has_no_mark_is_never_familiar() {
        let long = [&[b'a'; HEADER][..], b".payload.signature"].concat();
        for unmarked in [&b"no dot"[..], b"", b"short.p.s", &long] {
            let familiar = Familiar::default();
            familiar.add_any(Mark::of(unmarked));
            assert!(!familiar.has(Mark::of(unmarked)) && !familiar.has(Mark::of(b"garbage")));
        }
    }

    fn asks(text: &str) -> Asked<'static> {
        Header::read(text.as_bytes()).and_then(|header| Ok(header.asks()?.to_owned())).unwrap()
    }

    #[test]
    fn what_a_header_asks_for_is_known_by_all_of_its_text() {
        let (familiar, token) = (Familiar::default(), b"eyJhbGciOiJFUzI1NiJ9.payload.signature");
        let (header, _) = token.split_at(20);
        assert!(familiar.asked(header).is_none());
        familiar.add(Mark::of(token), header, &asks(r#"{"alg":"ES256","kid":"1","typ":"AT+JWT"}"#));
        let asked = familiar.asked(header).unwrap();
        assert_eq!((asked.algorithm, asked.key_id.as_deref()), (Algorithm::Es256, Some("1")));
        assert_eq!((asked.typ(), asked.is_access_token()), (Ok(Some("AT+JWT")), Ok(())));
        for at in 0..header.len() {
            let mut other = header.to_vec();
            other[at] ^= 1;
            assert!(familiar.asked(&other).is_none() && familiar.asked(&header[..at]).is_none());
        }
        assert!(familiar.asked(&[header, b"Q"].concat()).is_none());
        // It stays the one piece, however often it is added.
        familiar.add(Mark::of(token), header, &asks(r#"{"alg":"ES256"}"#));
        assert!(Arc::ptr_eq(&asked, &familiar.asked(header).unwrap()));
    }

    #[test]
    fn what_a_header_lacks_is_kept_as_lacking() {
        let familiar = Familiar::default();
        for (text, algorithm, typ) in [
            (r#"{"alg":"RS256"}"#, Algorithm::Rs256, None),
            (r#"{"alg":"EdDSA","typ":"JWT"}"#, Algorithm::EdDsa, Some("JWT")),
        ] {
            familiar.add(Mark::of(b"a-header-as-it-is-spelled.p.s"), text.as_bytes(), &asks(text));
            let asked = familiar.asked(text.as_bytes()).unwrap();
            assert_eq!((asked.algorithm, asked.key_id.as_deref(), asked.typ()), (algorithm, None, Ok(typ)));
            assert_eq!(asked.is_access_token(), Err(Denial::TokenTypeMismatch));
        }
    }

    #[test]
    fn what_has_no_mark_is_not_kept() {
        let (familiar, long) = (Familiar::default(), [b'a'; HEADER]);
        familiar.add(Mark::of(&[&long[..], b".p.s"].concat()), &long, &asks(r#"{"alg":"ES256"}"#));
        assert!(familiar.asked(&long).is_none());
    }

    #[test]
    fn headers_are_spread_over_all_places() {
        let places: std::collections::BTreeSet<_> =
            (0..200).map(|n| Mark::of(format!("header-of-a-token-{n}.p.s").as_bytes()).0 >> 61).collect();
        assert_eq!(places.len(), 8);
    }
}
