//! Row E3, and how we prove to a server who we are: to servers that decode the pair of `client_secret_basic` as
//! RFC 6749 section 2.3.1 has it, and to those that forget to.

use std::path::PathBuf;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use hopguard::{ActorToken, ClientAuth, StsEndpoint, TokenFile};
use hopguard_testkit::{WireAnswer, WireRecorder, WireRequest};

use crate::world::World;

async fn peer() -> WireRecorder {
    WireRecorder::answering(|_| WireAnswer::text(200, "")).await
}

async fn with(auth: ClientAuth) -> World {
    World::built(peer().await, |_, issuer| StsEndpoint::at(issuer, auth), |egress, _| egress).await
}

/// The token requests as they stood on the wire.
fn asked(world: &World) -> Vec<WireRequest> {
    world.sts.wire().requests().into_iter().filter(|request| request.target == "/token").collect()
}

fn pair(request: &WireRequest) -> String {
    let encoded = request.header("authorization").unwrap().strip_prefix("Basic ").unwrap();
    String::from_utf8(BASE64_STANDARD.decode(encoded).unwrap()).unwrap()
}

/// A server that reads the pair as it stands.
fn plain(pair: &str) -> (String, String) {
    let (client, secret) = pair.split_once(':').unwrap();
    (client.to_owned(), secret.to_owned())
}

/// A server that reads each part as a form does: `+` is a space, then percent escapes.
fn decoding(pair: &str) -> (String, String) {
    let (client, secret) = plain(pair);
    let decoded = |text: &str| {
        let mut bytes = Vec::new();
        let mut rest = text.bytes();
        while let Some(byte) = rest.next() {
            let digit = |byte: Option<u8>| char::from(byte.unwrap()).to_digit(16).unwrap();
            bytes.push(match byte {
                b'+' => b' ',
                b'%' => u8::try_from(digit(rest.next()) * 16 + digit(rest.next())).unwrap(),
                other => other,
            });
        }
        String::from_utf8(bytes).unwrap()
    };
    (decoded(&client), decoded(&secret))
}

#[tokio::test]
async fn both_kinds_of_server_take_an_ordinary_secret() {
    for (client, secret) in [
        ("orders", "a-secret-of-more-than-sixteen-bytes"),
        ("orders-1.prod_eu", "Zm9vYmFyQmF6MTIzNDU2Nzg5MA"),
        ("0oa1gjh63g214q0Hq0g4", "kUPhiWcbXQFuqqZvvsvbQ6yOIfBd7cBxXvv_fSvCoxOtNsUDBT.aJ*-"),
    ] {
        let world = with(ClientAuth::client_secret_basic(client, secret)).await;
        // The honest server writes `act` by the name that it reads from the pair.
        assert_eq!(world.call(&world.caller().await).await.unwrap().status(), 200, "{client}");
        let pair = pair(&asked(&world)[0]);
        let expected = (client.to_owned(), secret.to_owned());
        assert_eq!((plain(&pair), decoding(&pair)), (expected.clone(), expected));
        assert!(!asked(&world)[0].text().contains(secret), "not in the body as well");
    }
}

#[tokio::test]
async fn a_server_that_decodes_takes_every_secret() {
    for (client, secret) in [
        ("or:ders", "pass word:ä%41+x"),
        ("https://orders.internal", "Zm9v/+==&client_id=admin%3A"),
        ("o", "~!$'()\"\\"),
    ] {
        let world = with(ClientAuth::client_secret_basic(client, secret)).await;
        assert_eq!(world.call(&world.caller().await).await.unwrap().status(), 200, "{client}");
        assert_eq!(decoding(&pair(&asked(&world)[0])), (client.to_owned(), secret.to_owned()));
    }
}

#[tokio::test]
async fn a_secret_in_the_body_stands_there_alone() {
    let world = with(ClientAuth::client_secret_post("orders", "a=b&client_id=admin+ %")).await;
    assert_eq!(world.call(&world.caller().await).await.unwrap().status(), 200);
    let form = &world.sts.forms()[0];
    assert_eq!(
        (form["client_id"].as_str(), form["client_secret"].as_str()),
        ("orders", "a=b&client_id=admin+ %")
    );
    assert_eq!(asked(&world)[0].header("authorization"), None);
}

/// A file that goes away again.
struct Rotating(PathBuf);

impl Rotating {
    fn named(name: &str) -> Self {
        Self(std::env::temp_dir().join(format!("hopguard-stack-{}-{name}", std::process::id())))
    }

    /// As Kubernetes and SPIFFE's helper do it: written aside, then moved into place.
    fn holds(&self, token: &str) {
        let aside = self.0.with_extension("aside");
        std::fs::write(&aside, token).unwrap();
        std::fs::rename(&aside, &self.0).unwrap();
    }
}

impl Drop for Rotating {
    fn drop(&mut self) {
        let _gone = std::fs::remove_file(&self.0);
    }
}

/// An assertion that the server of the tests believes: it reads `sub`.
fn assertion(name: &str) -> String {
    let part = |json: &str| base64::prelude::BASE64_URL_SAFE_NO_PAD.encode(json);
    format!("{}.{}.{}", part("{}"), part(&format!(r#"{{"sub":"orders","jti":"{name}"}}"#)), part("signature"))
}

#[tokio::test]
async fn an_assertion_that_rotates_is_read_for_each_request() {
    let file = Rotating::named("assertion");
    let world = with(ClientAuth::assertion_file("orders", TokenFile::at(&file.0))).await;
    for name in ["first", "second"] {
        file.holds(&assertion(name));
        let caller = world.admit(&world.signed(world.token().claim("jti", name))).await;
        assert_eq!(world.call(&caller).await.unwrap().status(), 200, "{name}");
        assert_eq!(world.sts.forms().last().unwrap()["client_assertion"], assertion(name));
    }
    std::fs::remove_file(&file.0).unwrap();
    let caller = world.admit(&world.signed(world.token().claim("jti", "third"))).await;
    let outcome = world.call(&caller).await;
    world.refused(outcome, "own_credential_unavailable");
    assert_eq!((world.reached(), world.sts.token_requests()), (2, 2));
}

#[tokio::test]
async fn without_its_actor_token_no_exchange_is_made() {
    let file = Rotating::named("actor");
    let actor = ActorToken::file(TokenFile::at(&file.0)).of_type_jwt();
    let acting = |endpoint: StsEndpoint, _: &str| endpoint.actor_token(actor);
    let world = World::built(peer().await, acting, |egress, _| egress).await;
    let caller = world.caller().await;
    let outcome = world.call(&caller).await;
    world.refused(outcome, "own_credential_unavailable");
    assert_eq!((world.reached(), world.sts.token_requests()), (0, 0));
    file.holds("d.e.f");
    assert_eq!(world.call(&caller).await.unwrap().status(), 200);
    let form = &world.sts.forms()[0];
    assert_eq!(form["actor_token"], "d.e.f");
    assert_eq!(form["actor_token_type"], "urn:ietf:params:oauth:token-type:jwt");
}

/// A server that puts somebody else into `act` than whom the endpoint says we are is not believed.
#[tokio::test]
async fn the_name_we_act_by_is_the_servers_to_prove() {
    let named = |endpoint: StsEndpoint, _: &str| endpoint.acts_as("service-account-orders");
    let world = World::built(peer().await, named, |egress, _| egress).await;
    let caller = world.caller().await;
    let outcome = world.call(&caller).await;
    world.refused(outcome, "grant_actor_changed");
    assert_eq!(world.reached(), 0);
}

/// The keys of grants may be had from elsewhere than the metadata says.
#[tokio::test]
async fn the_key_url_of_the_endpoint_is_used() {
    let keys = |endpoint: StsEndpoint, issuer: &str| {
        endpoint.token_endpoint(&format!("{issuer}/token")).jwks_url(&format!("{issuer}/jwks"))
    };
    let world = World::built(peer().await, keys, |egress, _| egress).await;
    let caller = world.caller().await;
    let before = world.sts.metadata_requests();
    assert_eq!(world.call(&caller).await.unwrap().status(), 200);
    assert_eq!(world.sts.metadata_requests(), before, "no metadata is asked for");
}
