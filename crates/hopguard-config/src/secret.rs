//! Where secrets come from: a file of their own, or the environment. Never the configuration file.
//!
//! A configuration file is read by people, copied into tickets and kept in version control; a secret that stands in
//! it refuses. A file of a secret that others can write refuses as well: they would choose the secret. One that
//! others can only read is a warning, because container platforms mount secrets so, into a file system that nobody
//! else sees.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::Path;

use zeroize::Zeroizing;

use crate::section::Section;
use crate::tree::{Origin, PREFIX, Value};

/// The longest file that is read for a secret.
const LONGEST: u64 = 64 * 1024;

impl Section<'_> {
    /// The secret `key`, from the file that `key_file` names or from the environment; `None` if there is none, or
    /// what is wrong with it was noted.
    pub(crate) fn secret(&mut self, key: &'static str, key_file: &'static str) -> Option<Zeroizing<Vec<u8>>> {
        let inline = self.node(key);
        let from_file = self.path(key_file);
        if let Some(node) = inline {
            if let Origin::Line(_) = node.origin {
                let variable = format!(
                    "{PREFIX}{}",
                    self.setting(key).replace(['.', '['], "__").replace(']', "").to_uppercase()
                );
                self.problem(
                    key,
                    format!("is a secret in the file: put it into a file of its own ({key_file}) or into {variable}"),
                );
                return None;
            }
            if from_file.is_some() {
                self.problem(key, format!("is given twice: here and in {key_file}"));
                return None;
            }
        }
        let secret = match (inline.map(|node| &node.value), from_file) {
            (Some(Value::Raw(text)), _) => Zeroizing::new(text.as_bytes().to_vec()),
            (_, Some(path)) => match self.read_secret(key_file, &path) {
                Ok(secret) => secret,
                Err(problem) => {
                    self.problem(key_file, problem);
                    return None;
                }
            },
            _ => return None,
        };
        // Editors and `echo` end a file with a line break that nobody means.
        let end = secret.iter().rposition(|byte| !matches!(byte, b'\r' | b'\n')).map_or(0, |last| last + 1);
        match secret.get(..end) {
            Some(secret) if !secret.is_empty() => Some(Zeroizing::new(secret.to_vec())),
            _ => {
                self.problem(if inline.is_some() { key } else { key_file }, "is empty");
                None
            }
        }
    }

    /// As [`Section::secret`], for one that is text.
    pub(crate) fn secret_text(
        &mut self,
        key: &'static str,
        key_file: &'static str,
    ) -> Option<Zeroizing<String>> {
        let secret = self.secret(key, key_file)?;
        let text = std::str::from_utf8(&secret).ok().map(|text| Zeroizing::new(text.to_owned()));
        if text.is_none() {
            self.problem(key, "is not UTF-8");
        }
        text
    }

    // INVARIANT: I10 — no problem says what stands in place of the file's name: it may be the secret itself.
    fn read_secret(&self, key_file: &str, path: &Path) -> Result<Zeroizing<Vec<u8>>, String> {
        let cannot = |error: io::Error| format!("names a file that cannot be read: {error}");
        let about = fs::metadata(path).map_err(cannot)?;
        // To open a pipe would wait for whoever writes to it.
        if !about.is_file() {
            return Err("names what is no file".into());
        }
        if others_may(&about, 0o002) {
            return Err("names a file that everybody can write: take that right away (chmod o-w)".into());
        }
        if others_may(&about, 0o004) {
            let warning = "names a file that everybody on this machine can read (chmod o-r)";
            self.notes.warn(&self.setting(key_file), warning);
        }
        let file = File::open(path).map_err(cannot)?;
        // Read into room enough: growing would leave copies behind.
        let length = usize::try_from(about.len().min(LONGEST)).unwrap_or_default();
        let mut secret = Zeroizing::new(Vec::with_capacity(length + 64));
        let read = file.take(LONGEST + 1).read_to_end(&mut secret);
        match read.map(u64::try_from) {
            Ok(Ok(length)) if length <= LONGEST => Ok(secret),
            Ok(_) => Err(format!("names a file that is longer than {LONGEST} bytes")),
            Err(error) => Err(cannot(error)),
        }
    }
}

#[cfg(unix)]
fn others_may(about: &fs::Metadata, right: u32) -> bool {
    use std::os::unix::fs::PermissionsExt;
    about.permissions().mode() & right != 0
}

#[cfg(not(unix))]
fn others_may(_about: &fs::Metadata, _right: u32) -> bool {
    false
}
