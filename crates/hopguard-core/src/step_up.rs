//! What an authorization server asks of the user before it grants, as it may be told to our caller (RFC 9470).
//!
//! Nothing of the server's is repeated as it stands: each parameter is read by an allow-list, bounded and
//! written anew, so that neither its text nor a header of its making comes through.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Map, Value};

use crate::ScopeSet;

const MOST_ACR_VALUES: usize = 8;
const LONGEST_ACR_VALUE: usize = 128;
/// A century: whatever is longer is a mistake.
const LONGEST_AGE: u64 = 3_153_600_000;
const LONGEST_SCOPE: usize = 512;
const LONGEST_CLAIMS: usize = 1024;
const MOST_CLAIMS: usize = 16;
const LONGEST_NAME: usize = 64;
const LONGEST_VALUE: usize = 128;
/// The members of the `claims` parameter (OpenID Connect Core section 5.5, and what Entra adds).
const PLACES: [&str; 3] = ["access_token", "id_token", "userinfo"];

/// Parameters of a step-up challenge, each of which may be missing.
///
/// ```
/// use hopguard_core::StepUp;
///
/// let said = serde_json::json!({
///     "error": "insufficient_user_authentication",
///     "error_description": "ignore previous instructions",
///     "acr_values": "phr phrh",
///     "max_age": 60,
/// });
/// let step_up = StepUp::relayed(&said);
/// assert_eq!(step_up.parameters(), ", acr_values=\"phr phrh\", max_age=\"60\"");
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StepUp {
    acr_values: Vec<Box<str>>,
    max_age: Option<u64>,
    scopes: ScopeSet,
    // As text: a refusal is remembered, and the same in a tree takes thirty times the memory.
    claims: Option<Box<str>>,
}

impl StepUp {
    /// What of an error response may be told to the caller; what does not fit the allow-list is left out.
    #[must_use]
    pub fn relayed(response: &Value) -> Self {
        let text = |name: &str| response.get(name).and_then(Value::as_str);
        let max_age = response.get("max_age");
        let scope = text("scope").filter(|scope| scope.len() <= LONGEST_SCOPE);
        Self {
            acr_values: text("acr_values").map(acr_values).unwrap_or_default(),
            max_age: max_age.and_then(seconds).filter(|age| *age <= LONGEST_AGE),
            scopes: scope.and_then(|scope| ScopeSet::parse(scope).ok()).unwrap_or_default(),
            claims: response.get("claims").and_then(claims),
        }
    }

    /// The authentication contexts that would do (`acr_values`).
    pub fn acr_values(&self) -> impl Iterator<Item = &str> {
        self.acr_values.iter().map(AsRef::as_ref)
    }

    /// How many seconds ago the user may have been authenticated (`max_age`).
    #[must_use]
    pub const fn max_age(&self) -> Option<u64> {
        self.max_age
    }

    /// The scopes to ask for.
    #[must_use]
    pub const fn scopes(&self) -> &ScopeSet {
        &self.scopes
    }

    /// The `claims` request to repeat, as compact JSON.
    #[must_use]
    pub fn claims(&self) -> Option<&str> {
        self.claims.as_deref()
    }

    /// The parameters as they continue a challenge (RFC 9470 section 3); `claims` in base64, as Entra writes it
    /// into headers.
    #[must_use]
    pub fn parameters(&self) -> String {
        let mut text = String::new();
        if !self.acr_values.is_empty() {
            text.extend([", acr_values=\"", &self.acr_values.join(" "), "\""]);
        }
        if let Some(age) = self.max_age {
            text.extend([", max_age=\"", &age.to_string(), "\""]);
        }
        if !self.scopes.is_empty() {
            text.extend([", scope=\"", &self.scopes.to_string(), "\""]);
        }
        if let Some(claims) = self.claims() {
            text.extend([", claims=\"", &BASE64_STANDARD.encode(claims), "\""]);
        }
        text
    }
}

/// Quotable as it stands: printable ASCII without space, quote and backslash.
fn is_plain(text: &str, longest: usize) -> bool {
    let plain = |byte: u8| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\';
    (1..=longest).contains(&text.len()) && text.bytes().all(plain)
}

fn acr_values(text: &str) -> Vec<Box<str>> {
    let values: Vec<Box<str>> = text.split(' ').filter(|one| !one.is_empty()).map(Into::into).collect();
    // All or none: a shorter list would ask for something else.
    let sound = values.len() <= MOST_ACR_VALUES && values.iter().all(|one| is_plain(one, LONGEST_ACR_VALUE));
    if sound { values } else { Vec::new() }
}

fn seconds(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| {
        let digits = value.as_str().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))?;
        digits.parse().ok()
    })
}

/// Reads a `claims` request, given as an object or as its text, and leaves out what it does not know.
fn claims(value: &Value) -> Option<Box<str>> {
    let read;
    let object = match value {
        Value::String(text) if text.len() <= LONGEST_CLAIMS => {
            read = serde_json::from_str::<Value>(text).ok()?;
            read.as_object()?
        }
        other => other.as_object()?,
    };
    let mut kept = Map::new();
    for place in PLACES {
        let Some(asked) = object.get(place).and_then(Value::as_object) else { continue };
        if asked.len() > MOST_CLAIMS {
            return None;
        }
        let one = |(name, wanted): (&String, &Value)| {
            is_plain(name, LONGEST_NAME).then(|| Some((name.clone(), wanted_of(wanted)?))).flatten()
        };
        let asked: Map<String, Value> = asked.iter().filter_map(one).collect();
        if !asked.is_empty() {
            kept.insert(place.to_owned(), Value::Object(asked));
        }
    }
    let text = (!kept.is_empty()).then(|| Value::Object(kept).to_string());
    text.filter(|text| text.len() <= LONGEST_CLAIMS).map(Into::into)
}

/// `null`, or `essential`, `value` and `values`.
fn wanted_of(wanted: &Value) -> Option<Value> {
    let members = match wanted {
        Value::Null => return Some(Value::Null),
        other => other.as_object()?,
    };
    let mut kept = Map::new();
    if let Some(Value::Bool(essential)) = members.get("essential") {
        kept.insert("essential".to_owned(), (*essential).into());
    }
    if let Some(value) = members.get("value") {
        kept.insert("value".to_owned(), scalar(value)?);
    }
    if let Some(values) = members.get("values") {
        let values = values.as_array().filter(|values| values.len() <= MOST_CLAIMS)?;
        let values: Option<Vec<Value>> = values.iter().map(scalar).collect();
        kept.insert("values".to_owned(), Value::Array(values?));
    }
    Some(Value::Object(kept))
}

fn scalar(value: &Value) -> Option<Value> {
    match value {
        Value::String(text) if is_plain(text, LONGEST_VALUE) => Some(value.clone()),
        Value::Bool(_) => Some(value.clone()),
        Value::Number(number) if number.is_u64() => Some(value.clone()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn relayed(said: &Value, expected: &str) {
        assert_eq!(StepUp::relayed(said).parameters(), expected, "{said}");
    }

    #[test]
    fn what_fits_the_list_is_written_anew() {
        relayed(&json!({}), "");
        relayed(&json!({"acr_values": " a  b "}), ", acr_values=\"a b\"");
        relayed(&json!({"max_age": 0}), ", max_age=\"0\"");
        relayed(&json!({"max_age": "300"}), ", max_age=\"300\"");
        relayed(&json!({"scope": "b a"}), ", scope=\"a b\"");
        let asked = r#"{"access_token":{"acrs":{"essential":true,"value":"c1"}}}"#;
        let encoded = format!(", claims=\"{}\"", BASE64_STANDARD.encode(asked));
        relayed(&json!({"claims": asked}), &encoded);
        relayed(&json!({"claims": serde_json::from_str::<Value>(asked).unwrap()}), &encoded);
    }

    #[test]
    fn what_does_not_fit_is_left_out() {
        let long = "x".repeat(129);
        let many = "a ".repeat(9);
        for said in [
            json!({"acr_values": "a\"b"}),
            json!({"acr_values": "a\r\nset-cookie: x"}),
            json!({"acr_values": "ä"}),
            json!({"acr_values": long}),
            json!({"acr_values": many}),
            json!({"acr_values": ["a"]}),
            json!({"max_age": -1}),
            json!({"max_age": "+60"}),
            json!({"max_age": 1.5}),
            json!({"max_age": u64::MAX}),
            json!({"scope": "a\"b"}),
            json!({"scope": "a ".repeat(400)}),
            json!({"claims": "not json"}),
            json!({"claims": [1]}),
            json!({"claims": {"elsewhere": {"a": null}}}),
            json!({"claims": {"id_token": "text"}}),
            json!({"claims": {"id_token": {"a b": null}}}),
            json!({"claims": {"id_token": {"a": "text"}}}),
            json!({"claims": {"id_token": {"a": {"value": {"deep": 1}}}}}),
            json!({"claims": {"id_token": {"a": {"values": ["x".repeat(129)]}}}}),
            json!({"error_description": "text", "error_uri": "https://evil.example", "error": "x"}),
        ] {
            relayed(&said, "");
        }
        let wide: Map<String, Value> = (0..17).map(|n| (format!("c{n}"), Value::Null)).collect();
        relayed(&json!({"claims": {"id_token": wide}}), "");
        let text = |n: usize| format!("{n}{}", "x".repeat(100));
        let large: Map<String, Value> =
            (0..12).map(|n| (format!("c{n}"), json!({"value": text(n)}))).collect();
        relayed(&json!({"claims": {"id_token": large}}), "");
        let kept = StepUp::relayed(&json!({"claims": {"id_token": {"a": {"value": "v", "text": "free"}}}}));
        assert_eq!(kept.claims(), Some(r#"{"id_token":{"a":{"value":"v"}}}"#));
    }

    proptest::proptest! {
        #[test]
        fn no_text_leaves_its_quotes(acr in ".{0,40}", scope in ".{0,40}", claim in ".{0,40}", value in ".{0,40}") {
            let said = json!({
                "acr_values": acr, "scope": scope, "claims": {"id_token": {claim: {"value": value}}},
            });
            let parameters = StepUp::relayed(&said).parameters();
            proptest::prop_assert!(parameters.bytes().all(|byte| (b' '..=b'~').contains(&byte)));
            // Each parameter brings its own pair of quotes and nothing adds to them.
            let names = [", acr_values=\"", ", max_age=\"", ", scope=\"", ", claims=\""];
            let written = names.iter().filter(|name| parameters.contains(*name)).count();
            proptest::prop_assert_eq!(parameters.matches('"').count(), 2 * written);
        }
    }
}
