//! One caller at a time, against an authorization server that does what it should, or should not.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hopguard_client::{ClientAuth, Spawn, TokenFile, TransportError};
use hopguard_core::{Clock, Destination, Exchange, Ledger, Overflow, Withdrawal, minutes, seconds};
use serde_json::{Value, json};

use crate::rig_for_tests::*;
use crate::{ActorToken, Exchanger};

fn good(number: usize, state: &str) -> Result<(String, String), &'static str> {
    Ok((format!("grant-{number}"), state.to_owned()))
}

#[tokio::test]
async fn a_caller_gets_a_grant_and_the_next_call_finds_it() {
    let rig = Rig::new(honest);
    let alice = rig.caller("alice").await;
    assert!(rig.exchanger.cached(&alice, &rig.prepared()).is_none());
    let (granted, _) = rig.exchanger.grant(&alice, &rig.prepared()).await.unwrap();
    let facts = granted.facts();
    assert_eq!(*facts.audiences, [PEER.into()]);
    assert_eq!(facts.scopes.to_string(), "stock:read");
    assert_eq!(facts.subject.as_ref(), "alice");
    let actors: Vec<_> = facts.actors.actors().iter().map(|actor| actor.subject.as_ref()).collect();
    assert_eq!(actors, ["orders", "gateway"]);
    assert_eq!(granted.parent(), Some(alice.facts().fingerprint));
    assert_eq!(granted.obtained(), rig.clock.now());
    assert_eq!(rig.ledger.len(), 1);

    assert_eq!(rig.ask(&alice).await, good(0, "Hit"));
    assert!(rig.exchanger.cached(&alice, &rig.prepared()).is_some());
    assert_eq!(rig.asked(), 1);
    assert_eq!(rig.exchanger.traffic(), (0, 0));
}

#[tokio::test]
async fn the_request_is_made_out_to_the_issuer() {
    let rig = Rig::new(honest);
    let alice = rig.caller("alice").await;
    rig.ask(&alice).await.unwrap();
    let seen = rig.sts.seen.lock().unwrap();
    assert_eq!(seen[0].uri, "https://sts.internal/token");
    assert_eq!(seen[0].form["subject_token"], alice.subject_token().dangerous_expose());
    assert_eq!(seen[0].form["scope"], "stock:read");
    let assertion = claims_of(&seen[0].form["client_assertion"]);
    assert_eq!(assertion["aud"], ISSUER);
    assert_eq!(assertion["sub"], "orders");
}

/// The server's token is changed: the call ends in `code`, and nothing is kept.
#[track_caller]
fn narrowing(change: impl Fn(&mut Value) + Send + Sync + 'static, code: &'static str) {
    let behaviour = move |ask: &Ask| {
        let mut claims = ask.claims();
        change(&mut claims);
        reply(200, &response(&mint(&claims)))
    };
    refused(behaviour, code);
}

#[track_caller]
fn refused(behaviour: impl Fn(&Ask) -> Reply + Send + Sync + 'static, code: &'static str) {
    refused_after(behaviour, code, 2);
}

/// Two calls, `asked` requests in all.
#[track_caller]
fn refused_after(
    behaviour: impl Fn(&Ask) -> Reply + Send + Sync + 'static,
    code: &'static str,
    asked: usize,
) {
    let outcomes = tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
        let rig = Rig::new(behaviour);
        let alice = rig.caller("alice").await;
        let outcomes = [rig.ask(&alice).await, rig.ask(&alice).await];
        assert!(rig.exchanger.cached(&alice, &rig.prepared()).is_none(), "{code}: cached");
        (outcomes, rig.asked(), rig.exchanger.remembered(), rig.ledger.len())
    });
    assert_eq!(outcomes, ([Err(code), Err(code)], asked, 0, 0));
}

#[test]
fn every_narrowing_fault_has_its_own_code_and_is_not_kept() {
    narrowing(|c| c["scope"] = json!("stock:read stock:write"), "grant_scope_wider");
    narrowing(|c| c["scope"] = json!("orders:read"), "grant_scope_wider");
    narrowing(|c| c["aud"] = json!("https://elsewhere.internal"), "grant_audience_wider");
    narrowing(|c| c["aud"] = json!([PEER, US]), "grant_audience_wider");
    narrowing(|c| c["exp"] = json!(START + 301), "grant_outlives_parent");
    narrowing(|c| c["exp"] = json!(START + 181), "grant_lifetime_too_long");
    narrowing(|c| (c["iat"], c["exp"]) = (json!(START - 9), json!(START)), "grant_expired");
    narrowing(|c| c["sub"] = json!("mallory"), "grant_subject_changed");
    narrowing(|c| drop(c.as_object_mut().unwrap().remove("act")), "grant_actor_missing");
    narrowing(|c| c["act"] = c["act"]["act"].take(), "grant_actor_changed");
    narrowing(|c| c["act"] = json!({ "sub": "orders" }), "grant_actor_changed");
    narrowing(|c| c["act"] = json!({ "sub": "orders", "act": c["act"] }), "grant_actor_changed");
    narrowing(
        |c| c["cnf"] = json!({ "jkt": "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I" }),
        "grant_holder_changed",
    );
    narrowing(|c| c["iss"] = json!(OTHER_ISSUER), "grant_issuer_unexpected");
    narrowing(|c| c["iss"] = json!("https://unknown.internal"), "grant_unreadable");
    narrowing(|c| drop(c.as_object_mut().unwrap().remove("aud")), "grant_unreadable");
    narrowing(|c| drop(c.as_object_mut().unwrap().remove("exp")), "grant_unreadable");
}

#[test]
fn a_narrower_grant_than_asked_is_welcome() {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
        let rig = Rig::new(|ask| {
            let mut claims = ask.claims();
            (claims["scope"], claims["exp"]) = (json!(""), json!(START + 20));
            reply(200, &response(&mint(&claims)))
        });
        let alice = rig.caller("alice").await;
        assert_eq!(rig.ask(&alice).await, good(0, "Miss"));
    });
}

#[test]
fn a_token_that_does_not_verify_is_unreadable() {
    refused(|_| reply(200, &response("0123456789abcdef0123456789abcdef")), "grant_unreadable");
    refused(
        |ask| reply(200, &response(&STRANGER.sign_jwt("at+jwt", &ask.claims()).unwrap())),
        "grant_unreadable",
    );
    refused(|ask| reply(200, &response(&KEY.sign_jwt("JWT", &ask.claims()).unwrap())), "grant_unreadable");
    refused(
        |ask| {
            let token = mint(&ask.claims());
            let (signed, _) = token.rsplit_once('.').unwrap();
            reply(200, &response(&format!("{signed}.")))
        },
        "grant_unreadable",
    );
    // The caller's own token handed back: genuine, and wider in every way.
    refused(|ask| reply(200, &response(&ask.form["subject_token"])), "grant_audience_wider");
}

#[tokio::test]
async fn missing_keys_are_not_the_grants_fault() {
    let rig = Rig::new(|ask| if ask.uri.path() == "/token" { honest(ask) } else { error(503, "x") });
    let verifier = verifier_without_keys(&rig.clock, &rig.sts);
    let exchanger =
        fixed_endpoint(builder(ISSUER, &verifier, &rig.clock, &rig.sts, &rig.ledger)).build().unwrap();
    let alice = rig.caller("alice").await;
    assert_eq!(
        told(exchanger.grant(&alice, &exchanger.prepare(&target(), &peer())).await),
        Err("keys_unavailable")
    );
    assert_eq!(exchanger.remembered(), 0);
}

#[test]
fn an_answer_of_another_kind_is_refused() {
    let with = |member: &'static str, value: Value| {
        move |ask: &Ask| {
            let mut answer = response(&mint(&ask.claims()));
            answer[member] = value.clone();
            reply(200, &answer)
        }
    };
    refused(with("token_type", json!("N_A")), "grant_type_unexpected");
    refused(with("token_type", json!("DPoP")), "grant_type_unexpected");
    let refresh = json!("urn:ietf:params:oauth:token-type:refresh_token");
    refused(with("issued_token_type", refresh), "grant_type_unexpected");
    refused(with("issued_token_type", Value::Null), "sts_answer_invalid");
    refused(with("access_token", json!("")), "sts_answer_invalid");
    refused(with("expires_in", json!("120")), "sts_answer_invalid");
    refused(
        |ask| {
            honest(ask).map(|mut r| {
                *r.status_mut() = http::StatusCode::FOUND;
                r
            })
        },
        "sts_answer_invalid",
    );
    refused(
        |ask| {
            honest(ask).map(|mut r| {
                r.headers_mut().clear();
                r
            })
        },
        "sts_answer_invalid",
    );
}

#[test]
fn trouble_and_our_own_faults_are_not_held_against_the_caller() {
    for error in [TransportError::Timeout, TransportError::Broken] {
        refused(move |_| Err(error), "sts_unavailable");
    }
    // Three attempts, then two until the fifth failure opens the circuit.
    refused_after(|_| Err(TransportError::Connect), "sts_unavailable", 5);
    for status in [502, 503, 504] {
        refused_after(move |_| error(status, "temporarily_unavailable"), "sts_unavailable", 5);
    }
    refused(|_| Err(TransportError::TooLarge), "sts_answer_invalid");
    // What may be about this caller alone is held against it for a second.
    refused_after(|_| error(500, "server_error"), "sts_unavailable", 1);
    refused_after(|_| error(429, "slow_down"), "sts_unavailable", 1);
    for code in ["invalid_request", "invalid_grant", "unauthorized_client", "made_up"] {
        refused(move |_| error(400, code), "sts_refused");
    }
    refused(|_| error(401, "invalid_client"), "sts_refused");
}

#[tokio::test]
async fn a_refused_target_is_remembered_for_five_seconds_and_for_this_caller_only() {
    let rig = Rig::new(|ask| {
        let alice = claims_of(&ask.form["subject_token"])["sub"] == "alice";
        if alice { error(400, "invalid_target") } else { honest(ask) }
    });
    let (alice, bob) = (rig.caller("alice").await, rig.caller("bob").await);
    for _ in 0..3 {
        assert_eq!(rig.ask(&alice).await, Err("exchange_target_refused"));
    }
    assert_eq!(rig.asked(), 1);
    assert_eq!(rig.ask(&bob).await, good(1, "Miss"));
    rig.clock.advance(Duration::from_millis(4999));
    assert_eq!(rig.ask(&alice).await, Err("exchange_target_refused"));
    assert_eq!(rig.asked(), 2);
    rig.clock.advance(Duration::from_millis(1));
    assert_eq!(rig.ask(&alice).await, Err("exchange_target_refused"));
    assert_eq!(rig.asked(), 3);
}

#[tokio::test]
async fn whom_we_may_not_exchange_for_is_refused_before_anything_is_sent() {
    let rig = Rig::new(honest);
    let foreign = rig.caller_with("alice", |c| c["iss"] = json!(OTHER_ISSUER)).await;
    assert_eq!(rig.ask(&foreign).await, Err("subject_issuer_foreign"));
    let token = rig.caller("alice").await.subject_token().dangerous_expose().to_owned();
    let unlinked = rig.admit(&token, &Ledger::bounded()).await;
    assert_eq!(rig.ask(&unlinked).await, Err("evidence_foreign"));
    let poor = rig.caller_with("alice", |c| c["scope"] = json!("orders:list")).await;
    assert_eq!(rig.ask(&poor).await, Err("route_requires_scope"));
    let withdrawn = rig.caller_with("alice", |c| c["jti"] = json!("w")).await;
    let what = Withdrawal::Token(withdrawn.facts().fingerprint);
    rig.ledger.withdrawals().withdraw(what, rig.clock.now(), rig.clock.now().after(minutes(9))).unwrap();
    assert_eq!(rig.ask(&withdrawn).await, Err("token_withdrawn"));
    let late = rig.caller("alice").await;
    rig.clock.advance(minutes(5));
    assert_eq!(rig.ask(&late).await, Err("subject_expired"));
    assert_eq!(rig.asked(), 0);
}

#[tokio::test]
async fn what_is_refused_is_not_served_from_the_cache_either() {
    let rig = Rig::new(honest);
    let alice = rig.caller("alice").await;
    let open = Exchange::audience(PEER).scope("stock:read").lifetime_at_most(minutes(3)).requires_none();
    rig.exchanger.grant(&alice, &rig.exchanger.prepare(&open, &peer())).await.unwrap();
    assert!(rig.exchanger.cached(&alice, &rig.prepared()).is_some(), "the same request");
    let closed =
        Exchange::audience(PEER).scope("stock:read").lifetime_at_most(minutes(3)).requires("orders:admin");
    assert!(rig.exchanger.cached(&alice, &rig.exchanger.prepare(&closed, &peer())).is_none());
    let outcome = rig.exchanger.grant(&alice, &rig.exchanger.prepare(&closed, &peer())).await;
    assert_eq!(told(outcome), Err("route_requires_scope"));
}

#[tokio::test]
async fn a_caller_that_expires_on_the_way_is_told_so() {
    for answer in [|_: &Ask| error(400, "invalid_grant"), |_: &Ask| error(400, "invalid_target"), honest] {
        let clock = FakeClock::at(START);
        let passing = Arc::clone(&clock);
        let behaviour = move |ask: Ask| {
            passing.advance(minutes(5));
            let reply = answer(&ask);
            Box::pin(async { reply }) as hopguard_client::BoxFuture<'static, Reply>
        };
        let rig = Rig::with(clock, behaviour, fixed_endpoint);
        let alice = rig.caller("alice").await;
        assert_eq!(rig.ask(&alice).await, Err("subject_expired"));
        assert_eq!(rig.exchanger.remembered(), 0);
    }
}

#[tokio::test]
async fn a_grant_dies_with_its_parent() {
    // Asked for ten minutes, the server grants as long as the parent lives.
    let rig = Rig::new(|ask| {
        let mut claims = ask.claims();
        claims["exp"] = claims_of(&ask.form["subject_token"])["exp"].clone();
        let mut answer = response(&mint(&claims));
        answer["expires_in"] = json!(3600);
        reply(200, &answer)
    });
    let long = target().lifetime_at_most(minutes(10));
    let alice = rig.caller("alice").await;
    let ask = async || told(rig.exchanger.grant(&alice, &rig.exchanger.prepare(&long, &peer())).await);
    assert_eq!(ask().await, good(0, "Miss"));
    rig.clock.advance(seconds(269));
    assert_eq!(ask().await, good(0, "Hit"));
    // Within the margin: asked anew, and granted once more for what is left.
    rig.clock.advance(seconds(1));
    assert_eq!(ask().await, good(1, "Miss"));
    rig.clock.advance(seconds(30));
    assert!(rig.exchanger.cached(&alice, &rig.exchanger.prepare(&long, &peer())).is_none());
    assert_eq!(ask().await, Err("subject_expired"));
    assert_eq!(rig.asked(), 2);
}

#[tokio::test]
async fn the_shortest_of_its_ends_counts() {
    for (expires_in, lives) in [(json!(10), 9), (json!(60), 54), (Value::Null, 108), (json!(9999), 108)] {
        let behaviour = move |ask: Ask| {
            let mut answer = response(&mint(&ask.claims()));
            answer["expires_in"] = expires_in.clone();
            let reply = reply(200, &answer);
            Box::pin(async { reply }) as hopguard_client::BoxFuture<'static, Reply>
        };
        let never_ahead = |b| fixed_endpoint(b).refresh_ahead_at_most(Duration::ZERO);
        let rig = Rig::with(FakeClock::at(START), behaviour, never_ahead);
        let alice = rig.caller("alice").await;
        assert_eq!(rig.ask(&alice).await, good(0, "Miss"));
        rig.clock.advance(seconds(lives) - Duration::from_millis(1));
        assert_eq!(rig.ask(&alice).await, good(0, "Hit"));
        rig.clock.advance(Duration::from_millis(1));
        assert_eq!(rig.ask(&alice).await, good(1, "Miss"), "{lives}");
    }
}

#[tokio::test]
async fn the_routes_cap_counts_from_when_it_was_asked_for() {
    // Made out from five seconds ahead, which the leeway allows, to the route's cap of three minutes.
    let rig = Rig::new(|ask| {
        let mut claims = ask.claims();
        (claims["iat"], claims["exp"]) = (json!(ask.now + 5), json!(ask.now + 185));
        let mut answer = response(&mint(&claims));
        answer["expires_in"] = Value::Null;
        reply(200, &answer)
    });
    let alice = rig.caller("alice").await;
    assert_eq!(rig.ask(&alice).await, good(0, "Miss"));
    rig.clock.advance(seconds(162) - Duration::from_millis(1));
    assert_eq!(rig.ask(&alice).await, good(0, "Hit"));
    rig.clock.advance(Duration::from_millis(1));
    assert!(rig.exchanger.cached(&alice, &rig.prepared()).is_none());
}

#[tokio::test]
async fn a_grant_that_is_over_at_once_serves_its_call_and_no_other() {
    let rig = Rig::new(|ask| {
        let mut answer = response(&mint(&ask.claims()));
        answer["expires_in"] = json!(0);
        reply(200, &answer)
    });
    let alice = rig.caller("alice").await;
    assert_eq!(rig.ask(&alice).await, good(0, "Miss"));
    assert_eq!(rig.ask(&alice).await, good(1, "Miss"));
    assert_eq!(rig.exchanger.remembered(), 0);
}

#[tokio::test]
async fn withdrawal_reaches_what_is_kept() {
    let rig = Rig::new(honest);
    let alice = rig.caller("alice").await;
    let (first, _) = rig.exchanger.grant(&alice, &rig.prepared()).await.unwrap();
    let withdraw = |what| {
        let now = rig.clock.now();
        rig.ledger.withdrawals().withdraw(what, now, now.after(minutes(9))).unwrap();
    };
    withdraw(Withdrawal::Token(first.facts().fingerprint));
    assert!(rig.exchanger.cached(&alice, &rig.prepared()).is_none());
    assert_eq!(rig.ask(&alice).await, good(1, "Miss"));

    withdraw(Withdrawal::Subject { issuer: ISSUER.into(), subject: "alice".into() });
    assert!(rig.exchanger.cached(&alice, &rig.prepared()).is_none());
    assert_eq!(rig.ask(&alice).await, Err("token_withdrawn"));
    assert_eq!(rig.asked(), 2);
}

#[tokio::test]
async fn a_grant_by_a_withdrawn_key_is_not_handed_out() {
    let rig = Rig::new(honest);
    let alice = rig.caller("alice").await;
    let mut facts = alice.facts().as_ref().clone();
    facts.key_id = Some("a key that still holds".into());
    let caller = admitted(alice.subject_token().dangerous_expose(), Arc::new(facts), &rig.ledger);
    let key = Withdrawal::Key { issuer: ISSUER.into(), key_id: KEY.key_id().into() };
    rig.ledger.withdrawals().withdraw(key, rig.clock.now(), rig.clock.now().after(minutes(9))).unwrap();
    assert_eq!(rig.ask(&caller).await, Err("grant_withdrawn"));
    assert_eq!(rig.exchanger.remembered(), 0);
}

#[tokio::test]
async fn a_grant_that_a_peer_refused_is_forgotten_once() {
    let rig = Rig::new(honest);
    let alice = rig.caller("alice").await;
    let (old, _) = rig.exchanger.grant(&alice, &rig.prepared()).await.unwrap();
    rig.exchanger.forget(&alice, &rig.prepared(), &old);
    assert_eq!(rig.ask(&alice).await, good(1, "Miss"));
    rig.exchanger.forget(&alice, &rig.prepared(), &old);
    assert_eq!(rig.ask(&alice).await, good(1, "Hit"), "the newer grant stays");
}

#[tokio::test]
async fn requests_that_differ_share_nothing() {
    let rig = Rig::new(honest);
    let alice = rig.caller("alice").await;
    let again = rig.caller_with("alice", |c| c["jti"] = json!("another login")).await;
    let elsewhere = Destination::of(&"https://inventory.internal:8443".parse().unwrap()).unwrap();
    let base = || Exchange::audience(PEER);
    let cases = [
        (&alice, base().scope("a").requires_none(), peer()),
        (&again, base().scope("a").requires_none(), peer()),
        (&alice, base().scope("a b").requires_none(), peer()),
        (&alice, base().requires_none(), peer()),
        (&alice, base().scope("a").resource(PEER).requires_none(), peer()),
        (&alice, base().scope("a").lifetime_at_most(minutes(4)).requires_none(), peer()),
        (&alice, base().scope("a").requires_none(), elsewhere),
    ];
    for (number, (caller, target, destination)) in cases.iter().enumerate() {
        let outcome = rig.exchanger.grant(caller, &rig.exchanger.prepare(target, destination)).await;
        assert_eq!(told(outcome), good(number, "Miss"), "{target:?}");
    }
    for (number, (caller, target, destination)) in cases.iter().enumerate() {
        let outcome = rig.exchanger.grant(caller, &rig.exchanger.prepare(target, destination)).await;
        assert_eq!(told(outcome), good(number, "Hit"), "{target:?}");
    }
}

fn discovering(ask: &Ask) -> Reply {
    match ask.uri.path() {
        "/.well-known/oauth-authorization-server" => {
            reply(200, &json!({ "issuer": ISSUER, "token_endpoint": "https://sts.internal/oauth/token" }))
        }
        "/oauth/token" => honest(ask),
        path => panic!("asked for {path}"),
    }
}

#[tokio::test]
async fn the_token_endpoint_is_discovered_once() {
    let rig = Rig::with(FakeClock::at(START), |ask| Box::pin(async move { discovering(&ask) }), |b| b);
    let (alice, bob) = (rig.caller("alice").await, rig.caller("bob").await);
    let outcomes = tokio::join!(rig.ask(&alice), rig.ask(&bob));
    assert!(outcomes.0.is_ok() && outcomes.1.is_ok(), "{outcomes:?}");
    assert_eq!(rig.asked(), 3);
    let to: Vec<_> = rig.sts.seen.lock().unwrap().iter().map(|ask| ask.uri.path().to_owned()).collect();
    assert_eq!(to, ["/.well-known/oauth-authorization-server", "/oauth/token", "/oauth/token"]);
}

#[tokio::test]
async fn discovery_is_tried_at_most_once_a_second() {
    let answers = Mutex::new(vec![
        error(503, "x"),
        reply(
            200,
            &json!({ "issuer": "https://evil.internal", "token_endpoint": "https://sts.internal/oauth/token" }),
        ),
    ]);
    let behaviour = move |ask: Ask| {
        let reply = match answers.lock().unwrap().pop() {
            Some(reply) => reply,
            None => discovering(&ask),
        };
        Box::pin(async { reply }) as hopguard_client::BoxFuture<'static, Reply>
    };
    let rig = Rig::with(FakeClock::at(START), behaviour, |b| b);
    let alice = rig.caller("alice").await;
    for (code, asked) in [("sts_answer_invalid", 1), ("sts_unavailable", 2)] {
        for _ in 0..3 {
            assert_eq!(rig.ask(&alice).await, Err(code));
        }
        rig.clock.advance(Duration::from_millis(999));
        assert_eq!(rig.ask(&alice).await, Err(code));
        assert_eq!(rig.asked(), asked);
        rig.clock.advance(Duration::from_millis(1));
    }
    assert_eq!(rig.ask(&alice).await, good(3, "Miss"));
}

#[tokio::test]
async fn a_ledger_that_is_full_refuses_or_counts() {
    let rig = Rig::new(honest);
    for (overflow, code) in [(Overflow::Refuse, Some("ledger_full")), (Overflow::EvictWithEvent, None)] {
        let ledger = Ledger::with_bound(16, overflow);
        let exchanger =
            fixed_endpoint(builder(ISSUER, &rig.verifier, &rig.clock, &rig.sts, &ledger)).build().unwrap();
        let mut codes = Vec::new();
        for n in 0..100 {
            let caller = rig.caller(&n.to_string()).await;
            let caller = rig.admit(caller.subject_token().dangerous_expose(), &ledger).await;
            codes.extend(
                exchanger
                    .grant(&caller, &exchanger.prepare(&target(), &peer()))
                    .await
                    .err()
                    .map(|refusal| refusal.code()),
            );
        }
        assert_eq!(codes.first().copied(), code);
        assert_eq!(exchanger.take_ledger_overflows() > 0, code.is_none());
        assert_eq!(exchanger.take_ledger_overflows(), 0);
        assert_eq!(exchanger.remembered(), 100 - codes.len(), "what the ledger does not know is not kept");
    }
}

#[tokio::test]
async fn a_wrong_configuration_is_told_all_at_once() {
    let rig = Rig::new(honest);
    let build = |issuer: &str, endpoint: Option<&str>| {
        let transport: Arc<dyn hopguard_client::Transport> = Arc::clone(&rig.sts) as _;
        let clock: Arc<dyn Clock> = Arc::clone(&rig.clock) as _;
        let auth = ClientAuth::client_secret_basic("", "");
        let mut builder = Exchanger::builder(
            issuer,
            auth,
            rig.verifier.clone(),
            transport,
            clock,
            Spawn::current(),
            &rig.ledger,
        )
        .remember_at_most(0)
        .waiters_at_most(0)
        .flights_at_most(0);
        if let Some(url) = endpoint {
            builder = builder.token_endpoint(url);
        }
        let errors = builder.build().unwrap_err();
        errors.problems().iter().map(|problem| problem.setting.clone()).collect::<Vec<_>>()
    };
    let rest = [
        "exchange.auth.client_id",
        "exchange.auth.client_secret",
        "exchange.remember_at_most",
        "exchange.waiters_at_most",
        "exchange.flights_at_most",
    ];
    let all = |first: &[&'static str], last: &[&'static str]| [first, &rest[..], last].concat();
    for issuer in
        ["", "sts.internal", "http://sts.internal", "https://sts.internal?x", "https://u@sts.internal"]
    {
        assert_eq!(build(issuer, None), all(&["exchange.issuer"], &[]), "{issuer}");
    }
    for endpoint in ["", "/token", "http://sts.internal/token", "https://sts.internal/token#x"] {
        assert_eq!(build(ISSUER, Some(endpoint)), all(&[], &["exchange.token_endpoint"]), "{endpoint}");
    }
}

#[tokio::test]
async fn without_its_actor_token_or_assertion_nothing_is_sent() {
    let rig = Rig::new(honest);
    let alice = rig.caller("alice").await;
    let missing = || TokenFile::at("/nowhere/at/all");
    let base = || fixed_endpoint(builder(ISSUER, &rig.verifier, &rig.clock, &rig.sts, &rig.ledger));
    let acting = base().actor_token(ActorToken::file(missing())).build().unwrap();
    assert_eq!(
        told(acting.grant(&alice, &acting.prepare(&target(), &peer())).await),
        Err("own_credential_unavailable")
    );

    let auth = ClientAuth::assertion_file("orders", missing());
    let (transport, clock) = (rig.sts.clone(), rig.clock.clone());
    let asserting = Exchanger::builder(
        ISSUER,
        auth,
        rig.verifier.clone(),
        transport,
        clock,
        Spawn::current(),
        &rig.ledger,
    );
    let asserting = fixed_endpoint(asserting).build().unwrap();
    assert_eq!(
        told(asserting.grant(&alice, &asserting.prepare(&target(), &peer())).await),
        Err("own_credential_unavailable")
    );
    assert_eq!(rig.asked(), 0);
}

#[tokio::test]
async fn the_actor_is_sent_and_expected_under_its_own_name() {
    let rig = Rig::new(|ask| {
        let mut claims = ask.claims();
        claims["act"]["sub"] = json!(ask.form["actor_token"]);
        reply(200, &response(&mint(&claims)))
    });
    let alice = rig.caller("alice").await;
    let base = || {
        let actor = ActorToken::fixed(hopguard_core::RawToken::new("orders-workload")).of_type_jwt();
        fixed_endpoint(builder(ISSUER, &rig.verifier, &rig.clock, &rig.sts, &rig.ledger)).actor_token(actor)
    };
    let unnamed = base().build().unwrap();
    assert_eq!(
        told(unnamed.grant(&alice, &unnamed.prepare(&target(), &peer())).await),
        Err("grant_actor_changed")
    );
    let named = base().acts_as("orders-workload").build().unwrap();
    assert_eq!(told(named.grant(&alice, &named.prepare(&target(), &peer())).await), good(1, "Miss"));
    assert!(base().acts_as("").build().is_err());
}

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn no_token_and_none_of_the_servers_words_are_written_down() {
    let lines = Lines::default();
    let writer = lines.clone();
    // For the whole process: one set for this thread alone would miss what other tests' threads registered
    // first, and what they log may hold no token either.
    let subscriber = tracing_subscriber::fmt().with_writer(move || writer.clone()).with_ansi(false).finish();
    tracing::subscriber::set_global_default(subscriber).unwrap();
    let rig = Rig::new(|ask| match ask.number {
        0 => error(400, &format!("echo {}", ask.form["subject_token"])),
        1 => error(500, &ask.form["subject_token"]),
        2 => reply(200, &response(&ask.form["subject_token"])),
        3 => reply(200, &response(&mint(&ask.claims()).replace(".ey", ".ex"))),
        _ => honest(ask),
    });
    let alice = rig.caller("alice").await;
    let mut texts = Vec::new();
    for _ in 0..5 {
        texts.push(format!("{:?}", rig.exchanger.grant(&alice, &rig.prepared()).await));
        rig.clock.advance(seconds(1));
    }
    texts.push(format!("{:?} {alice:?}", rig.exchanger));
    texts.push(String::from_utf8(lines.0.lock().unwrap().clone()).unwrap());
    let log = texts.last().unwrap();
    for line in ["error=\"unregistered\"", "status=500", "the grant does not verify"] {
        assert!(log.contains(line), "{line} was not caught: {log}");
    }
    let signature = alice.subject_token().dangerous_expose().rsplit('.').next().unwrap();
    for text in &texts {
        // Every JWT of these begins alike.
        assert!(!text.contains("eyJ") && !text.contains(signature), "{text}");
        assert!(!text.contains("do not repeat this"), "{text}");
    }
}
