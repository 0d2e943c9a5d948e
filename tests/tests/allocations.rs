//! What a stranger can make the verifier allocate with one token, before anything about it is known to be true.

use allocation_counter::measure;
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use hopguard_client::Spawn;
use hopguard_core::{Ledger, RawToken};
use hopguard_testkit::corpus::Stage;
use hopguard_tests::inbound::World;
use hopguard_verify::{Check, Issuer, Profile, Verifier};

/// The longest token that is read.
const LONGEST: usize = 16 * 1024;

/// The most memory that one token of that length may take at a time: forty bytes for one of its own.
const AT_ONCE: u64 = 640 * 1024;

/// The most that is allocated for it in all, growth of lists included.
const IN_ALL: u64 = 768 * 1024;

/// In so many pieces at most.
const PIECES: u64 = 4096;

/// A payload that names the issuer, and has `item` in `member` as often as fits a token of the longest kind.
fn filled(member: &str, open: &str, item: impl Fn(usize) -> String, close: &str) -> String {
    let room = (LONGEST - 300) / 4 * 3;
    let mut text = format!(r#"{{"iss":"{}","{member}":{open}{}"#, Stage::ISSUER, item(0));
    for n in 1.. {
        let next = item(n);
        if text.len() + next.len() + close.len() + 2 > room {
            break;
        }
        text.push(',');
        text.push_str(&next);
    }
    text + close + "}"
}

/// A token of a known `kid` whose signature is worth nothing.
fn token(payload: &str) -> String {
    let part = |text: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(text);
    let header = part(br#"{"alg":"ES256","typ":"at+jwt","kid":"es-1"}"#);
    let token = format!("{header}.{}.{}", part(payload.as_bytes()), part(&[7; 64]));
    assert!((LONGEST - 600..=LONGEST).contains(&token.len()), "{}", token.len());
    token
}

#[test]
fn a_long_token_of_a_stranger_allocates_within_a_bound() {
    let world = World::default();
    let okta = || Some(Profile::okta().with_roles());
    let verifier = |profile: Option<Profile>| {
        let issuer = Issuer::at(Stage::ISSUER).keys_fixed(&world.stage.jwks());
        let issuer = profile.into_iter().fold(issuer, Issuer::profile);
        Verifier::builder(world.key_sets(), world.clock.clone(), Spawn::current())
            .issuer(issuer)
            .build()
            .unwrap()
    };
    let same = |text: &str| {
        let text = text.to_owned();
        move |_: usize| text.clone()
    };
    let named = |n: usize| format!("\"{n:x}\":0");
    for (what, profile, payload) in [
        ("empty audiences", None, filled("aud", "[", same("\"\""), "]")),
        ("numbers for audiences", None, filled("aud", "[", same("0"), "]")),
        ("empty objects in may_act", None, filled("may_act", "[", same("{}"), "]")),
        ("empty texts in may_act", None, filled("may_act", "[", same("\"\""), "]")),
        ("numbers for scopes", okta(), filled("scp", "[", same("0"), "]")),
        ("lists for scopes", okta(), filled("scp", "[", same("[]"), "]")),
        ("lists of one for scopes", okta(), filled("scp", "[", same("[0]"), "]")),
        ("objects for groups", okta(), filled("groups", "[", same(r#"{"":0}"#), "]")),
        ("audiences under a profile", okta(), filled("aud", "[", same("\"\""), "]")),
        ("unknown members", None, filled("x", "{", named, "}")),
        ("escapes", None, filled("aud", "[", same(r#""\n""#), "]")),
    ] {
        let under_profile = profile.is_some();
        let (verifier, ledger, token) =
            (verifier(profile), Ledger::bounded(), RawToken::new(&token(&payload)));
        let mut code = "";
        let counted = measure(|| {
            if let Check::Done(Err(denial)) = verifier.check(&token, ledger.withdrawals()) {
                code = denial.code();
            }
        });
        // The claims were read: nothing cheaper refused it.
        let expected = match what {
            "unknown members" => "token_malformed",
            _ if under_profile => "token_type_mismatch",
            _ => "signature_invalid",
        };
        assert_eq!(code, expected, "{what}");
        let (most, all, count) = (counted.bytes_max, counted.bytes_total, counted.count_total);
        println!("{what}: {most} bytes at once, {all} in all, in {count} pieces");
        assert!(most <= AT_ONCE && all <= IN_ALL && count <= PIECES, "{what}: {most}, {all}, {count}");
    }
}
