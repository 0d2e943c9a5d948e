//! A wrong configuration stops the program at start with every problem at once, each naming its setting.

use std::sync::Arc;
use std::time::Duration;

use hopguard::{
    ActorGuard, Anonymous, AudienceGuard, Audit, AuditSink, BodyScan, ClientAuth, ConfigErrors, DurableLog,
    Egress, Exchange, Fanout, GuardedClient, Hop, Inbound, Issuer, Ledger, LogKey, LongStream, Metered,
    PassthroughLayer, Profile, ResponseRule, ScopeGuard, StsEndpoint, TransactionLayer, Ttl, UnixTime,
    Verifier, Waiver, minutes,
};
use hopguard_client::{HttpTransport, Spawn, SystemClock};
use hopguard_sts::Sts;
use hopguard_testkit::{FakeClock, MemorySink};

fn audit() -> Audit {
    Audit::new("orders", "1", MemorySink::new())
}

#[track_caller]
fn names(errors: &ConfigErrors, settings: &[&str]) {
    let found: Vec<_> = errors.problems().iter().map(|problem| problem.setting.as_str()).collect();
    assert_eq!(found, settings, "{errors}");
    assert_eq!(errors.code(), "config_invalid");
    // Each problem is a line of its own, and says more than that something is wrong.
    assert_eq!(errors.to_string().lines().count(), settings.len() + 1);
    assert!(errors.problems().iter().all(|problem| problem.problem.len() > 20), "{errors}");
}

#[test]
fn every_problem_of_the_way_in_is_told_at_once() {
    let errors = Inbound::builder(&Ledger::bounded(), &audit())
        .issuer(Issuer::at("http://sts.example"))
        .issuer(Issuer::at("not a url"))
        .audience_guard(AudienceGuard::exactly("").or_alias("orders"))
        .ttl(Ttl::lifetime_at_most(Duration::ZERO))
        .scope(ScopeGuard::all_of([]))
        .actor(ActorGuard::any_of([]))
        .long_stream(LongStream::on("/events", minutes(30)))
        .long_stream(LongStream::on("/events/{*rest}", minutes(30)))
        .leeway(minutes(2))
        .build()
        .unwrap_err();
    let expected = [
        "inbound.leeway",
        "inbound.issuer[0]",
        "inbound.issuer[1]",
        "inbound.audience",
        "inbound.ttl",
        "inbound.scope",
        "inbound.actor",
        "inbound.long_stream[1]",
    ];
    let mut found: Vec<_> = errors.problems().iter().map(|problem| problem.setting.as_str()).collect();
    let mut sorted = expected;
    found.sort_unstable();
    sorted.sort_unstable();
    assert_eq!(found, sorted, "{errors}");
}

/// A durable log is believed only in the names that its key holds: who writes in another finds out at the start, and
/// not when the log is needed.
#[test]
fn an_audit_that_nobody_would_believe_builds_nothing() {
    let folder = std::env::temp_dir().join(format!("hopguard-unheard-{}", std::process::id()));
    let key = LogKey::generate("billing.internal/audit#billing,stock").unwrap();
    let log: Arc<dyn AuditSink> = Arc::new(DurableLog::at(&folder, key).open().unwrap());
    let behind: Arc<dyn AuditSink> =
        Arc::new(Metered::new(Arc::new(Fanout::new(vec![MemorySink::new(), log.clone()]))));
    let ledger = Ledger::bounded();
    let built = |audit: &Audit| {
        let inbound = Inbound::builder(&ledger, audit)
            .issuer(Issuer::at("https://sts.example"))
            .audience("https://orders.example")
            .ttl(Ttl::lifetime_at_most(minutes(5)))
            .scope(ScopeGuard::any_scope())
            .build();
        let sts = StsEndpoint::at("https://sts.example", ClientAuth::client_secret_basic("orders", "s3cret"));
        let egress = Egress::builder(&ledger, audit, sts).build();
        let hop = Hop::new(&ledger, audit, FakeClock::at(UnixTime::from_secs(1)));
        let block = PassthroughLayer::builder(&hop).build();
        let issuer = Issuer::at("https://sts.example").profile(Profile::transaction_token());
        let transport = Arc::new(HttpTransport::builder().build().unwrap());
        let verifier = Verifier::builder(transport, SystemClock::shared(), Spawn::current());
        let verifier = verifier.issuer(issuer).build().unwrap();
        let ttl = Ttl::lifetime_at_most(minutes(5));
        let transactions = TransactionLayer::new(&hop, verifier, "shop.example", ttl);
        let server = Sts::builder("https://sts.example", SystemClock::shared()).audit(audit).build();
        [inbound.err(), egress.err(), block.err(), transactions.err(), server.err()]
    };
    for sink in [&log, &behind] {
        for errors in built(&Audit::new("orders", "1", sink.clone())) {
            let errors = errors.expect("a log that speaks for others is refused");
            names(&errors, &["audit"]);
            let text = errors.to_string();
            assert!(text.contains("`orders`") && text.contains("billing, stock"), "{text}");
        }
        for own in ["billing", "stock"] {
            assert_eq!(built(&Audit::new(own, "1", sink.clone())), [None, None, None, None, None]);
        }
    }
    // A key that names no service binds none.
    let unbound = DurableLog::at(folder.join("2"), LogKey::generate("audit").unwrap()).open().unwrap();
    assert_eq!(built(&Audit::new("orders", "1", Arc::new(unbound))), [None, None, None, None, None]);
    drop((log, behind));
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn every_problem_of_the_way_out_is_told_at_once() {
    let sts = StsEndpoint::at("http://sts.example", ClientAuth::client_secret_basic("", ""));
    let errors = Egress::builder(&Ledger::bounded(), &audit(), sts)
        .route("http://inventory.example", Exchange::audience("inventory").requires("a"))
        .route("https://a.example", Anonymous)
        .route("https://b.example", Exchange::audience("").requires(""))
        .build()
        .unwrap_err();
    let settings: Vec<_> = errors.problems().iter().map(|problem| problem.setting.as_str()).collect();
    for setting in ["egress.route[0]", "egress.route[2]"] {
        assert!(settings.contains(&setting), "{errors}");
    }
    assert!(settings.iter().any(|setting| setting.starts_with("egress.sts.")), "{errors}");
}

#[test]
fn equal_routes_and_useless_clients_are_told() {
    let sts =
        || StsEndpoint::at("https://sts.example", ClientAuth::client_secret_basic("orders", "a-secret"));
    let errors = Egress::builder(&Ledger::bounded(), &audit(), sts())
        .route("https://a.example/x", Anonymous)
        .route("https://A.example:443/x/", Anonymous)
        .build()
        .unwrap_err();
    names(&errors, &["egress.route[1]"]);
    let egress = Egress::builder(&Ledger::bounded(), &audit(), sts()).build().unwrap();
    let errors = GuardedClient::builder()
        .timeout(Duration::ZERO)
        .extra_root(b"no certificate")
        .build(&egress)
        .unwrap_err();
    names(&errors, &["client.timeout", "client.extra_root[0]"]);
}

#[tokio::test]
async fn a_malformed_key_set_and_an_absent_issuer_are_503_and_not_a_panic() {
    use tower::ServiceExt;
    for body in [
        "",
        "{",
        "[]",
        "{\"keys\":{}}",
        "{\"keys\":[]}",
        "<html>",
        "{\"keys\":[{\"kty\":\"oct\",\"k\":\"AA\"}]}",
    ] {
        let clock = hopguard_testkit::FakeClock::somewhen();
        let sink = MemorySink::new();
        let text = body.to_owned();
        let transport = hopguard_testkit::ScriptedTransport::json(move |_| text.clone());
        let guard = Inbound::builder(&Ledger::bounded(), &Audit::new("orders", "1", sink.clone()))
            .issuer(Issuer::at("https://sts.example").jwks_url("https://sts.example/jwks"))
            .audience("orders")
            .ttl(Ttl::lifetime_at_most(minutes(5)))
            .scope(ScopeGuard::any_scope())
            .clock(clock.clone())
            .transport(transport)
            .build()
            .unwrap();
        let key = hopguard_testkit::mint::MintKey::es256("k");
        let now = hopguard::Clock::now(&*clock);
        let token =
            hopguard_testkit::mint::Token::access("https://sts.example", "orders", "alice", now).sign(&key);
        let service = guard.around(tower::service_fn(|_: http::Request<hopguard::Upload<String>>| async {
            Ok::<_, std::convert::Infallible>(http::Response::new(String::new()))
        }));
        let request = http::Request::get("/").header("authorization", format!("Bearer {token}"));
        let response = service.oneshot(request.body(String::new()).unwrap()).await.unwrap();
        assert_eq!(response.status(), 503, "{body}");
        assert!(response.headers().contains_key("retry-after"));
        sink.sole("keys_unavailable");
    }
}

#[test]
fn an_audit_without_a_sink_takes_nothing() {
    // An empty fan-out would lose every event; it refuses instead, and with it every request.
    let audit = Audit::new("orders", "1", Arc::new(hopguard::Fanout::new(Vec::new())));
    assert!(audit.reserve().is_err());
}

#[test]
fn a_block_is_not_switched_off_by_a_limit() {
    let bodies = |most: u64| BodyScan::default().at_most(most).audit_beyond();
    let inbound = |most| {
        Inbound::builder(&Ledger::bounded(), &audit())
            .issuer(Issuer::at("https://sts.internal"))
            .audience("https://orders.internal")
            .ttl(Ttl::lifetime_at_most(minutes(5)))
            .scope(ScopeGuard::any_scope())
            .responses(ResponseRule::default().bodies(bodies(most)))
            .build()
    };
    let egress = |scan| {
        let sts =
            StsEndpoint::at("https://sts.internal", ClientAuth::client_secret_basic("orders", "a secret"));
        Egress::builder(&Ledger::bounded(), &audit(), sts)
            .route("https://status.example", Anonymous)
            .bodies(scan)
            .build()
    };
    names(&inbound(64 * 1024 - 1).unwrap_err(), &["inbound.response.bodies"]);
    names(&egress(bodies(0)).unwrap_err(), &["egress.bodies"]);
    assert!(inbound(64 * 1024).is_ok());
    assert!(egress(bodies(64 * 1024)).is_ok());
    // What is longer is refused: nothing passes unread.
    assert!(egress(BodyScan::default().at_most(0)).is_ok());
}

#[test]
fn every_problem_of_a_block_that_stands_alone_is_told_at_once() {
    let hop = Hop::new(&Ledger::bounded(), &audit(), FakeClock::somewhen());
    let waiver = |owner: &str| Waiver::new("ticket 4711", owner, UnixTime::from_secs(4_102_444_800));
    let whole = || PassthroughLayer::builder(&hop).declare("https://a.example/x", "a");
    whole().judge_header("x-token").dangerous_except("https://b.example", waiver("us")).build().unwrap();
    let errors = whole()
        .declare("not a url", " ")
        .trust_domain("/path", "")
        .judge_header("x token")
        .dangerous_except("mailto:a@example", waiver(" "))
        .dangerous_report_only(waiver(""))
        .bodies(BodyScan::default().at_most(0).audit_beyond())
        .build()
        .unwrap_err();
    names(
        &errors,
        &[
            "passthrough.bodies",
            "passthrough.judge_header[0]",
            "passthrough.declare[1]",
            "passthrough.declare[1]",
            "passthrough.trust_domain[0]",
            "passthrough.trust_domain[0]",
            "passthrough.dangerous_except[0]",
            "passthrough.dangerous_except[0]",
            "passthrough.dangerous_report_only",
        ],
    );
}

/// Rules outside the builders are looked at when they are made a layer.
#[tokio::test]
async fn a_rule_that_lets_nobody_pass_is_told_where_it_is_made_a_layer() {
    use hopguard::{AudienceGuard, GuardExt, ScopeGuard, Ttl};

    use crate::world::World;

    let world = World::new().await;
    let problems = world.inbound.tighten(ScopeGuard::all_of([])).unwrap_err().to_string();
    assert!(problems.contains("tighten lists no scope"), "{problems}");
    assert!(world.inbound.tighten(ScopeGuard::all_of(["orders:admin"])).is_ok());

    let said = hopguard_testkit::leak::Capture::new();
    let _here = said.here();
    let hop = world.inbound.hop();
    let _good =
        (AudienceGuard::exactly("https://a").layer(hop), Ttl::age_at_most(hopguard::minutes(1)).layer(hop));
    assert_eq!(said.text(), "");
    let _bad = (AudienceGuard::exactly("").layer(hop), Ttl::age_at_most(hopguard::minutes(0)).layer(hop));
    let text = said.text();
    assert!(text.contains("is empty: name") && text.contains("allows no time at all"), "{text}");
}

/// Who serves without `axum::serve` says once who is at the other end, and handlers hear of it if they ask.
#[tokio::test]
async fn a_handler_hears_of_the_peer_where_that_was_asked_for() {
    use std::net::SocketAddr;

    use axum::Router;
    use axum::body::Body;
    use axum::extract::ConnectInfo;
    use axum::routing::get;
    use hopguard::{OpenPaths, Protect};
    use tower::ServiceExt;

    let world = crate::world::World::new().await;
    let who = get(async |ConnectInfo(peer): ConnectInfo<SocketAddr>| peer.to_string());
    let protected = world.inbound.protect(Router::new().route("/who", who), OpenPaths::paths(["/who"]));
    let peer = SocketAddr::from(([192, 0, 2, 1], 40_000));
    for (service, status) in [
        (protected.clone().with_connect_info().for_peer(peer), 200),
        (protected.clone().for_peer(peer), 500),
        (protected.with_connect_info(), 500),
    ] {
        let request = http::Request::get("/who").body(Body::empty()).unwrap();
        assert_eq!(service.oneshot(request).await.unwrap().status(), status);
    }
}

/// A listener that sets `TCP_NODELAY`, that can be closed, or that has no addresses at all.
#[tokio::test]
async fn any_listener_serves_and_tells_the_peer_it_knows() {
    use axum::Router;
    use axum::extract::ConnectInfo;
    use axum::routing::get;
    use axum::serve::{Listener, ListenerExt};
    use hopguard::{OpenPaths, Protect, TimedListener};
    use std::net::{Ipv4Addr, SocketAddr};
    use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

    async fn asked(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> String {
        let head = "GET /who HTTP/1.1\r\nhost: orders.internal\r\nconnection: close\r\n\r\n";
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        text
    }
    fn serve<L: Listener<Addr: std::fmt::Debug + 'static>>(world: &crate::world::World, listener: L) {
        let who = get(async |request: axum::extract::Request| {
            format!("{:?}", request.extensions().get::<ConnectInfo<SocketAddr>>())
        });
        let router = Router::new().route("/who", who);
        let protected = world.inbound.protect(router, OpenPaths::paths(["/who"])).with_connect_info();
        Spawn::current().spawn(async move { axum::serve(listener, protected).await.unwrap() });
    }

    let world = crate::world::World::new().await;
    for timed in [false, true] {
        let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = socket.local_addr().unwrap();
        let listener = socket.tap_io(|stream| stream.set_nodelay(true).unwrap());
        if timed {
            serve(&world, TimedListener::over(listener))
        } else {
            serve(&world, listener)
        }
        let stream = TcpStream::connect(address).await.unwrap();
        let own = stream.local_addr().unwrap().to_string();
        let answer = asked(stream).await;
        assert!(answer.contains(" 200 ") && answer.contains(&own), "{answer}");
    }
    let folder = std::env::temp_dir();
    for timed in [false, true] {
        let path = folder.join(format!("hopguard-{}-{timed}.socket", std::process::id()));
        let listener = UnixListener::bind(&path).unwrap();
        if timed {
            serve(&world, TimedListener::over(listener))
        } else {
            serve(&world, listener)
        }
        let answer = asked(UnixStream::connect(&path).await.unwrap()).await;
        assert!(answer.contains(" 200 ") && answer.ends_with("None"), "{answer}");
        std::fs::remove_file(&path).unwrap();
    }
}
