//! The metrics of both stacks at work, as Prometheus would read them.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use hopguard::{
    Anonymous, Audit, AuditSink, ClientAuth, Egress, Exchange, GuardedClient, Inbound, Issuer, JsonLines,
    Ledger, Metered, Observer, ScopeGuard, StsEndpoint, Ttl, minutes,
};
use http::{Request, Response};
use metrics_exporter_prometheus::PrometheusBuilder;
use tower::{ServiceExt, service_fn};

use crate::world::{INVENTORY, ORDERS, SECRET, World};

#[track_caller]
fn value(page: &str, series: &str) -> f64 {
    let mut lines = page.lines().filter_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    let value = lines.next().unwrap_or_else(|| panic!("{series} is not in\n{page}"));
    assert_eq!(lines.next(), None, "{series} stands twice");
    value.parse().unwrap()
}

#[tokio::test]
async fn what_happened_and_how_things_stand() {
    let world = World::new().await;
    let recorder = PrometheusBuilder::new().build_recorder();
    let log = Arc::new(JsonLines::to(std::io::sink()).places(64).open().unwrap());
    let sink: Arc<dyn AuditSink> =
        metrics::with_local_recorder(&recorder, || Arc::new(Metered::new(log.clone())));
    let (ledger, audit) = (Ledger::bounded(), Audit::new("orders", "1", sink));
    let guard = Inbound::builder(&ledger, &audit)
        .issuer(Issuer::at(&world.sts.issuer()))
        .audience(ORDERS)
        .ttl(Ttl::lifetime_at_most(minutes(10)))
        .scope(ScopeGuard::any_scope())
        .clock(world.clock.clone())
        .build()
        .unwrap();
    let endpoint = StsEndpoint::at(&world.sts.issuer(), ClientAuth::client_secret_basic("orders", SECRET));
    let stock = Exchange::audience(INVENTORY).scope("stock:read").requires("orders:read");
    let egress = Egress::builder(&ledger, &audit, endpoint)
        .route(&world.peer.url(""), stock)
        .route(&world.peer.url("/open"), Anonymous)
        .clock(world.clock.clone())
        .build()
        .unwrap();
    let client = GuardedClient::builder().build(&egress).unwrap();
    let observer = metrics::with_local_recorder(&recorder, || {
        Observer::new().inbound(&guard).egress(&egress).json_lines(&log)
    });
    observer.observe();
    let issuer = world.sts.issuer();
    let page = recorder.handle().render();
    let of_issuer = |metric: &str| format!("hopguard_internal_key_set_{metric}{{issuer=\"{issuer}\"}}");
    assert!(value(&page, &of_issuer("age_seconds")).is_nan(), "nothing was fetched yet");
    assert_eq!(value(&page, &of_issuer("usable")), 0.0);

    let seen = Arc::new(Mutex::new(None));
    let keep = seen.clone();
    let service = guard.around(service_fn(move |request: Request<hopguard::Upload<String>>| {
        *keep.lock().unwrap() = hopguard::admitted(request.extensions()).cloned();
        async { Ok::<_, Infallible>(Response::new(String::new())) }
    }));
    let good = world.signed(world.sts.token(ORDERS, "alice", "orders:read"));
    let late = world.signed(world.sts.token("https://elsewhere", "alice", "orders:read"));
    for token in [&good, &late, &late, &good] {
        let request = Request::get("/").header("authorization", format!("Bearer {token}"));
        drop(service.clone().oneshot(request.body(String::new()).unwrap()).await.unwrap());
    }
    let caller = seen.lock().unwrap().take().unwrap();
    for _ in 0..3 {
        client.on_behalf_of(&caller).get(&world.peer.url("/stock/42")).send().await.unwrap();
    }
    let leak = world.peer.url("/open");
    client.on_behalf_of(&caller).get(&leak).header("x-debug", &good).send().await.unwrap_err();

    observer.observe();
    let page = recorder.handle().render();
    for (series, expected) in [
        (r#"hopguard_inbound_decisions_total{decision="allow",code="admitted"}"#, 2.0),
        (r#"hopguard_inbound_decisions_total{decision="deny",code="audience_mismatch"}"#, 2.0),
        (r#"hopguard_outbound_decisions_total{decision="allow",code="sent"}"#, 3.0),
        (r#"hopguard_outbound_decisions_total{decision="fault",code="passthrough_blocked"}"#, 1.0),
        (r#"hopguard_outbound_grants_total{cache="miss"}"#, 1.0),
        (r#"hopguard_outbound_grants_total{cache="hit"}"#, 2.0),
        (r#"hopguard_outbound_exchanges_total{cause="call"}"#, 1.0),
        (r#"hopguard_outbound_exchanges_total{cause="renewal"}"#, 0.0),
        ("hopguard_outbound_exchanges_failed_total", 0.0),
        ("hopguard_outbound_grants_kept", 1.0),
        ("hopguard_outbound_exchanges_under_way", 0.0),
        // The caller's token and its grant.
        ("hopguard_internal_ledger_entries", 2.0),
        (r#"hopguard_internal_audit_queue_places{sink="json_lines",lane="known"}"#, 64.0),
        (r#"hopguard_internal_audit_lost_total{sink="json_lines"}"#, 0.0),
        (&of_issuer("usable"), 1.0),
        (&of_issuer("keys"), 1.0),
        (&of_issuer("fetches_total"), 1.0),
        (&of_issuer("failures_total"), 0.0),
    ] {
        assert_eq!(value(&page, series), expected, "{series}\n{page}");
    }
    assert!(value(&page, &of_issuer("age_seconds")) >= 0.0);
    assert!(value(&page, r#"hopguard_outbound_grant_seconds_count{cache="miss"}"#) == 1.0);
    let peer = world.peer.url("");
    for secret in [&*good, &*late, "alice", "stock", "orders", &peer] {
        assert!(!page.contains(secret), "{secret} is in the page");
    }
}

#[tokio::test]
async fn a_full_log_shows() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let log = Arc::new(JsonLines::to(std::io::sink()).places(2).open().unwrap());
    let observer = metrics::with_local_recorder(&recorder, || Observer::new().json_lines(&log));
    log.reserve().unwrap();
    log.reserve().unwrap();
    log.reserve().unwrap_err();
    observer.observe();
    let page = recorder.handle().render();
    let series = r#"hopguard_internal_audit_queue_events{sink="json_lines",lane="known"}"#;
    assert_eq!(value(&page, series), 2.0);
    log.release();
    observer.observe();
    assert_eq!(value(&recorder.handle().render(), series), 1.0);
    log.release();
}
