//! Stories of an exchange, honest and not, and what is told of them.

use super::suspicion::*;
use super::*;
use crate::lineage::{ActorSeen, Node};

fn token(name: &str, actors: &[&str]) -> TokenSeen {
    TokenSeen {
        fingerprint: name.into(),
        issuer: "sts".into(),
        subject: "alice".into(),
        client: None,
        audiences: vec![format!("aud-{name}")],
        scopes: Vec::new(),
        actors: actors.iter().map(|a| ActorSeen { subject: (*a).into(), issuer: None }).collect(),
        expires: 1000,
        issued_at: None,
        token_id: None,
        key_id: None,
        confirmation: None,
    }
}

fn record(service: &str, direction: &str, code: &str, at: u64, token: &TokenSeen) -> Record {
    let text = format!(
        r#"{{"version":1,"time_ms":{at},"event_id":"{service}-{at}","service":"{service}","instance":"1",
        "direction":"{direction}","kind":"decision","gate":"inbound","decision":"allow","code":"{code}"}}"#
    );
    let mut record: Record = serde_json::from_str(&text).unwrap();
    record.token = Some(token.clone());
    record
}

/// The gateway's user token `u` becomes `g` at the authorization server and goes to orders.
fn honest() -> Vec<Record> {
    let (user, grant) = (token("u", &[]), token("g", &["gateway"]));
    let inbound = record("gateway", "inbound", "admitted", 10, &user);
    let mut exchanged = record("sts", "inbound", "exchanged", 20, &user);
    exchanged.gate = "sts".into();
    exchanged.grant = Some(grant.clone());
    let mut sent = record("gateway", "outbound", "sent", 30, &user);
    sent.grant = Some(grant.clone());
    let mut shown = record("orders", "inbound", "admitted", 40, &grant);
    shown.peer = Some("10.0.0.1:1".into());
    vec![inbound, exchanged, sent, shown]
}

#[track_caller]
fn suspected(change: impl FnOnce(&mut Vec<Record>), expected: &[(SuspicionKind, &str)]) {
    let mut records = honest();
    change(&mut records);
    let found = Lineage::of(records).suspicions();
    let kinds: Vec<_> = found.iter().map(|s| (s.kind, s.fingerprint.as_str())).collect();
    assert_eq!(kinds, expected, "{found:#?}");
}

/// One call explains one presentation: of its own trace, else without one, else, for a presentation that names none, the
/// oldest.
#[test]
fn a_call_is_matched_once_and_by_its_trace_first() {
    let unmatched = |calls: &[(u64, Option<&str>)], shown: &[(u64, Option<&str>)]| {
        let (user, grant) = (token("u", &[]), token("g", &["gateway"]));
        let mut all = Vec::new();
        for (at, trace) in calls {
            let mut call = record("gateway", "outbound", "sent", *at, &user);
            (call.grant, call.trace_id) = (Some(grant.clone()), trace.map(Into::into));
            all.push(call);
        }
        for (at, trace) in shown {
            let mut one = record("orders", "inbound", "admitted", *at, &grant);
            one.trace_id = trace.map(Into::into);
            all.push(one);
        }
        let found = Lineage::of(all).suspicions();
        let unmatched = found.iter().filter(|s| s.kind == SuspicionKind::PresentationUnmatched);
        unmatched.map(|s| s.time_ms).collect::<Vec<_>>()
    };
    let (a, b) = (Some("a"), Some("b"));
    assert_eq!(unmatched(&[(1, a), (2, b)], &[(3, b), (4, a)]), [0; 0]);
    assert_eq!(unmatched(&[(1, a), (2, b)], &[(3, b), (4, b)]), [4]);
    assert_eq!(unmatched(&[(1, a), (2, None)], &[(3, b), (4, a)]), [0; 0]);
    assert_eq!(unmatched(&[(1, None)], &[(3, b), (4, a)]), [4]);
    assert_eq!(unmatched(&[(1, a), (2, b)], &[(3, None), (4, b)]), [0; 0], "the oldest");
    assert_eq!(unmatched(&[(1, b), (2, a)], &[(3, None), (4, b)]), [4], "the oldest");
    assert_eq!(unmatched(&[(1, a), (2, b), (3, None)], &[(4, None), (5, None), (6, None), (7, None)]), [7]);
    // The clocks may stand five seconds apart, and no more.
    assert_eq!(unmatched(&[(5010, a)], &[(10, a)]), [0; 0]);
    assert_eq!(unmatched(&[(5011, a)], &[(10, a)]), [10]);
    assert_eq!(unmatched(&[(20, a), (9000, a)], &[(30, a), (40, a)]), [40]);
    assert_eq!(unmatched(&[(20, a), (9000, b)], &[(30, None), (40, None)]), [40]);
}

/// Whoever looks an event up sees all of it.
#[test]
fn an_event_comes_back_with_all_its_members() {
    let schema: serde_json::Value =
        serde_json::from_str(include_str!("../../../hopguard-core/schema/audit-event-v1.json")).unwrap();
    let sample = |schema: &serde_json::Value| match schema["type"].as_str() {
        Some("string") => serde_json::json!("text"),
        Some("integer") => serde_json::json!(1),
        Some("array") => serde_json::json!([]),
        Some("object") => serde_json::json!({ "audience": "text", "scopes": [] }),
        _ => schema.get("const").cloned().unwrap_or_else(|| serde_json::json!("text")),
    };
    let all = |schema: &serde_json::Value| -> serde_json::Map<_, _> {
        let members = schema["properties"].as_object().unwrap();
        members.iter().map(|(name, schema)| (name.clone(), sample(schema))).collect()
    };
    let mut event = all(&schema);
    for name in ["token", "grant"] {
        event.insert(name.to_owned(), all(&schema["$defs"]["token"]).into());
    }
    let record: Record = serde_json::from_value(event.clone().into()).unwrap();
    event.remove("unverified").unwrap();
    assert_eq!(serde_json::to_value(record).unwrap(), serde_json::Value::from(event));
}

#[test]
fn each_thing_is_suspected_for_its_own_reason() {
    use SuspicionKind::{
        ActorLost, AudienceGrew, EdgeContradicted, LeakBlocked, PresentationUnmatched, TwoPeers,
        UsedAfterExpiry, UsedAfterWithdrawal, UsedElsewhere,
    };
    suspected(|_| (), &[]);
    suspected(
        |all| all.push(record("orders", "inbound", "admitted", 50, &token("g", &["gateway"]))),
        &[(PresentationUnmatched, "g")],
    );
    // Two layers that stand alone write down one call: it is good for one presentation. One of them is enough.
    for (gates, expected) in [
        (&["egress", "passthrough"][..], &[(PresentationUnmatched, "g")][..]),
        (&["egress"], &[(PresentationUnmatched, "g")]),
        (&["egress", "egress"], &[]),
    ] {
        suspected(
            |all| {
                let mut passed = all.remove(2);
                (passed.code, passed.request_id) = ("passed".into(), Some("r".into()));
                for (at, gate) in gates.iter().enumerate() {
                    let event_id = format!("{at}");
                    all.push(Record { gate: (*gate).into(), event_id, ..passed.clone() });
                }
                all.push(record("orders", "inbound", "admitted", 50, &token("g", &["gateway"])));
            },
            expected,
        );
    }
    // The same event once more, as in a copy of the log, is no second call.
    suspected(
        |all| {
            let mut passed = all.remove(2);
            (passed.code, passed.request_id) = ("passed".into(), Some("r".into()));
            all.extend([passed.clone(), passed]);
            all.push(record("orders", "inbound", "admitted", 50, &token("g", &["gateway"])));
        },
        &[(PresentationUnmatched, "g")],
    );
    // Without the grantee's log nothing can be said.
    suspected(|all| all.retain(|record| record.service != "gateway"), &[]);
    suspected(
        |all| {
            let mut again = record("orders", "inbound", "admitted", 50, &token("u", &[]));
            (again.peer, all[0].peer) = (Some("10.0.0.9:1".into()), Some("10.0.0.1:5".into()));
            all.push(again);
        },
        &[(TwoPeers, "u")],
    );
    suspected(
        |all| {
            all[3].code = "audience_mismatch".into();
            all[3].decision = "deny".into();
        },
        &[(UsedElsewhere, "g")],
    );
    suspected(
        |all| {
            all[2].code = "passthrough_blocked".into();
            all[2].found = Some("u".into());
        },
        &[(LeakBlocked, "u")],
    );
    suspected(|all| all[1].token = Some(token("other", &[])), &[(EdgeContradicted, "g")]);
    suspected(
        |all| {
            for token in all.iter_mut().flat_map(|record| [&mut record.token, &mut record.grant]).flatten() {
                if token.fingerprint == "g" {
                    token.audiences.push("more".into());
                }
            }
        },
        &[(AudienceGrew, "g")],
    );
    suspected(
        |all| {
            for record in all.iter_mut().filter(|record| record.service != "orders") {
                record.token.as_mut().unwrap().actors = token("u", &["web"]).actors;
            }
            all.remove(0);
        },
        &[(ActorLost, "g")],
    );
    suspected(|all| all[3].time_ms = 1_000_000, &[(UsedAfterExpiry, "g")]);
    suspected(
        |all| {
            let mut notice = record("orders", "internal", "withdrawal", 35, &token("g", &["gateway"]));
            notice.kind = "notice".into();
            all.push(notice);
        },
        &[(UsedAfterWithdrawal, "g")],
    );
}

#[test]
fn a_grant_has_one_holder() {
    use SuspicionKind::{EdgeContradicted, TwoHolders};
    // Another service sends what was granted to the gateway.
    suspected(
        |all| {
            let mut again = all[2].clone();
            again.service = "batch".into();
            all.push(again);
        },
        &[(TwoHolders, "g")],
    );
    // A second process of the same service may.
    suspected(
        |all| {
            let mut again = all[2].clone();
            again.instance = "2".into();
            all.push(again);
            let mut shown = all[3].clone();
            shown.event_id = "again".into();
            all.push(shown);
        },
        &[],
    );
    // A token with an actor that no exchange made: its signature was good.
    let forged = || record("billing", "inbound", "admitted", 60, &token("f", &["batch"]));
    suspected(|all| all.push(forged()), &[(EdgeContradicted, "f")]);
    // It may have been made before the log at hand begins; and of another server's log nothing is known.
    suspected(
        |all| {
            all.iter_mut().for_each(|record| record.time_ms += 100_000);
            let mut old = forged();
            old.time_ms += 100_000;
            old.token.as_mut().unwrap().issued_at = Some(5);
            all.push(old);
        },
        &[],
    );
    suspected(
        |all| {
            let mut other = forged();
            other.token.as_mut().unwrap().issuer = "elsewhere".into();
            all.push(other);
        },
        &[],
    );
    // What nobody acted with is a user's token, which no exchange made.
    suspected(|all| all.push(record("web", "inbound", "admitted", 60, &token("v", &[]))), &[]);
}

/// The honest story with one harmless change each: nothing is suspected.
#[test]
fn what_is_harmless_is_not_suspected() {
    // The same peer over another connection; a retry that was sent and shown twice; clocks that stand apart.
    suspected(
        |all| {
            let (mut sent, mut shown) = (all[2].clone(), all[3].clone());
            sent.attempt = Some(2);
            (shown.event_id, shown.peer) = ("again".into(), Some("10.0.0.1:7".into()));
            all.extend([sent, shown]);
        },
        &[],
    );
    suspected(|all| all[3].time_ms = 26, &[]);
    // A refusal that has nothing to do with where the token is good.
    suspected(|all| (all[3].code, all[3].decision) = ("insufficient_scope".into(), "deny".into()), &[]);
    // Refused at its end, as it must be; and used just before.
    suspected(|all| all[3].time_ms = 999_999, &[]);
    suspected(
        |all| {
            all[3].time_ms = 1_000_000;
            (all[3].code, all[3].decision) = ("token_expired".into(), "deny".into());
        },
        &[],
    );
    // Withdrawn after its last use; and another token withdrawn.
    for (at, name) in [(45, "g"), (35, "other")] {
        suspected(
            |all| {
                let mut notice = record("orders", "internal", "withdrawal", at, &token(name, &["gateway"]));
                notice.kind = "notice".into();
                all.push(notice);
            },
            &[],
        );
    }
    // A grant for another audience than its parent's is what an exchange is for.
    suspected(
        |all| {
            let asked = r#"{"audience":"aud-g","scopes":[]}"#;
            all[2].requested = Some(serde_json::from_str(asked).unwrap());
        },
        &[],
    );
    // A service that works for others extends their chain.
    suspected(
        |all| {
            let mut longer = token("h", &["orders", "gateway"]);
            longer.audiences = vec!["aud-h".into()];
            let mut exchanged = record("sts", "inbound", "exchanged", 45, &token("g", &["gateway"]));
            (exchanged.gate, exchanged.grant) = ("sts".into(), Some(longer.clone()));
            let mut sent = record("orders", "outbound", "sent", 46, &token("g", &["gateway"]));
            sent.grant = Some(longer.clone());
            all.extend([exchanged, sent, record("inventory", "inbound", "admitted", 47, &longer)]);
        },
        &[],
    );
}

#[test]
fn the_tree_is_found_from_any_of_its_tokens() {
    let lineage = Lineage::of(honest());
    for query in ["alice", "gateway-10"] {
        let trees = lineage.trace(query);
        assert_eq!((trees.len(), &*trees[0].token.fingerprint), (1, "u"), "{query}");
    }
    let trees = lineage.trace("alice");
    assert_eq!(trees[0].children[0].said_by, ["gateway", "sts"]);
    assert_eq!(trees[0].children[0].presentations[0].service, "orders");
    assert_eq!(lineage.find("alice").len(), 4);
    assert!(lineage.trace("nobody").is_empty());
}

/// An exchange as `service` tells it.
fn said(service: &str, at: u64, parent: &TokenSeen, child: &TokenSeen) -> Record {
    let mut sent = record(service, "outbound", "sent", at, parent);
    sent.grant = Some(child.clone());
    sent
}

/// What the trees hold, the children of each in brackets and `'` behind what is told elsewhere.
fn drawn(trees: &[Node]) -> String {
    let draw = |node: &Node| {
        let mark = if node.told_elsewhere { "'" } else { "" };
        let below =
            if node.children.is_empty() { String::new() } else { format!("({})", drawn(&node.children)) };
        format!("{}{mark}{below}", node.token.fingerprint)
    };
    trees.iter().map(draw).collect::<Vec<_>>().join(" ")
}

#[test]
fn a_forged_circle_is_a_suspicion_and_hides_nothing() {
    use SuspicionKind::MadeInCircle;
    let (user, grant, own) = (token("u", &[]), token("g", &["gateway"]), token("own", &[]));
    let mut records = honest();
    records.push(said("mallory", 5, &grant, &user));
    let lineage = Lineage::of(records);
    assert_eq!(drawn(&lineage.trace("gateway-10")), "g(u(g'))");
    let circles = |lineage: &Lineage| {
        let found = lineage.suspicions().into_iter().filter(|one| one.kind == MadeInCircle);
        found.map(|one| (one.service, one.fingerprint)).collect::<Vec<_>>()
    };
    let both =
        |forged: &str| [(forged, "u"), ("sts", "g"), ("gateway", "g")].map(|(a, b)| (a.into(), b.into()));
    assert_eq!(circles(&lineage), both("mallory"));
    // Made from itself, and a token that merely stands below a circle.
    let lineage = Lineage::of(vec![said("x", 1, &user, &user), said("x", 2, &user, &own)]);
    assert_eq!(drawn(&lineage.trace("alice")), "u(own u')");
    assert_eq!(circles(&lineage), [("x".into(), "u".into())]);
    assert!(circles(&Lineage::of(honest())).is_empty());
}

#[test]
fn each_token_is_told_once_and_none_is_lost() {
    let of = |name: &str| token(name, &[]);
    let diamond = [("a", "b"), ("a", "c"), ("b", "d"), ("c", "d"), ("d", "e")];
    let records = diamond.map(|(parent, child)| said("x", 1, &of(parent), &of(child)));
    assert_eq!(drawn(&Lineage::of(records.into()).trace("alice")), "a(b(d(e)) c(d'))");
    // A chain that is forged in front of an honest exchange is cut into trees, and the exchange is in one of them.
    let mut records = honest();
    let name = |n: usize| if n == 100 { "u".to_owned() } else { format!("{n:02}") };
    records.extend((0..100).map(|n| said("mallory", 1, &of(&name(n)), &of(&name(n + 1)))));
    let trees = Lineage::of(records).trace("orders-40");
    let shown = drawn(&trees);
    assert_eq!(trees.len(), 4);
    assert!(trees.iter().all(|tree| drawn(std::slice::from_ref(tree)).matches('(').count() <= 32));
    assert!(shown.starts_with("00(01(") && shown.contains("u(g)"), "{shown}");
    assert!((0..100).all(|n| shown.contains(&format!("{n:02}("))), "{shown}");
}

#[test]
fn a_token_that_is_described_in_two_ways_is_suspected() {
    use SuspicionKind::DescribedDifferently;
    let differs = |change: &dyn Fn(&mut TokenSeen)| {
        let mut other = token("g", &["gateway"]);
        change(&mut other);
        let mut all = honest();
        all.push(said("mallory", 45, &other, &token("x", &["mallory", "gateway"])));
        let found = Lineage::of(all).suspicions();
        let found = found.iter().filter(|one| one.kind == DescribedDifferently);
        found.map(|one| format!("{} {}", one.service, one.fingerprint)).collect::<Vec<_>>()
    };
    let none: [&str; 0] = [];
    assert_eq!(differs(&|_| ()), none);
    assert_eq!(differs(&|token| token.client = Some("by another profile".into())), none);
    for change in [
        |token: &mut TokenSeen| token.subject = "bob".into(),
        |token: &mut TokenSeen| token.issuer = "other".into(),
        |token: &mut TokenSeen| token.audiences.push("more".into()),
        |token: &mut TokenSeen| token.actors.clear(),
        |token: &mut TokenSeen| token.expires += 1,
    ] {
        assert_eq!(differs(&change), ["mallory g"]);
    }
}

/// Whoever writes orders' log tells in it of a call by the gateway, which makes a second showing look like one.
#[test]
fn a_call_that_another_log_tells_of_is_not_believed() {
    use SuspicionKind::{PresentationUnmatched, ServiceForeign};
    let mut stolen = record("orders", "inbound", "admitted", 50, &token("g", &["gateway"]));
    stolen.peer = Some("10.0.0.1:9".into());
    let mut all = honest();
    let forged = said("gateway", 45, &token("u", &[]), &token("g", &["gateway"]));
    let orders = vec![all.remove(3), stolen, forged];
    let folder = crate::json_lines::tests::Folder::new();
    let put = |name: &str, records: &[Record]| {
        let path = folder.0.join(name);
        let lines = records.iter().map(|one| format!("{}\n", serde_json::to_string(one).unwrap()));
        std::fs::write(&path, lines.collect::<String>()).unwrap();
        LogSource::at(path)
    };
    let (orders, others) = (put("orders.jsonl", &orders), put("others.jsonl", &all));
    let kinds = |sources: [LogSource; 2]| {
        let lineage = Lineage::read_sources(&sources, |_, _| ()).unwrap();
        let told: Vec<_> =
            lineage.foreign().iter().map(|one| (one.line, one.record.service.clone())).collect();
        (lineage.suspicions().iter().map(|one| (one.kind, one.service.clone())).collect::<Vec<_>>(), told)
    };
    assert_eq!(kinds([orders.clone(), others.clone()]), (vec![], vec![]), "nobody can tell");
    let line = vec![(3, "gateway".to_owned())];
    let unmatched = (PresentationUnmatched, "orders".to_owned());
    // Known of the log that is forged, or of the one that alone may tell.
    let tied = [orders.clone().speaks_for("orders"), others.clone()];
    assert_eq!(kinds(tied), (vec![(ServiceForeign, "orders".to_owned()), unmatched.clone()], line.clone()));
    let path = folder.0.join("orders.jsonl").display().to_string();
    let tied = [orders.clone(), others.clone().speaks_for("gateway").speaks_for("sts")];
    assert_eq!(kinds(tied), (vec![(ServiceForeign, path), unmatched], line));
    let every = orders.speaks_for("orders").speaks_for("gateway");
    assert_eq!(kinds([every, others.speaks_for("gateway").speaks_for("sts")]), (vec![], vec![]));
}
