//! Which distributed trace a request belongs to.

use std::fmt;
use std::num::{NonZeroU64, NonZeroU128};

use http::HeaderValue;

use crate::hex;

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
        let trace = (u128::from(number(high)?) << 64) + u128::from(number(low)?);
        let flags = hex::number_of([b'0', b'0', b'0', b'0', b'0', b'0', tens, ones])?;
        let (span, flags) = (number(span)?, u8::try_from(flags).ok()?);
        Some(Self { trace: NonZeroU128::new(trace)?, span: NonZeroU64::new(span)?, flags })
    }

    /// As a header writes it.
    #[must_use]
    pub fn header_value(&self) -> Option<HeaderValue> {
        let mut text = *b"00-00000000000000000000000000000000-0000000000000000-00";
        hex::write(&self.trace.get().to_be_bytes(), text.get_mut(3..35)?);
        hex::write(&self.span.get().to_be_bytes(), text.get_mut(36..52)?);
        let [.., tens, ones] = hex::digits_of(self.flags.into());
        *text.last_chunk_mut()? = [tens, ones];
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
        hex::write(&self.trace.get().to_be_bytes(), &mut digits);
        digits
    }
}

/// The number that 16 lower-case hexadecimal digits write.
fn number(digits: &[u8; 16]) -> Option<u64> {
    let (high, low) = digits.split_first_chunk()?;
    let (high, low) = (hex::number_of(*high)?, hex::number_of(*low.first_chunk()?)?);
    Some((u64::from(high) << 32) + u64::from(low))
}

impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.trace, self.span, self.flags)
    }
}
