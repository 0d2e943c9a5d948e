//! How we prove to an authorization server who we are.
//!
//! - `private_key_jwt` (RFC 7523 section 2.2): a signed assertion, fresh for each request, meant for one issuer.
//! - `client_secret_basic` (RFC 6749 section 2.3.1): a shared secret in `Authorization`.
//!
//! # Security
//!
//! The assertion's audience is the authorization server's issuer, as one string: an assertion made for one
//! server is then worth nothing at another, whatever token endpoint the other one announces (RFC 7523bis).

use std::fmt;
use std::sync::Arc;

use ::http::header::AUTHORIZATION;
use ::http::{HeaderMap, HeaderValue};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use hopguard_core::{ConfigErrors, Fault, Problems, TokenForm, UnixTime, seconds};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;
use zeroize::Zeroizing;

use crate::SigningKey;
use crate::signing::random_jti;

const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
const ASSERTION_TYP: &str = "client-authentication+jwt";
const ASSERTION_LIFETIME: std::time::Duration = seconds(60);

/// What `application/x-www-form-urlencoded` leaves as it is.
const FORM: &AsciiSet = &NON_ALPHANUMERIC.remove(b'*').remove(b'-').remove(b'.').remove(b'_');

#[derive(Clone)]
enum Method {
    PrivateKeyJwt(Arc<SigningKey>),
    ClientSecretBasic(SecretString),
}

/// A client's name at an authorization server, and how it proves it. Cloning shares the key.
///
/// ```
/// use hopguard_client::ClientAuth;
///
/// let auth = ClientAuth::client_secret_basic("orders", "hunter2");
/// assert!(!format!("{auth:?}").contains("hunter2"));
/// ```
#[derive(Clone)]
pub struct ClientAuth {
    client_id: Arc<str>,
    method: Method,
}

impl ClientAuth {
    /// Proves it by an assertion signed with `key`.
    #[must_use]
    pub fn private_key_jwt(client_id: &str, key: Arc<SigningKey>) -> Self {
        Self { client_id: client_id.into(), method: Method::PrivateKeyJwt(key) }
    }

    /// Proves it by a shared secret.
    #[must_use]
    pub fn client_secret_basic(client_id: &str, secret: &str) -> Self {
        Self { client_id: client_id.into(), method: Method::ClientSecretBasic(SecretString::from(secret)) }
    }

    /// The client's name.
    #[must_use]
    pub fn client_id(&self) -> &str {
        &self.client_id
    }

    /// Looks for what can never work; builders that take a `ClientAuth` call it.
    ///
    /// # Errors
    ///
    /// [`ConfigErrors`] if the name or the secret is empty.
    pub fn validate(&self) -> Result<(), ConfigErrors> {
        let mut problems = Problems::new();
        if self.client_id.is_empty() {
            problems.add("client_id", "is empty: give the name registered at the authorization server");
        }
        if matches!(&self.method, Method::ClientSecretBasic(secret) if secret.expose_secret().is_empty()) {
            problems.add("client_secret", "is empty");
        }
        problems.into_result(())
    }

    /// Adds the proof to a request to the authorization server whose issuer is `audience`.
    ///
    /// Each call makes a proof of its own: an assertion is good for one request.
    ///
    /// # Errors
    ///
    /// [`Fault::SigningFailed`] if the assertion cannot be signed; nothing was added then, and the request
    /// must not be sent.
    pub fn authenticate(
        &self,
        audience: &str,
        now: UnixTime,
        headers: &mut HeaderMap,
        form: &mut TokenForm,
    ) -> Result<(), Fault> {
        match &self.method {
            Method::PrivateKeyJwt(key) => {
                let assertion = self.assertion(key, audience, now)?;
                form.append("client_assertion_type", ASSERTION_TYPE);
                form.append("client_assertion", &assertion);
                form.append("client_id", &self.client_id);
            }
            Method::ClientSecretBasic(secret) => {
                headers.insert(AUTHORIZATION, basic(&self.client_id, secret)?);
            }
        }
        Ok(())
    }

    /// RFC 7523 section 3.
    fn assertion(&self, key: &SigningKey, audience: &str, now: UnixTime) -> Result<Zeroizing<String>, Fault> {
        let claims = json!({
            "iss": self.client_id,
            "sub": self.client_id,
            "aud": audience,
            "iat": now.as_secs(),
            "exp": now.after(ASSERTION_LIFETIME).as_secs(),
            "jti": random_jti()?,
        });
        key.sign_jwt(ASSERTION_TYP, &claims)
    }
}

impl fmt::Debug for ClientAuth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let method = match self.method {
            Method::PrivateKeyJwt(_) => "private_key_jwt",
            Method::ClientSecretBasic(_) => "client_secret_basic",
        };
        f.debug_struct("ClientAuth").field("client_id", &self.client_id).field("method", &method).finish()
    }
}

/// RFC 6749 section 2.3.1: both parts form-encoded first, so that a colon in the name cannot move the border.
fn basic(client_id: &str, secret: &SecretString) -> Result<HeaderValue, Fault> {
    let secret = secret.expose_secret();
    let mut pair = Zeroizing::new(String::with_capacity(3 * (client_id.len() + secret.len()) + 1));
    pair.extend(utf8_percent_encode(client_id, FORM));
    pair.push(':');
    pair.extend(utf8_percent_encode(secret, FORM));
    let mut value = Zeroizing::new(String::with_capacity(pair.len() * 4 / 3 + 16));
    value.push_str("Basic ");
    BASE64_STANDARD.encode_string(pair.as_bytes(), &mut value);
    let mut value = HeaderValue::from_str(&value).map_err(|_| Fault::SigningFailed)?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use base64::prelude::BASE64_URL_SAFE_NO_PAD;
    use percent_encoding::percent_decode_str;
    use serde_json::Value;

    use super::*;

    const STS: &str = "https://sts.internal";

    fn request(auth: &ClientAuth) -> (HeaderMap, Vec<(String, String)>) {
        let (mut headers, mut form) = (HeaderMap::new(), TokenForm::new());
        auth.authenticate(STS, UnixTime::from_secs(1000), &mut headers, &mut form).unwrap();
        let form = String::from_utf8(form.into_bytes().to_vec()).unwrap();
        let decoded = |text: &str| percent_decode_str(text).decode_utf8().unwrap().into_owned();
        let pairs = form.split('&').filter_map(|pair| pair.split_once('='));
        (headers, pairs.map(|(name, value)| (decoded(name), decoded(value))).collect())
    }

    fn part(jwt: &str, at: usize) -> Value {
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(jwt.split('.').nth(at).unwrap()).unwrap();
        serde_json::from_slice(&bytes).unwrap()
    }

    #[test]
    fn an_assertion_says_what_rfc_7523_asks() {
        let auth = ClientAuth::private_key_jwt("orders", Arc::new(SigningKey::generate_es256().unwrap()));
        let (headers, form) = request(&auth);
        assert!(headers.is_empty());
        let names: Vec<_> = form.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["client_assertion_type", "client_assertion", "client_id"]);
        assert_eq!((form[0].1.as_str(), form[2].1.as_str()), (ASSERTION_TYPE, "orders"));
        assert_eq!(part(&form[1].1, 0)["typ"], ASSERTION_TYP);
        let mut claims = part(&form[1].1, 1);
        let jti = claims.as_object_mut().unwrap().remove("jti").unwrap();
        assert_eq!(claims, json!({ "iss": "orders", "sub": "orders", "aud": STS, "iat": 1000, "exp": 1060 }));
        let again = part(&request(&auth).1[1].1, 1)["jti"].clone();
        assert_ne!(jti, again);
    }

    #[test]
    fn a_secret_goes_into_one_sensitive_header() {
        let auth = ClientAuth::client_secret_basic("or:ders", "pass word:ä");
        let (headers, form) = request(&auth);
        assert!(form.is_empty());
        let value = headers.get(AUTHORIZATION).unwrap();
        assert!(value.is_sensitive());
        let encoded = value.to_str().unwrap().strip_prefix("Basic ").unwrap();
        let pair = String::from_utf8(BASE64_STANDARD.decode(encoded).unwrap()).unwrap();
        assert_eq!(pair, "or%3Aders:pass%20word%3A%C3%A4");
        assert!(!format!("{auth:?} {headers:?}").contains("pass"));
    }

    #[test]
    fn empty_names_and_secrets_are_found() {
        let errors = ClientAuth::client_secret_basic("", "").validate().unwrap_err();
        assert_eq!(errors.problems().len(), 2);
        assert!(ClientAuth::client_secret_basic("a", "b").validate().is_ok());
    }
}
