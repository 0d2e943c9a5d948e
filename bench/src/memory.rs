//! What a remembered token takes up, whether the bounds hold, and what each kind of key for it costs.

use std::borrow::Borrow;
use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::hint::black_box;
use std::rc::Rc;
use std::sync::{Arc, LazyLock};

use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::digest;
use hopguard_client::{Spawn, SystemClock};
use hopguard_core::{Ledger, RawToken};
use hopguard_verify::{Check, Issuer, Verifier};
use http::StatusCode;
use quick_cache::sync::{Cache, DefaultLifecycle};
use quick_cache::{DefaultHashBuilder, UnitWeighter};
use serde_json::{Value, json};

use crate::clock::Whose;
use crate::counting::{Counted, counted as allocated, counting};
use crate::harness::{Group, Lane, Pace};
use crate::inbound::{PEER, floors};
use crate::world::{Bare, ISSUER, Key, Sts, audit, claims, drive, guard, request};

/// What is remembered at most unless set.
const REMEMBERED: usize = 10_000;
/// What one remembered token may take up.
const ENTRY: f64 = 2048.0;
/// What a full ledger takes up, as its documentation says.
const LEDGER: f64 = 64e6;
/// Asks this program to be the process whose resident size is looked at.
pub(crate) const RESIDENT: &str = "--resident";

/// Bytes for each remembered token, and the bounds under a flood of distinct ones.
pub(crate) fn bounds(pace: Pace) -> Group {
    let quick = pace.rounds < Pace::FULL.rounds;
    let mut group = Group::new(Whose::Thread);
    let key = Key::eddsa();

    let tokens = raw(key.tokens(REMEMBERED).iter());
    let mean = tokens.iter().map(|token| token.dangerous_expose().len()).sum::<usize>() / tokens.len();
    assert!((850..950).contains(&mean), "{mean} bytes");
    let kept = kept_after(&key, REMEMBERED, &tokens).map(|kept| kept / REMEMBERED as f64);
    group.count("memory: one verified token", "hopguard", "bytes", kept, ("the budget", ENTRY));

    // Hundreds of small claims: in memory many times what they are as text.
    let wide: Vec<_> = (0..3000).map(|n| Arc::from(key.token(&wide(n)).as_str())).collect();
    let kept = kept_after(&key, 1000, &raw(wide.iter()));
    let most = 1000.0 * ENTRY;
    group.count("memory: 3000 wide tokens where 1000 fit", "hopguard", "bytes", kept, ("the bound", most));

    let flood = if quick { 250_000 } else { 1_000_000 };
    let grown = resident_of(flood);
    let bound = REMEMBERED as f64 * ENTRY + LEDGER;
    let path = format!("memory: resident after {flood} distinct tokens");
    group.count(
        &path,
        "hopguard",
        "KiB",
        grown.map(|grown| grown / 1024.0),
        ("verified tokens and ledger, full", bound / 1024.0),
    );
    group
}

fn raw<'a>(tokens: impl Iterator<Item = &'a Arc<str>>) -> Vec<Arc<RawToken>> {
    tokens.map(|token| RawToken::new(token)).collect()
}

/// The bytes that are still allocated after a verifier, with room for `most`, has seen these tokens.
fn kept_after(key: &Key, most: usize, tokens: &[Arc<RawToken>]) -> Option<f64> {
    let ledger = Ledger::bounded();
    let jwks = key.jwks();
    let mut kept = None;
    let counted = allocated(|| {
        let verifier = Verifier::builder(Arc::new(Sts::silent()), SystemClock::shared(), Spawn::current())
            .issuer(Issuer::at(ISSUER).keys_fixed(&jwks))
            .remember_at_most(most)
            .build()
            .expect("a verifier");
        for token in tokens {
            assert!(matches!(verifier.check(token, ledger.withdrawals()), Check::Done(Ok(_))));
        }
        kept = Some(verifier);
    });
    drop(kept);
    counted.map(|counted| counted.bytes_kept as f64)
}

fn wide(n: usize) -> Value {
    let mut wide = claims();
    wide["jti"] = json!(format!("wide-{n}"));
    wide["may_act"] = (0..120).map(|party| json!({ "sub": format!("s{party}") })).collect();
    wide
}

/// How much the resident size of a process grows by so many distinct tokens: a new one, in which nothing else was
/// ever allocated and given back. The program that counts leaves this to the one that measures.
fn resident_of(flood: usize) -> Option<f64> {
    if counting() {
        return None;
    }
    let own = std::env::current_exe().expect("this program");
    let output = std::process::Command::new(own)
        .args([RESIDENT, &flood.to_string()])
        .stderr(std::process::Stdio::inherit())
        .output()
        .expect("this program once more");
    let text = String::from_utf8(output.stdout).expect("text");
    Some(text.trim().parse().expect("a number of bytes"))
}

/// The other side of [`resident_of`]: prints the bytes by which the resident size grew.
pub(crate) fn resident(flood: usize) {
    let key = Key::eddsa();
    let stack = guard(&Ledger::bounded(), &audit(), &key);
    let mut service = stack.around(Bare).for_peer(PEER);
    let mut see = |count: usize| {
        for _ in 0..count {
            assert_eq!(drive(&mut service, request(&key.token(&claims()))), StatusCode::OK);
        }
    };
    see(100);
    let before = resident_now();
    see(flood);
    println!("{}", resident_now().saturating_sub(before));
}

/// The resident size of this process in bytes (`proc(5)`, `status`).
fn resident_now() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let size =
        status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.strip_suffix("kB")).expect("VmRSS");
    size.trim().parse::<usize>().expect("a number") * 1024
}

/// Keys under which a token could be remembered: a whole hit of each, and the memory it takes.
pub(crate) fn keys(_: Pace) -> Group {
    let mut group = Group::new(Whose::Thread);
    let (es256, rs256) = (Key::es256(), Key::rs256());
    let floors = floors(&mut group, &es256, &rs256);
    let tokens: Rc<Vec<Arc<str>>> = Rc::new(es256.tokens(REMEMBERED));

    let sha256: fn(&str) -> [u8; 32] =
        |token| digest::digest(&digest::SHA256, token.as_bytes()).as_ref().try_into().expect("32 bytes");
    let gmac = {
        let key = LessSafeKey::new(UnboundKey::new(&AES_128_GCM, &[7; 16]).expect("a key"));
        move |token: &str| -> [u8; 16] {
            let nonce = Nonce::assume_unique_for_key([0; 12]);
            let tag = key.seal_in_place_separate_tag(nonce, Aad::from(token.as_bytes()), &mut []);
            tag.expect("a tag").as_ref().try_into().expect("16 bytes")
        }
    };
    let mut each = |name: &str, mut hit: Hit, bytes: Option<f64>| {
        let hit = Rc::new(std::cell::RefCell::new(move |token: &str| assert!(hit(token))));
        for (callers, spread) in [(100, "100 callers"), (REMEMBERED, "10 000 callers")] {
            let (hit, tokens, mut next) = (hit.clone(), tokens.clone(), 0);
            let lane = group.lane(Lane::new(format!("{name}, {spread}"), move || {
                next = (next + 1) % callers;
                hit.borrow_mut()(&tokens[next]);
            }));
            group.compare(format!("token key: {name}, {spread}"), lane, floors.rs256, None).allocations(None);
        }
        // Against the shortest key there is.
        group.count(
            &format!("token key: {name}, bytes"),
            name,
            "bytes",
            bytes,
            ("the budget of an entry", ENTRY),
        );
    };

    let (hit, bytes) = table(&tokens, Spread, sha256);
    each("SHA-256", hit, bytes);
    let (hit, bytes) = table(&tokens, Spread, gmac);
    each("keyed universal hash (GMAC)", hit, bytes);
    nh("the key is not counted");
    let (hit, bytes) = table(&tokens, Spread, nh);
    each("keyed universal hash (NH)", hit, bytes);
    let (hit, bytes) = compared(&tokens, RandomState::new());
    each("SipHash and comparison", hit, bytes);
    let (hit, bytes) = compared(&tokens, DefaultHashBuilder::default());
    each("foldhash and comparison", hit, bytes);
    group
}

/// NH as the memory has it, under a key that is no secret: both sums, and the length.
fn nh(token: &str) -> [u64; 5] {
    static KEY: LazyLock<Vec<[u64; 2]>> = LazyLock::new(|| {
        let drawn = RandomState::new();
        (0..258_u64).map(|n| [drawn.hash_one(n), drawn.hash_one(!n)]).collect()
    });
    let (blocks, rest) = token.as_bytes().as_chunks();
    let mut last = [0; 16];
    last.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
    let mut sums = [0_u128; 2];
    for (block, keys) in blocks.iter().chain([&last]).zip(KEY.array_windows::<2>()) {
        let block = u128::from_le_bytes(*block);
        let [first, second] = [block as u64, (block >> 64) as u64];
        for (sum, [low, high]) in sums.iter_mut().zip(keys) {
            let product = u128::from(first.wrapping_add(*low)) * u128::from(second.wrapping_add(*high));
            *sum = sum.wrapping_add(product);
        }
    }
    let [low, high] = sums.map(|sum| [sum as u64, (sum >> 64) as u64]);
    [low[0] ^ low[1], low[1], high[0], high[1], token.len() as u64]
}

/// Looks one token up; true if it was there.
type Hit = Box<dyn FnMut(&str) -> bool>;

/// A table under digests; a hit is a digest and a lookup.
fn table<K: Copy + Eq + Hash + 'static>(
    tokens: &[Arc<str>],
    spread: impl BuildHasher + Clone + 'static,
    key: impl Fn(&str) -> K + 'static,
) -> (Hit, Option<f64>) {
    let mut made = None;
    let counted = allocated(|| {
        let table = empty(spread.clone());
        tokens.iter().for_each(|token| table.insert(key(token), 0_u64));
        made = Some(table);
    });
    let table = made.expect("a table");
    (Box::new(move |token| black_box(table.get(&key(token))).is_some()), counted.map(per_entry))
}

/// A table under the tokens themselves; a hit is a hash, a lookup and a comparison of all bytes.
fn compared(tokens: &[Arc<str>], spread: impl BuildHasher + Clone + 'static) -> (Hit, Option<f64>) {
    let mut made = None;
    let counted = allocated(|| {
        let table = empty(spread.clone());
        tokens.iter().for_each(|token| table.insert(Text(token.as_ref().into()), 0_u64));
        made = Some(table);
    });
    let table = made.expect("a table");
    (Box::new(move |token| black_box(table.get(token)).is_some()), counted.map(per_entry))
}

fn empty<K: Eq + Hash, S: BuildHasher + Clone>(spread: S) -> Cache<K, u64, UnitWeighter, S> {
    // Somewhat larger than what goes in: nothing has to leave because one shard got more than its share.
    let most = REMEMBERED * 3 / 2;
    Cache::with(most, most as u64, UnitWeighter, spread, DefaultLifecycle::default())
}

fn per_entry(counted: Counted) -> f64 {
    counted.bytes_kept as f64 / REMEMBERED as f64
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct Text(Box<str>);

impl Borrow<str> for Text {
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// A digest is as good as random: eight bytes of it spread it over the table, as in the memory itself.
#[derive(Clone, Copy)]
struct Spread;

#[derive(Default)]
struct First(u64);

impl BuildHasher for Spread {
    type Hasher = First;

    fn build_hasher(&self) -> First {
        First::default()
    }
}

impl Hasher for First {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        if let Some(first) = bytes.first_chunk() {
            self.0 = u64::from_le_bytes(*first);
        }
    }
}
