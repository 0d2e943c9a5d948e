//! Transaction tokens have a verifier of their own.

use super::*;
use crate::Profile;

const OTHER: &str = "https://txn.internal";

fn header() -> Value {
    json!({"alg": "ES256", "typ": "txntoken+jwt", "kid": "k1"})
}

fn transaction() -> Value {
    json!({
        "iss": ISSUER, "sub": "alice", "aud": "shop.internal", "txn": "t-1", "req_wl": "gateway", "iat": NOW,
        "exp": NOW + 60, "scope": "orders:read",
    })
}

fn rig(signer: &Signer) -> Rig {
    let set = set_of(&[signer]);
    Rig::built(&[], |builder| {
        builder.issuer(Issuer::at(ISSUER).keys_fixed(&set).profile(Profile::transaction_token()))
    })
}

#[test]
fn a_verifier_of_transactions_says_so_and_takes_nothing_else() {
    let signer = Signer::es256("k1");
    let rig = rig(&signer);
    assert!(rig.verifier.verifies_transactions());
    let facts = rig.check(&signer.raw(&header().to_string(), &transaction().to_string())).unwrap();
    assert_eq!((facts.client.as_deref(), facts.token_id.as_deref()), (Some("gateway"), Some("t-1")));
    assert_eq!(facts.scopes.to_string(), "orders:read");
    // An access token is none, and one of these is no access token.
    assert_eq!(rig.check(&signer.token(&claims())).err(), Some("token_type_mismatch"));
    let access = Rig::fixed(&[&signer]);
    assert!(!access.verifier.verifies_transactions());
    let token = signer.raw(&header().to_string(), &transaction().to_string());
    assert_eq!(access.check(&token).err(), Some("token_type_mismatch"));
    for (name, code) in
        [("txn", "token_type_mismatch"), ("req_wl", "claim_missing"), ("iss", "claim_missing")]
    {
        let mut bad = transaction();
        bad.as_object_mut().unwrap().remove(name);
        let token = signer.raw(&header().to_string(), &bad.to_string());
        assert_eq!(rig.check(&token).err(), Some(code), "{name}");
    }
}

#[test]
fn one_verifier_has_transactions_or_access_tokens_and_not_both() {
    let set = set_of(&[&Signer::es256("k1")]);
    let of = |url: &str, profile| Issuer::at(url).keys_fixed(&set).profile(profile);
    let built = |issuers: [Issuer; 2]| {
        let clock = Arc::new(FakeClock::default());
        let builder = Verifier::builder(FakeIssuer::new(&[]), clock, Spawn::current());
        issuers.into_iter().fold(builder, VerifierBuilder::issuer).build()
    };
    let (access, transactions) = (Profile::rfc9068, Profile::transaction_token);
    assert!(!built([of(ISSUER, access()), of(OTHER, access())]).unwrap().verifies_transactions());
    assert!(!built([of(ISSUER, access()), of(OTHER, Profile::keycloak())]).unwrap().verifies_transactions());
    assert!(built([of(ISSUER, transactions()), of(OTHER, transactions())]).unwrap().verifies_transactions());
    for other in [access(), Profile::keycloak()] {
        let errors = built([of(ISSUER, transactions()), of(OTHER, other)]).unwrap_err();
        assert!(matches!(errors.problems(), [one] if one.setting == "issuer"), "{errors}");
    }
}

#[test]
fn a_transaction_profile_has_one_type() {
    let transactions = Profile::transaction_token;
    assert_eq!(transactions().problem(), None);
    let another = Some("accepts another `typ` beside that of transaction tokens");
    for profile in [transactions().typ("at+jwt"), transactions().untyped(), transactions().typ("JWT")] {
        assert_eq!(profile.problem(), another, "{profile:?}");
    }
}
