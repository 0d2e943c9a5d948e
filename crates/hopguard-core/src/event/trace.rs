//! Which distributed trace a request belongs to.

use std::fmt;
use std::num::{NonZeroU64, NonZeroU128};

use http::HeaderValue;

use crate::id::hexadecimal;

/// W3C trace context (`traceparent`, version 00): which distributed trace a request belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceContext {
    trace: NonZeroU128,
    span: NonZeroU64,
    flags: u8,
}

impl TraceContext {
    /// Reads a `traceparent` value; `None` if it is malformed or all zero, which the standard says to ignore.
    ///
    /// ```
    /// use hopguard_core::TraceContext;
    ///
    /// let value = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    /// assert_eq!(TraceContext::parse(value).unwrap().to_string(), value);
    /// assert_eq!(TraceContext::parse(value).unwrap().header_value().unwrap(), value);
    /// assert!(TraceContext::parse("00-00-00-00").is_none());
    /// ```
    #[must_use]
    pub fn parse(value: impl AsRef<[u8]>) -> Option<Self> {
        // Every part has its place: this stands before every request.
        let (version, rest) = value.as_ref().split_first_chunk::<3>()?;
        let (high, rest) = rest.split_first_chunk::<16>()?;
        let (low, rest) = rest.split_first_chunk::<16>()?;
        let (first, rest) = rest.split_first()?;
        let (span, rest) = rest.split_first_chunk::<16>()?;
        let (second, flags) = rest.split_first()?;
        let &[tens, ones] = flags else { return None };
        if version != b"00-" || [*first, *second] != *b"--" {
            return None;
        }
        let trace = (u128::from(hex(high)?) << 64) + u128::from(hex(low)?);
        let flags = hex8([b'0', b'0', b'0', b'0', b'0', b'0', tens, ones])?;
        let (span, flags) = (hex(span)?, u8::try_from(flags).ok()?);
        Some(Self { trace: NonZeroU128::new(trace)?, span: NonZeroU64::new(span)?, flags })
    }

    /// As a header writes it.
    #[must_use]
    pub fn header_value(&self) -> Option<HeaderValue> {
        let mut text = *b"00-00000000000000000000000000000000-0000000000000000-00";
        let digit = |half: u8| half + if half < 10 { b'0' } else { b'a' - 10 };
        let bytes = self
            .trace
            .get()
            .to_be_bytes()
            .into_iter()
            .chain(self.span.get().to_be_bytes())
            .chain([self.flags]);
        let places = text.iter_mut().skip(3).filter(|place| **place != b'-');
        let halves = bytes.flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]);
        places.zip(halves).for_each(|(place, digit)| *place = digit);
        HeaderValue::from_bytes(&text).ok()
    }

    /// The trace id, 32 hexadecimal digits.
    #[must_use]
    pub fn trace_id(&self) -> String {
        format!("{:032x}", self.trace)
    }

    /// The same without an allocation.
    pub(super) fn trace_digits(self) -> [u8; 32] {
        let mut digits = [0; 32];
        hexadecimal(self.trace.get().to_be_bytes(), &mut digits);
        digits
    }
}

/// The number that 16 lower-case hexadecimal digits write.
fn hex(digits: &[u8; 16]) -> Option<u64> {
    let (high, low) = digits.split_first_chunk::<8>()?;
    Some((hex8(*high)? << 32) + hex8(*low.first_chunk()?)?)
}

/// The number that eight of them write, all at once: this stands before every request.
fn hex8(digits: [u8; 8]) -> Option<u64> {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    let text = u64::from_be_bytes(digits);
    // A letter has the bit 0x40, and its last four bits count from one for `a`.
    let halves = (text & (ONES * 0x0f)) + ((text >> 6) & ONES) * 9;
    // What is no digit is written differently again, or is no half of a byte.
    let letters = ((halves + ONES * 6) >> 4) & ONES;
    let again = halves + ONES * u64::from(b'0') + letters * u64::from(b'a' - b'9' - 1);
    if again != text || halves & (ONES * 0xf0) != 0 {
        return None;
    }
    let bytes = (halves + (halves >> 4)) & 0x00ff_00ff_00ff_00ff;
    let pairs = (bytes + (bytes >> 8)) & 0x0000_ffff_0000_ffff;
    Some((pairs + (pairs >> 16)) & 0xffff_ffff)
}

impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.trace, self.span, self.flags)
    }
}
