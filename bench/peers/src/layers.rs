//! The peers, each set up as its own documentation says, for one issuer, one audience and one key.
//!
//! None is asked to do what it does not offer: where a layer knows no scopes, or no `typ`, it checks none.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use axum::Router;
use axum::extract::{FromRef, Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::StatusCode;
use http::header::AUTHORIZATION;
use huskarl_axum::layers::ValidatorLayer;
use huskarl_axum::resource_server::core::crypto::verifier::{JwsVerifier, JwsVerifierPlatform};
use huskarl_axum::resource_server::core::jwk::PublicJwk;
use huskarl_axum::resource_server::core::platform::MaybeSendBoxFuture;
use huskarl_axum::resource_server::core::{EndpointUrl, Error};
use huskarl_axum::resource_server::validator::rfc9068::Rfc9068Validator;
use huskarl_crypto_native::NativeVerifierPlatform;
use oauth_resource_server::axum::AuthLayer;
use oauth_resource_server::config::KeyNaming;
use oauth_resource_server::{OAuthConfig, OAuthValidator};
use serde::Deserialize;
use serde_json::{Value, json};
use tower_oauth2_resource_server::server::OAuth2ResourceServer;
use tower_oauth2_resource_server::tenant::TenantConfiguration;
use tower_oauth2_resource_server::validation::ClaimsValidationSpec;

use crate::PATH;
use crate::world::{ISSUER, ORDERS};

/// Another's layer.
pub(crate) struct Peer {
    pub(crate) name: &'static str,
    /// The handler behind it, for tokens of the key with this JWK.
    pub(crate) around: fn(&Value) -> Around,
}

type Around = Pin<Box<dyn Future<Output = Router>>>;

pub(crate) const ALL: &[Peer] = &[
    Peer {
        name: "jsonwebtoken 11, by hand",
        around: |jwk| Box::pin(std::future::ready(json_web_token(jwk))),
    },
    Peer { name: "axum-jwt-auth 0.7", around: |jwk| Box::pin(std::future::ready(axum_jwt_auth(jwk))) },
    Peer {
        name: "tower-oauth2-resource-server 0.12",
        around: |jwk| Box::pin(tower_oauth2_resource_server(jwk.clone())),
    },
    Peer { name: "oauth-resource-server 0.4", around: |jwk| Box::pin(oauth_resource_server(jwk.clone())) },
    Peer { name: "huskarl-axum 0.1", around: |jwk| Box::pin(huskarl_axum(jwk.clone())) },
];

fn router() -> Router {
    Router::new().route(PATH, get(async || "ok"))
}

/// What a handler needs of a token.
#[derive(Clone, Debug, Deserialize)]
struct Claims {
    sub: String,
    scope: String,
}

impl Claims {
    fn suffice(&self) -> bool {
        !self.sub.is_empty() && self.scope.split(' ').any(|scope| scope == "stock:read")
    }
}

/// No layer of its own: a middleware as its users write it.
fn json_web_token(jwk: &Value) -> Router {
    use jsonwebtoken::jwk::Jwk;
    use jsonwebtoken::{DecodingKey, Validation, decode};

    type Checked = Arc<(DecodingKey, Validation)>;

    async fn check(State(with): State<Checked>, mut request: Request, next: Next) -> Response {
        let token = request
            .headers()
            .get(AUTHORIZATION)
            .and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
        let claims = token.and_then(|token| decode::<Claims>(token, &with.0, &with.1).ok());
        match claims {
            Some(found) if found.claims.suffice() => {
                request.extensions_mut().insert(found.claims);
                next.run(request).await
            }
            _ => StatusCode::UNAUTHORIZED.into_response(),
        }
    }

    let jwk: Jwk = serde_json::from_value(jwk.clone()).expect("a key");
    let algorithm = jwk.common.key_algorithm.expect("alg").to_string().parse().expect("an algorithm");
    let mut validation = Validation::new(algorithm);
    validation.set_issuer(&[ISSUER]);
    validation.set_audience(&[ORDERS]);
    validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
    let key = DecodingKey::from_jwk(&jwk).expect("a key");
    router().layer(from_fn_with_state(Arc::new((key, validation)), check))
}

/// An extractor and no layer: its handler asks for the claims.
fn axum_jwt_auth(jwk: &Value) -> Router {
    use axum_jwt_auth::{Claims as Verified, Decoder, LocalDecoder};
    use jsonwebtoken_10::jwk::Jwk;
    use jsonwebtoken_10::{DecodingKey, Validation};

    #[derive(Clone, FromRef)]
    struct Shared {
        decoder: Decoder<Claims>,
    }

    let jwk: Jwk = serde_json::from_value(jwk.clone()).expect("a key");
    let algorithm = jwk.common.key_algorithm.expect("alg").to_string().parse().expect("an algorithm");
    let mut validation = Validation::new(algorithm);
    validation.set_issuer(&[ISSUER]);
    validation.set_audience(&[ORDERS]);
    let keys = vec![DecodingKey::from_jwk(&jwk).expect("a key")];
    let decoder = LocalDecoder::builder().keys(keys).validation(validation).build().expect("a decoder");
    let handler = async |verified: Verified<Claims>| {
        assert!(verified.claims.suffice());
        "ok"
    };
    Router::new().route(PATH, get(handler)).with_state(Shared { decoder: Arc::new(decoder) })
}

async fn tower_oauth2_resource_server(jwk: Value) -> Router {
    let audiences = vec![ORDERS.to_owned()];
    let rules = ClaimsValidationSpec::new().iss(ISSUER).aud(&audiences).exp(true);
    let tenant = TenantConfiguration::static_builder(json!({ "keys": [jwk] }).to_string())
        .identifier(ISSUER)
        .audiences(&audiences)
        .claims_validation(rules)
        .build()
        .expect("a tenant");
    let server =
        OAuth2ResourceServer::<Claims>::builder().add_tenant(tenant).build().await.expect("a server");
    router().layer(server.into_layer())
}

async fn oauth_resource_server(jwk: Value) -> Router {
    let config = OAuthConfig {
        enabled: true,
        issuer: ISSUER.to_owned(),
        jwks_uri: Some(format!("{ISSUER}/jwks")),
        audience: ORDERS.to_owned(),
        resource: ORDERS.to_owned(),
        required_scope: Some("stock:read".to_owned()),
        require_at_jwt: true,
        ..OAuthConfig::default()
    };
    let resolved = config.resolve(KeyNaming::Dotted("oauth")).expect("a configuration").expect("enabled");
    let validator = OAuthValidator::builder(&resolved)
        .initial_jwks(&json!({ "keys": [jwk] }).to_string())
        .build()
        .expect("a validator");
    let layer = AuthLayer::builder().oauth(Arc::new(validator)).build().expect("a layer");
    router().layer(layer)
}

async fn huskarl_axum(jwk: Value) -> Router {
    let jwk: PublicJwk = serde_json::from_value(jwk).expect("a key");
    let platform = Arc::new(NativeVerifierPlatform);
    let verifier = platform.create_verifier_from_jwk(jwk).await.expect("a verifier");
    let factory = move |_: Option<&EndpointUrl>,
                        _: Arc<dyn JwsVerifierPlatform>|
          -> MaybeSendBoxFuture<'static, Result<Arc<dyn JwsVerifier>, Error>> {
        let verifier = verifier.clone();
        Box::pin(async move { Ok(verifier) })
    };
    let validator = Rfc9068Validator::builder()
        .issuer(ISSUER)
        .audience(ORDERS)
        .jws_verifier_factory(factory)
        .jws_verifier_platform(platform)
        .build()
        .await
        .expect("a validator");
    let layer = ValidatorLayer::builder().validator(validator).build();
    router().layer(layer.require_scopes(["stock:read"]))
}
