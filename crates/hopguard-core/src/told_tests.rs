//! What the values of this crate tell of themselves, to the crates that rely on it: names, times, parties, terms.

use std::sync::Arc;
use std::time::Duration;

use crate::evidence_for_tests::facts;
use crate::*;

fn waiver() -> Waiver {
    Waiver::new("ticket 4711", "payments", UnixTime::from_secs(2000))
}

#[test]
fn guards_go_by_the_names_that_audits_know() {
    let named: [(&dyn Guard, &str); 4] = [
        (&AudienceGuard::exactly("https://orders.internal"), "audience"),
        (&Ttl::lifetime_at_most(seconds(300)), "ttl"),
        (&ScopeGuard::any_scope(), "scope"),
        (&ActorGuard::depth_at_most(1), "actor"),
    ];
    for (guard, name) in named {
        assert_eq!(guard.name(), name);
    }
    let ours = AudienceGuard::exactly("https://orders.internal").or_alias("orders");
    assert_eq!(ours.audiences().collect::<Vec<_>>(), ["https://orders.internal", "orders"]);
}

#[test]
fn the_acting_party_is_the_actor_before_the_client() {
    let mut held = facts();
    assert_eq!(held.acting_party(), None);
    held.client = Some("gateway".into());
    assert_eq!(held.acting_party(), Some("gateway"));
    held.actors = ActorChain::from_outermost(vec![Actor::new("orders"), Actor::new("edge")]);
    assert_eq!(held.acting_party(), Some("orders"));
    assert_eq!((held.actors.depth(), held.actors.current()), (2, Some(&Actor::new("orders"))));
    assert_eq!(format!("{:?}", held.actors), r#"["orders", "edge"]"#);
}

#[test]
fn who_may_act_is_named_with_issuer_or_without() {
    let elsewhere = Actor { issuer: Some("https://elsewhere.internal".into()), ..Actor::new("agent") };
    let named = MayAct { parties: vec![Actor::new("gateway"), elsewhere] };
    for (subject, issuer, allowed) in [
        ("gateway", "https://sts.internal", true),
        ("gateway", "https://anywhere.internal", true),
        ("agent", "https://elsewhere.internal", true),
        ("agent", "https://sts.internal", false),
        ("other", "https://sts.internal", false),
    ] {
        assert_eq!(named.allows(subject, issuer), allowed, "{subject} at {issuer}");
    }
    assert!(!MayAct { parties: Vec::new() }.allows("gateway", "https://sts.internal"));
}

#[test]
fn a_waiver_tells_its_terms() {
    let waived = Waived { relaxation: Relaxation::ForeignAudience("account".into()), waiver: waiver() };
    assert_eq!((waived.waiver.reason(), waived.waiver.owner()), ("ticket 4711", "payments"));
    assert_eq!(waived.waiver.until(), UnixTime::from_secs(2000));
    assert_eq!(
        serde_json::to_string(&waived).unwrap(),
        r#"{"relaxation":"grant_foreign_audience","audience":"account","reason":"ticket 4711","owner":"payments","until":2000}"#
    );
    for (reason, owner, complete) in [("why", "who", true), (" ", "who", false), ("why", "", false)] {
        assert_eq!(Waiver::new(reason, owner, UnixTime::from_secs(1)).is_complete(), complete);
    }
    assert_eq!(Relaxation::TokenForeignAudience("x".into()).audience(), Some("x"));
    assert_eq!(Relaxation::Opaque.audience(), None);
}

#[test]
fn evidence_hands_on_what_it_was_made_of() {
    let (stack, told) = (StackId::unique(), Arc::new(facts()));
    let presented = Presented::assert_extracted(stack, RawToken::new("a.b.c"), None);
    let verified = Verified::assert_genuine(presented, told.clone());
    assert!(verified.belongs_to(stack).is_ok());
    assert_eq!(verified.belongs_to(StackId::unique()).unwrap_err().code(), "evidence_foreign");

    let (ledger, request) = (Ledger::bounded(), Id::fresh());
    let trace = TraceContext::parse("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
    let admitted =
        Admitted::assert_all_guards_passed(Bound::assert_held(verified), ledger.id(), request, trace);
    assert!(Arc::ptr_eq(admitted.facts(), &told));
    assert_eq!((admitted.ledger(), admitted.request_id()), (ledger.id(), request));
    assert_eq!(admitted.trace(), trace.as_ref());
    assert_eq!(admitted.subject_token().dangerous_expose(), "a.b.c");
}

#[test]
fn a_grant_knows_its_parent_its_time_and_its_waivers() {
    let parent = Fingerprint::of_token("x.y.z");
    let granted = Granted::assert_narrowed(
        RawToken::new("d.e.f"),
        Arc::new(facts()),
        parent,
        UnixTime::from_secs(1001),
    );
    assert_eq!((granted.parent(), granted.obtained()), (Some(parent), UnixTime::from_secs(1001)));
    let value = granted.authorization().unwrap();
    assert_eq!((value.to_str().unwrap(), value.is_sensitive()), ("Bearer d.e.f", true));
    assert!(granted.waived().is_empty());
    let waived = Waived { relaxation: Relaxation::LaterExpiry, waiver: waiver() };
    assert_eq!(granted.needing(vec![waived.clone()]).waived(), [waived]);

    let unspeakable =
        Granted::assert_narrowed(RawToken::new("d\n.e.f"), Arc::new(facts()), parent, UnixTime::from_secs(1));
    assert_eq!(unspeakable.authorization().unwrap_err().code(), "grant_unreadable");
}

#[derive(Debug)]
struct At(u64);

impl Clock for At {
    fn unix_millis(&self) -> u64 {
        self.0
    }

    fn monotonic(&self) -> Monotonic {
        Monotonic::from_origin(Duration::from_millis(self.0))
    }
}

#[test]
fn a_clock_tells_whole_seconds() {
    for (millis, seconds) in [(0, 0), (999, 0), (1000, 1), (1_999_999, 1999)] {
        assert_eq!(At(millis).now(), UnixTime::from_secs(seconds));
    }
    assert_eq!(At(2500).monotonic().since(At(1000).monotonic()), Duration::from_millis(1500));
    assert_eq!(At(1000).monotonic().since(At(2500).monotonic()), Duration::ZERO);
    assert_eq!(At(1000).monotonic().after(seconds(2)), At(3000).monotonic());
    let late = UnixTime::from_secs(90);
    assert_eq!(late.since(UnixTime::from_secs(30)), Some(minutes(1)));
    assert_eq!(UnixTime::from_secs(30).since(late), None);
    assert_eq!((late.as_secs(), late.to_string().as_str()), (90, "90"));
    assert_eq!(late.after(seconds(10)), UnixTime::from_secs(100));
}

#[test]
fn problems_are_told_all_at_once_each_in_its_place() {
    let mut inner = Problems::new();
    assert!(inner.is_empty());
    inner.add("ttl", "is missing");
    assert!(!inner.is_empty());
    let mut outer = Problems::new();
    outer.add("audience", "is empty");
    outer.absorb("inbound", inner.into_errors());
    let errors = outer.into_result(()).unwrap_err();
    let told: Vec<_> = errors.problems().iter().map(|one| (&*one.setting, &*one.problem)).collect();
    assert_eq!(told, [("audience", "is empty"), ("inbound.ttl", "is missing")]);
    assert_eq!(errors.code(), "config_invalid");
    assert_eq!(Problems::new().into_result(7).unwrap(), 7);
}

#[test]
fn a_denial_for_scopes_names_them() {
    let needed = ScopeSet::parse("stock:read").unwrap();
    for denial in [Denial::InsufficientScope(needed.clone()), Denial::RouteRequiresScope(needed.clone())] {
        assert_eq!(denial.needed_scopes(), Some(&needed));
    }
    assert_eq!(Denial::TokenExpired.needed_scopes(), None);
}

#[test]
fn fingerprints_and_ids_are_written_in_full() {
    let print = Fingerprint::from_sha256([0xab; 32]);
    assert_eq!(print.to_string(), "ab".repeat(32));
    assert_eq!(print.short(), "ab".repeat(6));
    assert_eq!(serde_json::to_string(&print).unwrap(), format!("\"{}\"", "ab".repeat(32)));
    let (one, other) = (Id::fresh(), Id::fresh());
    assert_ne!(one, other);
    assert_eq!(serde_json::to_string(&one).unwrap(), format!("\"{one}\""));
    assert!(one.to_string().len() >= 32);
    let scopes = ScopeSet::parse("b a b").unwrap();
    assert_eq!(
        (scopes.to_string().as_str(), serde_json::to_string(&scopes).unwrap()),
        ("a b", r#"["a","b"]"#.into())
    );
}

#[test]
fn a_trace_context_is_read_and_written_digit_by_digit() {
    let text = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let trace = TraceContext::parse(text).unwrap();
    assert_eq!(trace.trace_id(), "0af7651916cd43dd8448eb211c80319c");
    assert_eq!((trace.to_string().as_str(), trace.header_value().unwrap().to_str().unwrap()), (text, text));
    for at in 0..text.len() {
        let mut other = text.as_bytes().to_vec();
        // What is no lower-case digit is refused wherever it stands, alone or beside a good one.
        for wrong in [b'g', b'/', b':', b'`', b'A', b'F'] {
            other[at] = wrong;
            assert!(TraceContext::parse(std::str::from_utf8(&other).unwrap()).is_none(), "{wrong} at {at}");
        }
    }
    for zero in [
        "00-00000000000000000000000000000000-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-011",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-1",
    ] {
        assert!(TraceContext::parse(zero).is_none(), "{zero}");
    }
    for (decision, name, code) in [
        (Decision::Allow("admitted"), "allow", "admitted"),
        (Decision::Deny(Denial::TokenExpired), "deny", "token_expired"),
        (Decision::Fault(Fault::StsRefused), "fault", "sts_refused"),
    ] {
        assert_eq!((decision.name(), decision.code()), (name, code));
    }
}

#[test]
fn a_refusal_tells_what_is_in_it() {
    let (denied, faulted) = (Refusal::from(Denial::TokenExpired), Refusal::from(Fault::StsUnavailable));
    assert_eq!((denied.code(), denied.status(), denied.retry_after()), ("token_expired", 401, None));
    assert_eq!((faulted.code(), faulted.status()), ("sts_unavailable", 503));
    assert_eq!(faulted.retry_after(), Some(seconds(5)));
}

#[test]
fn a_denial_tells_what_would_be_enough() {
    let asked =
        StepUp::relayed(&serde_json::json!({ "acr_values": "gold silver", "max_age": 60, "scope": "a" }));
    assert_eq!(asked.acr_values().collect::<Vec<_>>(), ["gold", "silver"]);
    assert_eq!((asked.max_age(), asked.scopes().to_string()), (Some(60), "a".to_owned()));
    let denial = Denial::StepUpRequired(Box::new(asked.clone()));
    assert_eq!(denial.step_up(), Some(&asked));
    assert_eq!(Denial::TokenExpired.step_up(), None);
    assert_eq!(StepUp::relayed(&serde_json::json!({})).max_age(), None);
}

#[test]
fn a_step_up_keeps_scalars_up_to_its_bounds() {
    let claims = |wanted: serde_json::Value| {
        let asked = serde_json::json!({ "claims": { "id_token": { "a": wanted } } });
        StepUp::relayed(&asked).claims().map(str::to_owned)
    };
    let kept = |wanted: &str| format!(r#"{{"id_token":{{"a":{wanted}}}}}"#);
    for wanted in [r#"{"value":true}"#, r#"{"value":7}"#, r#"{"values":["x",1,false]}"#] {
        assert_eq!(claims(serde_json::from_str(wanted).unwrap()), Some(kept(wanted)));
    }
    for wanted in [r#"{"value":-7}"#, r#"{"value":1.5}"#, r#"{"value":[]}"#, r#"{"values":[null]}"#] {
        assert_eq!(claims(serde_json::from_str(wanted).unwrap()), None, "{wanted}");
    }
    let many = |count: usize| claims(serde_json::json!({ "values": vec![1; count] }));
    assert!(many(16).is_some() && many(17).is_none());
    let wide = |count: usize| {
        let asked: serde_json::Map<_, _> =
            (0..count).map(|n| (format!("c{n}"), serde_json::Value::Null)).collect();
        StepUp::relayed(&serde_json::json!({ "claims": { "id_token": asked } })).claims().map(str::to_owned)
    };
    assert!(wide(16).is_some() && wide(17).is_none());
    // A text is not even read when it is too long, however little of it would be kept.
    let text = |length: usize| {
        let asked = r#"{"id_token":{"a":null}}"#;
        let padded = format!("{asked}{}", " ".repeat(length - asked.len()));
        StepUp::relayed(&serde_json::json!({ "claims": padded })).claims().map(str::to_owned)
    };
    assert!(text(1024).is_some() && text(1025).is_none());
}

#[test]
fn a_route_tells_what_it_asks_for() {
    let both = Exchange::audience("a").resource("https://r").wants_jwt().requires_none();
    assert_eq!(both.asked().asked_audience().map(|name| &**name), Some("a"));
    assert_eq!((both.target_resources(), both.asks_for_jwt()), (&["https://r".into()][..], true));
    let one = Exchange::for_resource("https://r").requires_none();
    assert_eq!(one.asked().asked_audience(), None);
    assert_eq!((one.target_resources(), one.asks_for_jwt()), (&["https://r".into()][..], false));
    assert_eq!(&**one.target_audience(), "https://r");
    let own = AsOurselves::by_scope_for("https://graph").scope("x").expects_subject("robot").requires("s");
    assert_eq!((own.asked().asked_audience(), own.asked().resources()), (None, &[][..]));
    assert_eq!(own.expected_subject().map(|name| &**name), Some("robot"));
    assert_eq!(AsOurselves::audience("a").requires_none().expected_subject(), None);
    // Open to callers with this scope, and with it still when it is opened to tasks as well.
    assert!(!own.demand().admits_ourselves());
    let opened = own.clone().or_ourselves();
    assert!(opened.demand().admits_ourselves());
    assert_eq!(opened.demand().required(), own.demand().required(), "as narrow for callers as before");
}

#[test]
fn an_acknowledgement_is_done_if_nobody_has_to_wait() {
    assert!(Acknowledgement::done().is_done());
    let (_kept, event) = Acknowledgement::pair();
    assert!(!event.is_done());
}

#[test]
fn paths_that_two_readers_read_alike_are_not_ambiguous() {
    for path in ["/", "/a/b", "/a%20b", "/%c3%bc", "/a.b/c"] {
        assert!(!is_ambiguous_path(path), "{path}");
    }
    for path in [
        "/%61", "/%2f", "/%25", "/%7e", "/%", "/%4", "/%xx", "/a/", "/a//b", "/a./b", "/a%20/b", "/a;b",
        "/a\\b",
    ] {
        assert_eq!(is_ambiguous_path(path), path != "/a/", "{path}");
    }
}

#[test]
fn only_urls_of_services_are_absolute() {
    let reads = |url: &str| parse_absolute(url).map(|uri| uri.to_string());
    assert_eq!(reads("https://a.internal/x").as_deref(), Ok("https://a.internal/x"));
    assert_eq!(reads("http://127.0.0.1:80/").as_deref(), Ok("http://127.0.0.1:80/"));
    for (url, problem) in [
        ("https://u@a.internal/", "carries a user name or password: a URL is no place for a credential"),
        (
            "http://a.internal/",
            "is plain http: only https, or http to a loopback address, is safe for tokens",
        ),
        ("ftp://127.0.0.1/", "is not an absolute http or https URL"),
        ("/x", "is not an absolute http or https URL"),
    ] {
        assert_eq!(reads(url), Err(problem), "{url}");
    }
    for (url, expected) in
        [("https://u@a.internal/", false), ("https:///x", false), ("https://a.internal/", true)]
    {
        let read = url.parse().ok().and_then(|uri| Destination::of(&uri));
        assert_eq!(read.is_some(), expected, "{url}");
    }
}

#[test]
fn what_steers_a_reader_is_known() {
    for c in
        ['\0', '\n', '\u{1b}', '\u{7f}', '\u{9b}', '\u{61c}', '\u{200e}', '\u{202e}', '\u{2066}', '\u{feff}']
    {
        assert!(is_steering(c), "{c:?}");
    }
    for c in [' ', 'a', '~', 'ü', '\u{200d}', '\u{2027}', '\u{202f}'] {
        assert!(!is_steering(c), "{c:?}");
    }
}

#[test]
fn evidence_names_the_other_end_and_the_transaction() {
    let here = "10.0.0.1:7".parse().unwrap();
    let presented = Presented::assert_extracted(StackId::unique(), RawToken::new("a.b.c"), Some(here));
    assert_eq!(presented.peer(), Some(here));
    let verified = Verified::assert_genuine(presented, Arc::new(facts()));
    let transaction = Transaction::assert_meant_for(verified.clone(), "shop.internal".into());
    let admitted = Admitted::assert_all_guards_passed(
        Bound::assert_held(verified),
        Ledger::bounded().id(),
        Id::fresh(),
        None,
    );
    assert!(admitted.transaction().is_none());
    let admitted = admitted.assert_with_transaction(transaction);
    assert_eq!(admitted.transaction().map(Transaction::domain), Some("shop.internal"));
}

#[test]
fn what_cannot_be_meant_is_a_problem_of_the_route() {
    let problem =
        |rule: RouteRule| Route::new("https://a.internal", rule).err().map(|problem| problem.to_string());
    let own = || AsOurselves::audience("a");
    assert_eq!(problem(own().requires("s").into()), None);
    for (rule, part) in [
        (own().expects_subject("").requires("s"), "expects an empty subject"),
        (own().resource("").requires("s"), "asks for an empty resource"),
        (
            own().lifetime_at_most(Duration::from_millis(999)).requires("s"),
            "allows grants of less than a second",
        ),
    ] {
        let problem = problem(rule.into()).unwrap_or_default();
        assert!(problem.contains(part), "{problem}");
    }
    assert_eq!(problem(own().lifetime_at_most(seconds(1)).requires("s").into()), None);
}
