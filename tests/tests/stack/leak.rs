//! I10: token bytes appear in no log, audit record, error or `Debug`: neither of the tokens that are used, nor of
//! those that somebody wrote where no token belongs. The inputs stand in one place: [`CLAIMS`], [`HEADERS`],
//! [`requests`], [`calls`], [`answers`], [`settings`]. The command line has its own list, in its own tests.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use hopguard::{
    Admitted, Audit, ClientAuth, DurableLog, Egress, Exchange, Fanout, GuardedClient, Inbound, Issuer,
    JsonLines, Ledger, LogKey, ScopeGuard, StsEndpoint, TracingSink, Ttl, UnixTime, Waiver, minutes,
};
use hopguard_testkit::leak::{self, Capture};
use hopguard_testkit::{Misbehaviour, WireAnswer, WireRecorder, mint::Signature};
use http::Request;
use serde_json::{Value, json};
use tower::{ServiceExt, service_fn};

use crate::world::{INVENTORY, SECRET, World};

/// Sends tokens along every path that writes something, and looks at all that was written.
#[tokio::test]
async fn no_token_shows_anywhere() {
    let capture = Capture::new();
    let _guard = capture.here();
    let world = World::new().await;
    let good = world.signed(world.token());
    let caller = world.admit(&good).await;
    let mut tokens = vec![good.clone()];
    let mut shown = format!("{caller:?} {:?} {:?}", world.inbound, world.client);

    for bad in [
        world.token().signature(Signature::Impostor),
        world.token().claim("iss", "https://evil.example"),
        world.token().claim("aud", "elsewhere"),
        world.token().claim("exp", 1),
        world.token().header("kid", "unknown"),
        world.token().header("typ", "JWT"),
        world.token().raw_payload("{\"iss\":"),
    ] {
        let text = world.signed(bad);
        let service = world.inbound.around(service_fn(|_: Request<hopguard::Upload<String>>| async {
            Ok::<_, std::convert::Infallible>(http::Response::new(String::new()))
        }));
        let request = Request::get("/").header("authorization", format!("Bearer {text}")).body(String::new());
        let response = service.oneshot(request.unwrap()).await.unwrap();
        assert!(response.status().is_client_error());
        shown.push_str(&format!("{response:?}"));
        tokens.push(text);
    }

    for how in
        [Misbehaviour::WiderScope, Misbehaviour::Opaque, Misbehaviour::InvalidRequest, Misbehaviour::Huge]
    {
        world.sts.misbehave(how);
        let error = world.call(&caller).await.unwrap_err();
        shown.push_str(&chain(&error));
    }
    world.sts.misbehave(Misbehaviour::Honest);
    let response = world.call(&caller).await.unwrap();
    shown.push_str(&format!("{response:?}"));
    let grant = world.peer.requests()[0].header("authorization").unwrap().replace("Bearer ", "");
    tokens.push(grant);
    let leaks = [("x-api-key", good.as_str()), ("authorization", good.as_str())];
    for (name, value) in leaks {
        let calls = world.client.on_behalf_of(&caller);
        let error = calls.get(&world.peer.url("/")).header(name, value).send().await.unwrap_err();
        shown.push_str(&chain(&error));
    }
    let calls = world.client.on_behalf_of(&caller);
    let url = format!("http://127.0.0.1:1/?t={good}");
    shown.push_str(&chain(&calls.get(&url).send().await.unwrap_err()));

    let (log, audit) = (capture.text(), world.sink.text());
    assert!(!log.is_empty(), "the logs were captured");
    for token in &tokens {
        let places = [
            ("a log", log.as_bytes()),
            ("the audit", audit.as_bytes()),
            ("a debug or error", shown.as_bytes()),
        ];
        leak::assert_absent(token, places);
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = format!("{error} {error:?}");
    let mut next = error.source();
    while let Some(source) = next {
        text.push_str(&format!(" {source} {source:?}"));
        next = source.source();
    }
    text
}

/// Claims that are read, and some that are not: a token goes into each, alone and as the member of what it is.
const CLAIMS: &[&str] = &[
    "iss",
    "sub",
    "aud",
    "exp",
    "nbf",
    "iat",
    "jti",
    "client_id",
    "azp",
    "scope",
    "scp",
    "act",
    "act.sub",
    "act.iss",
    "may_act",
    "may_act.sub",
    "cnf",
    "cnf.jkt",
    "cnf.unknown",
    "acr",
    "nonce",
    "typ",
    "token_use",
    "unheard_of",
];

/// Members of a token's header.
const HEADERS: &[&str] = &["alg", "kid", "typ", "cty", "jku", "crit", "unheard_of"];

/// `value` under a name such as `act.sub`: the outer name, and what to write there.
fn nested(name: &str, value: &str) -> (String, Value) {
    match name.split_once('.') {
        Some((outer, inner)) => (outer.to_owned(), json!({ inner: value })),
        None if name == "crit" => (name.to_owned(), json!([value])),
        None => (name.to_owned(), json!(value)),
    }
}

/// A request to the front door in which `secret` stands, beside or in place of the good token.
fn requests(good: &str, secret: &str) -> Vec<(&'static str, Option<Request<String>>)> {
    let wrapped = base64::Engine::encode(&base64::prelude::BASE64_STANDARD, secret);
    let get = |uri: &str| Request::get(uri);
    let with = |name: &str, value: &str| {
        get("/").header("authorization", format!("Bearer {good}")).header(name, value)
    };
    let alone = |value: &str| get("/").header("authorization", value);
    let made = vec![
        ("bearer", alone(&format!("Bearer {secret}"))),
        ("another scheme", alone(&format!("Basic {secret}"))),
        ("no scheme", alone(secret)),
        ("DPoP scheme", alone(&format!("DPoP {secret}"))),
        ("two in one", alone(&format!("Bearer {good}, Bearer {secret}"))),
        ("authorization twice", with("authorization", &format!("Bearer {secret}"))),
        ("path", get(&format!("/orders/{secret}"))),
        (
            "path, with a good token",
            get(&format!("/orders/{secret}")).header("authorization", format!("Bearer {good}")),
        ),
        ("path, percent-encoded", get(&format!("/orders/{}", secret.replace('.', "%2E")))),
        ("query", get(&format!("/?access_token={secret}"))),
        ("host", with("host", secret)),
        ("forwarded", with("x-forwarded-for", secret)),
        ("cookie", with("cookie", &format!("session={secret}"))),
        ("proxy-authorization", with("proxy-authorization", &format!("Bearer {secret}"))),
        ("dpop", with("dpop", secret)),
        ("txn-token", with("txn-token", secret)),
        ("traceparent", with("traceparent", secret)),
        ("tracestate", with("tracestate", secret)),
        ("base64", with("x-wrapped", &wrapped)),
        ("method", Request::builder().method(secret).uri("/")),
    ];
    made.into_iter().map(|(name, request)| (name, request.body(String::new()).ok())).collect()
}

/// Shows a request at the front door; what can be printed of the answer, and the evidence.
async fn show(inbound: &Inbound, request: Request<String>) -> (String, Option<Admitted>) {
    let seen = Arc::new(Mutex::new(None));
    let keep = seen.clone();
    let service = inbound.around(service_fn(move |request: Request<hopguard::Upload<String>>| {
        *keep.lock().unwrap() = hopguard_tower::admitted(request.extensions()).cloned();
        async { Ok::<_, Infallible>(http::Response::new(String::new())) }
    }));
    let response = service.oneshot(request).await.unwrap();
    let caller = seen.lock().unwrap().take();
    (format!("{response:?} {caller:?} {caller:#?}"), caller)
}

/// Calls of a handler in which a token stands where none belongs.
async fn calls(world: &World, caller: &Admitted, secret: &str) -> String {
    let on_behalf = world.client.on_behalf_of(caller);
    let here = world.peer.url("/");
    let method = http::Method::from_bytes(secret.as_bytes()).unwrap();
    let made = [
        on_behalf.get(&here).segment(secret),
        on_behalf.get(&here).query(&[("t", secret)]),
        on_behalf.get(&here).query(&[(secret, "t")]),
        on_behalf.get(&here).header("x-api-key", secret),
        on_behalf.get(&here).header(secret, "x"),
        on_behalf.get(&here).header("host", secret),
        on_behalf.get(&here).header("cookie", &format!("a={secret}")),
        on_behalf.get(&here).header("authorization", &format!("Bearer {secret}")),
        on_behalf.get(&here).header("traceparent", secret),
        on_behalf.post(&here).body(secret.to_owned()),
        on_behalf.post(&here).json(&json!({ "token": secret, secret: 1 })),
        on_behalf.request(method, &here),
        on_behalf.get(secret),
        on_behalf.get(&format!("http://{secret}/")),
        on_behalf.get(&format!("http://{secret}@127.0.0.1:1/")),
        on_behalf.get(&format!("http://127.0.0.1:1/{secret}?{secret}#{secret}")),
        on_behalf.get(&format!("{secret}://127.0.0.1/")),
        world.client.as_nobody().get(&world.peer.url(&format!("/open/{secret}"))),
        world.client.as_nobody().get(&world.peer.url(&format!("/closed/{secret}"))),
    ];
    let mut shown = String::new();
    for call in made {
        shown.push_str(&format!("{call:?}"));
        match call.send().await {
            // The client's own `Debug` names the URL: what the handler wrote is the handler's.
            Ok(answer) => shown.push_str(&format!("{:?}", answer.status())),
            Err(error) => shown.push_str(&chain(&error)),
        }
    }
    shown
}

/// What an authorization server or a peer answers, with a token where none belongs.
fn answers(world: &World, secret: &str) -> Vec<WireAnswer> {
    let grant = |token: String| {
        json!({ "access_token": token, "token_type": "Bearer", "expires_in": 60,
            "issued_token_type": "urn:ietf:params:oauth:token-type:access_token" })
    };
    let minted = |name: &str| {
        let (name, value) = nested(name, secret);
        let token =
            world.sts.token(INVENTORY, "alice", "stock:read").claim("act", json!({ "sub": "orders" }));
        let token = token.claim("client_id", "orders").claim(&name, value);
        WireAnswer::json(200, &grant(token.sign(world.sts.key())))
    };
    let mut all: Vec<_> = CLAIMS.iter().map(|name| minted(name)).collect();
    let mut put = |status, body: Value| all.push(WireAnswer::json(status, &body));
    put(200, grant(secret.to_owned()));
    put(200, json!({ "access_token": 7, "token_type": secret }));
    for member in ["token_type", "issued_token_type", "expires_in", "scope", "refresh_token"] {
        let mut body = grant(world.sts.token(INVENTORY, "alice", "stock:read").sign(world.sts.key()));
        body[member] = json!(secret);
        put(200, body);
    }
    for error in ["invalid_request", "invalid_grant", "invalid_target", "invalid_scope", "unheard_of", secret]
    {
        put(
            400,
            json!({ "error": error, "error_description": secret, "error_uri": secret, "scope": secret,
            "acr_values": secret }),
        );
    }
    all.push(WireAnswer::text(500, secret));
    all.push(WireAnswer::text(200, secret));
    all.push(WireAnswer::redirect(302, &format!("http://127.0.0.1:1/{secret}")));
    all.push(WireAnswer::new(200, secret, b"{}"));
    all.push(WireAnswer::text(401, "").with_header("www-authenticate", &format!("Bearer error={secret}")));
    all
}

/// Settings in which somebody put a token by mistake: whatever is said of them does not repeat it.
fn settings(world: &World, folder: &std::path::Path, secret: &str) -> String {
    let (ledger, audit) = (Ledger::bounded(), Audit::new(secret, secret, world.sink.clone()));
    let auth = || ClientAuth::client_secret_basic(secret, secret);
    let waiver = || Waiver::new(secret, secret, UnixTime::from_secs(1));
    let inbound = Inbound::builder(&ledger, &audit)
        .issuer(Issuer::at(secret))
        .audience(secret)
        .ttl(Ttl::lifetime_at_most(minutes(5)))
        .scope(ScopeGuard::all_of([secret]));
    let route = Exchange::audience(secret).scope(secret).requires(secret);
    let egress = Egress::builder(&ledger, &audit, StsEndpoint::at(secret, auth()).token_endpoint(secret));
    let egress = egress.route(secret, route.clone()).route(&format!("http://h/{secret}"), route);
    // What a builder is set to is shown by its `Debug`, as it was set: that is the program's own. Not so secrets,
    // and what the settings are made of by others.
    let mut shown = format!("{:?} {:?} {:?}", auth(), waiver(), hopguard_core::ScopeSet::parse(secret));
    let mut say = |problem: &dyn std::error::Error| shown.push_str(&chain(problem));
    if let Err(problem) = inbound.build() {
        say(&problem);
    }
    if let Err(problem) = egress.build() {
        say(&problem);
    }
    if let Err(problem) = JsonLines::at(folder.join(secret).join(secret)).open() {
        say(&problem);
    }
    if let Err(problem) = LogKey::generate(&format!("{secret} {secret}")) {
        say(&problem);
    }
    if let Err(problem) = LogKey::from_file(folder.join(secret)) {
        say(&problem);
    }
    if let Err(problem) = LogKey::parse(secret) {
        say(&problem);
    }
    std::fs::write(folder.join("file"), "").unwrap();
    let key = LogKey::generate("x").unwrap();
    if let Err(problem) = DurableLog::at(folder.join("file").join(secret), key).open() {
        say(&problem);
    }
    shown
}

/// A genuine-looking token that nobody here ever made, another one each time.
fn secret(world: &World, number: usize) -> String {
    let token = world.token().claim("sub", format!("somebody else, number {number}"));
    token
        .claim("iss", format!("https://elsewhere.example/{number}"))
        .signature(Signature::Impostor)
        .sign(world.sts.key())
}

/// Every input, with a token of its own in each; every output is looked through for every one of them.
#[tokio::test]
async fn no_token_in_any_input_shows_in_any_output() {
    let capture = Capture::new();
    let _guard = capture.here();
    let folder = std::env::temp_dir().join(format!("hopguard-leak-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let file = Arc::new(JsonLines::at(folder.join("audit.jsonl")).open().unwrap());
    let peer = WireRecorder::answering(|_| WireAnswer::text(200, "7 in stock")).await;
    let lines = file.clone();
    let world =
        World::audited(peer, |sink| Arc::new(Fanout::new(vec![sink, lines, Arc::new(TracingSink)]))).await;
    let (mut placed, mut shown): (Vec<(String, String)>, String) = (Vec::new(), String::new());
    let mut fresh = |what: &str| {
        let token = secret(&world, placed.len());
        placed.push((what.to_owned(), token.clone()));
        token
    };
    let good = world.signed(world.token());
    let caller = world.admit(&good).await;

    for name in CLAIMS {
        let (name, value) = nested(name, &fresh(&format!("the claim {name}")));
        let token = world.signed(world.token().claim(&name, value));
        let request =
            Request::get("/").header("authorization", format!("Bearer {token}")).body(String::new());
        let (text, evidence) = show(&world.inbound, request.unwrap()).await;
        shown.push_str(&text);
        if let Some(evidence) = evidence {
            match world.call(&evidence).await {
                Ok(answer) => shown.push_str(&format!("{answer:?}")),
                Err(error) => shown.push_str(&chain(&error)),
            }
        }
    }
    for name in HEADERS {
        let (name, value) = nested(name, &fresh(&format!("the header {name}")));
        let token = world.signed(world.token().header(&name, value));
        let request =
            Request::get("/").header("authorization", format!("Bearer {token}")).body(String::new());
        shown.push_str(&show(&world.inbound, request.unwrap()).await.0);
    }
    let token = fresh("a request");
    for (name, request) in requests(&good, &token) {
        let request = request.unwrap_or_else(|| panic!("{name} cannot be made"));
        shown.push_str(&show(&world.inbound, request).await.0);
    }
    shown.push_str(&calls(&world, &caller, &fresh("a call")).await);

    // Servers that answer with tokens in the wrong places: the authorization server, then the peer.
    let token = fresh("an answer");
    let next = Arc::new(Mutex::new(WireAnswer::text(500, "")));
    let answering = next.clone();
    let server = WireRecorder::answering(move |_| answering.lock().unwrap().clone()).await;
    let auth = ClientAuth::client_secret_basic("orders", SECRET);
    let endpoint = StsEndpoint::at(&world.sts.issuer(), auth).token_endpoint(&server.url("/token"));
    let stock = Exchange::audience(INVENTORY).scope("stock:read").requires("orders:read");
    let egress = Egress::builder(&world.ledger, &world.audit, endpoint)
        .route(&world.peer.url(""), stock)
        .route(&server.url("/open"), hopguard::Anonymous)
        .clock(world.clock.clone())
        .build()
        .unwrap();
    let client = GuardedClient::builder().build(&egress).unwrap();
    for answer in answers(&world, &token) {
        *next.lock().unwrap() = answer;
        // A caller of its own each time: what was refused before is not asked again.
        let caller = world.caller().await;
        if let Err(error) = client.on_behalf_of(&caller).get(&world.peer.url("/")).send().await {
            shown.push_str(&chain(&error));
        }
        match client.as_nobody().get(&server.url("/open")).send().await {
            Ok(answer) => shown.push_str(&format!("{:?}", answer.status())),
            Err(error) => shown.push_str(&chain(&error)),
        }
    }
    shown.push_str(&settings(&world, &folder, &fresh("a setting")));
    shown.push_str(&format!("{:?}", world.sink));

    assert!(file.flush(hopguard::seconds(20)));
    let written = std::fs::read_to_string(folder.join("audit.jsonl")).unwrap();
    std::fs::remove_dir_all(&folder).unwrap();
    // So much comes together here that it shows whether the schema is true, too.
    for _ in 0..50 {
        show(&world.inbound, Request::get("/").body(String::new()).unwrap()).await;
    }
    world.audit.finish(hopguard_core::Clock::unix_millis(&*world.clock));
    let events = world.sink.json();
    let kinds = crate::schema::assert_described(&events);
    assert_eq!(kinds.into_iter().collect::<Vec<_>>(), ["count", "decision", "notice", "outcome"]);
    let (log, json) = (capture.text(), format!("{events:?}"));
    assert!(log.contains("hopguard::audit") && written.lines().count() > 50);
    // That a token was there is told, by its fingerprint.
    assert!(written.contains("[token ") && log.contains("[token "));
    placed.push(("the good token".to_owned(), good));
    let places = [
        ("the log", &log),
        ("the audit's JSON", &json),
        ("the file", &written),
        ("a Debug or error", &shown),
    ];
    let windows = windows(&placed);
    for (place, text) in places {
        let decoded: Vec<u8> = percent_encoding::percent_decode_str(text).collect();
        for bytes in [text.as_bytes(), &decoded] {
            let found = bytes.windows(leak::WINDOW).position(|window| windows.contains_key(window));
            let Some(at) = found else { continue };
            let before = String::from_utf8_lossy(&bytes[at.saturating_sub(300)..at]);
            panic!(
                "{place} holds the token of {}; before it stands:\n{before}",
                windows[&bytes[at..at + leak::WINDOW]]
            );
        }
        // Wrapped in base64: for the inputs that were.
        for (what, token) in
            placed.iter().filter(|(what, _)| what.starts_with("a ") || what.starts_with("an "))
        {
            assert_eq!(leak::find(token, text.as_bytes()), None, "{place} holds the token of {what}");
        }
    }
}

/// Every telling part of every token, and whose it is.
fn windows(placed: &[(String, String)]) -> HashMap<&[u8], &str> {
    let telling = placed.iter().flat_map(|(what, token)| {
        let (_, telling) = token.split_once('.').unwrap();
        telling.as_bytes().windows(leak::WINDOW).map(move |window| (window, what.as_str()))
    });
    telling.collect()
}
