use proptest::prelude::*;

use super::words::{plain, quote};
use super::*;

names!(Field { Number = b"number", Text = b"text", Inner = b"inner" });

fn target(text: &[u8]) -> Result<Object<'_, Field>, Malformed> {
    read(text)
}

#[track_caller]
fn taken(text: &[u8], expected: bool) {
    let found = target(text);
    assert_eq!(found.is_ok(), expected, "{}", String::from_utf8_lossy(text));
}

#[test]
fn a_name_that_stands_twice_is_refused_at_every_level() {
    taken(br#"{"number":1,"text":"a","other":{"number":1}}"#, true);
    taken(br#"{"number":1,"number":1}"#, false);
    taken(br#"{"number":1,"n\u0075mber":1}"#, false);
    taken(br#"{"n\u0075mber":1,"number":1}"#, false);
    taken(br#"{"x":1,"y":2,"x":3}"#, false);
    taken(br#"{"x":1,"y":2,"\u0078":3}"#, false);
    taken(br#"{"x":{"y":{"z":1,"z":1}}}"#, false);
    taken(br#"{"x":[0,{"z":1,"\u007a":1}]}"#, false);
    taken(br#"{"inner":{"a":1,"b":[{"a":1,"a":1}]}}"#, false);
    taken(br#"{"number":{"a":1,"a":1}}"#, false);
    taken(br#"{"":1,"":2}"#, false);
}

#[test]
fn one_object_and_nothing_else() {
    taken(b" {} ", true);
    taken(b"{}{}", false);
    taken(b"{} x", false);
    taken(b"{}\0", false);
    taken(b"", false);
    taken(b"[]", false);
    taken(b"null", false);
    taken(b"\"{}\"", false);
    taken(b"\xef\xbb\xbf{}", false);
    taken(b"{\"a\":1,}", false);
    taken(b"{'a':1}", false);
    taken(b"{\"a\":01}", false);
    taken(b"{\"a\":NaN}", false);
    taken(b"{\"a\":1e999}", false);
    taken(b"{\"a\":1/**/}", false);
}

#[test]
fn numbers_are_spelled_as_json_spells_them() {
    for number in
        ["0", "-0", "7", "0.5", "-1.25", "1e2", "1E2", "1e+2", "1E-2", "1.5e3", "123456789012345678901"]
    {
        taken(format!("{{\"x\":{number}}}").as_bytes(), true);
    }
    // The greatest double begins with 17976 and has 309 digits.
    let (within, beyond) = (format!("17{}", "0".repeat(307)), format!("18{}", "0".repeat(307)));
    taken(format!("{{\"x\":{within}}}").as_bytes(), true);
    for number in [
        "1.", ".5", "1e", "1e+", "1e+-2", "1.e5", "-", "+1", "00", "-01", "0x1", "1e5.0", "1_0", "-1e999",
        &beyond,
    ] {
        taken(format!("{{\"x\":{number}}}").as_bytes(), false);
    }
}

#[test]
fn a_value_is_shown_as_it_is_written() {
    let text = br#"{"text": "a" ,"number":7, "inner": [1, "b"] }"#;
    let target = target(text).unwrap();
    assert_eq!(target.of(Field::Text).raw(), "\"a\"");
    assert_eq!(target.of(Field::Number).raw(), "7");
    assert_eq!(target.of(Field::Inner).raw(), "[1, \"b\"]");
    let escaped = r#"{"text":"\u0061"}"#;
    assert_eq!(super::tests::target(escaped.as_bytes()).unwrap().of(Field::Text).raw(), r#""\u0061""#);
}

/// Most texts are read the short way.
#[test]
fn a_text_without_escapes_is_known_for_one() {
    for (text, plain) in
        [("{\"a\":\"~ \u{e4}\"}", true), ("{\"a\":\"\\n\"}", false), ("{\n}", false), ("{\u{1f}}", false)]
    {
        assert_eq!(Source::of(text.as_bytes()).unwrap().is_plain, plain, "{text:?}");
    }
}

#[test]
fn text_is_valid_unicode() {
    taken(b"{\"x\":\"\xff\"}", false);
    taken(b"{\"\xc3\x28\":1}", false);
    taken(br#"{"x":"\ud800"}"#, false);
    taken(b"{\"x\":\"a\nb\"}", false);
    taken(br#"{"x":"\ud83d\ude00"}"#, true);
}

#[test]
fn nesting_and_members_are_bounded() {
    let nested = |levels: usize| {
        format!("{{\"x\":{}{}}}", "[".repeat(levels - 1), "]".repeat(levels - 1)).into_bytes()
    };
    taken(&nested(usize::from(DEPTH)), true);
    taken(&nested(usize::from(DEPTH) + 1), false);
    taken(&nested(10_000), false);
    taken("{\"x\":".repeat(10_000).as_bytes(), false);
    let wide = |count: usize| {
        let members: Vec<_> = (0..count).map(|n| format!("\"m{n}\":0")).collect();
        format!("{{{}}}", members.join(",")).into_bytes()
    };
    taken(&wide(MEMBERS), true);
    taken(&wide(MEMBERS + 1), false);
}

#[test]
fn a_string_ends_where_it_ends() {
    for length in 0..40 {
        for ending in ["\"", "\\", "\u{1f}", "\n", "\0"] {
            let text = format!("{}{ending}{}", "ä~\u{7f}a ".repeat(length), "\" \\ \n".repeat(3));
            let expected = text.find(ending).unwrap();
            assert_eq!(plain(text.as_bytes()), expected, "{text:?}");
            assert_eq!(quote(text.as_bytes()), text.find('"').unwrap(), "{text:?}");
        }
    }
    assert_eq!(plain(&[0xff; 20]), 20);
    taken(b"{\"a", false);
    taken(b"{\"a\\\"}", false);
    taken(br#"{"\"\\\/\b\f\n\r\t\u00e4":"\u0000"}"#, true);
    taken(br#"{"a":"\x"}"#, false);
    taken(br#"{"a":"\u00g0"}"#, false);
    taken(br#"{"a":"\udc00\ud800"}"#, false);
    taken(br#"{"a":"\ud800\u0041"}"#, false);
    taken(br#"{"a":"\ud800\ud800"}"#, false);
}

/// Another parser's opinion: whether any object of the text names a member twice.
struct Twice(bool);

impl<'de> serde::Deserialize<'de> for Twice {
    fn deserialize<D: serde::Deserializer<'de>>(source: D) -> Result<Self, D::Error> {
        source.deserialize_any(Opinion)
    }
}

struct Opinion;

impl<'de> serde::de::Visitor<'de> for Opinion {
    type Value = Twice;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("anything")
    }

    fn visit_bool<E>(self, _: bool) -> Result<Twice, E> {
        Ok(Twice(false))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Twice, E> {
        Ok(Twice(false))
    }

    fn visit_u64<E>(self, _: u64) -> Result<Twice, E> {
        Ok(Twice(false))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Twice, E> {
        Ok(Twice(false))
    }

    fn visit_unit<E>(self) -> Result<Twice, E> {
        Ok(Twice(false))
    }

    fn visit_str<E>(self, _: &str) -> Result<Twice, E> {
        Ok(Twice(false))
    }

    fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut items: A) -> Result<Twice, A::Error> {
        let mut twice = false;
        while let Some(Twice(inner)) = items.next_element()? {
            twice |= inner;
        }
        Ok(Twice(twice))
    }

    fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Twice, A::Error> {
        let (mut names, mut twice) = (std::collections::HashSet::new(), false);
        while let Some((name, Twice(inner))) = map.next_entry::<String, _>()? {
            twice |= inner | !names.insert(name);
        }
        Ok(Twice(twice))
    }
}

#[track_caller]
fn agrees(text: &str) {
    let target = target(text.as_bytes());
    let ours = target.is_ok();
    let theirs = serde_json::from_str::<Twice>(text);
    let is_object = text.trim_ascii_start().starts_with('{');
    assert_eq!(ours, is_object && theirs.is_ok_and(|theirs| !theirs.0), "{text:?}");
    if let Ok(target) = target {
        let theirs: serde_json::Value = serde_json::from_str(text).unwrap();
        assert_eq!(target.of(Field::Text).is_absent(), theirs.get("text").is_none(), "{text:?}");
        if let Claim::Is(found) = target.of(Field::Text).text() {
            assert_eq!(theirs["text"].as_str(), Some(&*found), "{text:?}");
        }
        let number = target.of(Field::Number).integer().is();
        assert_eq!(theirs.get("number").and_then(serde_json::Value::as_u64), number, "{text:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    /// Takes exactly what `serde_json` takes, less names that stand twice, and reads the same values.
    #[test]
    fn it_agrees_with_another_parser(
        noise in "[ \\[\\]{}:,\"0-9eE.+\\-a-d\\\\untrflsä\n]{0,24}",
        name in "[a-c]|text|number|\\\\u006eumber|t\\\\u0065xt|[^\"]{0,6}",
        other in "[a-c]|text|number",
        inner in "[a-zä\\\\\"\u{1f600}/]{0,10}|(\\\\u[0-9a-fd]{4}){0,3}|[^\"]{0,10}",
        number in "-?[0-9]{1,3}(\\.[0-9]{0,3})?([eE][+-]?[0-9]{0,3})?|[0-9]{15,25}",
        space in "[ \t\n\r]{0,2}",
    ) {
        agrees(&noise);
        agrees(&format!("{{{noise}}}"));
        agrees(&format!("{{\"number\":{number}}}"));
        agrees(&format!("{{{space}\"text\"{space}:\"{inner}\"{space}}}{space}"));
        agrees(&format!("{{\"{name}\":[\"{inner}\",{number},[],{{}}]{space},\"{other}\":{space}\"{inner}\"}}"));
        agrees(&format!("{{\"x\":{{\"{name}\":{number},\"{other}\":[true,false,null]}}}}"));
    }
}

#[test]
fn kinds_are_not_converted() {
    let number = |text: &str| target(text.as_bytes()).unwrap().of(Field::Number).integer();
    assert_eq!(number(r#"{"number":7}"#), Claim::Is(7));
    assert_eq!(number("{}"), Claim::Absent);
    for wrong in ["-1", "-0", "7.0", "7e0", "\"7\"", "null", "true", "[7]", "{}", "18446744073709551616"] {
        assert_eq!(number(&format!("{{\"number\":{wrong}}}")), Claim::Wrong, "{wrong}");
    }
    let target = target(br#"{"t\u0065xt":"\u0061b"}"#).unwrap();
    assert_eq!(target.of(Field::Text).text(), Claim::Is("ab".into()));
}

#[test]
fn what_is_not_there_is_neither_right_nor_wrong() {
    let empty = target(b"{}").unwrap();
    let inner = || empty.of(Field::Inner);
    assert_eq!((inner().integer(), inner().text()), (Claim::Absent, Claim::Absent));
    assert_eq!((inner().list(Value::text), inner().each(|_| ())), (Claim::Absent, Claim::Absent));
    assert!(matches!(inner().object::<Field>(), Claim::Absent) && inner().entries().is_none());
    let wrong = target(b"{\"inner\":7}").unwrap();
    let inner = || wrong.of(Field::Inner);
    assert_eq!((inner().list(Value::text), inner().each(|_| ())), (Claim::Wrong, Claim::Wrong));
    assert!(matches!(inner().object::<Field>(), Claim::Wrong) && inner().entries().is_none());
}
