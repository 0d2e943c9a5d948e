//! `cargo xtask crash --kills N`: a writer under load is killed with SIGKILL, N times, and its log is judged each
//! time: no acknowledged event is lost, the log verifies, a torn end is cut and nothing else.
//!
//! The writer is this same program, started with `--writer`. It prints the number of each event once the log
//! acknowledged it; whatever stands in the pipe when it dies was promised.

use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::thread;
use std::time::Duration;

use hopguard_audit::{DurableLog, LogKey, LogVerifier, Mended, Promise, verify};
use hopguard_core::{AuditSink, Decision, Direction, Event, EventKind, Origin};

type Failure = Box<dyn std::error::Error>;

/// Kills for one log; then a new one is begun, so that judging stays quick.
const KILLS_PER_LOG: u64 = 25;
/// Numbers that one writer may use.
const NUMBERS_PER_WRITER: u64 = 10_000_000;
const WAIT: Duration = Duration::from_secs(60);

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match arguments.as_slice() {
        ["--writer", folder, first] => write(Path::new(folder), first),
        ["--kills", kills] => crash(kills),
        [] => crash("200"),
        _ => Err("usage: crash [--kills N]".into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("crash: {failure}");
            ExitCode::FAILURE
        }
    }
}

// === the writer ===

fn write(folder: &Path, first: &str) -> Result<(), Failure> {
    let key = LogKey::from_file(folder.join("key"))?;
    let log = DurableLog::at(folder.join("log"), key)
        .promise(Promise::BeforeAllow)
        .checkpoint_every(Duration::from_millis(7))
        .rotate_at(400_000)
        .ship_to(folder.join("elsewhere"))
        .open()?;
    if let Some(Mended::Cut(bytes)) = log.mended() {
        say(&format!("cut {bytes}"));
    }
    let (log, next) = (Arc::new(log), Arc::new(AtomicU64::new(first.parse()?)));
    let burst = {
        let (log, next) = (log.clone(), next.clone());
        // Many events at once make long writes, which a kill can tear.
        thread::spawn(move || {
            loop {
                let numbers: Vec<u64> = (0..300).map(|_| next.fetch_add(1, Ordering::Relaxed)).collect();
                let last =
                    numbers.iter().filter(|_| log.reserve().is_ok()).map(|n| log.commit_durably(event(*n)));
                // Events become safe in their order, so the last one speaks for all.
                if last.fold(None, |_, one| Some(one)).is_some_and(|last| last.wait(WAIT).is_ok()) {
                    numbers.iter().for_each(|number| say(&number.to_string()));
                }
            }
        })
    };
    let singles: Vec<_> = (0..4)
        .map(|_| {
            let (log, next) = (log.clone(), next.clone());
            thread::spawn(move || {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if log.reserve().is_ok() && log.commit_durably(event(number)).wait(WAIT).is_ok() {
                        say(&number.to_string());
                    }
                }
            })
        })
        .collect();
    let ended = singles.into_iter().chain([burst]).map(thread::JoinHandle::join).any(|ended| ended.is_err());
    Err(if ended { "a thread of the writer panicked" } else { "the writer ended by itself" }.into())
}

fn event(number: u64) -> Event {
    static ORIGIN: LazyLock<Arc<Origin>> = LazyLock::new(|| Origin::new("crash", "crash"));
    let decision = Decision::Allow("admitted");
    Event::new(number, &ORIGIN, Direction::Inbound, EventKind::Decision, "inbound", decision)
}

/// One line in one write: the pipe holds it whole or not at all.
fn say(line: &str) {
    let _reader_gone = std::io::stdout().lock().write_all(format!("{line}\n").as_bytes());
}

// === the judge ===

#[derive(Default)]
struct Totals {
    acknowledged: u64,
    records: u64,
    torn_by_kills: u64,
    torn_by_hand: u64,
}

fn crash(kills: &str) -> Result<(), Failure> {
    let kills: u64 =
        kills.parse().ok().filter(|kills| *kills > 0).ok_or("--kills needs a number from 1 on")?;
    let root = std::env::temp_dir().join(format!("hopguard-crash-{}", std::process::id()));
    let (mut totals, mut random) = (Totals::default(), 0x9e37_79b9_7f4a_7c15_u64);
    let mut done = 0;
    for log in 0.. {
        if done == kills {
            break;
        }
        let folder = root.join(log.to_string());
        let rounds = KILLS_PER_LOG.min(kills - done);
        one_log(&folder, rounds, &mut random, &mut totals)
            .map_err(|failure| format!("{failure}; the log is kept at {}", folder.display()))?;
        done += rounds;
        fs::remove_dir_all(&folder)?;
        println!("{done} of {kills} kills: {} events acknowledged, none lost", totals.acknowledged);
    }
    fs::remove_dir_all(&root)?;
    println!(
        "held: {kills} kills, {} acknowledged of {} records, every log verified after every kill, \
         {} ends torn by a kill and {} by hand, all cut",
        totals.acknowledged, totals.records, totals.torn_by_kills, totals.torn_by_hand
    );
    Ok(())
}

fn one_log(folder: &Path, kills: u64, random: &mut u64, totals: &mut Totals) -> Result<(), Failure> {
    fs::create_dir_all(folder)?;
    let key = LogKey::generate("hopguard.test/crash")?;
    fs::write(folder.join("key"), key.dangerous_expose().as_bytes())?;
    let (verifier, log) = (key.verifier(), folder.join("log"));
    let (mut acknowledged, mut torn_by_hand) = (BTreeSet::new(), None);
    for kill in 0..kills {
        let torn = torn_bytes(&log)?;
        let (said, cut) = killed(folder, kill, random)?;
        if torn > 0 && cut != torn && (cut > 0 || !said.is_empty()) {
            return Err(format!("kill {kill}: {torn} bytes were torn and {cut} were cut").into());
        }
        totals.torn_by_kills += u64::from(cut > 0 && torn_by_hand.is_none());
        totals.torn_by_hand += u64::from(cut > 0 && torn_by_hand.is_some());
        if cut > 0 || !said.is_empty() {
            torn_by_hand = None;
        }
        for number in said {
            if !acknowledged.insert(number) {
                return Err(format!("kill {kill}: event {number} was acknowledged twice").into());
            }
        }
        judge(folder, &verifier, &acknowledged).map_err(|failure| format!("kill {kill}: {failure}"))?;
        if kill % 3 == 2 && torn_by_hand.is_none() && torn_bytes(&log)? == 0 {
            torn_by_hand = tear(&log, random)?;
        }
    }
    // A last start, ended in order: the log is whole and signed to its end.
    let sink = DurableLog::at(&log, key).ship_to(folder.join("elsewhere")).open()?;
    sink.reserve()?;
    sink.commit(event(u64::MAX));
    drop(sink);
    let found = verify(&log, &verifier, &[&fs::read_to_string(folder.join("elsewhere"))?])?;
    if !found.is_sound() || found.signed != found.records || torn_bytes(&log)? > 0 {
        return Err(format!("after the last start: {found:?}").into());
    }
    judge(folder, &verifier, &acknowledged)?;
    totals.acknowledged += u64::try_from(acknowledged.len())?;
    totals.records += found.records;
    Ok(())
}

/// Starts a writer, kills it at some instant, and returns what it said: acknowledged numbers, bytes cut.
fn killed(folder: &Path, kill: u64, random: &mut u64) -> Result<(Vec<u64>, u64), Failure> {
    let mut writer = Command::new(std::env::current_exe()?)
        .arg("--writer")
        .arg(folder)
        .arg((kill * NUMBERS_PER_WRITER).to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let (output, mut errors) =
        (writer.stdout.take().ok_or("no pipe")?, writer.stderr.take().ok_or("no pipe")?);
    let (begun, first) = std::sync::mpsc::channel();
    let reader = thread::spawn(move || {
        let (mut output, mut said, mut line) = (BufReader::new(output), Vec::new(), String::new());
        while output.read_line(&mut line).is_ok_and(|length| length > 0 && line.ends_with('\n')) {
            said.push(line.trim().to_owned());
            line.clear();
            let _judge_gone = begun.send(());
        }
        said
    });
    // Most die at work; every seventh while it starts and mends.
    let micros = if kill % 7 == 6 {
        next(random) % 4_000
    } else {
        first.recv_timeout(WAIT).map_err(|_| "the writer acknowledged nothing")?;
        next(random) % 60_000
    };
    thread::sleep(Duration::from_micros(micros));
    writer.kill()?;
    writer.wait()?;
    let said = reader.join().map_err(|_| "the reader panicked")?;
    let mut complaint = String::new();
    errors.read_to_string(&mut complaint)?;
    if !complaint.is_empty() {
        return Err(complaint.into());
    }
    let (mut numbers, mut cut) = (Vec::new(), 0);
    for line in said {
        match line.strip_prefix("cut ") {
            Some(bytes) => cut = bytes.parse()?,
            None => numbers.push(line.parse()?),
        }
    }
    Ok((numbers, cut))
}

/// Every acknowledged event stands in the log once, and the log verifies against what was shipped.
fn judge(folder: &Path, verifier: &LogVerifier, acknowledged: &BTreeSet<u64>) -> Result<(), Failure> {
    let log = folder.join("log");
    let shipped = fs::read_to_string(folder.join("elsewhere")).unwrap_or_default();
    // What is shipped can itself be torn; its whole notes count.
    let whole = shipped.rfind("\n— ").and_then(|at| shipped[at + 1..].find('\n').map(|end| at + 2 + end));
    let shipped = shipped.get(..whole.unwrap_or(0)).unwrap_or_default();
    let against: &[&str] = if shipped.is_empty() { &[] } else { &[shipped] };
    let found = verify(&log, verifier, against)?;
    // The first kill may come before the first checkpoint, or even before that of the empty log.
    let not_begun =
        found.records == 0 && found.checkpoints == 0 && shipped.is_empty() && acknowledged.is_empty();
    if !found.is_sound_or_young() && !not_begun {
        return Err(format!("{found:?}").into());
    }
    let mut present = BTreeSet::new();
    for file in files(&log)? {
        let bytes = fs::read(file)?;
        let text = String::from_utf8_lossy(&bytes);
        for line in text.split_inclusive('\n').filter(|line| line.ends_with('\n')) {
            let event: serde_json::Value = serde_json::from_str(line)?;
            let number = event["time_ms"].as_u64().ok_or("an event without a time")?;
            if event["code"] == "admitted" && !present.insert(number) {
                return Err(format!("event {number} stands twice").into());
            }
        }
    }
    match acknowledged.difference(&present).next() {
        Some(lost) => Err(format!("event {lost} was acknowledged and is lost").into()),
        None => Ok(()),
    }
}

fn files(log: &Path) -> Result<Vec<PathBuf>, Failure> {
    let mut files = Vec::new();
    for entry in log.read_dir().into_iter().flatten() {
        files.push(entry?.path());
    }
    files.retain(|path| path.extension().is_some_and(|extension| extension == "jsonl"));
    files.sort();
    Ok(files)
}

/// Bytes after the last line break of the newest file.
fn torn_bytes(log: &Path) -> Result<u64, Failure> {
    let Some(newest) = files(log)?.pop() else { return Ok(0) };
    let bytes = fs::read(newest)?;
    let whole = bytes.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
    Ok(u64::try_from(bytes.len() - whole)?)
}

/// Leaves what a kill inside of one write leaves: the beginning of a record.
fn tear(log: &Path, random: &mut u64) -> Result<Option<u64>, Failure> {
    let Some(newest) = files(log)?.pop() else { return Ok(None) };
    let mut record = Vec::new();
    event(u64::MAX).write_line(&mut record)?;
    let length = 1 + next(random) % (u64::try_from(record.len())? - 1);
    let torn = record.get(..usize::try_from(length)?).ok_or("no record")?;
    OpenOptions::new().append(true).open(newest)?.write_all(torn)?;
    Ok(Some(length))
}

/// The next number of a xorshift generator: the same kills in each run.
fn next(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}
