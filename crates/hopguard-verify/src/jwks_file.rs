//! Reads a JWK set from a file that somebody else keeps up to date.

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use bytes::Bytes;

/// Reads the whole file, if it is one and not longer than `at_most`; what is wrong with it, in words of ours.
///
/// It blocks. The file is local and small, and is read in the task that refreshes keys and at its pace, never while
/// a token is judged. Anything but a regular file is refused before it is opened: a pipe would block for good.
pub(crate) fn read(path: &Path, at_most: usize) -> Result<Bytes, &'static str> {
    let is_file = fs::metadata(path).map_err(|_| "the file cannot be found")?.is_file();
    if !is_file {
        return Err("the path leads to no regular file");
    }
    let file = File::open(path).map_err(|_| "the file cannot be opened")?;
    let mut text = Vec::new();
    let most = u64::try_from(at_most).unwrap_or(u64::MAX).saturating_add(1);
    file.take(most).read_to_end(&mut text).map_err(|_| "the file cannot be read")?;
    if text.len() > at_most { Err("the file is too large") } else { Ok(text.into()) }
}
