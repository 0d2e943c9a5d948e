//! Undoes a body's compression for the scanner, never holding more than one block of what comes out.

use std::fmt;
use std::io::{self, Write};

use flate2::write::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};
use hopguard_core::{BodyScanner, FindingKind, UnixTime};
use http::HeaderMap;
use http::header::CONTENT_ENCODING;

/// So many credentials in one piece of a body are told apart.
const MOST_FOUND: usize = 64;

/// How a body is compressed (RFC 9110 section 8.4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Coding {
    Identity,
    Gzip,
    /// `zlib` by the RFC, and bare `deflate` by some who did not read it.
    Deflate,
}

impl Coding {
    /// `None` for a compression that cannot be undone here, or several inside each other.
    pub(crate) fn of(headers: &HeaderMap) -> Option<Self> {
        let mut coding = Self::Identity;
        for value in headers.get_all(CONTENT_ENCODING) {
            for name in value.to_str().ok()?.split(',').map(str::trim) {
                let named = match name.to_ascii_lowercase().as_str() {
                    "" | "identity" => continue,
                    "gzip" | "x-gzip" => Self::Gzip,
                    "deflate" => Self::Deflate,
                    _ => return None,
                };
                if coding != Self::Identity {
                    return None;
                }
                coding = named;
            }
        }
        Some(coding)
    }
}

/// A scanner behind whatever undoes the compression.
pub(crate) enum Inflating {
    Plain(Sink),
    Gzip(Box<MultiGzDecoder<Sink>>),
    Zlib(Box<ZlibDecoder<Sink>>),
    Bare(Box<DeflateDecoder<Sink>>),
    /// The first two bytes tell `zlib` from bare `deflate`.
    Unknown(Option<Sink>, Vec<u8>),
    /// It was not what it said it was.
    Broken,
}

impl Inflating {
    pub(crate) fn new(coding: Coding, scanner: BodyScanner) -> Self {
        let sink = Sink { scanner, now: UnixTime::from_secs(0), found: Vec::new() };
        match coding {
            Coding::Identity => Self::Plain(sink),
            Coding::Gzip => Self::Gzip(Box::new(MultiGzDecoder::new(sink))),
            Coding::Deflate => Self::Unknown(Some(sink), Vec::new()),
        }
    }

    /// Looks through the next bytes. Returns how many of the last bytes may not leave yet.
    pub(crate) fn push(&mut self, bytes: &[u8], now: UnixTime) -> Result<u64, FindingKind> {
        if let Self::Unknown(sink, begun) = self {
            begun.extend_from_slice(bytes);
            let (Some(&first), Some(&second)) = (begun.first(), begun.get(1)) else { return Ok(0) };
            let begun = std::mem::take(begun);
            let Some(sink) = sink.take() else { return Err(FindingKind::Unreadable) };
            // RFC 1950 section 2.2.
            let is_zlib = first & 0x0F == 8 && u16::from_be_bytes([first, second]).is_multiple_of(31);
            *self = if is_zlib {
                Self::Zlib(Box::new(ZlibDecoder::new(sink)))
            } else {
                Self::Bare(Box::new(DeflateDecoder::new(sink)))
            };
            return self.push_known(&begun, bytes.len(), now);
        }
        self.push_known(bytes, bytes.len(), now)
    }

    fn push_known(&mut self, bytes: &[u8], length: usize, now: UnixTime) -> Result<u64, FindingKind> {
        let plain = matches!(self, Self::Plain(_));
        if let Some(sink) = self.sink() {
            sink.now = now;
        }
        // Flushed, so that all that these bytes hold is judged before they leave.
        let outcome = match self {
            Self::Plain(sink) => sink.write_all(bytes),
            Self::Gzip(decoder) => decoder.write_all(bytes).and_then(|()| decoder.flush()),
            Self::Zlib(decoder) => decoder.write_all(bytes).and_then(|()| decoder.flush()),
            Self::Bare(decoder) => decoder.write_all(bytes).and_then(|()| decoder.flush()),
            Self::Unknown(..) | Self::Broken => Err(io::ErrorKind::InvalidData.into()),
        };
        let found = self.sink().and_then(|sink| sink.found.first().copied());
        let held = self.sink().map_or(0, |sink| sink.scanner.held());
        if outcome.is_err() {
            *self = Self::Broken;
            return Err(found.unwrap_or(FindingKind::Unreadable));
        }
        // Which compressed bytes hold the tail cannot be told: all of the last ones wait.
        found.map_or(Ok(if plain || held == 0 { held } else { length as u64 }), Err)
    }

    /// Lets pass what was returned last; `None` once nothing else was found in the same bytes.
    pub(crate) fn pass(&mut self) -> Option<FindingKind> {
        let sink = self.sink()?;
        if !sink.found.is_empty() {
            sink.found.remove(0);
        }
        sink.found.first().copied()
    }

    /// True if nothing more can be looked through.
    pub(crate) fn is_broken(&self) -> bool {
        matches!(self, Self::Broken)
    }

    pub(crate) fn is_beyond(&mut self) -> bool {
        self.sink().is_some_and(|sink| sink.scanner.is_beyond())
    }

    fn sink(&mut self) -> Option<&mut Sink> {
        match self {
            Self::Plain(sink) => Some(sink),
            Self::Gzip(decoder) => Some(decoder.get_mut()),
            Self::Zlib(decoder) => Some(decoder.get_mut()),
            Self::Bare(decoder) => Some(decoder.get_mut()),
            Self::Unknown(sink, _) => sink.as_mut(),
            Self::Broken => None,
        }
    }
}

impl fmt::Debug for Inflating {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inflating").finish_non_exhaustive()
    }
}

/// Takes what comes out of a decoder straight to the scanner.
pub(crate) struct Sink {
    scanner: BodyScanner,
    now: UnixTime,
    /// What was found in the bytes at hand. A decoder cannot stop in the middle of them and go on later, so
    /// that whether it may pass is asked behind them.
    found: Vec<FindingKind>,
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut found = self.scanner.push(bytes, self.now).err();
        while let Some(kind) = found {
            if !self.found.contains(&kind) && self.found.len() < MOST_FOUND {
                self.found.push(kind);
            }
            if !matches!(kind, FindingKind::LiveCredential(_)) {
                return Err(io::ErrorKind::PermissionDenied.into());
            }
            found = self.scanner.pass();
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use flate2::Compression;
    use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
    use hopguard_core::{Ledger, ScanLimits};

    use super::*;

    fn coding(values: &[&str]) -> Option<Coding> {
        let mut headers = HeaderMap::new();
        values.iter().for_each(|value| _ = headers.append(CONTENT_ENCODING, value.parse().unwrap()));
        Coding::of(&headers)
    }

    #[test]
    fn what_cannot_be_undone_is_none() {
        assert_eq!(coding(&[]), Some(Coding::Identity));
        assert_eq!(coding(&["identity"]), Some(Coding::Identity));
        assert_eq!(coding(&["GZIP"]), Some(Coding::Gzip));
        assert_eq!(coding(&["identity, deflate"]), Some(Coding::Deflate));
        for unknown in [&["br"][..], &["zstd"], &["gzip, gzip"], &["gzip", "deflate"], &["gzip;q=1"]] {
            assert_eq!(coding(unknown), None, "{unknown:?}");
        }
    }

    fn compressed(coding: u8, text: &[u8]) -> Vec<u8> {
        let level = Compression::default();
        let mut gzip = GzEncoder::new(Vec::new(), level);
        let mut zlib = ZlibEncoder::new(Vec::new(), level);
        let mut bare = DeflateEncoder::new(Vec::new(), level);
        for writer in [&mut gzip as &mut dyn Write, &mut zlib, &mut bare] {
            writer.write_all(text).unwrap();
        }
        match coding {
            0 => gzip.finish().unwrap(),
            1 => zlib.finish().unwrap(),
            _ => bare.finish().unwrap(),
        }
    }

    fn run(kind: u8, bytes: &[u8], at_most: u64) -> Result<(), FindingKind> {
        let limits = ScanLimits { at_most, ..ScanLimits::default() };
        let scanner = BodyScanner::new(&Ledger::bounded(), None).with_limits(limits);
        let coding = if kind == 0 { Coding::Gzip } else { Coding::Deflate };
        let mut inflating = Inflating::new(coding, scanner);
        bytes.chunks(3).try_for_each(|chunk| inflating.push(chunk, UnixTime::from_secs(1)).map(drop))
    }

    #[test]
    fn a_bomb_is_refused_and_so_is_what_does_not_inflate() {
        for kind in 0..3 {
            let bomb = compressed(kind, &vec![0; 3_000_000]);
            assert!(bomb.len() < 10_000);
            assert_eq!(run(kind, &bomb, 1_000_000), Err(FindingKind::TooLong));
            assert_eq!(run(kind, &bomb, 3_000_000), Ok(()));
            assert_eq!(run(kind, &[0xFF; 40], 100), Err(FindingKind::Unreadable));
        }
        // Several members, one after the other (RFC 1952 section 2.2).
        let twice = [compressed(0, b"a"), compressed(0, &[7; 200])].concat();
        assert_eq!(run(0, &twice, 201), Ok(()));
        assert_eq!(run(0, &twice, 200), Err(FindingKind::TooLong));
    }
}
