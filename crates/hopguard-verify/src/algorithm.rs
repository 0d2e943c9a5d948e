//! The signature algorithms that are accepted (RFC 7518 section 3.1, RFC 8037, RFC 9864).

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ECDSA_P521_SHA512_FIXED, EcdsaVerificationAlgorithm,
    RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512,
    RSA_PSS_2048_8192_SHA256, RSA_PSS_2048_8192_SHA384, RSA_PSS_2048_8192_SHA512, RsaParameters,
};

/// How a token may be signed. There is no unsecured and no symmetric member, and there will be none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Algorithm {
    /// ECDSA over P-256 with SHA-256.
    Es256,
    /// ECDSA over P-384 with SHA-384.
    Es384,
    /// ECDSA over P-521 with SHA-512.
    Es512,
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
    /// RSASSA-PKCS1-v1_5 with SHA-384.
    Rs384,
    /// RSASSA-PKCS1-v1_5 with SHA-512.
    Rs512,
    /// RSASSA-PSS with SHA-256.
    Ps256,
    /// RSASSA-PSS with SHA-384.
    Ps384,
    /// RSASSA-PSS with SHA-512.
    Ps512,
    /// Ed25519, named `EdDSA` or, since RFC 9864, `Ed25519`.
    EdDsa,
}

/// What kind of key an algorithm needs, with the parameters of its verification.
#[derive(Clone, Copy)]
pub(crate) enum Family {
    /// `kty` RSA.
    Rsa(&'static RsaParameters),
    /// `kty` EC.
    Ec(Curve),
    /// `kty` OKP, `crv` Ed25519.
    Ed25519,
}

/// One of the curves of RFC 7518 section 6.2.1.1.
#[derive(Clone, Copy)]
pub(crate) struct Curve {
    /// `crv`.
    pub(crate) name: &'static str,
    /// Length of a coordinate in bytes.
    pub(crate) coordinate: usize,
    pub(crate) verification: &'static EcdsaVerificationAlgorithm,
}

impl Algorithm {
    const ALL: [Self; 10] = [
        Self::Es256,
        Self::Es384,
        Self::Es512,
        Self::Rs256,
        Self::Rs384,
        Self::Rs512,
        Self::Ps256,
        Self::Ps384,
        Self::Ps512,
        Self::EdDsa,
    ];

    /// The name in `alg`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Es256 => "ES256",
            Self::Es384 => "ES384",
            Self::Es512 => "ES512",
            Self::Rs256 => "RS256",
            Self::Rs384 => "RS384",
            Self::Rs512 => "RS512",
            Self::Ps256 => "PS256",
            Self::Ps384 => "PS384",
            Self::Ps512 => "PS512",
            Self::EdDsa => "EdDSA",
        }
    }

    /// The algorithm that `name` names, letter by letter.
    pub(crate) fn of(name: &str) -> Option<Self> {
        if name == "Ed25519" {
            return Some(Self::EdDsa);
        }
        Self::ALL.into_iter().find(|one| one.name() == name)
    }

    pub(crate) fn family(self) -> Family {
        let curve = |name, coordinate, verification| Family::Ec(Curve { name, coordinate, verification });
        match self {
            Self::Es256 => curve("P-256", 32, &ECDSA_P256_SHA256_FIXED),
            Self::Es384 => curve("P-384", 48, &ECDSA_P384_SHA384_FIXED),
            Self::Es512 => curve("P-521", 66, &ECDSA_P521_SHA512_FIXED),
            Self::Rs256 => Family::Rsa(&RSA_PKCS1_2048_8192_SHA256),
            Self::Rs384 => Family::Rsa(&RSA_PKCS1_2048_8192_SHA384),
            Self::Rs512 => Family::Rsa(&RSA_PKCS1_2048_8192_SHA512),
            Self::Ps256 => Family::Rsa(&RSA_PSS_2048_8192_SHA256),
            Self::Ps384 => Family::Rsa(&RSA_PSS_2048_8192_SHA384),
            Self::Ps512 => Family::Rsa(&RSA_PSS_2048_8192_SHA512),
            Self::EdDsa => Family::Ed25519,
        }
    }

    /// True if the message is hashed with SHA-256, which is what a fingerprint is too.
    pub(crate) const fn hashes_with_sha256(self) -> bool {
        matches!(self, Self::Es256 | Self::Rs256 | Self::Ps256)
    }

    /// True if a key of type `kty` on curve `crv` can serve this algorithm.
    pub(crate) fn fits(self, kty: &str, crv: Option<&str>) -> bool {
        match self.family() {
            Family::Rsa(_) => kty == "RSA",
            Family::Ec(curve) => kty == "EC" && crv == Some(curve.name),
            Family::Ed25519 => kty == "OKP" && crv == Some("Ed25519"),
        }
    }

    /// What a key that names no algorithm serves, if its issuer's configuration names none either (I8).
    pub(crate) fn default_of(kty: &str, crv: Option<&str>) -> Option<Self> {
        [Self::Rs256, Self::Es256, Self::Es384, Self::Es512, Self::EdDsa]
            .into_iter()
            .find(|algorithm| algorithm.fits(kty, crv))
    }
}
