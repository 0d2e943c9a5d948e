//! Whose tokens are trusted, and where that issuer's keys come from.

use std::path::{Path, PathBuf};

use hopguard_core::{Problems, parse_absolute};
use http::Uri;

use crate::algorithm::Algorithm;
use crate::keys::KeySet;
use crate::metadata;
use crate::profile::Profile;

/// An issuer that is trusted, exactly as tokens name it in `iss`.
///
/// ```
/// use hopguard_verify::{Algorithm, Issuer};
///
/// let discovered = Issuer::at("https://sts.internal"); // RFC 8414 or OpenID Connect Discovery, at first use
/// let known = Issuer::at("https://sts.internal")
///     .jwks_url("https://sts.internal/jwks")
///     .algorithms([Algorithm::Es256]);
/// # let _ = (discovered, known);
/// ```
#[derive(Clone, Debug)]
pub struct Issuer {
    url: String,
    keys: Keys,
    algorithms: Option<Vec<Algorithm>>,
    profile: Profile,
}

#[derive(Clone, Debug)]
enum Keys {
    Discovered,
    At(String),
    File(PathBuf),
    Fixed(String),
}

/// Where a key set comes from, checked.
#[derive(Debug)]
pub(crate) enum Source {
    /// Through metadata that stands at one of these URLs; the first is tried first.
    Metadata([Uri; 2]),
    /// From this URL.
    Jwks(Uri),
    /// From this file.
    File(PathBuf),
    /// From the configuration.
    Fixed(KeySet),
}

/// An issuer whose settings are right.
#[derive(Debug)]
pub(crate) struct Checked {
    pub(crate) name: String,
    pub(crate) source: Source,
    pub(crate) algorithms: Option<Vec<Algorithm>>,
    pub(crate) profile: Profile,
}

impl Issuer {
    /// The issuer `url`, whose keys are found through its metadata when first needed: where RFC 8414 puts it, else
    /// where OpenID Connect Discovery does. Either must name exactly this issuer. No I/O is done here.
    #[must_use]
    pub fn at(url: &str) -> Self {
        Self { url: url.to_owned(), keys: Keys::Discovered, algorithms: None, profile: Profile::rfc9068() }
    }

    /// Takes the keys from this URL instead of looking for it in the metadata.
    #[must_use]
    pub fn jwks_url(mut self, url: &str) -> Self {
        self.keys = Keys::At(url.to_owned());
        self
    }

    /// Takes the keys from this file, which holds a JWK set (RFC 7517 section 5) and is read again when it changes:
    /// within ten seconds of use, or at once for a key that is not in it. Whoever replaces it should do so in one
    /// step, by renaming; a file that is missing or makes no sense leaves the keys that were read before in use for
    /// at most an hour.
    #[must_use]
    pub fn jwks_file(mut self, path: impl AsRef<Path>) -> Self {
        self.keys = Keys::File(path.as_ref().to_owned());
        self
    }

    /// Takes the keys from this JWK set (RFC 7517 section 5), which never changes.
    #[must_use]
    pub fn keys_fixed(mut self, jwks: &str) -> Self {
        self.keys = Keys::Fixed(jwks.to_owned());
        self
    }

    /// Accepts only these algorithms from this issuer. A key that names none itself serves each of them that its
    /// type fits; without this setting, RS256 for RSA and the curve's own otherwise.
    #[must_use]
    pub fn algorithms(mut self, algorithms: impl IntoIterator<Item = Algorithm>) -> Self {
        self.algorithms = Some(algorithms.into_iter().collect());
        self
    }

    /// How this issuer writes its tokens: RFC 9068 unless set.
    #[must_use]
    pub fn profile(mut self, profile: Profile) -> Self {
        self.profile = profile;
        self
    }

    /// Checks every setting below `setting`.
    pub(crate) fn check(self, setting: &str, problems: &mut Problems) -> Option<Checked> {
        if self.algorithms.as_ref().is_some_and(Vec::is_empty) {
            problems.add(
                format!("{setting}.algorithms"),
                "is empty: name at least one, or leave the setting out",
            );
        }
        if let Some(problem) = self.profile.problem() {
            problems.add(format!("{setting}.profile.{}", self.profile.name()), problem);
        }
        let url = match parse_absolute(&self.url) {
            // An issuer has neither (RFC 8414 section 2), and a URI type would drop the fragment unseen.
            Ok(_) if self.url.contains(['?', '#']) => Err("has a query or a fragment, which no issuer has"),
            other => other,
        };
        let url = match url {
            Ok(url) => Some(url),
            Err(problem) => {
                problems.add(setting, problem);
                None
            }
        };
        let source = match self.keys {
            Keys::Discovered => {
                let locations = metadata::locations(&url?).map(Source::Metadata);
                if locations.is_none() {
                    problems.add(setting, "leaves no room for the well-known path of RFC 8414");
                }
                locations
            }
            Keys::File(path) if path.as_os_str().is_empty() => {
                problems.add(format!("{setting}.jwks_file"), "is empty: name a file");
                None
            }
            Keys::File(path) => Some(Source::File(path)),
            Keys::At(jwks) => match parse_absolute(&jwks) {
                Ok(jwks) => Some(Source::Jwks(jwks)),
                Err(problem) => {
                    problems.add(format!("{setting}.jwks_url"), problem);
                    None
                }
            },
            Keys::Fixed(jwks) => {
                match KeySet::read(jwks.as_bytes(), &self.url, self.algorithms.as_deref(), None) {
                    Ok(set) if !set.is_empty() => Some(Source::Fixed(set)),
                    Ok(_) => {
                        problems.add(
                            format!("{setting}.keys_fixed"),
                            "has no key that can serve: see the warnings",
                        );
                        None
                    }
                    Err(_) => {
                        problems
                            .add(format!("{setting}.keys_fixed"), "is not a JWK set (RFC 7517 section 5)");
                        None
                    }
                }
            }
        };
        Some(Checked { name: self.url, source: source?, algorithms: self.algorithms, profile: self.profile })
    }
}
