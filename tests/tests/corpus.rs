//! Runs the attack corpus against a whole stack: the status on the wire and the code in the audit.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};

use hopguard_client::{Spawn, TransportError};
use hopguard_core::{
    Challenge, CodeKind, Decision, Event, EventKind, Ledger, Overflow, ScopeGuard, Ttl, UnixTime, Withdrawal,
    codes, minutes, seconds,
};
use hopguard_testkit::ScriptedTransport;
use hopguard_testkit::corpus::{Attack, SignatureName, Stage, Target};
use hopguard_testkit::leak::{self, Capture};
use hopguard_testkit::mint::Signature;
use hopguard_tests::answer::Answer;
use hopguard_tests::inbound::{Service, Setting, World};
use hopguard_tests::onward::{Onward, Peer, boxed};
use hopguard_tests::{corpus, enabled, event_named};
use hopguard_tower::EgressError;
use tower::ServiceExt;
use tower_layer::Layer;

/// Collects what is wrong with each case, so that one run tells everything.
#[derive(Default)]
struct Wrong(Vec<String>);

impl Wrong {
    fn unless(&mut self, holds: bool, id: &str, what: impl FnOnce() -> String) {
        if !holds {
            self.0.push(format!("{id}: {}", what()));
        }
    }

    #[track_caller]
    fn none(self) {
        assert!(self.0.is_empty(), "{} wrong:\n{}", self.0.len(), self.0.join("\n"));
    }
}

/// The part of a token that is looked for; of a huge one the two ends, so that looking ends.
fn telling(token: &str) -> String {
    let mut segments: Vec<&str> = token.split('.').collect();
    for segment in &mut segments {
        *segment = &segment[..segment.len().min(4096)];
    }
    segments.join(".")
}

/// True if all that is known of whoever showed this is that the token was bad.
fn bad_token(event: &Event) -> bool {
    let Decision::Deny(denial) = &event.decision else { return false };
    event.gate == "verify" && denial.challenge() == Challenge::InvalidToken
}

/// Refused by shape, issuer, algorithm or `kid`, before any signature is looked at (I9).
const UNCHECKED: &[&str] = &[
    "token_missing",
    "credential_ambiguous",
    "credential_malformed",
    "credential_unsupported",
    "token_too_large",
    "token_malformed",
    "token_type_mismatch",
    "algorithm_refused",
    "critical_header",
    "key_in_header",
    "issuer_unknown",
    "key_unknown",
];

/// How many signatures may be checked for an attack that is refused with `code`, and for what it begins with.
fn costs(code: &str, before: usize) -> std::ops::RangeInclusive<u64> {
    let before = u64::try_from(before).unwrap();
    match code {
        code if UNCHECKED.contains(&code) => before..=before,
        "claim_invalid" | "claim_missing" => before..=before + 1,
        _ => before + 1..=before + 1,
    }
}

/// A20, A10, A18: a flood costs one check for each good-looking token, and none for all else, however often it comes.
#[tokio::test]
async fn a_flood_costs_one_signature_check_each_or_none() {
    let world = World::default();
    let service = Service::usual(&world);
    assert_eq!(service.answer(world.good_request("/plain")).await.status, 200);
    let stage = &world.stage;
    let wrong = stage.token().signature(Signature::Impostor).sign(stage.key());
    let cut = &wrong[..wrong.len() - 6];
    let garbage = "e30.e30.".to_owned() + &"A".repeat(86);
    let unknown = stage.token().header("kid", "nobody's").sign(stage.key());
    let foreign = stage.token().claim("iss", "https://evil.example").sign(stage.key());
    let (mut checks, mut fetches) = (service.guard.verifier().signature_checks(), 0);
    for (token, code, each) in [
        (&*wrong, "signature_invalid", 1),
        (cut, "signature_invalid", 1),
        ("nonsense", "token_malformed", 0),
        (&*garbage, "algorithm_refused", 0),
        (&*unknown, "key_unknown", 0),
        (&*foreign, "issuer_unknown", 0),
    ] {
        for _ in 0..200 {
            let answer = service.answer(hopguard_tests::inbound::bearer("/plain", token)).await;
            let found = event_named(&service.sink, answer.event().unwrap()).decision.code();
            assert_eq!((answer.status, found), (401, code));
            let now = service.guard.verifier().signature_checks();
            assert_eq!(now - checks, each, "{code}");
            checks = now;
        }
        // In between a good caller with a new token is served.
        assert_eq!(service.answer(world.good_request("/plain")).await.status, 200);
        checks += 1;
        assert_eq!(service.guard.verifier().signature_checks(), checks);
        fetches = service.transport.count();
    }
    assert!(fetches <= 3, "{:?}", service.transport);
    assert_eq!(service.ledger.len(), 7, "garbage has entered the ledger");
}

#[tokio::test]
async fn every_inbound_attack_is_refused_for_the_reason_that_its_file_names() {
    let world = World::default();
    let mut wrong = Wrong::default();
    let mut bad: BTreeMap<String, BTreeSet<&'static str>> = BTreeMap::new();
    for attack in enabled(Target::Inbound) {
        let (service, log) = (Service::usual(&world), Capture::new());
        let prepared = world.stage.prepare(&attack);
        let (token, before) = (prepared.token.clone(), prepared.before.len());
        let answer = {
            let _capturing = log.here();
            service.attacked(prepared).await
        };
        let Attack { id, expect, .. } = &attack;
        let admitted = expect.code == "admitted";
        wrong.unless(answer.status == expect.status, id, || format!("answered {}", answer.status));
        let reached = service.reached.count() - before;
        wrong.unless(reached == usize::from(admitted), id, || {
            format!("a handler was reached {reached} times")
        });
        let decided = |event: &&Event| event.kind == EventKind::Decision;
        let events = service.sink.events();
        let decisions: Vec<_> = events.iter().filter(decided).map(|event| event.decision.code()).collect();
        match answer.event() {
            Some(named) => {
                let event = event_named(&service.sink, named);
                let found = event.decision.code();
                wrong.unless(found == expect.code, id, || format!("the audit says {found}"));
                wrong.unless(event.status == Some(answer.status), id, || {
                    "the audit has another status".into()
                });
                wrong.unless(event.request_id.is_some(), id, || "the event belongs to no request".into());
                if bad_token(&event) {
                    bad.entry(answer.masked()).or_default().insert(found);
                }
            }
            None => wrong.unless(admitted, id, || "the answer names no event".into()),
        }
        let checks = service.guard.verifier().signature_checks();
        wrong.unless(costs(&expect.code, before).contains(&checks), id, || {
            format!("{checks} signatures checked")
        });
        // A route's own rule judges somebody who is admitted already.
        let expected = 1 + before + usize::from(attack.removed_guard.as_deref() == Some("route_scope"));
        wrong.unless(decisions.len() == expected, id, || format!("decided {decisions:?}"));
        wrong
            .unless(decisions.last() == Some(&expect.code.as_str()), id, || format!("decided {decisions:?}"));
        wrong.unless(service.sink.reserved() == 0, id, || "room in the audit was not given back".into());
        wrong.unless(service.transport.count() <= 3, id, || format!("{:?}", service.transport));

        let token = telling(&token);
        let (audit, log) = (service.sink.text(), log.text());
        let debug = format!("{service:?} {events:?} {answer:?}");
        let places =
            [("the audit", audit.as_bytes()), ("the log", log.as_bytes()), ("Debug", debug.as_bytes())];
        for (place, text) in places {
            let found = leak::find(&token, text);
            wrong.unless(found.is_none(), id, || {
                format!("{place} holds the token {}", found.unwrap_or_default())
            });
        }
    }
    wrong.none();
    assert_eq!(bad.len(), 1, "refusals of bad tokens can be told apart: {bad:#?}");
    let told = bad.values().next().map_or(0, BTreeSet::len);
    assert!(told >= 14, "only {told} codes were compared: {bad:?}");
}

/// All attacks against one service that goes on running, byte by byte over sockets.
#[tokio::test]
async fn the_answers_on_a_real_socket_are_the_same() {
    let world = World::default();
    let service = Service::usual(&world);
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address: SocketAddr = listener.local_addr().unwrap();
    let app = service.app.clone();
    Spawn::current().spawn(async move { axum::serve(listener, app).await.unwrap() });

    let mut wrong = Wrong::default();
    let mut bad: BTreeMap<String, BTreeSet<&'static str>> = BTreeMap::new();
    let mut tried = 0;
    for attack in enabled(Target::Inbound) {
        let prepared = world.stage.prepare(&attack);
        // The server refuses such a head before hopguard sees it.
        if prepared.token.len() > 100_000 {
            continue;
        }
        for before in &prepared.before {
            assert_eq!(Answer::over_socket(address, before).await.status, 200);
        }
        let reached = service.reached.count();
        let answer = Answer::over_socket(address, &prepared.request).await;
        let Attack { id, expect, .. } = &attack;
        wrong.unless(answer.status == expect.status, id, || format!("answered {}", answer.status));
        let reached = service.reached.count() - reached;
        wrong.unless((reached == 1) == (expect.code == "admitted"), id, || format!("{reached} handlers"));
        if let Some(named) = answer.event() {
            let event = event_named(&service.sink, named);
            let found = event.decision.code();
            wrong.unless(found == expect.code, id, || format!("the audit says {found}"));
            wrong.unless(event.peer.is_none_or(|peer| peer.ip() == address.ip()), id, || {
                "another peer".into()
            });
            if bad_token(&event) {
                bad.entry(answer.masked()).or_default().insert(found);
            }
        }
        tried += 1;
    }
    wrong.none();
    assert!(tried > 100, "{tried}");
    assert_eq!(bad.len(), 1, "refusals of bad tokens can be told apart: {bad:#?}");
    // I9: whatever came, keys were fetched once for each issuer, and once more early.
    assert!(service.transport.count() <= 4, "{:?}", service.transport);
}

#[tokio::test]
async fn what_a_handler_is_given_holds_no_token() {
    let world = World::default();
    let service = Service::usual(&world);
    let token = world.stage.good_token();
    for path in ["/orders/42", "/plain", "/health", "/nested/deep", "/no/such/path", "/later"] {
        let request = hopguard_tests::inbound::bearer(path, &token);
        assert_eq!(service.answer(request).await.status, 200, "{path}");
    }
    let seen = service.reached.all();
    assert_eq!(seen.len(), 6);
    for parts in seen {
        assert!(!parts.headers.contains_key("authorization"), "{}", parts.uri);
        let debug = format!("{parts:?}");
        leak::assert_absent(&token, [("the request", debug.as_bytes())]);
    }
}

#[tokio::test]
async fn every_egress_attack_is_refused_for_the_reason_that_its_file_names() {
    let stage = World::default().stage;
    let mut wrong = Wrong::default();
    for attack in enabled(Target::Egress) {
        let (onward, peer, log) = (Onward::start().await, Peer::good(), Capture::new());
        let token = onward.token();
        let caller = onward.admit(&token).await;
        let _admission = onward.sink.take();
        onward.sts.misbehave(attack.egress.sts);
        let egress = boxed(onward.egress().layer(peer.clone()), |error| error);
        let outcome = {
            let _capturing = log.here();
            egress.oneshot(onward.call(&stage, &attack, &caller, &token)).await
        };
        let Attack { id, expect, .. } = &attack;
        let decisions: Vec<_> =
            onward.sink.events().into_iter().filter(|e| e.kind == EventKind::Decision).collect();
        wrong.unless(decisions.len() == 1, id, || format!("decided {:?}", onward.sink.codes()));
        let sent = peer.sent();
        match &outcome {
            Ok(status) => {
                wrong.unless(expect.code == "sent" && *status == expect.status, id, || "it was sent".into());
                wrong.unless(sent.len() == 1, id, || format!("{} were sent", sent.len()));
            }
            Err(EgressError::Refused(refused)) => {
                let (code, status) = (refused.refusal.code(), refused.refusal.status());
                wrong.unless((code, status) == (&expect.code, expect.status), id, || {
                    format!("refused with {code}")
                });
                let audited = event_named(&onward.sink, &refused.event.to_string()).decision.code();
                wrong.unless(audited == code, id, || format!("the audit says {audited}"));
                wrong.unless(sent.is_empty(), id, || "it was sent all the same".into());
            }
            Err(other) => wrong.unless(false, id, || format!("it failed with {}", other.code())),
        }
        // What is judged locally is judged before anything is fetched (I6).
        let local =
            attack.removed_guard.as_deref().is_some_and(|guard| ["routes", "requires"].contains(&guard));
        wrong.unless(!local || onward.sts.token_requests() == 0, id, || "the server was asked".into());
        // Nothing that was refused is kept (I5).
        let (audit, log, debug) = (onward.sink.text(), log.text(), format!("{onward:?} {outcome:?}"));
        for (place, text) in [("the audit", &audit), ("the log", &log), ("Debug", &debug)] {
            let found = leak::find(&token, text.as_bytes());
            wrong.unless(found.is_none(), id, || {
                format!("{place} holds the token {}", found.unwrap_or_default())
            });
        }
        // Claims are the grant's as well; the signature is the token's alone.
        let signature = token.rsplit('.').next().unwrap_or_default();
        for request in &sent {
            let found = leak::find(signature, format!("{} {:?}", request.uri(), headers(request)).as_bytes());
            wrong.unless(found.is_none(), id, || "the caller's token has left".into());
        }
    }
    wrong.none();
}

/// Every header with its bytes, sensitive or not.
fn headers<B>(request: &http::Request<B>) -> Vec<String> {
    let headers = request.headers().iter();
    headers.map(|(name, value)| format!("{name}: {}", String::from_utf8_lossy(value.as_bytes()))).collect()
}

/// One refusal that no file can describe: it needs another setting, or something that happens in between.
#[track_caller]
fn unusual(service: &Service, answer: &Answer, code: &'static str) -> &'static str {
    let event = event_named(&service.sink, answer.event().expect("a refusal"));
    assert_eq!(event.decision.code(), code);
    assert_eq!(event.status, Some(answer.status));
    let entry = codes().find(|entry| entry.code == code).expect("a registered code");
    assert_eq!(Some(answer.status), entry.status);
    code
}

/// Codes that need more than a request; returns them, for the count of what is covered.
async fn unusual_codes() -> Vec<&'static str> {
    let world = World::default();
    let mut seen = Vec::new();

    let service = Service::usual(&world);
    assert_eq!(service.answer(world.good_request("/orders/42")).await.status, 200);
    let subject = Withdrawal::Subject { issuer: Stage::ISSUER.into(), subject: "alice".into() };
    let now = UnixTime::from_secs(1_800_000_000);
    service.ledger.withdrawals().withdraw(subject, now, now.after(minutes(5))).unwrap();
    let answer = service.answer(world.good_request("/orders/42")).await;
    seen.push(unusual(&service, &answer, "token_withdrawn"));

    for (code, ttl) in [
        ("token_too_old", Ttl::age_at_most(seconds(30))),
        ("remaining_too_long", Ttl::remaining_at_most(seconds(30))),
    ] {
        let service = Service::with(&world, Setting { ttl, ..Setting::usual(&world) });
        let aged = world.stage.token().claim("iat", 1_800_000_000 - 40).sign(world.stage.key());
        let answer = service.answer(hopguard_tests::inbound::bearer("/orders/42", &aged)).await;
        seen.push(unusual(&service, &answer, code));
        assert_eq!(service.reached.count(), 0);
    }

    let scope = ScopeGuard::all_of([Stage::SCOPE]).at_most([Stage::SCOPE]);
    let service = Service::with(&world, Setting { scope, ..Setting::usual(&world) });
    let broad = world.stage.token().claim("scope", "orders:read everything:write").sign(world.stage.key());
    let answer = service.answer(hopguard_tests::inbound::bearer("/orders/42", &broad)).await;
    seen.push(unusual(&service, &answer, "scope_too_broad"));

    let transport = ScriptedTransport::failing(TransportError::Connect);
    let service = Service::with(&world, Setting { transport, ..Setting::usual(&world) });
    let answer = service.answer(world.good_request("/orders/42")).await;
    assert!(answer.header("retry-after").is_some());
    seen.push(unusual(&service, &answer, "keys_unavailable"));

    let ledger = Ledger::with_bound(1, Overflow::Refuse);
    let service = Service::with(&world, Setting { ledger, ..Setting::usual(&world) });
    let mut refused = None;
    while refused.is_none() {
        let answer = service.answer(world.good_request("/orders/42")).await;
        refused = Some(answer).filter(|answer| answer.status != 200);
        assert!(service.reached.count() <= 16, "more were let in than the ledger holds");
    }
    seen.push(unusual(&service, &refused.unwrap(), "ledger_full"));
    seen
}

#[tokio::test]
async fn what_no_file_can_describe_is_refused_for_its_own_reason() {
    assert_eq!(unusual_codes().await.len(), 6);
}

/// Codes that no attack of the corpus and no row above has, and why.
const ELSEWHERE: &[(&str, &str)] = &[
    ("passed", "a guard alone: wrong_order.rs"),
    ("redirect_followed", "stack/redirects.rs"),
    ("subject_refused", "stack/malicious_sts.rs"),
    ("exchanged", "written by the authorization server: hopguard-sts"),
    ("completed", "streams_and_outcomes.rs"),
    ("abandoned", "streams_and_outcomes.rs"),
    ("suppressed", "streams_and_outcomes.rs"),
    ("audit_lost", "written by a sink: hopguard-audit"),
    ("ledger_overflow", "streams_and_outcomes.rs"),
    ("withdrawal", "stack/withdrawal.rs"),
    ("audit_mended", "hopguard-audit's own tests"),
    ("transaction_foreign", "stack: transactions.rs"),
    ("policy_refused", "guard.rs in core: a guard of one's own"),
    ("peer_unproven", "omitted_guards.rs"),
    ("peer_not_actor", "omitted_guards.rs"),
    ("waiver_used", "stack/waivers.rs"),
    ("waiver_expired", "stack/waivers.rs, and narrowing.rs in core"),
    ("own_credential_unavailable", "hopguard-exchange's own tests"),
    ("stream_expired", "streams/answers.rs"),
    ("stream_withdrawn", "streams/answers.rs"),
    ("keys_refreshed", "hopguard-verify's own tests"),
    ("keys_refresh_failed", "hopguard-verify's own tests"),
    ("grant_renewed", "stack/renewal.rs"),
    (
        "issued_at_missing",
        "the RFC 9068 profile demands iat before the TTL guard asks: A6-no-iat, and ttl.rs in core",
    ),
    ("subject_expired", "stack/routes.rs"),
    ("evidence_missing", "wrong_order.rs"),
    ("evidence_foreign", "wrong_order.rs"),
    ("guard_misconfigured", "wrong_order.rs: no stack is built with such a guard"),
    ("audit_unavailable", "streams_and_outcomes.rs"),
    ("signing_failed", "the system has no randomness: cannot be brought about"),
    ("subject_issuer_foreign", "hopguard-exchange's own tests"),
    (
        "grant_issuer_unexpected",
        "a complete stack trusts one issuer there, and cannot verify another's: narrowing.rs",
    ),
    ("grant_lifetime_too_long", "the parent's own cap comes first here: narrowing.rs in core"),
    ("grant_expired", "narrowing.rs in core, and hopguard-exchange's own tests"),
    ("grant_withdrawn", "hopguard-exchange's own tests"),
    ("exchange_overloaded", "hopguard-exchange's own tests"),
    ("request_unsendable", "no request to judge: hopguard-reqwest"),
    ("redirect_refused", "omitted_guards.rs"),
    ("body_unscannable", "stack/bodies.rs"),
    ("body_unscanned", "stack/bodies.rs"),
    ("response_leak", "stack/answers.rs"),
    ("response_scrubbed", "stack/answers.rs"),
    ("peer_answer_unexpected", "stack/clients.rs"),
    ("peer_unavailable", "streams_and_outcomes.rs"),
];

/// Codes of the token endpoint: hopguard-sts's own tests.
const STS: &[&str] = &[
    "request_malformed",
    "request_too_large",
    "parameter_repeated",
    "parameter_missing",
    "grant_type_unsupported",
    "token_type_unsupported",
    "actor_token_unsupported",
    "client_missing",
    "client_ambiguous",
    "client_unknown",
    "client_method_mismatch",
    "client_secret_wrong",
    "assertion_malformed",
    "assertion_type_mismatch",
    "assertion_algorithm_refused",
    "assertion_key_unknown",
    "assertion_signature_invalid",
    "assertion_party_mismatch",
    "assertion_audience_mismatch",
    "assertion_expired",
    "assertion_lifetime_too_long",
    "assertion_replayed",
    "client_not_allowed",
    "scope_refused",
    "actor_not_allowed",
    "actor_repeated",
    "actor_chain_too_deep",
    "replay_memory_full",
];

#[tokio::test]
async fn every_code_has_an_attack_or_a_reason() {
    let attacks = corpus();
    let enabled = attacks.iter().filter(|attack| attack.disabled.is_none());
    let mut covered: BTreeSet<&str> = enabled.map(|attack| attack.expect.code.as_str()).collect();
    covered.extend(unusual_codes().await);
    let elsewhere: BTreeSet<&str> =
        ELSEWHERE.iter().map(|(code, _)| *code).chain(STS.iter().copied()).collect();
    assert_eq!(elsewhere.len(), ELSEWHERE.len() + STS.len(), "a code is excused twice");
    let registered: BTreeSet<&str> = codes().map(|entry| entry.code).collect();
    let both: Vec<_> = covered.intersection(&elsewhere).collect();
    assert!(both.is_empty(), "these have an attack, and need no excuse: {both:?}");
    let known: BTreeSet<&str> = covered.union(&elsewhere).copied().collect();
    let open: Vec<_> = registered.difference(&known).collect();
    assert!(open.is_empty(), "no attack has these, and no reason is given: {open:?}");
    let gone: Vec<_> = known.difference(&registered).collect();
    assert!(gone.is_empty(), "the registry has no such codes: {gone:?}");
    let refusals =
        codes().filter(|entry| entry.kind == CodeKind::Denial && covered.contains(entry.code)).count();
    assert!(refusals >= 24, "{refusals}");
}

/// What is shown first is a good token; a case that forgets it would pass for the wrong reason.
#[test]
fn attacks_on_what_is_remembered_begin_with_a_good_token() {
    let world = World::default();
    for attack in enabled(Target::Inbound) {
        let first = [SignatureName::Malleated, SignatureName::RememberedOtherSignature];
        let before = world.stage.prepare(&attack).before.len();
        assert_eq!(before, usize::from(first.contains(&attack.token.signature)), "{}", attack.id);
    }
}
