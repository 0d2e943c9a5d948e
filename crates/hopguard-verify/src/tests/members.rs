//! How many members an object may have is the same number for every reader, in whatever order they stand.

use super::*;
use crate::Profile;
use crate::claims::Claims;
use crate::extra::Extra;

/// A payload of `others` unknown members and the usual claims, which stand after `before` of the others.
fn payload(others: usize, before: usize) -> String {
    let claims = claims();
    let known = claims.as_object().unwrap().iter().map(|(name, value)| format!("{}:{value}", json!(name)));
    let mut members: Vec<_> = (0..others).map(|n| format!("\"x{n}\":0")).collect();
    members.splice(before..before, known);
    format!("{{{}}}", members.join(","))
}

#[test]
fn known_and_unknown_members_are_counted_together_by_both_readers() {
    let known = claims().as_object().unwrap().len();
    for others in [256 - known, 257 - known, 250, 255, 256, 257] {
        for before in [0, 8, others / 2, others] {
            let text = payload(others, before);
            let expected = others + known <= 256;
            let case = format!("{others} others, {before} of them first");
            assert_eq!(Claims::read(text.as_bytes()).is_ok(), expected, "{case}");
            for profile in [Profile::rfc9068(), Profile::keycloak(), Profile::zitadel()] {
                assert_eq!(Extra::read(text.as_bytes(), &profile).is_ok(), expected, "{case}");
            }
        }
    }
}

#[test]
fn one_token_has_one_verdict_under_rfc_9068_with_and_without_a_second_reading() {
    let signer = Signer::es256("k1");
    let keys = set_of(&[&signer]);
    let rig = |profile| Rig::built(&[], |b| b.issuer(Issuer::at(ISSUER).keys_fixed(&keys).profile(profile)));
    let (fast, slow) = (rig(Profile::rfc9068()), rig(Profile::rfc9068().with_roles()));
    let known = claims().as_object().unwrap().len();
    for (others, expected) in [(256 - known, None), (257 - known, Some("token_malformed"))] {
        for before in [0, others] {
            let token = signer.raw(&signer.header().to_string(), &payload(others, before));
            for rig in [&fast, &slow] {
                assert_eq!(rig.check(&token).err(), expected, "{others} {before}");
            }
        }
    }
}

/// `client_id`, `jti` and `scope` of a wrong type, by the exact code: a profile that reads another claim is no excuse.
#[test]
fn what_rfc_9068_names_is_of_its_type_under_profiles_that_read_another_claim() {
    let signer = Signer::es256("k1");
    let keys = set_of(&[&signer]);
    let profile = Profile::named("acme").typ("at+jwt").client_in("app").scopes_in("scp");
    let rig = Rig::built(&[], |b| b.issuer(Issuer::at(ISSUER).keys_fixed(&keys).profile(profile)));
    let mut good = claims();
    (good["app"], good["scp"]) = (json!("web"), json!(["orders:read"]));
    rig.check(&signer.token(&good)).unwrap();
    for name in ["client_id", "jti", "scope"] {
        for wrong in [json!(7), json!(null), json!({}), json!([7]), json!(true), json!("")] {
            let mut bad = good.clone();
            bad[name] = wrong.clone();
            // An empty list of scopes is a list of scopes.
            let expected = (name != "scope" || wrong != "").then_some("claim_invalid");
            assert_eq!(rig.check(&signer.token(&bad)).err(), expected, "{name} {wrong}");
        }
    }
}

/// A token may hold whatever its issuer likes; kept is what the profile has a word for.
#[test]
fn a_second_reading_keeps_what_the_profile_names() {
    let text = r#"{"aud":"a","events":1,"cid":"b","roles":["c"],"x":{"y":1},"token_type":"d"}"#;
    let profile = Profile::named("acme").client_in("cid").roles_in(&["x", "y"]);
    let read = Extra::read(text.as_bytes(), &profile).unwrap();
    for (claim, expected) in
        [("aud", true), ("events", true), ("cid", true), ("x", true), ("roles", false), ("token_type", false)]
    {
        assert_eq!(!read.find(claim).is_absent(), expected, "{claim}");
    }
}
