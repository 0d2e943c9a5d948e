//! Rows G1 and G12 of the threats: whatever the authorization server answers, nothing is sent and nothing is
//! kept, and each way to be wrong has a code of its own.

use hopguard_core::CacheState;
use hopguard_testkit::Misbehaviour::{self, *};
use hopguard_testkit::leak;

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
        Err(error) if error.code() == "exchange_target_refused" => {
            world.clock.advance(hopguard::seconds(6));
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
    target_refused: InvalidTarget => "exchange_target_refused",
    scope_refused: InvalidScope => "exchange_target_refused",
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
