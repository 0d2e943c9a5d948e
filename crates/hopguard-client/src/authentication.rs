//! How we prove to an authorization server who we are.
//!
//! - `private_key_jwt` (RFC 7523 section 2.2): a signed assertion, fresh for each request, meant for one issuer.
//! - `client_secret_basic` (RFC 6749 section 2.3.1): a shared secret in `Authorization`.
//! - `client_secret_post` (the same section): a shared secret in the form, for servers that take nothing better.
//! - an assertion that the platform keeps fresh in a file (RFC 7523 section 2.2): a projected service account
//!   token of Kubernetes, or a JWT-SVID (draft-ietf-oauth-spiffe-client-auth). No secret of ours is involved.
//!
//! # Security
//!
//! The assertion's audience is the authorization server's issuer, as one string: an assertion made for one
//! server is then worth nothing at another, whatever token endpoint the other one announces (RFC 7523bis). The
//! audience of an assertion from a file is whatever the platform was told: tell it the same.

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

use crate::signing::random_jti;
use crate::{SigningKey, TokenFile};

const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
const SVID_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-spiffe";
const ASSERTION_TYP: &str = "client-authentication+jwt";
const ASSERTION_LIFETIME: std::time::Duration = seconds(60);

/// What `application/x-www-form-urlencoded` leaves as it is.
const FORM: &AsciiSet = &NON_ALPHANUMERIC.remove(b'*').remove(b'-').remove(b'.').remove(b'_');

#[derive(Clone)]
enum Method {
    PrivateKeyJwt(Arc<SigningKey>),
    ClientSecretBasic(SecretString),
    ClientSecretPost(SecretString),
    AssertionFile { file: TokenFile, kind: &'static str },
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
    pub fn private_key_jwt(client_id: &str, key: impl Into<Arc<SigningKey>>) -> Self {
        Self { client_id: client_id.into(), method: Method::PrivateKeyJwt(key.into()) }
    }

    /// Proves it by a shared secret.
    #[must_use]
    pub fn client_secret_basic(client_id: &str, secret: &str) -> Self {
        Self { client_id: client_id.into(), method: Method::ClientSecretBasic(SecretString::from(secret)) }
    }

    /// Proves it by a shared secret in the body, for servers that do not take it in the header.
    #[must_use]
    pub fn client_secret_post(client_id: &str, secret: &str) -> Self {
        Self { client_id: client_id.into(), method: Method::ClientSecretPost(SecretString::from(secret)) }
    }

    /// Proves it by the assertion that stands in `file` at each request, such as a projected service account
    /// token of Kubernetes.
    #[must_use]
    pub fn assertion_file(client_id: &str, file: TokenFile) -> Self {
        Self { client_id: client_id.into(), method: Method::AssertionFile { file, kind: ASSERTION_TYPE } }
    }

    /// Proves it by the JWT-SVID that stands in `file` at each request, under the assertion type of SPIFFE
    /// client authentication. For a server that takes JWT-SVIDs as plain assertions, see
    /// [`assertion_file`](Self::assertion_file).
    #[must_use]
    pub fn jwt_svid_file(client_id: &str, file: TokenFile) -> Self {
        Self { client_id: client_id.into(), method: Method::AssertionFile { file, kind: SVID_TYPE } }
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
    /// [`ConfigErrors`] if the name, the secret or the path is empty. No file is read.
    pub fn validate(&self) -> Result<(), ConfigErrors> {
        let mut problems = Problems::new();
        if self.client_id.is_empty() {
            problems.add("client_id", "is empty: give the name registered at the authorization server");
        }
        match &self.method {
            Method::ClientSecretBasic(secret) | Method::ClientSecretPost(secret)
                if secret.expose_secret().is_empty() =>
            {
                problems.add("client_secret", "is empty");
            }
            Method::AssertionFile { file, .. } if file.path().as_os_str().is_empty() => {
                problems.add("client_assertion_file", "is empty: give the path of the file");
            }
            _ => {}
        }
        problems.into_result(())
    }

    /// Adds the proof to a request to the authorization server whose issuer is `audience`.
    ///
    /// Each call makes a proof of its own: an assertion is good for one request.
    ///
    /// # Errors
    ///
    /// [`Fault::SigningFailed`] if the assertion cannot be signed, [`Fault::OwnCredentialUnavailable`] if it
    /// cannot be read; nothing was added then, and the request must not be sent.
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
            Method::ClientSecretPost(secret) => {
                form.append("client_id", &self.client_id);
                form.append("client_secret", secret.expose_secret());
            }
            Method::AssertionFile { file, kind } => {
                let assertion = file.read()?;
                form.append("client_assertion_type", kind);
                form.append_token("client_assertion", &assertion);
                form.append("client_id", &self.client_id);
            }
        }
        Ok(())
    }

    /// How many bytes it adds to a form, about: so much room set aside saves a second buffer.
    #[must_use]
    pub fn form_room(&self) -> usize {
        match &self.method {
            Method::ClientSecretBasic(_) => 0,
            Method::PrivateKeyJwt(_) => 1024,
            Method::ClientSecretPost(_) => 256,
            Method::AssertionFile { .. } => 2048,
        }
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
            Method::ClientSecretPost(_) => "client_secret_post",
            Method::AssertionFile { kind: SVID_TYPE, .. } => "jwt_svid_file",
            Method::AssertionFile { .. } => "assertion_file",
        };
        f.debug_struct("ClientAuth")
            .field("client_id", &hopguard_core::redacted(&self.client_id))
            .field("method", &method)
            .finish()
    }
}

/// RFC 6749 section 2.3.1: both parts form-encoded first, so that a colon in the name cannot move the border.
///
/// Letters, digits and `*-._` stand as they are, so a server that forgets to decode takes ordinary secrets too. A
/// space is `%20`, which servers decode that know form encoding and those that know percent-encoding only.
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
        let auth = ClientAuth::private_key_jwt("orders", SigningKey::generate_es256().unwrap());
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

    /// The pair inside a Basic value.
    fn basic_pair(client_id: &str, secret: &str) -> String {
        let (headers, form) = request(&ClientAuth::client_secret_basic(client_id, secret));
        assert!(form.is_empty());
        let value = headers.get(AUTHORIZATION).unwrap().to_str().unwrap().to_owned();
        let encoded = value.strip_prefix("Basic ").unwrap();
        String::from_utf8(BASE64_STANDARD.decode(encoded).unwrap()).unwrap()
    }

    #[test]
    fn hostile_secrets_are_encoded_exactly() {
        for (client_id, secret, pair) in [
            // Ordinary ones stand as they are, for servers that forget to decode.
            ("orders", "hunter2", "orders:hunter2"),
            ("orders-1.prod_eu", "Zm9v-YmFy_.*", "orders-1.prod_eu:Zm9v-YmFy_.*"),
            ("spiffe://td/ns/a", "x", "spiffe%3A%2F%2Ftd%2Fns%2Fa:x"),
            ("a:b", "c:d", "a%3Ab:c%3Ad"),
            ("a", "1+1", "a:1%2B1"),
            ("a", "1 1", "a:1%201"),
            ("a", "100%25", "a:100%2525"),
            ("a", "%3A", "a:%253A"),
            ("a", "a=b&c=d", "a:a%3Db%26c%3Dd"),
            ("a", "~8Q~!$'()", "a:%7E8Q%7E%21%24%27%28%29"),
            ("a", "\"\\\r\n\t\0", "a:%22%5C%0D%0A%09%00"),
            ("a", "pä🔑", "a:p%C3%A4%F0%9F%94%91"),
            ("a", "Zm9v/+==", "a:Zm9v%2F%2B%3D%3D"),
        ] {
            assert_eq!(basic_pair(client_id, secret), pair);
        }
    }

    #[test]
    fn a_secret_in_the_body_stays_inside_its_parameter() {
        let auth = ClientAuth::client_secret_post("or&ders", "a=b&client_id=admin+ %");
        let (headers, form) = request(&auth);
        assert!(headers.is_empty());
        let pairs: Vec<_> = form.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(pairs, [("client_id", "or&ders"), ("client_secret", "a=b&client_id=admin+ %")]);
        assert!(!format!("{auth:?}").contains("admin"));
    }

    proptest::proptest! {
        #[test]
        fn every_pair_comes_back_whole(client_id in ".{1,20}", secret in ".{1,40}") {
            let pair = basic_pair(&client_id, &secret);
            let parts: Vec<_> = pair.split(':').collect();
            let decoded = |text: &str| percent_decode_str(text).decode_utf8().unwrap().into_owned();
            proptest::prop_assert_eq!(parts.len(), 2);
            proptest::prop_assert_eq!((decoded(parts[0]), decoded(parts[1])), (client_id, secret));
            // Nothing that form decoding reads in another way than percent-decoding.
            proptest::prop_assert!(!pair.contains('+'));
        }
    }

    #[test]
    fn an_assertion_from_a_file_is_sent_as_it_stands() {
        let path = std::env::temp_dir().join(format!("hopguard-assertion-{}", std::process::id()));
        for (auth, kind) in [
            (ClientAuth::assertion_file("orders", TokenFile::at(&path)), ASSERTION_TYPE),
            (ClientAuth::jwt_svid_file("orders", TokenFile::at(&path)), SVID_TYPE),
        ] {
            for assertion in ["first.of.them", "second.of.them"] {
                std::fs::write(&path, format!("{assertion}\n")).unwrap();
                let (headers, form) = request(&auth);
                assert!(headers.is_empty());
                let pairs: Vec<_> =
                    form.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
                let expected = [
                    ("client_assertion_type", kind),
                    ("client_assertion", assertion),
                    ("client_id", "orders"),
                ];
                assert_eq!(pairs, expected);
                assert!(!format!("{auth:?}").contains("of.them"));
            }
            std::fs::remove_file(&path).unwrap();
            let (mut headers, mut form) = (HeaderMap::new(), TokenForm::new());
            let fault = auth.authenticate(STS, UnixTime::from_secs(1), &mut headers, &mut form).unwrap_err();
            assert_eq!(fault, Fault::OwnCredentialUnavailable);
            assert!(headers.is_empty() && form.into_bytes().is_empty());
        }
    }

    #[test]
    fn empty_names_and_secrets_are_found() {
        for (auth, found) in [
            (ClientAuth::client_secret_basic("", ""), 2),
            (ClientAuth::client_secret_post("", ""), 2),
            (ClientAuth::assertion_file("", TokenFile::at("")), 2),
            (ClientAuth::jwt_svid_file("a", TokenFile::at("")), 1),
        ] {
            assert_eq!(auth.validate().unwrap_err().problems().len(), found, "{auth:?}");
        }
        assert!(ClientAuth::client_secret_basic("a", "b").validate().is_ok());
        assert!(ClientAuth::assertion_file("a", TokenFile::at("/nowhere")).validate().is_ok());
    }
}
