//! Tokens of our own: proven, kept, shared with nobody.

use std::time::Duration;

use hopguard_core::{AsOurselves, Refusal, minutes};
use serde_json::{Value, json};

use crate::rig_for_tests::{Ask, ISSUER, PEER, Reply, Rig, error, mint, peer, reply, told};

fn target() -> AsOurselves {
    AsOurselves::audience(PEER).scope("entries:write").lifetime_at_most(minutes(3)).requires("x")
}

fn claims(ask: &Ask) -> Value {
    json!({
        "iss": ISSUER, "sub": "orders", "aud": ask.form.get("audience").cloned().unwrap_or_default(),
        "scope": ask.form.get("scope").cloned().unwrap_or_default(), "iat": ask.now, "exp": ask.now + 120,
        "jti": format!("own-{}", ask.number), "client_id": "orders",
    })
}

fn answer(claims: &Value) -> Reply {
    reply(200, &json!({ "access_token": mint(claims), "token_type": "Bearer", "expires_in": 120 }))
}

async fn asked(rig: &Rig, target: &AsOurselves) -> Result<(String, String), &'static str> {
    told(rig.exchanger.own_grant(target, &peer()).await)
}

#[tokio::test]
async fn one_token_is_fetched_kept_and_renewed_at_its_end() {
    let rig = Rig::new(|ask| answer(&claims(ask)));
    assert!(rig.exchanger.own_cached(&target(), &peer()).is_none());
    assert_eq!(asked(&rig, &target()).await, Ok(("own-0".into(), "Miss".into())));
    assert_eq!(asked(&rig, &target()).await, Ok(("own-0".into(), "Hit".into())));
    {
        let seen = rig.sts.seen.lock().unwrap();
        assert_eq!(seen[0].form["grant_type"], "client_credentials");
        assert!(seen[0].form.contains_key("client_assertion"));
        assert!(!seen[0].form.contains_key("subject_token") && !seen[0].form.contains_key("actor_token"));
    }
    let granted = rig.exchanger.own_cached(&target(), &peer()).unwrap();
    assert_eq!(granted.parent(), None);
    // Another demand on callers is the same token; another scope is not.
    assert!(rig.exchanger.own_cached(&target().or_ourselves(), &peer()).is_some());
    rig.exchanger.forget_own(&target(), &peer(), &granted);
    assert_eq!(asked(&rig, &target()).await, Ok(("own-1".into(), "Miss".into())));
    rig.clock.advance(Duration::from_secs(120));
    assert_eq!(asked(&rig, &target()).await, Ok(("own-2".into(), "Miss".into())));
}

#[tokio::test]
async fn a_thousand_who_ask_at_once_ask_once() {
    let rig = Rig::new(|ask| answer(&claims(ask)));
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..1000 {
        let asking = rig.exchanger.own_grant(&target(), &peer());
        calls.spawn(async move { told(asking.await) });
    }
    let outcomes = calls.join_all().await;
    assert!(outcomes.iter().all(|outcome| matches!(outcome, Ok((name, _)) if name == "own-0")));
    assert_eq!(rig.asked(), 1);
}

#[tokio::test]
async fn each_way_to_be_wrong_has_its_code_and_nothing_is_kept() {
    for (claim, value, code) in [
        ("sub", json!("alice"), "grant_subject_changed"),
        ("aud", json!("https://elsewhere"), "grant_audience_wider"),
        ("aud", json!([PEER, "https://elsewhere"]), "grant_audience_wider"),
        ("scope", json!("entries:write admin"), "grant_scope_wider"),
        ("exp", json!(9_999_999_999_u64), "grant_lifetime_too_long"),
        ("act", json!({ "sub": "somebody" }), "grant_actor_changed"),
        ("cnf", json!({ "jkt": "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I" }), "grant_holder_changed"),
        ("iss", json!(crate::rig_for_tests::OTHER_ISSUER), "grant_issuer_unexpected"),
    ] {
        let wrong = value.clone();
        let rig = Rig::new(move |ask| {
            let mut claims = claims(ask);
            claims[claim] = wrong.clone();
            answer(&claims)
        });
        assert_eq!(asked(&rig, &target()).await, Err(code), "{claim} {value}");
        assert!(rig.exchanger.own_cached(&target(), &peer()).is_none(), "{claim} {value}");
        assert_eq!(rig.ledger.len(), 0);
    }
}

#[tokio::test]
async fn a_refusal_is_our_fault_and_is_not_remembered() {
    for code in ["invalid_scope", "invalid_target", "invalid_client", "insufficient_user_authentication"] {
        let rig = Rig::new(move |_| error(400, code));
        for _ in 0..2 {
            let refusal = rig.exchanger.own_grant(&target(), &peer()).await.unwrap_err();
            assert!(matches!(refusal, Refusal::Fault(_)), "{code}: {refusal:?}");
            assert_eq!(refusal.code(), "sts_refused", "{code}");
        }
        assert_eq!(rig.asked(), 2);
    }
}

#[tokio::test]
async fn a_service_account_by_another_name_has_to_be_named() {
    let rig = Rig::new(|ask| {
        let mut claims = claims(ask);
        claims["sub"] = json!("service-account-orders");
        answer(&claims)
    });
    assert_eq!(asked(&rig, &target()).await, Err("grant_subject_changed"));
    let named = AsOurselves::audience(PEER)
        .scope("entries:write")
        .lifetime_at_most(minutes(3))
        .expects_subject("service-account-orders")
        .requires("x");
    assert!(asked(&rig, &named).await.is_ok());
}
