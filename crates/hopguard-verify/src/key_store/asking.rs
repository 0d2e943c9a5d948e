//! Asks an issuer for its keys: where they are, and what they are now.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use hopguard_core::{Fingerprint, minutes, seconds};
use http::header::{ACCEPT, ETAG, HeaderValue, IF_NONE_MATCH};
use http::{Request, Response, StatusCode, Uri};

use super::{KeyStore, Origin};
use crate::jwks_file;
use crate::keys::KeySet;
use crate::metadata;
use crate::pace::Pace;

/// The longest entity tag that is kept.
const TAG: usize = 256;
/// How long `jwks_uri` is taken from metadata read before.
const METADATA: Duration = minutes(60);
/// The longest that a fetch may take, metadata included: a transport that never answers must not hold everyone up.
const PATIENCE: Duration = seconds(30);
/// The longest answer that is read.
const ANSWER: usize = 512 * 1024;

const NOT_OK: &str = "the answer is not 200";

/// What asking for keys brought.
pub(super) struct Brought {
    /// Absent if the set in use is still the one.
    pub(super) set: Option<KeySet>,
    pub(super) pace: Pace,
    /// By what the next answer can be known to be the same.
    pub(super) version: Option<Version>,
}

/// What a set can be recognised by without reading it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Version {
    /// The entity tag that stood beside it at this URL.
    Tag(Uri, HeaderValue),
    /// Its bytes.
    Bytes(Fingerprint),
}

impl KeyStore {
    /// Asks the issuer for its keys, and gives up on an answer that takes too long.
    pub(super) async fn ask_in_time(&self) -> Result<Brought, &'static str> {
        let mut ask = pin!(self.ask());
        let mut late = self.outside.timer.wait(PATIENCE);
        poll_fn(|context| match ask.as_mut().poll(context) {
            Poll::Pending => late.as_mut().poll(context).map(|()| Err("the answer takes too long")),
            outcome => outcome,
        })
        .await
    }

    /// Asks the issuer for its keys.
    async fn ask(&self) -> Result<Brought, &'static str> {
        self.fetches.fetch_add(1, Ordering::Relaxed);
        let known = self.refresh().version.clone();
        // Where the system has no randomness, all instances ask at the same time: a pity, no danger.
        let mut chance = [0];
        let [chance] = aws_lc_rs::rand::fill(&mut chance).map_or([0], |()| chance);
        let jwks = match &self.source {
            Origin::Fixed => return Err("the keys are fixed"),
            Origin::File(path) => {
                let text = jwks_file::read(path, ANSWER)?;
                let version = Some(Version::Bytes(Fingerprint::of_bytes(&text)));
                let set = if known == version { None } else { Some(self.read(&text)?) };
                return Ok(Brought { set, pace: Pace::of_file(chance), version });
            }
            Origin::Jwks(url) => url.clone(),
            Origin::Metadata(urls) => self.discover(urls).await?,
        };
        let tag = match known {
            Some(Version::Tag(url, tag)) if url == jwks => Some(tag),
            _ => None,
        };
        let answer = self.get(jwks.clone(), tag.as_ref()).await?;
        let pace = Pace::of_answer(answer.headers(), chance);
        match (answer.status(), tag) {
            (StatusCode::OK, _) => {
                let tag = answer.headers().get(ETAG).filter(|tag| tag.len() <= TAG).cloned();
                let version = tag.map(|tag| Version::Tag(jwks, tag));
                Ok(Brought { set: Some(self.read(answer.body())?), pace, version })
            }
            // The tag was kept when its set was taken into use, so the set in use is meant (RFC 9110 section 15.4.5).
            (StatusCode::NOT_MODIFIED, Some(tag)) => {
                Ok(Brought { set: None, pace, version: Some(Version::Tag(jwks, tag)) })
            }
            _ => Err(NOT_OK),
        }
    }

    fn read(&self, text: &[u8]) -> Result<KeySet, &'static str> {
        let (before, _) = self.current();
        let set = KeySet::read(text, &self.issuer, self.algorithms.as_deref(), Some(&before))
            .map_err(|_| "the key set is malformed")?;
        if set.is_empty() { Err("the key set has no key that can serve") } else { Ok(set) }
    }

    async fn discover(&self, urls: &[Uri; 2]) -> Result<Uri, &'static str> {
        let now = self.now();
        let known = self.refresh().jwks.clone().filter(|(_, read)| now.since(*read) <= METADATA);
        if let Some((jwks, _)) = known {
            return Ok(jwks);
        }
        let mut problem = NOT_OK;
        for url in urls {
            // Without an answer there is nobody to ask for the other document either.
            let answer = self.get(url.clone(), None).await?;
            if answer.status() != StatusCode::OK {
                continue;
            }
            match metadata::jwks_uri(answer.body(), &self.issuer) {
                Ok(jwks) => {
                    self.refresh().jwks = Some((jwks.clone(), now));
                    return Ok(jwks);
                }
                Err(found) => problem = found,
            }
        }
        Err(problem)
    }

    async fn get(&self, url: Uri, tag: Option<&HeaderValue>) -> Result<Response<Bytes>, &'static str> {
        let mut request = Request::get(url).header(ACCEPT, "application/json");
        if let Some(tag) = tag {
            request = request.header(IF_NONE_MATCH, tag);
        }
        let request = request.body(Bytes::new()).map_err(|_| "the request cannot be made")?;
        let answer = self.outside.transport.send(request).await.map_err(|error| error.code())?;
        if answer.body().len() > ANSWER { Err("the answer is too large") } else { Ok(answer) }
    }
}
