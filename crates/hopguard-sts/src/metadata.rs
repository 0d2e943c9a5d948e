//! What the server says about itself (RFC 8414 section 2).

use serde_json::{Value, json};

use crate::sts::Inner;

impl Inner {
    /// Where the key set is served, below the issuer's host.
    pub(crate) fn jwks_path(&self) -> String {
        format!("{}/jwks", self.path)
    }

    /// Where the token endpoint is served, below the issuer's host.
    pub(crate) fn token_path(&self) -> String {
        format!("{}/token", self.path)
    }

    /// RFC 8414 section 3.1: the well-known part stands between the host and the issuer's path.
    pub(crate) fn metadata_path(&self) -> String {
        format!("/.well-known/oauth-authorization-server{}", self.path)
    }

    pub(crate) fn metadata(&self) -> Value {
        json!({
            "issuer": self.issuer,
            "token_endpoint": self.token_endpoint,
            "jwks_uri": format!("{}/jwks", self.issuer.trim_end_matches('/')),
            "grant_types_supported": ["urn:ietf:params:oauth:grant-type:token-exchange"],
            // There is no authorization endpoint, and hence no response type; the member is required.
            "response_types_supported": [],
            "token_endpoint_auth_methods_supported": ["private_key_jwt", "client_secret_basic"],
            "token_endpoint_auth_signing_alg_values_supported": ["ES256", "RS256", "EdDSA"],
        })
    }
}
