//! Opening the file, and mending its last line if a crash tore it.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::Path;

use super::Mended;

/// A last line longer than this was not written by us.
pub(crate) const LONGEST_LINE: u64 = 1024 * 1024;
/// How every line of ours begins, after the version.
const BEGINNING: [&[u8]; 2] = [b"{\"version\":", b",\"time_ms\":"];

/// What every event has; other programs write JSON with a `version`, too.
#[derive(serde::Deserialize)]
struct Ours {
    #[serde(rename = "version")]
    _version: u16,
    #[serde(rename = "time_ms")]
    _time: u64,
    #[serde(rename = "event_id")]
    _id: String,
    #[serde(rename = "decision")]
    _decision: String,
    #[serde(rename = "code")]
    _code: String,
}

fn is_event(line: &[u8]) -> bool {
    serde_json::from_slice::<Ours>(line).is_ok()
}

/// True if an event of ours can begin like this.
fn may_begin_an_event(torn: &[u8]) -> bool {
    let [open, then] = BEGINNING;
    let Some(rest) = torn.strip_prefix(open) else { return open.starts_with(torn) };
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let rest = rest.get(digits..).unwrap_or_default();
    rest.is_empty() || (digits > 0 && (rest.starts_with(then) || then.starts_with(rest)))
}

/// Fails unless `path` is a regular file: opening a pipe that nobody writes would wait for good.
pub(crate) fn regular(path: &Path) -> io::Result<()> {
    if path.metadata()?.is_file() { Ok(()) } else { Err(io::Error::other("it is not a regular file")) }
}

/// Opens `path` for appending, alone. The error reads on from the path.
pub(crate) fn open(path: &Path) -> Result<(File, Option<Mended>), String> {
    match path.metadata() {
        Ok(metadata) if !metadata.is_file() => return Err("is not a regular file".to_owned()),
        Ok(_) => (),
        Err(error) if error.kind() == ErrorKind::NotFound => (),
        Err(error) => return Err(cannot("be read", &error)),
    }
    let mut options = OpenOptions::new();
    options.read(true).append(true).create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path).map_err(|error| cannot("be opened for appending", &error))?;
    match file.try_lock() {
        Ok(()) => (),
        Err(TryLockError::WouldBlock) => return Err("is being written by another sink or process".to_owned()),
        // Some file systems know no locks; that two processes share a file there is beyond what can be seen.
        Err(TryLockError::Error(error)) if error.kind() == ErrorKind::Unsupported => (),
        Err(TryLockError::Error(error)) => return Err(cannot("be locked", &error)),
    }
    let mended = mend(&mut file).map_err(|error| cannot("be mended", &error))??;
    match mended {
        None => (),
        Some(Mended::Ended) => {
            tracing::warn!("the audit log's last line had no end; it was whole and was ended");
        }
        Some(Mended::Cut(bytes)) => {
            tracing::warn!(bytes, "the audit log's last line was torn; it was cut off");
        }
    }
    Ok((file, mended))
}

fn cannot(what: &str, error: &io::Error) -> String {
    format!("cannot {what}: {error}")
}

/// Makes the file end with a line break, or finds that it is none of ours.
fn mend(file: &mut File) -> io::Result<Result<Option<Mended>, String>> {
    let length = file.seek(SeekFrom::End(0))?;
    let start = length.saturating_sub(LONGEST_LINE);
    let mut end = Vec::new();
    file.seek(SeekFrom::Start(start))?;
    file.read_to_end(&mut end)?;
    let mut lines = end.rsplit(|&byte| byte == b'\n');
    let last = lines.next().unwrap_or_default();
    // The line before tells whose file it is, unless it began before the part that was read.
    if lines.next().is_some_and(|whole| !is_event(whole)) {
        return Ok(Err("ends in something that is no audit event: name another file".to_owned()));
    }
    if last.is_empty() {
        return Ok(Ok(None));
    }
    let torn = u64::try_from(last.len()).unwrap_or(length);
    let foreign = || Ok(Err("ends in something that is no audit event: name another file".to_owned()));
    // Without a line break in the part that was read, the line is longer than any of ours.
    if torn > LONGEST_LINE - 1 {
        return foreign();
    }
    if is_event(last) {
        file.write_all(b"\n")?;
        return Ok(Ok(Some(Mended::Ended)));
    }
    // A loss of power can leave zeros where the file had grown and the bytes had not arrived.
    let written = last.iter().rposition(|&byte| byte != 0).map_or(0, |at| at + 1);
    let text = last.get(..written).unwrap_or_default();
    // Only our own beginning is ever cut away: somebody else's file that was named by mistake is left alone.
    if !may_begin_an_event(text) {
        return foreign();
    }
    file.set_len(length - torn)?;
    file.seek(SeekFrom::End(0))?;
    Ok(Ok(Some(Mended::Cut(torn))))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::json_lines::tests::Folder;

    pub(crate) const WHOLE: &str =
        r#"{"version":1,"time_ms":7,"event_id":"00","decision":"allow","code":"admitted"}"#;

    #[track_caller]
    fn mended(before: &str, expected: Result<Option<Mended>, ()>, after: &str) {
        let folder = Folder::new();
        let path = folder.file();
        std::fs::write(&path, before).unwrap();
        let found = open(&path).map(|(_, mended)| mended).map_err(drop);
        assert_eq!(found, expected, "{before:?}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), after);
    }

    #[test]
    fn a_torn_line_is_cut_and_nothing_else() {
        mended("", Ok(None), "");
        mended(&format!("{WHOLE}\n"), Ok(None), &format!("{WHOLE}\n"));
        mended(WHOLE, Ok(Some(Mended::Ended)), &format!("{WHOLE}\n"));
        mended(&format!("{WHOLE}\n{WHOLE}"), Ok(Some(Mended::Ended)), &format!("{WHOLE}\n{WHOLE}\n"));
        for torn in [
            "{",
            "{\"versi",
            "{\"version\":1,\"time_ms\":7,\"eve",
            "\0\0\0",
            "{\"version\":1,\0\0",
            "{\"version\":1,\"ti",
        ] {
            let cut = Mended::Cut(torn.len() as u64);
            mended(&format!("{WHOLE}\n{torn}"), Ok(Some(cut)), &format!("{WHOLE}\n"));
            mended(torn, Ok(Some(cut)), "");
        }
    }

    #[test]
    fn a_file_of_somebody_else_is_left_alone() {
        for foreign in [
            "root:x:0:0",
            "root:x:0:0\n",
            "{\"other\":1}",
            "{\"other\":1}\n",
            // Files of other programs that begin as ours do: ended, torn, and one before our own torn beginning.
            "{\"version\":1,\"packages\":[]}\n",
            "{\"version\":1,\"packages\":[]}",
            "{\"version\":1,\"packa",
            "{\"version\":1,\"packages\":[]}\n{\"versi",
            "\n",
            "line\nno end",
            &"x".repeat(2 << 20),
        ] {
            mended(foreign, Err(()), foreign);
        }
    }

    #[test]
    fn what_cannot_be_opened_is_said_in_a_sentence() {
        let folder = Folder::new();
        assert_eq!(open(&folder.0).unwrap_err(), "is not a regular file");
        let missing = open(&folder.0.join("none/audit.jsonl")).unwrap_err();
        assert!(missing.starts_with("cannot be opened for appending: "), "{missing}");
        let held = open(&folder.file()).unwrap();
        assert_eq!(open(&folder.file()).unwrap_err(), "is being written by another sink or process");
        drop(held);
        open(&folder.file()).unwrap();
    }

    #[cfg(unix)]
    #[test]
    fn only_the_owner_reads_it() {
        use std::os::unix::fs::PermissionsExt;
        let folder = Folder::new();
        open(&folder.file()).unwrap();
        assert_eq!(folder.file().metadata().unwrap().permissions().mode() & 0o077, 0);
    }
}
