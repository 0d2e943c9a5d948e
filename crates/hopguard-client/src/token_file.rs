//! A token of our own that somebody else keeps fresh in a file: a SPIFFE JWT-SVID written by a helper, a
//! projected service account token of Kubernetes.
//!
//! The file is read at each use, so a token that was rotated is seen at once and nothing has to watch the
//! file. That costs one small read per request to an authorization server.

use std::fmt;
use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hopguard_core::{Fault, RawToken};
use zeroize::Zeroizing;

/// The longest token that is read.
const LONGEST: usize = 16 * 1024;

/// Where the token is kept. Building one reads nothing.
///
/// ```
/// use hopguard_client::TokenFile;
///
/// let file = TokenFile::at("/var/run/secrets/tokens/sts");
/// assert!(file.read().is_err_and(|fault| fault.code() == "own_credential_unavailable"));
/// ```
#[derive(Clone)]
pub struct TokenFile(Arc<Path>);

impl TokenFile {
    /// The token in the file at `path`.
    #[must_use]
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self(path.into().into())
    }

    /// Where the file is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The token as it stands in the file now, without the white space around it.
    ///
    /// # Errors
    ///
    /// [`Fault::OwnCredentialUnavailable`] if there is no such file, or it holds anything but one token of at
    /// most 16 KiB.
    pub fn read(&self) -> Result<Arc<RawToken>, Fault> {
        self.text().and_then(|text| token_in(&text)).ok_or(Fault::OwnCredentialUnavailable)
    }

    fn text(&self) -> Option<Zeroizing<Vec<u8>>> {
        // To open a pipe would wait for whoever writes to it.
        if !fs::metadata(&self.0).ok()?.is_file() {
            return None;
        }
        let file = File::open(&self.0).ok()?;
        // Read into room enough: growing would leave copies behind.
        let mut text = Zeroizing::new(Vec::with_capacity(LONGEST + 2));
        let most = u64::try_from(LONGEST).ok()? + 1;
        file.take(most).read_to_end(&mut text).ok()?;
        (text.len() <= LONGEST).then_some(text)
    }
}

fn token_in(text: &[u8]) -> Option<Arc<RawToken>> {
    let token = text.trim_ascii();
    let sound = !token.is_empty() && token.iter().all(u8::is_ascii_graphic);
    sound.then(|| std::str::from_utf8(token).ok().map(RawToken::new)).flatten()
}

impl fmt::Debug for TokenFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TokenFile").field(&self.0).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder that goes away again.
    struct Folder(PathBuf);

    impl Folder {
        fn fresh(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("hopguard-{}-{name}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }

        fn file(&self) -> PathBuf {
            self.0.join("token")
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _gone = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn one_token_and_nothing_else() {
        let folder = Folder::fresh("one");
        let read = |content: &[u8]| {
            fs::write(folder.file(), content).unwrap();
            let token = TokenFile::at(folder.file()).read();
            token.map(|token| token.dangerous_expose().to_owned()).map_err(Fault::code)
        };
        let longest = "x".repeat(LONGEST);
        for (content, token) in [
            ("a.b.c", "a.b.c"),
            ("a.b.c\n", "a.b.c"),
            (" \t\r\n a.b.c \r\n\n", "a.b.c"),
            (&longest, &longest),
        ] {
            assert_eq!(read(content.as_bytes()), Ok(token.to_owned()));
        }
        let refused = Err("own_credential_unavailable");
        let spread = format!("{longest} ");
        for content in [
            &b""[..],
            b" \n",
            b"a.b.c d.e.f",
            b"a.b.c\nd.e.f",
            b"a.b\0.c",
            b"a.b.\xc3\xa4",
            b"\xff\xfe",
            b"\xef\xbb\xbfa.b.c",
            spread.as_bytes(),
        ] {
            assert_eq!(read(content), refused, "{:?}", content.get(..9));
        }
    }

    #[test]
    fn what_is_no_file_is_not_waited_for() {
        let folder = Folder::fresh("none");
        for path in [folder.file(), folder.0.clone(), PathBuf::new(), "/dev/zero".into()] {
            assert_eq!(TokenFile::at(path).read().err(), Some(Fault::OwnCredentialUnavailable));
        }
    }

    #[test]
    fn a_rotated_token_is_seen_at_the_next_use_and_shown_by_nothing() {
        let folder = Folder::fresh("rotated");
        let file = TokenFile::at(folder.file());
        for token in ["first.of.them", "second.of.them"] {
            // As Kubernetes and SPIFFE's helper do it: written aside, then moved into place.
            let aside = folder.0.join("aside");
            fs::write(&aside, token).unwrap();
            fs::rename(&aside, folder.file()).unwrap();
            let found = file.read().unwrap();
            assert_eq!(found.dangerous_expose(), token);
            assert!(!format!("{file:?} {found:?}").contains("of.them"));
        }
        fs::remove_file(folder.file()).unwrap();
        assert!(file.read().is_err());
    }
}
