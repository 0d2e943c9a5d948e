//! Where keys come from, how they are recognised, and how soon they are asked for again.

use std::fs;
use std::path::PathBuf;

use hopguard_core::{Audit, minutes, seconds};

use super::lifecycle::Codes;
use super::*;

const OAUTH: &str = "/.well-known/oauth-authorization-server";
const OPENID: &str = "/.well-known/openid-configuration";

fn discovering(signer: &Signer) -> Rig {
    Rig::built(&[signer], |builder| builder.issuer(Issuer::at(ISSUER)))
}

impl FakeIssuer {
    fn paths(&self) -> Vec<String> {
        self.asked.lock().unwrap().iter().map(|(path, _)| path.clone()).collect()
    }

    fn tags(&self) -> Vec<Option<String>> {
        self.asked.lock().unwrap().iter().map(|(_, tag)| tag.clone()).collect()
    }
}

#[tokio::test]
async fn metadata_is_looked_for_in_both_places() {
    let signer = Signer::es256("k1");
    let right = Answer::Status(200, json!({"issuer": ISSUER, "jwks_uri": JWKS}).to_string());
    let other = json!({"issuer": "https://evil", "jwks_uri": "https://evil/jwks"}).to_string();
    for first in [
        Answer::Status(404, String::new()),
        Answer::Status(302, String::new()),
        Answer::Status(200, "<html>".to_owned()),
        Answer::Status(200, other.clone()),
        Answer::Status(200, json!({"issuer": ISSUER}).to_string()),
    ] {
        let rig = discovering(&signer);
        *rig.issuer.metadata.lock().unwrap() = first;
        *rig.issuer.openid.lock().unwrap() = Some(right.clone());
        rig.verify(&signer.token(&claims())).await.unwrap();
        assert_eq!(rig.issuer.paths(), [OAUTH, OPENID, "/jwks"]);
    }
    // The first is enough, and the second must name the issuer as exactly.
    let rig = discovering(&signer);
    rig.verify(&signer.token(&claims())).await.unwrap();
    assert_eq!(rig.issuer.paths(), [OAUTH, "/jwks"]);
    let rig = discovering(&signer);
    *rig.issuer.metadata.lock().unwrap() = Answer::Status(404, String::new());
    *rig.issuer.openid.lock().unwrap() = Some(Answer::Status(200, other));
    assert_eq!(rig.verify(&signer.token(&claims())).await.err(), Some("keys_unavailable"));
    assert_eq!(rig.issuer.paths(), [OAUTH, OPENID]);
    // An issuer that is not there is asked once.
    let rig = discovering(&signer);
    *rig.issuer.metadata.lock().unwrap() = Answer::Fails(TransportError::Connect);
    assert_eq!(rig.verify(&signer.token(&claims())).await.err(), Some("keys_unavailable"));
    assert_eq!(rig.issuer.paths(), [OAUTH]);
}

fn tagged(status: u16, tag: &str, keys: &[&Signer]) -> Answer {
    let body = if status == 200 { set_of(keys) } else { String::new() };
    Answer::Headed(status, vec![("etag", tag.to_owned())], body)
}

#[tokio::test]
async fn a_set_that_did_not_change_is_not_sent_again() {
    let (one, two) = (Signer::es256("k1"), Signer::es256("k2"));
    let rig = Rig::new(&[&one]);
    let token = one.token(&long_claims("1"));
    rig.issuer.answer(tagged(200, "\"a\"", &[&one]));
    let first = rig.verify(&token).await.unwrap();
    rig.issuer.answer(tagged(304, "\"a\"", &[]));
    rig.clock.advance(minutes(6));
    // The verdict lives on: its key is still the published one.
    assert!(Arc::ptr_eq(&first, &rig.verify(&token).await.unwrap()));
    rig.clock.advance(minutes(6));
    rig.verify(&one.token(&long_claims("2"))).await.unwrap();
    // It is an answer like any other: the set is as young as a new one.
    let status = rig.verifier.key_sets().swap_remove(0);
    assert_eq!((status.age, status.fetches, status.failures), (Some(seconds(0)), 3, 0));
    // Another set under another tag, and the old key's verdicts die.
    rig.issuer.answer(tagged(200, "\"b\"", &[&two]));
    rig.clock.advance(minutes(6));
    assert_eq!(rig.verify(&token).await.err(), Some("key_unknown"));
    rig.verify(&two.token(&claims_later(20))).await.unwrap();
    // An answer without a tag is asked for without one.
    rig.issuer.publish(&[&two]);
    for _ in 0..2 {
        rig.clock.advance(minutes(6));
        rig.verify(&two.token(&long_claims("3"))).await.unwrap();
    }
    let some = |tag: &str| Some(tag.to_owned());
    assert_eq!(rig.issuer.tags()[..4], [None, some("\"a\""), some("\"a\""), some("\"a\"")]);
    assert_eq!(rig.issuer.tags().last(), Some(&None));
    assert!(rig.issuer.tags().contains(&some("\"b\"")));
}

/// What a set is known by at one place says nothing about another place.
#[tokio::test]
async fn a_tag_is_shown_where_it_was_given_and_nowhere_else() {
    let signer = Signer::es256("k1");
    let rig = discovering(&signer);
    rig.issuer.answer(tagged(200, "\"a\"", &[&signer]));
    rig.verify(&signer.token(&long_claims("1"))).await.unwrap();
    let moved = json!({"issuer": ISSUER, "jwks_uri": format!("{JWKS}/next")}).to_string();
    *rig.issuer.metadata.lock().unwrap() = Answer::Status(200, moved);
    rig.clock.advance(minutes(61));
    rig.verify(&signer.token(&long_claims("2"))).await.unwrap();
    let asked = rig.issuer.asked.lock().unwrap().pop();
    assert_eq!(asked, Some(("/jwks/next".to_owned(), None)));
    // There it is shown again.
    rig.clock.advance(minutes(6));
    rig.verify(&signer.token(&long_claims("3"))).await.unwrap();
    let asked = rig.issuer.asked.lock().unwrap().pop();
    assert_eq!(asked, Some(("/jwks/next".to_owned(), Some("\"a\"".to_owned()))));
}

fn claims_later(minutes: u64) -> Value {
    let mut claims = long_claims("later");
    claims["iat"] = json!(NOW + minutes * 60 - 120);
    claims
}

#[tokio::test]
async fn not_modified_without_a_question_is_no_answer() {
    let signer = Signer::es256("k1");
    let rig = Rig::new(&[&signer]);
    rig.issuer.answer(tagged(304, "\"a\"", &[]));
    assert_eq!(rig.verify(&signer.token(&claims())).await.err(), Some("keys_unavailable"));
    rig.clock.advance(seconds(2));
    // A tag beyond the bound is not kept, and neither is that of a set that cannot serve.
    rig.issuer.answer(tagged(200, &format!("\"{}\"", "a".repeat(300)), &[&signer]));
    rig.verify(&signer.token(&claims())).await.unwrap();
    rig.issuer.answer(Answer::Headed(200, vec![("etag", "\"bad\"".to_owned())], r#"{"keys":[]}"#.to_owned()));
    rig.clock.advance(minutes(6));
    rig.verify(&signer.token(&long_claims("1"))).await.unwrap();
    rig.clock.advance(minutes(2));
    rig.verify(&signer.token(&long_claims("2"))).await.unwrap();
    rig.settle().await;
    assert!(rig.issuer.fetches() >= 4 && rig.issuer.tags().iter().all(Option::is_none));
}

#[tokio::test]
async fn the_issuer_says_how_long_a_set_may_be_used() {
    let signer = Signer::es256("k1");
    let rig = Rig::new(&[&signer]);
    let token = signer.token(&long_claims("1"));
    let said =
        |value: &str| Answer::Headed(200, vec![("cache-control", value.to_owned())], set_of(&[&signer]));
    rig.issuer.answer(said("max-age=60"));
    rig.verify(&token).await.unwrap();
    rig.clock.advance(seconds(61));
    assert_eq!(rig.check(&token).err(), Some("needs keys"));
    // A year is not believed, and neither is a second.
    rig.issuer.answer(said("max-age=31536000"));
    rig.verify(&token).await.unwrap();
    rig.clock.advance(seconds(301));
    assert_eq!(rig.check(&token).err(), Some("needs keys"));
    rig.issuer.answer(said("no-store"));
    rig.verify(&token).await.unwrap();
    let before = rig.issuer.fetches();
    rig.clock.advance(seconds(20));
    rig.check(&token).unwrap();
    rig.settle().await;
    assert_eq!(rig.issuer.fetches(), before);
}

/// A file of its own for a test, gone with it.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("hopguard-{}-{name}.json", std::process::id()));
        Self(path)
    }

    fn write(&self, text: &str) {
        // As it should be done: whole, by renaming.
        let next = self.0.with_extension("next");
        fs::write(&next, text).unwrap();
        fs::rename(&next, &self.0).unwrap();
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

#[tokio::test]
async fn a_file_is_read_again_when_it_changes() {
    let (old, new) = (Signer::es256("old"), Signer::es256("new"));
    let file = Scratch::new("changes");
    let rig = Rig::built(&[], |builder| builder.issuer(Issuer::at(ISSUER).jwks_file(&file.0)));
    // Nothing is read when it is built, and a file that is not there is a fault, not a denial.
    let token = old.token(&long_claims("1"));
    assert_eq!(rig.verify(&token).await.err(), Some("keys_unavailable"));
    file.write(&set_of(&[&old]));
    rig.clock.advance(seconds(2));
    let first = rig.verify(&token).await.unwrap();
    assert!(rig.verifier.is_ready());
    // Unchanged: the same keys, the same verdict.
    rig.clock.advance(minutes(1));
    assert!(Arc::ptr_eq(&first, &rig.verify(&token).await.unwrap()));
    // A key that was added serves at once, one that was removed within seconds.
    file.write(&set_of(&[&old, &new]));
    rig.verify(&new.token(&long_claims("2"))).await.unwrap();
    file.write(&set_of(&[&new]));
    rig.clock.advance(seconds(11));
    assert_eq!(rig.verify(&token).await.err(), Some("key_unknown"));
    // What makes no sense takes nothing away, up to the ceiling.
    for nonsense in ["", "{}", r#"{"keys":[]}"#, &"x".repeat(600_000)] {
        file.write(nonsense);
        rig.clock.advance(minutes(5));
        rig.verify(&new.token(&long_claims("3"))).await.unwrap();
    }
    fs::remove_file(&file.0).unwrap();
    rig.clock.advance(minutes(61));
    assert_eq!(rig.verify(&new.token(&long_claims("3"))).await.err(), Some("keys_unavailable"));
    assert!(!rig.verifier.is_ready());
    // It is no regular file: nobody waits for it.
    fs::create_dir(&file.0).unwrap();
    rig.clock.advance(seconds(2));
    assert_eq!(rig.verify(&new.token(&long_claims("3"))).await.err(), Some("keys_unavailable"));
    fs::remove_dir(&file.0).unwrap();
    file.write(&set_of(&[&new]));
    rig.clock.advance(seconds(2));
    rig.verify(&new.token(&long_claims("3"))).await.unwrap();
    assert_eq!(rig.issuer.asked.lock().unwrap().len(), 0);
}

/// A file is looked at every few seconds: that it is still the same is no news.
#[tokio::test]
async fn only_a_change_of_a_file_is_written_down() {
    let (old, new) = (Signer::es256("old"), Signer::es256("new"));
    let (file, codes) = (Scratch::new("news"), Arc::new(Codes::default()));
    let audit = Audit::new("orders", "1", codes.clone());
    file.write(&set_of(&[&old]));
    let rig = Rig::built(&[], |builder| builder.issuer(Issuer::at(ISSUER).jwks_file(&file.0)).audit(&audit));
    let token = old.token(&long_claims("1"));
    for _ in 0..3 {
        rig.verify(&token).await.unwrap();
        rig.clock.advance(seconds(11));
    }
    assert_eq!(codes.written(), ["keys_refreshed"]);
    file.write(&set_of(&[&old, &new]));
    rig.verify(&token).await.unwrap();
    fs::remove_file(&file.0).unwrap();
    rig.clock.advance(seconds(11));
    rig.verify(&token).await.unwrap();
    assert_eq!(codes.written(), ["keys_refreshed", "keys_refreshed", "keys_refresh_failed"]);
    assert_eq!(rig.verifier.key_sets().swap_remove(0).failures, 1);
}

#[tokio::test]
async fn the_state_of_the_keys_can_be_watched() {
    let (signer, fixed) = (Signer::es256("k1"), Signer::es256("k2"));
    let rig = Rig::built(&[&signer], |builder| {
        builder
            .issuer(Issuer::at(ISSUER).jwks_url(JWKS))
            .issuer(Issuer::at("https://fixed.internal").keys_fixed(&set_of(&[&fixed])))
    });
    let status = || rig.verifier.key_sets().swap_remove(0);
    let before = status();
    assert_eq!((before.keys, before.age, before.usable, before.fetches), (0, None, false, 0));
    assert!(!rig.verifier.is_ready());
    rig.verifier.warm_up().await.unwrap();
    rig.clock.advance(minutes(6));
    rig.issuer.answer(Answer::Status(500, String::new()));
    rig.verify(&signer.token(&claims())).await.err();
    let after = status();
    assert_eq!((&*after.issuer, after.keys, after.usable), (ISSUER, 1, true));
    assert_eq!((after.age, after.fetches, after.failures), (Some(minutes(6)), 2, 1));
    let fixed = rig.verifier.key_sets().swap_remove(1);
    assert_eq!((fixed.keys, fixed.age, fixed.usable, fixed.fetches), (1, None, true, 0));
}

/// What is wrong with a source of keys is said when the verifier is built, and where.
#[test]
fn a_source_without_keys_does_not_build() {
    let at = || Issuer::at(ISSUER);
    for (issuer, setting, part) in [
        (at().jwks_file(""), "issuer[0].jwks_file", "is empty"),
        (at().jwks_url("not a url"), "issuer[0].jwks_url", ""),
        (at().keys_fixed("{}"), "issuer[0].keys_fixed", "RFC 7517"),
        (at().keys_fixed(r#"{"keys":[]}"#), "issuer[0].keys_fixed", "no key that can serve"),
    ] {
        let clock = Arc::new(FakeClock::default());
        let built = Verifier::builder(FakeIssuer::new(&[]), clock, Spawn::current()).issuer(issuer).build();
        let errors = built.err().unwrap();
        let [one] = errors.problems() else { panic!("{errors}") };
        assert!(one.setting == setting && one.problem.contains(part), "{errors}");
    }
}
