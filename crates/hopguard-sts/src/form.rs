//! The token request as a form (RFC 6749 appendix B): strict, bounded, every parameter at most once.

use std::collections::HashMap;
use std::fmt;

use hopguard_core::Denial;
use zeroize::Zeroizing;

const MOST_PARAMETERS: usize = 32;

/// The decoded parameters. Values may be credentials: they are wiped on drop and never shown.
#[derive(Default)]
pub(crate) struct Form(HashMap<String, Zeroizing<String>>);

impl Form {
    /// Reads `application/x-www-form-urlencoded`.
    pub(crate) fn read(body: &[u8]) -> Result<Self, Denial> {
        let body = str::from_utf8(body).map_err(|_| Denial::RequestMalformed)?;
        let mut form = Self::default();
        for pair in body.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').ok_or(Denial::RequestMalformed)?;
            let name = decode(name).ok_or(Denial::RequestMalformed)?;
            let value = decode(value).ok_or(Denial::RequestMalformed)?;
            if form.0.len() >= MOST_PARAMETERS {
                return Err(Denial::RequestMalformed);
            }
            // RFC 6749 section 3.2: parameters MUST NOT be included more than once.
            if form.0.insert(name.to_string(), value).is_some() {
                return Err(Denial::ParameterRepeated);
            }
        }
        Ok(form)
    }

    /// The parameter, if it has a value; without one it counts as left out (RFC 6749 section 3.2).
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(|value| value.as_str()).filter(|value| !value.is_empty())
    }

    pub(crate) fn need(&self, name: &str) -> Result<&str, Denial> {
        self.get(name).ok_or(Denial::ParameterMissing)
    }
}

impl fmt::Debug for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// Decodes one name or value; `None` if an escape is broken or the result is not UTF-8.
pub(crate) fn decode(text: &str) -> Option<Zeroizing<String>> {
    // Decoding never lengthens, so that no copy is left behind by growing.
    let mut decoded = Zeroizing::new(Vec::with_capacity(text.len()));
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'+' => b' ',
            b'%' => hex(bytes.next()?)? << 4 | hex(bytes.next()?)?,
            other => other,
        });
    }
    str::from_utf8(&decoded).ok().map(|text| Zeroizing::new(text.to_owned()))
}

const fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn form(body: &str, expected: Result<&str, &str>) {
        let found = Form::read(body.as_bytes());
        let found = found.as_ref().map(|form| form.get("a").unwrap_or("-")).map_err(|denial| denial.code());
        assert_eq!(found, expected, "{body}");
    }

    #[test]
    fn forms_are_read_strictly() {
        form("", Ok("-"));
        form("a=", Ok("-"));
        form("a=b+c%20d%2B%C3%A4&x=y", Ok("b c d+ä"));
        form("%61=b", Ok("b"));
        form("a=b=c", Ok("b=c"));
        for broken in ["a", "a=%", "a=%2", "a=%zz", "a=%+1", "a=%ff", "a=b;&c"] {
            form(broken, Err("request_malformed"));
        }
        for repeated in ["a=b&a=b", "a=&a=b", "a=b&%61=c", "x=&x="] {
            form(repeated, Err("parameter_repeated"));
        }
        let many = |count| (0..count).map(|n| format!("p{n}=x&")).collect::<String>();
        form(&many(32), Ok("-"));
        form(&many(33), Err("request_malformed"));
        assert_eq!(Form::read(b"a=\xff").unwrap_err().code(), "request_malformed");
    }

    #[test]
    fn debug_shows_no_value() {
        assert_eq!(format!("{:?}", Form::read(b"client_secret=hunter2").unwrap()), r#"{"client_secret"}"#);
    }
}
