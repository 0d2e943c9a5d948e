//! A transaction token passes in its own header, if it was verified for this request, inside its trust domain.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use hopguard::{
    Admitted, ClientAuth, Clock, Egress, Exchange, GuardedClient, Issuer, Profile, StsEndpoint,
    TransactionLayer, Ttl, Verifier, VerifyLayer, Withdrawal, minutes,
};
use hopguard_client::Spawn;
use hopguard_testkit::mint::{MintKey, Token, jwks};
use hopguard_testkit::{ScriptedTransport, WireAnswer, WireRecorder};
use http::{HeaderMap, Request, Response, StatusCode};
use tower::{Layer, ServiceExt, service_fn};

use crate::world::{INVENTORY, ORDERS, SECRET, World};

const TTS: &str = "https://tts.internal";
const DOMAIN: &str = "shop.internal";

struct Shop {
    world: World,
    key: MintKey,
    layer: TransactionLayer,
    /// The recorder is inside the trust domain, and this one is not.
    elsewhere: WireRecorder,
    client: GuardedClient,
}

impl Shop {
    async fn new() -> Self {
        let world = World::new().await;
        let key = MintKey::es256("tts");
        let verifier = verifier(&world, &key, Profile::transaction_token());
        let layer =
            TransactionLayer::new(world.inbound.hop(), verifier, DOMAIN, Ttl::lifetime_at_most(minutes(10)))
                .unwrap();
        let elsewhere = WireRecorder::answering(|_| WireAnswer::text(200, "")).await;
        let endpoint =
            StsEndpoint::at(&world.sts.issuer(), ClientAuth::client_secret_basic("orders", SECRET));
        let stock = Exchange::audience(INVENTORY).scope("stock:read").requires("orders:read");
        let egress = Egress::builder(&world.ledger, &world.audit, endpoint)
            .route(&world.peer.url(""), stock)
            .route(&elsewhere.url(""), hopguard::Anonymous)
            .trust_domain(&world.peer.url(""), DOMAIN)
            .trust_domain(&elsewhere.url(""), "another.internal")
            .clock(world.clock.clone())
            .build()
            .unwrap();
        let client = GuardedClient::builder().build(&egress).unwrap();
        Self { world, key, layer, elsewhere, client }
    }

    /// A transaction token as the draft describes it.
    fn token(&self) -> Token {
        Token::access(TTS, DOMAIN, "alice", self.world.clock.now())
            .header("typ", "txntoken+jwt")
            .without("client_id")
            .without("jti")
            .claim("txn", "97053963-771d-49cc-a4e3-20aad399c312")
            .claim("req_wl", "apigateway.shop.internal")
            .claim("scope", "finance.watchlist.add")
    }

    fn signed(&self, token: Token) -> String {
        token.sign(&self.key)
    }

    /// The answer to a request with these transaction tokens, and what the handler saw of it.
    async fn shown(&self, transactions: &[&str]) -> (StatusCode, Option<(Admitted, HeaderMap)>) {
        self.shown_by(&self.world.signed(self.world.token()), transactions).await
    }

    /// The same for the caller with this access token.
    async fn shown_by(
        &self,
        access: &str,
        transactions: &[&str],
    ) -> (StatusCode, Option<(Admitted, HeaderMap)>) {
        let seen = Arc::new(Mutex::new(None));
        let keep = seen.clone();
        let handler = service_fn(move |request: Request<hopguard::Upload<String>>| {
            let caller = hopguard_tower::admitted(request.extensions()).cloned().expect("evidence");
            *keep.lock().unwrap() = Some((caller, request.headers().clone()));
            async { Ok::<_, Infallible>(Response::new(String::new())) }
        });
        let service = self.world.inbound.around(self.layer.layer(handler));
        let mut request = Request::get("/").header("authorization", format!("Bearer {access}"));
        for transaction in transactions {
            request = request.header("txn-token", *transaction);
        }
        let answer = service.oneshot(request.body(String::new()).unwrap()).await.unwrap();
        (answer.status(), seen.lock().unwrap().take())
    }
}

fn verifier(world: &World, key: &MintKey, profile: Profile) -> Verifier {
    let issuer = Issuer::at(TTS).keys_fixed(&jwks(&[key])).profile(profile);
    let transport = ScriptedTransport::json(|_| String::new());
    Verifier::builder(transport, world.clock.clone(), Spawn::current()).issuer(issuer).build().unwrap()
}

#[tokio::test]
async fn it_travels_inside_its_domain_in_its_own_header_and_nowhere_else() {
    let shop = Shop::new().await;
    let token = shop.signed(shop.token());
    let (status, seen) = shop.shown(&[&token]).await;
    let (caller, headers) = seen.expect("the handler ran");
    assert_eq!(
        (status, headers.contains_key("txn-token")),
        (StatusCode::OK, false),
        "no handler can copy it"
    );
    let transaction = caller.transaction().expect("it was verified");
    assert_eq!((transaction.domain(), &*transaction.facts().subject), (DOMAIN, "alice"));
    let passed = shop.world.sink.with_code("passed").pop().expect("the gate's decision");
    assert_eq!((passed.gate, passed.found), ("transaction", Some(transaction.facts().fingerprint)));

    let calls = shop.client.on_behalf_of(&caller);
    let inside = shop.world.peer.url("/stock/42");
    assert_eq!(calls.get(&inside).send().await.unwrap().status(), 200);
    let wire = shop.world.peer.requests().pop().unwrap();
    assert_eq!(wire.header("txn-token"), Some(token.as_str()));
    assert_ne!(wire.header("authorization"), Some(format!("Bearer {token}").as_str()));

    // Outside the domain the call goes, and the token does not.
    assert_eq!(calls.get(&shop.elsewhere.url("/")).send().await.unwrap().status(), 200);
    assert_eq!(shop.elsewhere.requests()[0].header("txn-token"), None);
    assert!(!shop.elsewhere.saw(&token));

    // In another place, or put there by hand, it is blocked like any credential.
    let before = shop.world.reached();
    for (url, name) in [
        (&inside, "x-txn-token"),
        (&inside, "cookie"),
        (&inside, "txn-token"),
        (&shop.elsewhere.url("/"), "txn-token"),
    ] {
        shop.world.refused(calls.get(url).header(name, &token).send().await, "passthrough_blocked");
    }
    shop.world.refused(calls.post(&inside).body(token.clone()).send().await, "passthrough_blocked");
    assert_eq!((shop.world.reached(), shop.elsewhere.requests().len()), (before, 1));
}

#[tokio::test]
async fn what_nobody_verified_does_not_travel() {
    let shop = Shop::new().await;
    let (status, seen) = shop.shown(&[]).await;
    let (caller, _) = seen.expect("the handler ran");
    assert!(status == StatusCode::OK && caller.transaction().is_none());
    let calls = shop.client.on_behalf_of(&caller);
    let inside = shop.world.peer.url("/stock/42");
    assert_eq!(calls.get(&inside).send().await.unwrap().status(), 200);
    assert_eq!(shop.world.peer.requests()[0].header("txn-token"), None, "absence is not made up for");

    // Another request's, one that this process never saw, and no token at all.
    let theirs = shop.signed(shop.token());
    assert!(shop.shown(&[&theirs]).await.1.is_some());
    for value in [theirs, shop.signed(shop.token().claim("txn", "2")), "anything".to_owned()] {
        let outcome = calls.get(&inside).header("txn-token", &value).send().await;
        shop.world.refused(outcome, "passthrough_blocked");
    }
    assert_eq!(shop.world.reached(), 1);
}

#[tokio::test]
async fn what_is_wrong_with_it_refuses_the_request() {
    let shop = Shop::new().await;
    let (good, now) = (shop.signed(shop.token()), shop.world.clock.now().as_secs());
    let impostor = shop.token().sign(&shop.key.impostor());
    for (tokens, code) in [
        (vec![good.clone(), good.clone()], "credential_ambiguous"),
        (vec![impostor], "signature_invalid"),
        (vec![shop.signed(shop.token().claim("aud", "another.internal"))], "audience_mismatch"),
        (
            vec![shop.signed(shop.token().claim("aud", ["shop.internal", "another.internal"].as_slice()))],
            "audience_not_sole",
        ),
        (vec![shop.signed(shop.token().claim("exp", now))], "token_expired"),
        (vec![shop.signed(shop.token().header("typ", "at+jwt"))], "token_type_mismatch"),
        (vec![shop.signed(shop.token().without("txn"))], "token_type_mismatch"),
        (vec![shop.signed(shop.token().without("req_wl"))], "claim_missing"),
        (vec![shop.signed(shop.token().without("iss"))], "claim_missing"),
        (vec![shop.world.signed(shop.world.token())], "issuer_unknown"),
        (vec![String::new()], "token_malformed"),
    ] {
        let tokens: Vec<&str> = tokens.iter().map(String::as_str).collect();
        let (status, seen) = shop.shown(&tokens).await;
        let event = shop
            .world
            .sink
            .with_code(code)
            .pop()
            .unwrap_or_else(|| panic!("{code}: {:?}", shop.world.sink.codes()));
        assert_eq!(event.gate, "transaction", "{code}");
        assert!(status.is_client_error() && seen.is_none(), "{code}: {status}");
    }
}

#[tokio::test]
async fn it_is_judged_again_when_it_leaves() {
    let shop = Shop::new().await;
    let inside = shop.world.peer.url("/stock/42");
    let (_, seen) = shop.shown(&[&shop.signed(shop.token())]).await;
    let (caller, _) = seen.expect("the handler ran");
    let fingerprint = caller.transaction().unwrap().facts().fingerprint;
    let until = shop.world.clock.now().after(minutes(10));
    shop.world.inbound.hop().withdraw(Withdrawal::Token(fingerprint), until).unwrap();
    shop.world.refused(shop.client.on_behalf_of(&caller).get(&inside).send().await, "token_withdrawn");

    let early = shop.token().claim("exp", shop.world.clock.now().as_secs() + 10);
    let (_, seen) = shop.shown(&[&shop.signed(early)]).await;
    let (caller, _) = seen.expect("the handler ran");
    shop.world.clock.advance(hopguard::seconds(10));
    shop.world.refused(shop.client.on_behalf_of(&caller).get(&inside).send().await, "subject_expired");
    assert_eq!(shop.world.reached(), 0);
}

/// Neither kind is taken for the other, however the stack is put together.
#[tokio::test]
async fn transaction_tokens_and_access_tokens_stay_apart() {
    let shop = Shop::new().await;
    let problems = |issuers: Vec<Issuer>| {
        let builder = hopguard::Inbound::builder(&shop.world.ledger, &shop.world.audit)
            .audience(ORDERS)
            .ttl(hopguard::Ttl::lifetime_at_most(minutes(10)))
            .scope(hopguard::ScopeGuard::any_scope());
        let mut issuers = issuers.into_iter();
        let first = builder.issuer(issuers.next().unwrap());
        issuers.fold(first, |builder, issuer| builder.issuer(issuer)).build().unwrap_err().to_string()
    };
    let issuer = |url: &str| Issuer::at(url).keys_fixed(&jwks(&[&shop.key]));
    let transactions = issuer(TTS).profile(Profile::transaction_token());
    assert!(problems(vec![transactions.clone()]).contains("no access tokens"));
    assert!(problems(vec![transactions, issuer("https://sts.internal")]).contains("give each a verifier"));
    let loose = issuer(TTS).profile(Profile::transaction_token().typ("at+jwt"));
    assert!(problems(vec![loose]).contains("another `typ`"));
    // A verifier of access tokens verifies no transaction; what else would have every one refused is told with it.
    let verifier = verifier(&shop.world, &shop.key, Profile::rfc9068());
    let (hop, none) = (shop.world.inbound.hop(), Ttl::lifetime_at_most(minutes(0)));
    let problems = TransactionLayer::new(hop, verifier, "", none).unwrap_err();
    let settings: Vec<_> = problems.problems().iter().map(|one| one.setting.as_str()).collect();
    assert_eq!(settings, ["transaction.issuer", "transaction.trust_domain", "transaction.ttl"]);
}

/// I15 holds in this header too.
#[tokio::test]
async fn a_bound_transaction_token_is_refused() {
    let shop = Shop::new().await;
    let mut cnf = serde_json::Map::new();
    cnf.insert("jkt".to_owned(), "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I".into());
    let (status, seen) = shop.shown(&[&shop.signed(shop.token().claim("cnf", cnf))]).await;
    assert!(status == StatusCode::UNAUTHORIZED && seen.is_none(), "{status}");
    assert_eq!(shop.world.sink.sole("holder_unproven").gate, "transaction");
}

#[tokio::test]
async fn a_transaction_token_lives_no_longer_than_the_rule_allows() {
    let shop = Shop::new().await;
    let year = shop.world.clock.now().as_secs() + 365 * 86_400;
    let (status, seen) = shop.shown(&[&shop.signed(shop.token().claim("exp", year))]).await;
    assert!(status == StatusCode::UNAUTHORIZED && seen.is_none(), "{status}");
    assert_eq!(shop.world.sink.sole("lifetime_too_long").gate, "transaction");
}

#[tokio::test]
async fn a_transaction_is_the_callers_own_unless_the_stack_says_otherwise() {
    let mut shop = Shop::new().await;
    let theirs = shop.signed(shop.token().claim("sub", "mallory"));
    let (status, seen) = shop.shown(&[&theirs]).await;
    assert!(status == StatusCode::FORBIDDEN && seen.is_none(), "{status}");
    let event = shop.world.sink.sole("transaction_foreign");
    assert_eq!((event.gate, event.place.as_deref()), ("transaction", Some("subject mallory")));
    assert_eq!(&*event.token.expect("the caller").subject, "alice");
    assert!(event.found.is_some());

    shop.layer = shop.layer.subjects_may_differ();
    let (_, seen) = shop.shown(&[&theirs]).await;
    let (caller, _) = seen.expect("the handler ran");
    assert_eq!(&*caller.transaction().unwrap().facts().subject, "mallory");
    let passed = shop.world.sink.with_code("passed").pop().unwrap();
    assert_eq!((passed.gate, passed.place.as_deref()), ("transaction", Some("subject mallory")));
    // Where they agree there is nothing to say.
    assert!(shop.shown(&[&shop.signed(shop.token())]).await.1.is_some());
    assert_eq!(shop.world.sink.with_code("passed").pop().unwrap().place, None);
}

/// G13: alice of one issuer is not alice of another, whichever of them the transaction's server speaks of.
#[tokio::test]
async fn the_same_name_at_two_issuers_is_two_callers() {
    const OTHER: &str = "https://other.internal";
    let mut shop = Shop::new().await;
    let (theirs, ours) = (MintKey::es256("other"), shop.world.sts.issuer());
    let both = hopguard::Inbound::builder(&shop.world.ledger, &shop.world.audit)
        .issuer(Issuer::at(&ours))
        .issuer(Issuer::at(OTHER).keys_fixed(&jwks(&[&theirs])))
        .audience(ORDERS)
        .ttl(Ttl::lifetime_at_most(minutes(10)))
        .scope(hopguard::ScopeGuard::any_scope())
        .clock(shop.world.clock.clone());
    shop.world.inbound = both.build().unwrap();
    let layer = || {
        let verifier = verifier(&shop.world, &shop.key, Profile::transaction_token());
        let ttl = Ttl::lifetime_at_most(minutes(10));
        TransactionLayer::new(shop.world.inbound.hop(), verifier, DOMAIN, ttl).unwrap()
    };
    let (unsaid, ours_only, each) =
        (layer(), layer().subjects_of(&ours), layer().subjects_of(&ours).subjects_of(OTHER));
    let at_ours = shop.world.signed(shop.world.token());
    let at_other = Token::access(OTHER, ORDERS, "alice", shop.world.clock.now()).sign(&theirs);
    let transaction = shop.signed(shop.token());
    for (layer, access, passes) in [
        (&unsaid, &at_ours, false),
        (&unsaid, &at_other, false),
        (&ours_only, &at_ours, true),
        (&ours_only, &at_other, false),
        (&each, &at_other, true),
    ] {
        shop.layer = layer.clone();
        let (status, seen) = shop.shown_by(access, &[&transaction]).await;
        assert_eq!((status.as_u16(), seen.is_some()), if passes { (200, true) } else { (403, false) });
    }
    assert_eq!(shop.world.sink.with_code("transaction_foreign").len(), 3);
}

/// The layer of access tokens, alone, lets nobody in by a transaction token.
#[tokio::test]
async fn a_verifier_of_transactions_admits_no_caller() {
    let shop = Shop::new().await;
    let verifier = verifier(&shop.world, &shop.key, Profile::transaction_token());
    let handler =
        service_fn(|_: Request<String>| async { Ok::<_, Infallible>(Response::new("reached".to_owned())) });
    let service = VerifyLayer::new(shop.world.inbound.hop(), verifier).layer(handler);
    let token = shop.signed(shop.token());
    let request = Request::get("/").header("authorization", format!("Bearer {token}"));
    let answer = service.oneshot(request.body(String::new()).unwrap()).await.unwrap();
    assert_eq!((answer.status().as_u16(), answer.body().as_str()), (500, ""));
    assert_eq!(shop.world.sink.sole("evidence_missing").gate, "verify");
}

/// I13: the caller's own token is withdrawn while the keys of the transaction's server are fetched.
#[tokio::test]
async fn a_caller_who_is_gone_when_the_keys_come_reaches_nothing() {
    let mut shop = Shop::new().await;
    let (_, seen) = shop.shown(&[]).await;
    let (issuer, subject) = {
        let (caller, _) = seen.expect("the handler ran");
        (caller.facts().issuer.clone(), caller.facts().subject.clone())
    };
    let (hop, keys) = (shop.world.inbound.hop().clone(), jwks(&[&shop.key]));
    let until = shop.world.clock.now().after(minutes(10));
    let transport = ScriptedTransport::json(move |_| {
        let (issuer, subject) = (issuer.clone(), subject.clone());
        hop.withdraw(Withdrawal::Subject { issuer, subject }, until).unwrap();
        keys.clone()
    });
    let issuer = Issuer::at(TTS).jwks_url("https://tts.internal/jwks").profile(Profile::transaction_token());
    let verifier = Verifier::builder(transport, shop.world.clock.clone(), Spawn::current()).issuer(issuer);
    let ttl = Ttl::lifetime_at_most(minutes(10));
    shop.layer =
        TransactionLayer::new(shop.world.inbound.hop(), verifier.build().unwrap(), DOMAIN, ttl).unwrap();
    let (status, seen) = shop.shown(&[&shop.signed(shop.token())]).await;
    assert!(status == StatusCode::UNAUTHORIZED && seen.is_none(), "{status}: {:?}", shop.world.sink.codes());
    // The stream's end comes first; the layer looks for itself too.
    assert_eq!(shop.world.sink.sole("stream_withdrawn").gate, "inbound");
}
