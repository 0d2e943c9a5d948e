//! Whose word is a record? A key says in its name which services its log speaks for; no other may speak in it.

use memchr::memchr;

use super::checkpoint::LogVerifier;
use crate::lineage::Record;

/// The service that a record is told by, if the log of `verifier` does not speak for it. What is no event is nobody's
/// word.
pub(super) fn foreign(record: &[u8], verifier: &LogVerifier) -> Option<String> {
    let is_own = |service: &[u8]| verifier.services().any(|own| own.as_bytes() == service);
    if written_by(record).is_some_and(is_own) {
        return None;
    }
    // INVARIANT: whatever is not written as we write it is read as lineage reads it, so that the two never differ.
    let record: Record = serde_json::from_slice(record).ok()?;
    (!is_own(record.service.as_bytes())).then_some(record.service)
}

/// The service in the line of an event, without parsing it: the members stand in the order of the schema.
fn written_by(line: &[u8]) -> Option<&[u8]> {
    let rest = number(line.strip_prefix(b"{\"version\":")?);
    let rest = number(rest.strip_prefix(b",\"time_ms\":")?);
    let (_, mut rest) = string(rest.strip_prefix(b",\"event_id\":")?)?;
    if let Some(request) = rest.strip_prefix(b",\"request_id\":") {
        (_, rest) = string(request)?;
    }
    let (service, _) = string(rest.strip_prefix(b",\"service\":")?)?;
    Some(service)
}

fn number(text: &[u8]) -> &[u8] {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    text.get(digits..).unwrap_or_default()
}

/// A string without escapes, and what follows it.
fn string(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let text = text.strip_prefix(b"\"")?;
    let (string, rest) = text.split_at_checked(memchr(b'"', text)?)?;
    let plain = memchr(b'\\', string).is_none();
    plain.then_some((string, rest.get(1..)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::LogKey;
    use crate::events_for_tests::numbered;

    const REST: &str = r#","instance":"1","direction":"inbound","kind":"decision","gate":"inbound","decision":"allow","code":"admitted"}"#;

    #[track_caller]
    fn said(line: &str, expected: Option<&str>) {
        let found = foreign(line.as_bytes(), &LogKey::generate(r"log#orders,billing,a\").unwrap().verifier());
        assert_eq!(found.as_deref(), expected, "{line}");
    }

    #[test]
    fn a_service_speaks_for_itself_however_it_is_written() {
        let begun = r#"{"version":1,"time_ms":7,"event_id":"e","request_id":"r""#;
        said(&format!(r#"{begun},"service":"orders"{REST}"#), None);
        said(&format!(r#"{begun},"service":"billing"{REST}"#), None);
        said(&format!(r#"{begun},"service":"inventory"{REST}"#), Some("inventory"));
        // Escapes, spaces, another order of members, and an array in their order are read alike.
        said(&format!(r#"{begun},"service":"order\u0073"{REST}"#), None);
        said(&format!(r#"{begun},"service":"sta\u0074"{REST}"#), Some("stat"));
        said(&format!(r#"{{ "service":"inventory",{}{REST}"#, &begun[1..]), Some("inventory"));
        said(&format!(r#"{begun},"s\u0065rvice":"inventory"{REST}"#), Some("inventory"));
        let array = r#"[1,7,"e","r","inventory","1","inbound","decision","inbound","allow","admitted",
            null,null,null,null,null,null,null,null,null,null,null,null,null,null]"#;
        said(array, serde_json::from_str::<Record>(array).is_ok().then_some("inventory"));
        // One inside another's text is none.
        let nested =
            r#"{"version":1,"time_ms":7,"event_id":"e\",\"service\":\"orders","service":"inventory""#;
        said(&format!("{nested}{REST}"), Some("inventory"));
        said(&format!(r#"{begun},"service":"a\\"{REST}"#), None);
        said(&format!(r#"{begun},"service":"a\","{REST}"#), Some("a\","));
        // Said twice, it is no event to anybody.
        said(&format!(r#"{begun},"service":"inventory","service":"orders"{REST}"#), None);
        assert!(
            serde_json::from_str::<Record>(&format!(r#"{begun},"service":"orders","service":"x"{REST}"#))
                .is_err()
        );
        said("no event", None);
    }

    /// Else each record is parsed, at ten times the cost.
    #[test]
    fn what_the_sinks_write_is_not_parsed() {
        let mut line = Vec::new();
        numbered(7).write_line(&mut line).unwrap();
        assert_eq!(written_by(&line), Some(&b"orders"[..]));
    }
}
