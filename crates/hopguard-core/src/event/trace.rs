//! Which distributed trace a request belongs to.

use std::fmt;

use http::HeaderValue;

use crate::hex;

/// W3C trace context (`traceparent`, version 00): which distributed trace a request belongs to.
///
/// It is kept as it is written: most are written down as they came, and sent on so.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TraceContext([u8; LENGTH]);

/// Version, trace, span and flags, with a dash between.
const LENGTH: usize = 55;

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
        let text: &[u8; LENGTH] = value.as_ref().try_into().ok()?;
        let (version, rest) = text.split_first_chunk::<3>()?;
        let (trace, rest) = rest.split_first_chunk::<32>()?;
        let (first, rest) = rest.split_first()?;
        let (span, rest) = rest.split_first_chunk::<16>()?;
        let &[second, tens, ones] = rest else { return None };
        let flags = [b'0', b'0', b'0', b'0', b'0', b'0', tens, ones];
        let (traces, spans) = (trace.as_chunks().0, span.as_chunks().0);
        let is_spelled_right = version == b"00-"
            && [*first, second] == *b"--"
            && traces.iter().chain(spans).chain([&flags]).all(|eight| hex::are_digits(*eight));
        (is_spelled_right && *trace != [b'0'; 32] && *span != [b'0'; 16]).then_some(Self(*text))
    }

    /// As a header writes it.
    #[must_use]
    pub fn header_value(&self) -> Option<HeaderValue> {
        HeaderValue::from_bytes(&self.0).ok()
    }

    /// The trace id, 32 hexadecimal digits.
    #[must_use]
    pub fn trace_id(&self) -> String {
        String::from_utf8_lossy(self.trace_digits()).into_owned()
    }

    /// The same without an allocation.
    pub(super) fn trace_digits(&self) -> &[u8] {
        self.0.get(3..35).unwrap_or_default()
    }
}

impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.0))
    }
}

impl fmt::Debug for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TraceContext({self})")
    }
}
