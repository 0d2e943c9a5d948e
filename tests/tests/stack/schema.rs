//! The published schema of audit events against what real stacks write: every event of every kind. A reader of the
//! few keywords that the schema uses; any other keyword fails, so that none is taken for checked.

use std::collections::BTreeSet;

use serde_json::Value;

const SCHEMA: &str = include_str!("../../../crates/hopguard-core/schema/audit-event-v1.json");

/// Fails unless every event is as the schema says; returns the kinds that there were.
#[track_caller]
pub fn assert_described(events: &[Value]) -> BTreeSet<String> {
    let schema: Value = serde_json::from_str(SCHEMA).unwrap();
    for event in events {
        if let Err(problem) = judge(&schema, &schema, event) {
            panic!("{problem} in {event}");
        }
    }
    events.iter().map(|event| event["kind"].as_str().unwrap().to_owned()).collect()
}

fn judge(root: &Value, schema: &Value, value: &Value) -> Result<(), String> {
    for (keyword, rule) in schema.as_object().unwrap() {
        let holds = match keyword.as_str() {
            "$schema" | "$id" | "$defs" | "title" | "description" => true,
            "$ref" => {
                let target = root.pointer(rule.as_str().unwrap().trim_start_matches('#')).unwrap();
                judge(root, target, value)?;
                true
            }
            "type" => match rule.as_str().unwrap() {
                "object" => value.is_object(),
                "array" => value.is_array(),
                "string" => value.is_string(),
                "integer" => value.is_u64() || value.is_i64(),
                "boolean" => value.is_boolean(),
                other => panic!("the schema has the type {other}"),
            },
            "const" => value == rule,
            "enum" => rule.as_array().unwrap().contains(value),
            "minimum" => value.as_i64().unwrap() >= rule.as_i64().unwrap(),
            "maximum" => value.as_i64().unwrap() <= rule.as_i64().unwrap(),
            "maxLength" => value.as_str().unwrap().chars().count() as u64 <= rule.as_u64().unwrap(),
            "minItems" => value.as_array().unwrap().len() as u64 >= rule.as_u64().unwrap(),
            "pattern" => matches(rule.as_str().unwrap(), value.as_str().unwrap()),
            "items" => {
                value.as_array().unwrap().iter().try_for_each(|one| judge(root, rule, one)).map(|()| true)?
            }
            "required" => {
                rule.as_array().unwrap().iter().all(|name| value.get(name.as_str().unwrap()).is_some())
            }
            "properties" => {
                for (name, member) in value.as_object().unwrap() {
                    if let Some(rule) = rule.get(name) {
                        judge(root, rule, member).map_err(|problem| format!("{name}: {problem}"))?;
                    }
                }
                true
            }
            "additionalProperties" => {
                assert_eq!(rule, false);
                let known = schema["properties"].as_object().unwrap();
                value.as_object().unwrap().keys().all(|name| known.contains_key(name))
            }
            other => panic!("the schema has the keyword {other}"),
        };
        if !holds {
            return Err(format!("`{keyword}` does not hold"));
        }
    }
    Ok(())
}

/// The few patterns that the schema has.
fn matches(pattern: &str, text: &str) -> bool {
    let hexadecimal =
        |length| text.len() == length && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    match pattern {
        "^[0-9a-f]{32}$" => hexadecimal(32),
        "^[0-9a-f]{64}$" => hexadecimal(64),
        "^[a-z_]+$" => !text.is_empty() && text.bytes().all(|b| matches!(b, b'a'..=b'z' | b'_')),
        other => panic!("the schema has the pattern {other}"),
    }
}

#[test]
fn what_is_not_described_is_found() {
    let good = serde_json::json!({ "version": 1, "time_ms": 1, "event_id": "0".repeat(32), "service": "s",
        "instance": "1", "direction": "inbound", "kind": "notice", "gate": "g", "decision": "allow", "code": "sent" });
    let schema: Value = serde_json::from_str(SCHEMA).unwrap();
    let judged = |change: &dyn Fn(&mut Value)| {
        let mut event = good.clone();
        change(&mut event);
        judge(&schema, &schema, &event)
    };
    assert_eq!(judged(&|_| ()), Ok(()));
    for change in [
        &|event: &mut Value| event["version"] = 2.into(),
        &|event: &mut Value| event["event_id"] = "x".into(),
        &|event: &mut Value| event["kind"] = "other".into(),
        &|event: &mut Value| event["undescribed"] = 1.into(),
        &|event: &mut Value| event["status"] = 99.into(),
        &|event: &mut Value| event["token"] = serde_json::json!({ "fingerprint": "0" }),
        &|event: &mut Value| drop(event.as_object_mut().unwrap().remove("code")),
    ] as [&dyn Fn(&mut Value); 7]
    {
        assert!(judged(change).is_err());
    }
}

/// What four processes wrote: the authorization server too.
#[test]
fn the_logs_of_the_chain_are_described() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../crates/hopguard-cli/tests/theft/logs");
    let mut events = Vec::new();
    for service in ["sts", "gateway", "orders", "inventory"] {
        let text = std::fs::read_to_string(format!("{folder}/{service}/00000000000000000000.jsonl")).unwrap();
        events.extend(text.lines().map(|line| serde_json::from_str(line).unwrap()));
    }
    let kinds = assert_described(&events);
    assert!(kinds.contains("decision") && kinds.contains("outcome") && kinds.contains("notice"), "{kinds:?}");
}
