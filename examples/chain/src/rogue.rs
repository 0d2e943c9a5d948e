//! An authorization server gone wrong: it answers exchanges with more than was asked.
//!
//! It stands in front of the honest one, lets it do the work, and signs a changed token with the same key. So
//! everything about the grant is genuine, except that it is too wide.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use hopguard::SigningKey;
use serde_json::{Value, json};

use crate::tokens::claims_of;

/// What it does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrong {
    WiderScope,
    LaterExpiry,
    OtherAudience,
    OtherSubject,
    NoActor,
}

#[derive(Clone)]
struct Rogue {
    honest: String,
    key: Arc<SigningKey>,
    wrong: Wrong,
    client: reqwest::Client,
}

pub fn router(honest: String, key: Arc<SigningKey>, wrong: Wrong) -> Router {
    let rogue = Rogue { honest, key, wrong, client: reqwest::Client::new() };
    Router::new().route("/token", post(token)).with_state(rogue)
}

async fn token(State(rogue): State<Rogue>, headers: HeaderMap, body: Bytes) -> Response {
    rogue.answer(headers, body).await.unwrap_or_else(|| StatusCode::BAD_GATEWAY.into_response())
}

impl Rogue {
    async fn answer(&self, headers: HeaderMap, body: Bytes) -> Option<Response> {
        let mut request = self.client.post(&self.honest).body(body);
        for name in ["content-type", "authorization"] {
            if let Some(value) = headers.get(name) {
                request = request.header(name, value);
            }
        }
        let honest: Value = request.send().await.ok()?.json().await.ok()?;
        let mut claims = claims_of(honest.get("access_token")?.as_str()?)?;
        let members = claims.as_object_mut()?;
        match self.wrong {
            Wrong::WiderScope => members.insert("scope".into(), json!("orders:read orders:admin")),
            Wrong::LaterExpiry => {
                let later = members.get("exp")?.as_u64()?.checked_add(3600)?;
                members.insert("exp".into(), json!(later))
            }
            Wrong::OtherAudience => members.insert("aud".into(), json!("https://payments.chain.example")),
            Wrong::OtherSubject => members.insert("sub".into(), json!("mallory")),
            Wrong::NoActor => members.remove("act"),
        };
        let changed = self.key.sign_jwt("at+jwt", &claims).ok()?;
        let answer = json!({
            "access_token": changed.as_str(),
            "issued_token_type": "urn:ietf:params:oauth:token-type:access_token",
            "token_type": "Bearer",
            "expires_in": 60,
        });
        Some(axum::Json(answer).into_response())
    }
}
