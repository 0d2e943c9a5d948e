//! The names and keys that a service under attack is configured with, and the requests of an attack.

use std::sync::Arc;

use bytes::Bytes;
use hopguard_core::Clock;
use http::{HeaderName, HeaderValue, Request};
use serde_json::Value;

use super::placeholder::Words;
use super::{Attack, KeyName, RequestSpec, SignatureName};
use crate::mint::{MintKey, Signature, Token, jwks};

/// Two issuers with their keys, and the service that trusts them.
#[derive(Debug)]
pub struct Stage {
    clock: Arc<dyn Clock>,
    es256: MintKey,
    rs256: MintKey,
    second: MintKey,
    lax: MintKey,
    twins: [MintKey; 2],
    stranger: MintKey,
}

/// An attack, ready to be sent.
#[derive(Debug)]
pub struct Prepared {
    /// Requests that are sent first and are admitted.
    pub before: Vec<Request<Bytes>>,
    /// The attack.
    pub request: Request<Bytes>,
    /// Its token, for the leak check.
    pub token: String,
}

impl Stage {
    /// The issuer of most tokens.
    pub const ISSUER: &str = "https://sts.internal";
    /// Another issuer that the service trusts.
    pub const SECOND_ISSUER: &str = "https://partner.example";
    /// A third issuer that the service trusts, whose access tokens say `typ: JWT` or nothing there, and
    /// `token_use: access` in their claims.
    pub const LAX_ISSUER: &str = "https://lax.example";
    /// The service's own audience.
    pub const AUDIENCE: &str = "https://orders.internal";
    /// The scope that every guarded path needs.
    pub const SCOPE: &str = "orders:read";

    /// Fresh keys. Tokens are issued by `clock`, which the service must share.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        let es256 = MintKey::es256("es-1");
        let twin = MintKey::es256("twin-1");
        Self {
            clock,
            second: es256.impostor(),
            lax: MintKey::es256("lax-1"),
            es256,
            rs256: MintKey::rs256("rs-1"),
            twins: [twin.impostor(), twin],
            stranger: MintKey::es256("stranger-1"),
        }
    }

    /// The key set of [`Stage::ISSUER`]: a good key for ES256 and RS256 each, and two keys of one `kid`.
    #[must_use]
    pub fn jwks(&self) -> String {
        let [one, other] = &self.twins;
        jwks(&[&self.es256, &self.rs256, one, other])
    }

    /// The key set of [`Stage::SECOND_ISSUER`]: one key, under a `kid` that the first issuer uses too.
    #[must_use]
    pub fn second_jwks(&self) -> String {
        jwks(&[&self.second])
    }

    /// The key set of [`Stage::LAX_ISSUER`].
    #[must_use]
    pub fn lax_jwks(&self) -> String {
        jwks(&[&self.lax])
    }

    /// A good token, as everybody's is before an attack changes it.
    pub fn token(&self) -> Token {
        Token::access(Self::ISSUER, Self::AUDIENCE, "alice", self.clock.now()).claim("scope", Self::SCOPE)
    }

    /// A good token, signed.
    #[must_use]
    pub fn good_token(&self) -> String {
        self.token().sign(&self.es256)
    }

    /// The key that signs good tokens.
    #[must_use]
    pub fn key(&self) -> &MintKey {
        &self.es256
    }

    /// `text` with the words of `[request]` and `[egress]` replaced, as they stand for `token`.
    ///
    /// # Panics
    ///
    /// If it holds a word that is none.
    #[must_use]
    pub fn filled(&self, text: &str, token: &str) -> String {
        self.words_for(token).fill(text).expect("checked when read")
    }

    /// The requests of `attack`.
    ///
    /// # Panics
    ///
    /// If its texts make no request, or its signature does not fit its key.
    #[must_use]
    pub fn prepare(&self, attack: &Attack) -> Prepared {
        let (token, good) = self.mint(attack);
        let usual = RequestSpec::default();
        Prepared {
            before: good.iter().map(|good| self.request(&usual, good)).collect(),
            request: self.request(&attack.request, &token),
            token,
        }
    }

    /// The attack's token, and the good one that it is a forgery of where that is to be shown first.
    fn mint(&self, attack: &Attack) -> (String, Option<String>) {
        let spec = &attack.token;
        let key = match spec.key {
            KeyName::Es256 => &self.es256,
            KeyName::Rs256 => &self.rs256,
            KeyName::SecondIssuer => &self.second,
            KeyName::Lax => &self.lax,
            KeyName::Twin => &self.twins[1],
            KeyName::Stranger => &self.stranger,
        };
        let mut words = self.words();
        let mut token = self.token();
        for (name, value) in &spec.claims {
            token = token.claim(name, filled(value, &words).expect("checked when read"));
        }
        for (name, value) in &spec.header {
            token = token.header(name, filled(value, &words).expect("checked when read"));
        }
        for name in &spec.without {
            token = token.without(name);
        }
        for name in &spec.without_header {
            token = token.without_header(name);
        }
        let inner = |object: &str| object[1..object.len() - 1].to_owned();
        words.fixed.push(("claims", inner(&Value::Object(token.claims().clone()).to_string())));
        words.fixed.push(("members", inner(&token.header_for(key))));
        if let Some(text) = &spec.payload {
            token = token.raw_payload(&words.fill(text).expect("checked when read"));
        }
        if let Some(text) = &spec.header_text {
            token = token.raw_header(&words.fill(text).expect("checked when read"));
        }
        let good = token.sign(key);
        let signed = |signature| token.clone().signature(signature).sign(key);
        match spec.signature {
            SignatureName::Good => (good, None),
            SignatureName::None => (signed(Signature::Unsigned), None),
            SignatureName::Other => (signed(Signature::Impostor), None),
            SignatureName::HmacPublicKey => (signed(Signature::HmacPublicPem), None),
            SignatureName::HmacPublicKeyDer => (signed(Signature::HmacPublicDer), None),
            SignatureName::HmacPublicKeyJwk => (signed(Signature::HmacPublicJwk), None),
            SignatureName::Malleated => {
                let (input, signature) = good.rsplit_once('.').expect("three segments");
                (format!("{input}.{}", crate::mint::malleated(signature)), Some(good))
            }
            SignatureName::Der => (signed(Signature::Der), None),
            SignatureName::Zero => (signed(Signature::Zero), None),
            SignatureName::RememberedOtherSignature => (signed(Signature::Impostor), Some(good)),
        }
    }

    fn request(&self, spec: &RequestSpec, token: &str) -> Request<Bytes> {
        let words = self.words_for(token);
        let fill = |text: &str| words.fill(text).expect("checked when read");
        let mut request = Request::builder()
            .method(spec.method.as_str())
            .uri(fill(&spec.path))
            .body(Bytes::from(fill(&spec.body)))
            .expect("a request");
        let credentials = spec.authorization.iter().map(|value| ("authorization", value.as_str()));
        let others = spec.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        for (name, value) in credentials.chain(others) {
            let name = HeaderName::try_from(name).expect("a header's name");
            // Bytes outside ASCII are part of some attacks.
            let value = HeaderValue::from_bytes(fill(value).as_bytes()).expect("a header's value");
            request.headers_mut().append(name, value);
        }
        request
    }

    fn words_for(&self, token: &str) -> Words {
        let mut words = self.words();
        let mut segments = token.split('.').map(str::to_owned);
        for name in ["header", "payload", "signature"] {
            words.fixed.push((name, segments.next().unwrap_or_default()));
        }
        words.fixed.push(("token", token.to_owned()));
        words
    }

    fn words(&self) -> Words {
        let fixed = [
            ("issuer", Self::ISSUER),
            ("second-issuer", Self::SECOND_ISSUER),
            ("lax-issuer", Self::LAX_ISSUER),
            ("audience", Self::AUDIENCE),
        ];
        let fixed = fixed.into_iter().map(|(name, value)| (name, value.to_owned())).collect();
        Words { now: self.clock.now().as_secs(), fixed }
    }
}

/// `value` with its words replaced, and `{ now = n }` by the time n seconds from now.
pub(super) fn filled(value: &Value, words: &Words) -> Result<Value, String> {
    Ok(match value {
        Value::String(text) => Value::String(words.fill(text)?),
        Value::Array(items) => {
            Value::Array(items.iter().map(|item| filled(item, words)).collect::<Result<_, _>>()?)
        }
        Value::Object(members) => match members.get("now").and_then(Value::as_i64) {
            Some(offset) if members.len() == 1 => {
                words.now.checked_add_signed(offset).ok_or("a time before the epoch")?.into()
            }
            _ => {
                let each = members.iter().map(|(name, value)| Ok((name.clone(), filled(value, words)?)));
                Value::Object(each.collect::<Result<_, String>>()?)
            }
        },
        other => other.clone(),
    })
}
