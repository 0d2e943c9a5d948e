use std::fs;
use std::ops::Range;
use std::path::Path;

use hopguard_core::{AuditFull, AuditSink};

use super::*;
use crate::Promise;
use crate::events_for_tests::numbered;
use crate::json_lines::tests::Folder;

const SOON: Duration = Duration::from_secs(20);
const NEVER: Duration = Duration::from_secs(3600);

fn key() -> LogKey {
    LogKey::parse("PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz").unwrap()
}

fn log(folder: &Path) -> DurableLogBuilder {
    DurableLog::at(folder, key()).checkpoint_every(NEVER)
}

#[track_caller]
fn write(log: &DurableLog, numbers: Range<u64>) {
    for number in numbers {
        log.reserve().unwrap();
        log.commit(numbered(number));
    }
    assert!(log.flush(SOON));
}

/// A log of `count` records, signed at the end and wherever `stops` says.
fn written(folder: &Path, stops: &[u64]) {
    let mut from = 0;
    for &to in stops {
        let log = log(folder).open().unwrap();
        write(&log, from..to);
        from = to;
    }
}

fn lines(path: &Path) -> Vec<String> {
    fs::read_to_string(path).unwrap().lines().map(str::to_owned).collect()
}

fn put(path: &Path, lines: &[String]) {
    fs::write(path, lines.iter().map(|line| format!("{line}\n")).collect::<String>()).unwrap();
}

#[track_caller]
fn verified(folder: &Path, against: &[&str]) -> Verification {
    verify(folder, &key().verifier(), against).unwrap()
}

#[test]
fn a_log_is_continued_and_verifies() {
    let folder = Folder::new();
    written(&folder.0, &[3, 7, 20]);
    let found = verified(&folder.0, &[]);
    assert!(found.is_sound(), "{found:?}");
    // One of them is the empty log's.
    assert_eq!((found.records, found.signed, found.checkpoints, found.notes.len()), (20, 20, 4, 0));
    let other = LogKey::generate("PeterNeumann").unwrap();
    assert!(!verify(&folder.0, &other.verifier(), &[]).unwrap().is_sound());
    let error = DurableLog::at(&folder.0, other).open().unwrap_err();
    assert_eq!(error.problems()[0].setting, "audit.folder");
}

#[test]
fn files_follow_one_another() {
    let folder = Folder::new();
    {
        let log = log(&folder.0).rotate_at(4096).open().unwrap();
        for start in (0..100).step_by(10) {
            write(&log, start..start + 10);
        }
    }
    written(&folder.0, &[0]);
    let files = folder::segments(&folder.0).unwrap();
    assert!(files.len() > 2, "{files:?}");
    let found = verified(&folder.0, &[]);
    assert!(found.is_sound(), "{found:?}");
    assert_eq!((found.records, found.signed), (100, 100));
    fs::remove_file(&files[1].1).unwrap();
    let found = verified(&folder.0, &[]);
    assert_eq!(found.findings[0].kind, FindingKind::Removed, "{found:?}");
    assert_eq!(found.findings[0].records, files[1].0..files[2].0);
}

#[test]
fn checkpoints_are_signed_while_it_runs_and_shipped() {
    let folder = Folder::new();
    let elsewhere = Folder::new();
    let ship = elsewhere.0.join("orders.checkpoints");
    let log = log(&folder.0).checkpoint_every(Duration::from_millis(5)).ship_to(&ship).open().unwrap();
    write(&log, 0..3);
    let end = std::iter::repeat_with(|| fs::read_to_string(&ship).unwrap_or_default());
    let text = end.take(2_000_000).find(|text| text.ends_with('\n')).unwrap();
    assert!(text.starts_with("PeterNeumann\n"));
    drop(log);
    let shipped = fs::read_to_string(&ship).unwrap();
    assert_eq!(shipped, fs::read_to_string(folder.0.join(folder::CHECKPOINTS)).unwrap());
    assert!(verified(&folder.0, &[&shipped]).is_sound());
}

/// What could not be shipped is shipped once it can be, whether or not more is written.
#[test]
fn a_checkpoint_that_could_not_be_shipped_is_shipped_later() {
    let folder = Folder::new();
    let elsewhere = Folder::new();
    let ship = elsewhere.0.join("mount").join("held");
    fs::create_dir(elsewhere.0.join("mount")).unwrap();
    let log = log(&folder.0).checkpoint_every(Duration::from_millis(5)).ship_to(&ship).open().unwrap();
    fs::rename(elsewhere.0.join("mount"), elsewhere.0.join("gone")).unwrap();
    write(&log, 0..3);
    let signed = || fs::read_to_string(folder.0.join(folder::CHECKPOINTS)).unwrap_or_default();
    let mut texts = std::iter::repeat_with(signed).take(2_000_000);
    assert!(texts.any(|text| text.contains("\n3\n")), "{}", signed());
    fs::create_dir(elsewhere.0.join("mount")).unwrap();
    let shipped = || fs::read_to_string(&ship).unwrap_or_default();
    let mut texts = std::iter::repeat_with(shipped).take(2_000_000);
    assert!(texts.any(|text| text.contains("\n3\n")), "{}", shipped());
}

/// Without what was shipped nobody sees that a log was set back as a whole.
#[test]
fn a_signed_log_does_not_go_on_without_what_was_shipped() {
    let folder = Folder::new();
    let ship = folder.0.join("held");
    let at = folder.0.join("log");
    write(&log(&at).ship_to(&ship).open().unwrap(), 0..3);
    fs::remove_file(&ship).unwrap();
    let error = log(&at).ship_to(&ship).open().unwrap_err().to_string();
    assert!(error.contains("`ship_to`") && error.contains("held"), "{error}");
    fs::write(&ship, "").unwrap();
    drop(log(&at).ship_to(&ship).open().unwrap());
}

/// Every byte of every file: whichever is flipped, it is found, with the record or line it belongs to.
#[test]
fn any_flipped_byte_is_found_where_it_is() {
    let folder = Folder::new();
    written(&folder.0, &[2, 4]);
    let records = folder::segment(&folder.0, 0);
    for name in [records.as_path(), Path::new("leaves"), Path::new("checkpoints"), Path::new("checkpoint")] {
        let path = folder.0.join(name);
        let good = fs::read(&path).unwrap();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            fs::write(&path, &bad).unwrap();
            let found = verified(&folder.0, &[]);
            let Some(finding) = found.findings.first() else { panic!("byte {at} of {}", path.display()) };
            if path == records {
                let line = good[..at].iter().filter(|&&byte| byte == b'\n').count() as u64;
                assert_eq!(finding.records.start, line, "byte {at}: {found:?}");
            } else if name == Path::new("leaves") {
                assert_eq!((finding.kind, finding.records.start), (FindingKind::HashAltered, at as u64 / 32));
            } else {
                assert_eq!(finding.kind, FindingKind::CheckpointInvalid, "byte {at}: {found:?}");
            }
        }
        fs::write(&path, &good).unwrap();
    }
    assert!(verified(&folder.0, &[]).is_sound());
}

#[track_caller]
fn tampered(change: impl FnOnce(&mut Vec<String>), expected: &[(FindingKind, Range<u64>)]) {
    let folder = Folder::new();
    written(&folder.0, &[5, 10]);
    let path = folder::segment(&folder.0, 0);
    let mut all = lines(&path);
    change(&mut all);
    put(&path, &all);
    let found = verified(&folder.0, &[]);
    let kinds: Vec<_> = found.findings.iter().map(|f| (f.kind, f.records.clone())).collect();
    assert_eq!(kinds, expected, "{found:?}");
    // And nothing is written after it.
    assert!(log(&folder.0).open().is_err());
}

#[test]
fn what_was_done_to_records_is_told() {
    use FindingKind::{Altered, Duplicated, Inserted, Removed, Reordered, Truncated};
    tampered(|all| drop(all.remove(3)), &[(Removed, 3..4)]);
    tampered(|all| drop(all.drain(0..2)), &[(Removed, 0..2)]);
    tampered(|all| all.swap(2, 7), &[(Reordered, 2..3), (Reordered, 7..8)]);
    tampered(|all| all.insert(4, all[1].clone()), &[(Duplicated, 4..5)]);
    tampered(|all| all.push(all[1].clone()), &[(Duplicated, 10..11)]);
    tampered(|all| all.insert(4, "{}".into()), &[(Inserted, 4..5)]);
    tampered(|all| all[6] = all[6].replace("orders", "others"), &[(Altered, 6..7)]);
    tampered(|all| all.truncate(8), &[(Truncated, 8..10)]);
}

/// Whoever changes the hashes too is given away by the signature, up to the checkpoint before.
#[test]
fn records_changed_with_their_hashes_are_found() {
    let folder = Folder::new();
    written(&folder.0, &[5, 10]);
    let path = folder::segment(&folder.0, 0);
    let mut all = lines(&path);
    all[6] = all[6].replace("orders", "others");
    put(&path, &all);
    let leaves: Vec<_> = all.iter().map(|line| tree::Leaves::of(line.as_bytes())).collect();
    fs::write(folder.0.join("leaves"), leaves.as_flattened()).unwrap();
    let found = verified(&folder.0, &[]);
    assert_eq!(found.findings.len(), 1, "{found:?}");
    assert_eq!((found.findings[0].kind, found.findings[0].records.clone()), (FindingKind::Rewritten, 5..10));
    assert!(log(&folder.0).open().is_err());
}

fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(to).into_iter().flatten() {
        fs::remove_file(entry.unwrap().path()).unwrap();
    }
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

/// Cut with everything that speaks of it, or set back to an older copy, and even continued after that.
#[test]
fn an_old_copy_is_found_against_a_checkpoint_held_elsewhere() {
    let (folder, old) = (Folder::new(), Folder::new());
    written(&folder.0, &[5]);
    copy(&folder.0, &old.0);
    let log = log(&folder.0).open().unwrap();
    write(&log, 5..9);
    drop(log);
    let held = fs::read_to_string(folder.0.join("checkpoint")).unwrap();
    let history = fs::read_to_string(folder.0.join("checkpoints")).unwrap();
    assert!(verified(&folder.0, &[&held, &history]).is_sound());

    copy(&old.0, &folder.0);
    assert!(verified(&folder.0, &[]).is_sound());
    let found = verified(&folder.0, &[&held]);
    assert_eq!((found.findings[0].kind, found.findings[0].records.clone()), (FindingKind::Truncated, 5..9));
    let ship = old.0.join("held");
    fs::write(&ship, &held).unwrap();
    assert!(DurableLog::at(&folder.0, key()).ship_to(&ship).open().is_err());

    let continued = DurableLog::at(&folder.0, key()).checkpoint_every(NEVER).open().unwrap();
    write(&continued, 100..120);
    drop(continued);
    assert!(verified(&folder.0, &[]).is_sound());
    let found = verified(&folder.0, &[&held]);
    assert_eq!((found.findings[0].kind, found.findings[0].records.clone()), (FindingKind::Rewritten, 0..9));
    let found = verified(&folder.0, &[&history]);
    assert_eq!((found.findings[0].kind, found.findings[0].records.clone()), (FindingKind::Rewritten, 5..9));

    let forged = LogKey::generate("PeterNeumann").unwrap().sign(20, [0; 32]);
    let found = verified(&folder.0, &[&forged]);
    assert_eq!(found.findings[0].kind, FindingKind::CheckpointInvalid);
}

/// The wrong key, or the checkpoints of another log, are a mistake that is easily made, and no change of the log.
#[test]
fn another_logs_name_is_told_from_a_forged_signature() {
    let folder = Folder::new();
    written(&folder.0, &[5]);
    let other = LogKey::generate("billing").unwrap();
    let details = |found: Verification| found.findings.into_iter().map(|one| one.detail).collect::<Vec<_>>();
    let told = details(verify(&folder.0, &other.verifier(), &[]).unwrap());
    assert!(!told.is_empty());
    assert!(
        told.iter()
            .all(|detail| detail == "is in the name of `PeterNeumann`, and the key in that of `billing`")
    );
    let told = details(verified(&folder.0, &[&other.sign(5, [0; 32])]));
    assert_eq!(told, ["of text 1 is in the name of `billing`, and the key in that of `PeterNeumann`"]);
    let forged = LogKey::generate("PeterNeumann").unwrap();
    assert_eq!(
        details(verified(&folder.0, &[&forged.sign(5, [0; 32])])),
        ["of text 1 is not signed by this key"]
    );
    // Whatever a forger writes there is shown short, and cannot steer a terminal.
    let hostile = format!("\u{1b}[31m{}\n5\nAA==\n\n\u{2014} x AA==\n", "x".repeat(500));
    let told = details(verified(&folder.0, &[&hostile]));
    assert!(!told[0].contains('\u{1b}') && told[0].len() < 200, "{told:?}");
    fs::write(folder.0.join("checkpoint"), "").unwrap();
    assert_eq!(details(verified(&folder.0, &[])), ["is missing"]);
}

/// A crash at any byte of an unsigned end: the whole records stay, the torn one goes, and the log says so.
#[test]
fn a_torn_end_is_cut_and_told() {
    let folder = Folder::new();
    let copied = Folder::new();
    written(&folder.0, &[3]);
    let signed = fs::read(folder::segment(&folder.0, 0)).unwrap();
    let more = lines(&folder::segment(&folder.0, 0));
    // Another record than the one it is made from, whatever digits its id has: a copy would be found as such.
    let (before, id) = more[1].split_once("\"event_id\":\"").unwrap();
    let other = if id.starts_with('0') { '1' } else { '0' };
    let torn = format!("{before}\"event_id\":\"{other}{}\n{}", &id[1..], more[2]);
    for cut in (0..torn.len()).step_by(37) {
        copy(&folder.0, &copied.0);
        let mut bytes = signed.clone();
        bytes.extend_from_slice(&torn.as_bytes()[..cut]);
        fs::write(folder::segment(&copied.0, 0), &bytes).unwrap();
        assert!(verified(&copied.0, &[]).is_sound());
        let log = log(&copied.0).open().unwrap();
        let was_cut = matches!(log.mended(), Some(Mended::Cut(_)));
        write(&log, 50..51);
        drop(log);
        let found = verified(&copied.0, &[]);
        assert!(found.is_sound() && found.signed == found.records, "{cut}: {found:?}");
        let text = fs::read_to_string(folder::segment(&copied.0, 0)).unwrap();
        assert_eq!(text.contains("\"audit_mended\""), was_cut);
        let whole = 3 + u64::from(torn.as_bytes()[..cut].contains(&b'\n'));
        assert_eq!(found.records, whole + u64::from(was_cut) + 1);
    }
}

/// A log is signed before its first record, so that one without any checkpoint has lost them.
#[test]
fn a_log_without_its_checkpoints_is_not_continued() {
    let folder = Folder::new();
    let begun = log(&folder.0).open().unwrap();
    let first = fs::read_to_string(folder.0.join(folder::CHECKPOINT)).unwrap();
    assert_eq!(key().verifier().open(&first).map(|checkpoint| checkpoint.size), Some(0));
    write(&begun, 0..3);
    let all = fs::read(folder.0.join(folder::CHECKPOINTS)).unwrap();
    drop(begun);
    let delete = |names: &[&str]| names.iter().for_each(|name| fs::remove_file(folder.0.join(name)).unwrap());
    delete(&[folder::CHECKPOINT, folder::CHECKPOINTS]);
    let error = log(&folder.0).open().unwrap_err();
    assert_eq!(error.problems()[0].setting, "audit.folder");
    assert_eq!(verified(&folder.0, &[]).findings[0].kind, FindingKind::Unsigned);
    // Killed before the second one, it is continued.
    fs::write(folder.0.join(folder::CHECKPOINTS), all).unwrap();
    written(&folder.0, &[0]);
    assert!(verified(&folder.0, &[]).is_sound());
    // A kill before there was anything leaves nothing to miss.
    delete(&[folder::CHECKPOINT, folder::CHECKPOINTS, folder::LEAVES]);
    fs::write(folder::segment(&folder.0, 0), "").unwrap();
    fs::write(folder.0.join(folder::CHECKPOINTS), &first[..20]).unwrap();
    written(&folder.0, &[2]);
    assert!(verified(&folder.0, &[]).is_sound());
}

/// A kill between the history of checkpoints and the newest one's own file.
#[test]
fn the_newest_checkpoint_is_put_back() {
    let folder = Folder::new();
    let newest = folder.0.join("checkpoint");
    written(&folder.0, &[0]);
    let good = fs::read(&newest).unwrap();
    fs::remove_file(&newest).unwrap();
    assert!(verified(&folder.0, &[]).is_sound());
    drop(log(&folder.0).open().unwrap());
    assert_eq!(fs::read(&newest).unwrap(), good);
    written(&folder.0, &[3]);
    fs::remove_file(&newest).unwrap();
    assert_eq!(verified(&folder.0, &[]).findings[0].kind, FindingKind::CheckpointInvalid);
}

#[test]
fn before_allow_waits_for_the_disk() {
    let folder = Folder::new();
    let log = Arc::new(log(&folder.0).promise(Promise::BeforeAllow).open().unwrap());
    std::thread::scope(|scope| {
        for thread in 0..4u64 {
            let (log, path) = (&log, folder::segment(&folder.0, 0));
            scope.spawn(move || {
                for number in 0..10 {
                    log.reserve().unwrap();
                    let number = thread * 1000 + number + 100_000;
                    log.commit_durably(numbered(number)).wait(SOON).unwrap();
                    assert!(fs::read_to_string(&path).unwrap().contains(&format!("\"time_ms\":{number},")));
                }
            });
        }
    });
}

/// W3: nobody is admitted past a full disk. While a write fails nothing is signed.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_refuses_and_leaves_no_checkpoint() {
    let folder = Folder::new();
    let mut found = folder::open(&folder.0, &key().verifier(), None).unwrap();
    found.records = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let DurableLogBuilder { settings, limits, .. } = log(&folder.0).promise(Promise::BeforeAllow);
    let running = Running::start(limits, LogPaper::new(settings, found).unwrap(), None).unwrap();
    let queue = running.queue();
    queue.reserve().unwrap();
    assert_eq!(queue.commit_durably(numbered(0)).wait(SOON), Err(AuditFull));
    assert_eq!((queue.reserve(), queue.status().failures > 0), (Err(AuditFull), true));
    queue.tick();
    drop(running);
    assert_eq!(fs::read(folder.0.join(folder::LEAVES)).unwrap(), b"");
    let found = verified(&folder.0, &[]);
    assert_eq!((found.signed, found.checkpoints), (0, 1), "the empty log's own");
}

#[test]
fn one_writer_at_a_time() {
    let folder = Folder::new();
    let held = log(&folder.0).open().unwrap();
    assert!(log(&folder.0).open().is_err());
    drop(held);
    assert!(log(&folder.0).open().is_ok());
    let errors = log(&folder.0).places(0).rotate_at(1).checkpoint_every(Duration::ZERO).open().unwrap_err();
    let settings: Vec<_> = errors.problems().iter().map(|problem| problem.setting.as_str()).collect();
    assert_eq!(settings, ["audit.places", "audit.checkpoint_every", "audit.rotate_at"]);
}

/// The folder of `ship_to` must be there; who reads the error must find the setting.
#[test]
fn a_place_for_checkpoints_that_is_not_there_is_named() {
    let folder = Folder::new();
    let missing = folder.0.join("not/there");
    let error = DurableLog::at(folder.0.join("log"), key()).ship_to(&missing).open().unwrap_err().to_string();
    assert!(error.contains("ship_to") && error.contains("not/there"), "{error}");
    // Nothing was begun that would miss it: with the folder made, it starts.
    fs::create_dir(folder.0.join("not")).unwrap();
    drop(DurableLog::at(folder.0.join("log"), key()).ship_to(&missing).open().unwrap());
    let shipped = fs::read_to_string(&missing).unwrap();
    assert!(verified(&folder.0.join("log"), &[&shipped]).is_sound());
}

/// An empty file of checkpoints is no proof, and no change of the log either.
#[test]
fn nothing_is_compared_with_a_file_without_checkpoints() {
    let folder = Folder::new();
    written(&folder.0, &[5]);
    for (held, kind) in [
        ("", FindingKind::Unsigned),
        ("hello", FindingKind::CheckpointInvalid),
        ("hello\n", FindingKind::CheckpointInvalid),
    ] {
        let found = verified(&folder.0, &[held]);
        assert_eq!(found.findings.iter().map(|one| one.kind).collect::<Vec<_>>(), [kind], "{held:?}");
        assert!(!found.is_sound() && !found.is_sound_or_young());
        assert_eq!((found.signed, found.held), (5, 0));
    }
    let young = Folder::new();
    drop(log(&young.0).open().unwrap());
    assert!(verified(&young.0, &[""]).is_sound_or_young() && !verified(&young.0, &[""]).is_sound());
}

/// Who writes a log cannot make its records another's word: its key says whose they are.
#[test]
fn a_record_of_another_service_is_found() {
    let verified = |name: &str| {
        let folder = Folder::new();
        let key = LogKey::generate(name).unwrap();
        let verifier = key.verifier();
        let log = DurableLog::at(&folder.0, key).open().unwrap();
        // Events of `orders`.
        write(&log, 0..3);
        drop(log);
        let found = verify(&folder.0, &verifier, &[]).unwrap();
        assert_eq!((found.records, found.signed), (3, 3), "its signatures are good");
        found.findings.iter().map(|f| (f.kind, f.records.clone(), f.line)).collect::<Vec<_>>()
    };
    assert_eq!(verified("log#inventory"), [(FindingKind::ServiceForeign, 0..3, 1)]);
    for own in ["log#orders", "log#inventory,orders", "orders.internal/audit"] {
        assert_eq!(verified(own), [], "{own}");
    }
}

/// A log is begun with the checkpoint of no records: one of none without it was emptied.
#[test]
fn an_emptied_log_is_no_fresh_one() {
    let folder = Folder::new();
    written(&folder.0, &[0]);
    assert!(verified(&folder.0, &[]).is_sound(), "fresh");
    written(&folder.0, &[3]);
    let held = fs::read_to_string(folder.0.join(folder::CHECKPOINTS)).unwrap();
    let (of_none, _) = held.split_at(held.match_indices("PeterNeumann\n").nth(1).unwrap().0);
    for name in ["leaves", "00000000000000000000.jsonl"] {
        fs::write(folder.0.join(name), "").unwrap();
    }
    for name in [folder::CHECKPOINT, folder::CHECKPOINTS] {
        fs::remove_file(folder.0.join(name)).unwrap();
    }
    let found = verified(&folder.0, &[]);
    assert_eq!(found.findings.iter().map(|one| one.kind).collect::<Vec<_>>(), [FindingKind::Unsigned]);
    assert!(!found.is_sound_or_young());
    assert_eq!(verified(&folder.0, &[of_none]).findings[0].kind, FindingKind::Unsigned);
    assert_eq!(verified(&folder.0, &[&held]).findings[0].kind, FindingKind::Truncated);
    fs::remove_file(folder.0.join("leaves")).unwrap();
    assert_eq!(verified(&folder.0, &[]).findings[0].kind, FindingKind::Unsigned);
}

/// What is written and signed while it is read is not taken for what was cut.
#[test]
fn a_log_that_is_being_written_verifies() {
    let folder = Folder::new();
    let log = log(&folder.0).checkpoint_every(Duration::from_millis(1)).open().unwrap();
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for number in (0..).take_while(|_| !done.load(std::sync::atomic::Ordering::SeqCst)) {
                write(&log, number..number + 1);
                std::thread::sleep(Duration::from_micros(200));
            }
        });
        let wrong = (0..200)
            .map(|_| verified(&folder.0, &[]))
            .find(|found| found.findings.iter().any(|finding| finding.kind != FindingKind::Unsigned));
        done.store(true, std::sync::atomic::Ordering::SeqCst);
        assert!(wrong.is_none(), "{wrong:?}");
    });
}

/// A pipe that nobody writes would be waited for, and a line without an end read into memory.
#[cfg(unix)]
#[test]
fn what_is_no_log_is_no_work() {
    let folder = Folder::new();
    written(&folder.0, &[5]);
    let verify = |folder: &Path| verify(folder, &key().verifier(), &[]).map_err(|error| error.to_string());
    let long = folder::segment(&folder.0, 5);
    let file = fs::File::create(&long).unwrap();
    file.set_len(20 << 30).unwrap();
    assert!(verify(&folder.0).unwrap_err().contains("longer than any record"));
    fs::remove_file(&long).unwrap();
    assert!(std::process::Command::new("mkfifo").arg(&long).status().unwrap().success());
    assert!(verify(&folder.0).unwrap_err().contains("not a regular file"));
}
