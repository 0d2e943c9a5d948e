use hopguard_core::Clock;
use serde_json::json;

use super::*;
use crate::FakeClock;
use crate::mint::claims_of;

const GOOD: &str = r#"
    id = "A5-x"
    threat = "A5"
    source = "RFC 9068 section 4"
    description = "a token for somebody else"
    target = "inbound"
    removed_guard = "audience"
    expect = { code = "audience_mismatch", status = 401 }
"#;

fn corpus() -> Vec<Attack> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/corpus");
    load(&folder).unwrap_or_else(|problems| panic!("{problems}"))
}

#[track_caller]
fn refused(change: impl FnOnce(String) -> String, expected: &str) {
    let problem = Attack::parse("A5-x", &change(GOOD.to_owned())).unwrap_err();
    assert!(problem.contains(expected), "{problem}");
}

#[test]
fn what_is_not_known_is_refused() {
    assert!(Attack::parse("A5-x", GOOD).is_ok());
    refused(|text| text.replace("source", "sauce"), "unknown field `sauce`");
    refused(|text| text + "token.claim = {}", "unknown field `claim`");
    refused(|text| text + "request.cookies = 1", "unknown field `cookies`");
    refused(|text| text + "token.signature = \"excellent\"", "unknown variant `excellent`");
    refused(|text| text.replace("audience_mismatch", "audience_wrong"), "no code `audience_wrong`");
    refused(|text| text.replace("401", "403"), "audience_mismatch answers 401");
    refused(|text| text.replace("\"audience\"", "\"hope\""), "none of the guards");
    refused(|text| text.replace("\"audience\"", "\"passthrough\""), "none of the guards");
    refused(|text| text.replace("removed_guard = \"audience\"", ""), "what refuses this?");
    refused(|text| text.replace("\"A5\"", "\"A6\""), "does not begin with `threat`");
    refused(|text| text.replace("A5-x", "A5-y"), "not the file's name");
    refused(|text| text + "disabled = \"\"", "gives no reason");
    refused(|text| text + "token.claims.aud = \"<audiense>\"", "<audiense> is no placeholder");
    refused(|text| text + "request.body = \"<claims>\"", "<claims> is no placeholder");
    refused(
        |text| text.replace("audience_mismatch\", status = 401", "admitted\", status = 200"),
        "nothing is to refuse",
    );
}

/// Every file is well formed, makes a request, and has a description of its own.
#[test]
fn the_corpus_is_in_order() {
    let attacks = corpus();
    assert!(attacks.len() >= 45, "{}", attacks.len());
    let stage = Stage::new(FakeClock::somewhen());
    let mut described = BTreeSet::new();
    for attack in &attacks {
        let prepared = stage.prepare(attack);
        assert!(!prepared.token.is_empty());
        assert!(described.insert(attack.description.as_str()), "{} is described twice", attack.id);
    }
    let rows: BTreeSet<&str> = attacks.iter().map(|attack| attack.threat.as_str()).collect();
    for row in ["A1", "A2", "A3", "A4", "A5", "A6", "A7", "A8", "A9", "A13", "A14", "A15", "A16", "A17"] {
        assert!(rows.contains(row), "no attack for {row}");
    }
    for guard in GUARDS.iter().chain(EGRESS_GUARDS) {
        assert!(attacks.iter().any(|one| one.removed_guard.as_deref() == Some(*guard)), "{guard} is idle");
    }
}

#[test]
fn requests_are_what_the_file_says() {
    let clock = FakeClock::somewhen();
    let stage = Stage::new(clock.clone());
    let text = GOOD.to_owned()
        + r#"
        token.claims = { exp = { now = -5 }, aud = ["<audience>", "x"], act = { sub = "<issuer>" } }
        token.without = ["jti"]
        token.payload = '{<claims>,"aud":"twice","iat":<now+7>}'
        token.signature = "remembered-other-signature"
        request.authorization = ["Bearer <token>", "bearer <header>.<payload>"]
        request.headers = [["cookie", "t=<signature>"], ["cookie", "é"]]
        request.path = "/a?t=<token>"
        "#;
    let prepared = stage.prepare(&Attack::parse("A5-x", &text).unwrap());
    let [header, payload, signature] = prepared.token.split('.').collect::<Vec<_>>().try_into().unwrap();
    let claims = claims_of(&prepared.token);
    assert_eq!(claims["exp"], json!(clock.now().as_secs() - 5));
    assert_eq!((claims.get("jti"), &claims["act"]["sub"]), (None, &json!(Stage::ISSUER)));
    assert_eq!((&claims["aud"], &claims["iat"]), (&json!("twice"), &json!(clock.now().as_secs() + 7)));
    let values = |name| prepared.request.headers().get_all(name).iter().map(|one| one.as_bytes().to_vec());
    let shown: Vec<_> = values("authorization").collect();
    assert_eq!(
        shown,
        [format!("Bearer {}", prepared.token), format!("bearer {header}.{payload}")].map(String::into_bytes)
    );
    assert_eq!(
        values("cookie").collect::<Vec<_>>(),
        [format!("t={signature}"), "é".to_owned()].map(String::into_bytes)
    );
    assert!(prepared.request.uri().query().unwrap().ends_with(&prepared.token));
    let good = prepared.before[0].headers()["authorization"].to_str().unwrap();
    assert_eq!(good.rsplit_once('.').unwrap().0, format!("Bearer {header}.{payload}"));
    assert!(!good.ends_with(signature));
}
