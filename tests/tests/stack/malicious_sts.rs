//! Rows G1 and G12 of the threats: whatever the authorization server answers, nothing is sent and nothing is
//! kept, and each way to be wrong has a code of its own.

use hopguard::{StsEndpoint, StsProfile};
use hopguard_core::CacheState;
use hopguard_testkit::Misbehaviour::{self, *};
use hopguard_testkit::{WireAnswer, WireRecorder, leak};

use crate::world::World;

#[track_caller]
fn name(how: Misbehaviour) -> String {
    format!("{how:?}")
}

async fn scenario(how: Misbehaviour, code: &str) {
    let world = World::new().await;
    let text = world.signed(world.token());
    let caller = world.admit(&text).await;
    world.sts.misbehave(how);
    let outcome = world.call(&caller).await;
    world.refused(outcome, code);
    assert_eq!(world.reached(), 0, "{} reached the peer", name(how));
    leak::assert_absent(&text, [("the wire to the peer", &*world.peer.bytes())]);
    // Not kept: the same call goes through as soon as the server behaves.
    world.sts.misbehave(Honest);
    let again = world.call(&caller).await;
    let again = match again {
        // A refusal of this caller for this target is remembered for five seconds.
        Err(error) if ["exchange_target_refused", "step_up_required"].contains(&error.code()) => {
            world.clock.advance(hopguard::seconds(6));
            world.call(&caller).await
        }
        // What may be about this caller alone is held against it for a second.
        Err(error) if error.code() == "sts_unavailable" && matches!(how, Http500) => {
            world.clock.advance(hopguard::seconds(1));
            world.call(&caller).await
        }
        // A server that asks to be left alone is left alone.
        Err(error) if error.code() == "sts_busy" => {
            world.clock.advance(hopguard::seconds(31));
            world.call(&caller).await
        }
        again => again,
    };
    assert_eq!(again.expect("honest again").status(), 200, "{}", name(how));
    let sent = world.sink.sole("sent");
    assert!(matches!(sent.cache, Some(CacheState::Miss)), "{}: {:?}", name(how), sent.cache);
}

macro_rules! scenarios {
    ($($test:ident: $how:ident => $code:literal,)*) => {
        $( #[tokio::test] async fn $test() { scenario($how, $code).await; } )*
    };
}

scenarios! {
    wider_scope: WiderScope => "grant_scope_wider",
    other_audience: OtherAudience => "grant_audience_wider",
    two_audiences: TwoAudiences => "grant_audience_wider",
    later_expiry: LaterExpiry => "grant_outlives_parent",
    other_subject: OtherSubject => "grant_subject_changed",
    no_actor: NoActor => "grant_actor_missing",
    longer_chain: LongerChain => "grant_actor_changed",
    two_levels_longer: TwoLevelsLonger => "grant_actor_changed",
    other_actor: OtherActor => "grant_actor_changed",
    other_holder: OtherHolder => "grant_holder_changed",
    other_issuer: OtherIssuer => "grant_unreadable",
    other_key: OtherKey => "grant_unreadable",
    opaque: Opaque => "grant_unreadable",
    id_token: IdToken => "grant_unreadable",
    wrong_token_type: WrongTokenType => "grant_type_unexpected",
    wrong_issued_token_type: WrongIssuedTokenType => "grant_type_unexpected",
    echo: Echo => "grant_audience_wider",
    half_answer: HalfAnswer => "sts_unavailable",
    hang_up: HangUp => "sts_unavailable",
    wrong_content_type: WrongContentType => "sts_answer_invalid",
    huge: Huge => "sts_answer_invalid",
    redirect: Redirect => "sts_answer_invalid",
    empty: Empty => "sts_answer_invalid",
    http_500: Http500 => "sts_unavailable",
    our_fault: InvalidRequest => "sts_refused",
    our_credential: InvalidClient => "sts_refused",
    not_said_whose_fault: InvalidGrant => "sts_refused",
    named_by_no_profile: InvalidToken => "sts_refused",
    busy: Busy => "sts_busy",
    target_refused: InvalidTarget => "exchange_target_refused",
    scope_refused: InvalidScope => "exchange_target_refused",
    step_up: StepUp => "step_up_required",
}

#[tokio::test]
async fn a_server_that_is_down_stops_the_call_and_not_the_grants_in_hand() {
    let world = World::new().await;
    let caller = world.caller().await;
    let late = world.admit(&world.signed(world.token().claim("jti", "another"))).await;
    assert_eq!(world.call(&caller).await.unwrap().status(), 200);
    world.sts.down().await;
    assert_eq!(world.call(&caller).await.unwrap().status(), 200);
    let outcome = world.call(&late).await;
    world.refused(outcome, "sts_unavailable");
    assert_eq!(world.reached(), 2);
}

#[tokio::test]
async fn what_is_asked_is_the_exchange_of_rfc_8693() {
    let world = World::new().await;
    let text = world.signed(world.token());
    let caller = world.admit(&text).await;
    world.call(&caller).await.unwrap();
    let forms = world.sts.forms();
    let [form] = forms.as_slice() else { panic!("{} token requests", forms.len()) };
    let parameter = |name: &str| form.get(name).map(String::as_str);
    assert_eq!(parameter("grant_type"), Some("urn:ietf:params:oauth:grant-type:token-exchange"));
    assert_eq!(parameter("subject_token"), Some(text.as_str()));
    assert_eq!(parameter("subject_token_type"), Some("urn:ietf:params:oauth:token-type:access_token"));
    assert_eq!(parameter("audience"), Some(crate::world::INVENTORY));
    assert_eq!(parameter("scope"), Some("stock:read"));
}

/// The subject's fault, where the server's profile names the code: the caller is sent to log in.
#[tokio::test]
async fn the_subjects_own_fault_is_told_by_the_profile_alone() {
    let peer = WireRecorder::answering(|_| WireAnswer::text(200, "")).await;
    let keycloak = |endpoint: StsEndpoint, _: &str| endpoint.refusals(StsProfile::keycloak());
    let world = World::built(peer, keycloak, |egress, _| egress).await;
    let caller = world.caller().await;
    world.sts.misbehave(InvalidToken);
    for _ in 0..2 {
        let outcome = world.call(&caller).await;
        world.refused(outcome, "subject_refused");
    }
    // Remembered for a moment, and for this caller alone.
    assert_eq!((world.reached(), world.sts.token_requests()), (0, 1));
    let other = world.admit(&world.signed(world.sts.token(crate::world::ORDERS, "bob", "orders:read"))).await;
    let outcome = world.call(&other).await;
    world.refused(outcome, "subject_refused");
    assert_eq!(world.sts.token_requests(), 2);
    world.sts.misbehave(InvalidRequest);
    let third = world.admit(&world.signed(world.sts.token(crate::world::ORDERS, "eve", "orders:read"))).await;
    let outcome = world.call(&third).await;
    world.refused(outcome, "sts_refused");
}

/// RFC 9470: what the server demands of the user reaches our caller by an allow-list, in our own words.
#[tokio::test]
async fn a_step_up_reaches_the_caller_and_the_servers_text_does_not() {
    use axum::response::IntoResponse;

    let world = World::new().await;
    let caller = world.caller().await;
    world.sts.misbehave(StepUp);
    let outcome = world.call(&caller).await.unwrap_err();
    assert_eq!(outcome.code(), "step_up_required");
    assert!(!format!("{outcome:?} {outcome}").contains("told to say so"));
    let response = hopguard::EgressRejection::from(outcome).into_response();
    assert_eq!(response.status(), 401);
    let challenge = response.headers()["www-authenticate"].to_str().unwrap().to_owned();
    let asks = "error=\"insufficient_user_authentication\", acr_values=\"phr\", max_age=\"60\", claims=\"eyJ";
    assert!(challenge.contains(asks), "{challenge}");
    // No stack is around it, so that nobody's realm is known.
    assert!(challenge.starts_with("Bearer error=") && !challenge.contains("realm"), "{challenge}");
    assert!(!challenge.contains("told"), "{challenge}");
    assert!(!format!("{:?}", world.sink.events()).contains("told to say so"));
    assert_eq!(world.reached(), 0);
}

/// A handler that passes the refusal on answers in its own service's realm, not in the library's.
#[tokio::test]
async fn a_refusal_onwards_is_answered_in_the_services_own_realm() {
    use hopguard::{Caller, EgressRejection, OpenPaths, Protect};
    use tower::ServiceExt;

    let world = World::new().await;
    world.sts.misbehave(StepUp);
    let (client, url) = (world.client.clone(), world.peer.url("/stock"));
    let handler = move |caller: Caller| async move {
        Ok::<_, EgressRejection>(client.on_behalf_of(&caller).get(&url).text().await?)
    };
    let router = axum::Router::new().route("/", axum::routing::get(handler));
    let service = world.inbound.protect(router, OpenPaths::none());
    let bearer = format!("Bearer {}", world.signed(world.token()));
    let request = http::Request::get("/").header("authorization", bearer).body(axum::body::Body::empty());
    let response = service.oneshot(request.unwrap()).await.unwrap();
    assert_eq!(response.status(), 401);
    let challenge = response.headers()["www-authenticate"].to_str().unwrap();
    let start = "Bearer realm=\"orders\", error=\"insufficient_user_authentication\", acr_values=\"phr\"";
    assert!(challenge.starts_with(start), "{challenge}");
    assert_eq!(response.headers().get_all("www-authenticate").iter().count(), 1);
}

/// A server that never answers is given up, and the call with it.
#[tokio::test]
async fn a_slow_server_is_given_up() {
    let peer = WireRecorder::answering(|_| WireAnswer::text(200, "")).await;
    let transport = hopguard::HttpTransport::builder().timeout(std::time::Duration::from_millis(300));
    let transport = std::sync::Arc::new(transport.build().unwrap());
    let world = World::with_routes(peer, |egress, _| egress.transport(transport)).await;
    let caller = world.caller().await;
    world.sts.misbehave(Slow);
    let outcome = world.call(&caller).await;
    world.refused(outcome, "sts_unavailable");
    assert_eq!(world.reached(), 0);
    world.sts.misbehave(Honest);
    assert_eq!(world.call(&caller).await.unwrap().status(), 200);
    assert!(matches!(world.sink.sole("sent").cache, Some(CacheState::Miss)));
}
