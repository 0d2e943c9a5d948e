//! One signal for everything that is taken back before it expires: keys, issuers, tokens, subjects.
//!
//! Whoever remembers a verdict or a grant asks [`Withdrawals::strikes`] at each use instead of being told to
//! forget. Asking cannot race with a verification under way, as a flush would.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use crate::withdrawal_watch::Wakers;
use crate::{Clock, Facts, Fingerprint, MAX_LEEWAY, Monotonic, UnixTime, WithdrawalWatch};

/// What is taken back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Withdrawal {
    /// Every token that this key of this issuer signed.
    Key {
        /// The issuer.
        issuer: Arc<str>,
        /// The key's `kid`.
        key_id: Arc<str>,
    },
    /// Every token of this issuer that was issued up to the moment of withdrawal.
    Issuer(Arc<str>),
    /// One token.
    Token(Fingerprint),
    /// Every token of this subject that was issued up to the moment of withdrawal.
    Subject {
        /// The issuer that the subject belongs to.
        issuer: Arc<str>,
        /// `sub`.
        subject: Arc<str>,
    },
}

#[derive(Debug)]
struct Entry {
    what: Withdrawal,
    at: UnixTime,
    until: UnixTime,
    /// `until` by the clock that nobody sets, if whoever withdrew has read it.
    ends: Option<Monotonic>,
}

/// When something is withdrawn.
#[derive(Clone, Copy, Debug)]
pub struct WithdrawnAt {
    now: UnixTime,
    monotonic: Option<Monotonic>,
}

impl WithdrawnAt {
    /// Now, by both of this clock's readings: a wall clock that is ahead for a moment lets no withdrawal be forgotten.
    #[must_use]
    pub fn by(clock: &dyn Clock) -> Self {
        Self { now: clock.now(), monotonic: Some(clock.monotonic()) }
    }
}

impl From<UnixTime> for WithdrawnAt {
    /// By the wall clock alone, which is believed.
    fn from(now: UnixTime) -> Self {
        Self { now, monotonic: None }
    }
}

#[derive(Debug, Default)]
struct Kept {
    entries: Vec<Entry>,
    // Credentials that never expire, of which there are as many as the configuration names.
    lasting: Vec<Fingerprint>,
    // Tokens whose withdrawal is over, the latest last: one of them may turn out to be such a credential.
    over: VecDeque<Fingerprint>,
}

impl Kept {
    /// Lets go of what is over at `now`, by both clocks where both are known.
    fn clear(&mut self, at: WithdrawnAt) {
        let WithdrawnAt { now, monotonic } = at;
        let Self { entries, lasting, over } = self;
        entries.retain(|entry| {
            let lasts = matches!(&entry.what, Withdrawal::Token(one) if lasting.contains(one));
            let runs = monotonic.zip(entry.ends).is_some_and(|(monotonic, ends)| monotonic < ends);
            let stays = entry.until > now || runs || lasts;
            if let (false, Withdrawal::Token(token)) = (stays, &entry.what) {
                over.push_back(*token);
            }
            stays
        });
        while over.len() > Withdrawals::MOST {
            over.pop_front();
        }
    }
}

/// No room for another withdrawal: raise the bound, or withdraw a key or an issuer instead of single tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the list of withdrawals is full")]
pub struct WithdrawalsFull;

/// The withdrawals in force, shared by every stack of a ledger.
#[derive(Debug)]
pub struct Withdrawals {
    kept: RwLock<Kept>,
    // Read without the lock, so that the usual case, nothing withdrawn, costs one load.
    count: AtomicUsize,
    // How often something was withdrawn, for those who clean up once after each.
    generation: AtomicU64,
    // Seconds for which something may run on beyond its token.
    longest_run: AtomicU64,
    // Those who run on and want to be told.
    wakers: Arc<Wakers>,
}

/// By what a withdrawal knows a token.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Struck<'a> {
    pub(crate) issuer: &'a str,
    pub(crate) subject: &'a str,
    pub(crate) key_id: Option<&'a str>,
    pub(crate) fingerprint: Fingerprint,
    pub(crate) issued_at: Option<UnixTime>,
}

impl Withdrawals {
    /// How many withdrawals are kept at once.
    pub const MOST: usize = 4096;

    pub(crate) fn new() -> Self {
        Self {
            kept: RwLock::default(),
            count: AtomicUsize::new(0),
            generation: AtomicU64::new(0),
            longest_run: AtomicU64::new(0),
            wakers: Arc::default(),
        }
    }

    /// A place among those whom the next withdrawal wakes, for what runs on.
    #[must_use]
    pub fn watch(&self) -> WithdrawalWatch {
        WithdrawalWatch::new(self.wakers.clone())
    }

    /// Something may run on for as long as `longest` beyond its token, so that no withdrawal is forgotten sooner.
    /// Called again it never shortens.
    pub fn outlasts(&self, longest: Duration) {
        let seconds = longest.as_secs().saturating_add(u64::from(longest.subsec_nanos() > 0));
        self.longest_run.fetch_max(seconds, Ordering::AcqRel);
    }

    /// A credential that never expires: its withdrawal is kept for good. One that was withdrawn before it was named
    /// here is withdrawn still, unless more than [`Withdrawals::MOST`] other withdrawals of tokens ended since.
    pub(crate) fn keep_for_good(&self, credential: Fingerprint) {
        let mut kept = self.kept.write().unwrap_or_else(PoisonError::into_inner);
        if kept.lasting.contains(&credential) {
            return;
        }
        kept.lasting.push(credential);
        if kept.over.contains(&credential) {
            kept.over.retain(|one| *one != credential);
            let what = Withdrawal::Token(credential);
            kept.entries.push(Entry {
                what,
                at: UnixTime::from_secs(0),
                until: UnixTime::from_secs(0),
                ends: None,
            });
            self.count.store(kept.entries.len(), Ordering::Release);
        }
    }

    /// Takes `what` back from `now` on: [`WithdrawnAt::by`] a clock, or at a [`UnixTime`] that is believed. It is kept until
    /// `until`, after which whatever it struck must have expired: now plus the longest life that the guards admit. Withdrawing again never shortens: of two ends
    /// the later one counts, and no withdrawal ends within [`MAX_LEEWAY`] of its beginning.
    ///
    /// # Errors
    ///
    /// [`WithdrawalsFull`] past [`Withdrawals::MOST`] in force; nothing is dropped to make room.
    pub fn withdraw(
        &self,
        what: Withdrawal,
        now: impl Into<WithdrawnAt>,
        until: UnixTime,
    ) -> Result<(), WithdrawalsFull> {
        let at = now.into();
        let now = at.now;
        let mut kept = self.kept.write().unwrap_or_else(PoisonError::into_inner);
        // INVARIANT: I18 — what a withdrawal strikes never outlives it: not a secret that does not expire, nor a stream
        // that runs on beyond its token.
        kept.clear(at);
        let entries = &mut kept.entries;
        let longest_run = Duration::from_secs(self.longest_run.load(Ordering::Acquire));
        let until = until.max(now.after(MAX_LEEWAY)).max(now.after(longest_run));
        let left = Duration::from_secs(until.as_secs().saturating_sub(now.as_secs()));
        let ends = at.monotonic.map(|monotonic| monotonic.after(left));
        let room = entries.len() < Self::MOST;
        let known = entries.iter_mut().find(|entry| entry.what == what);
        let full = known.is_none() && !room;
        match known {
            Some(known) => {
                (known.at, known.until) = (known.at.max(now), known.until.max(until));
                known.ends = known.ends.max(ends);
            }
            None if full => {}
            None => entries.push(Entry { what, at: now, until, ends }),
        }
        self.count.store(entries.len(), Ordering::Release);
        self.generation.fetch_add(1, Ordering::Release);
        drop(kept);
        // After the entry: whoever is woken finds it.
        self.wakers.wake_all();
        if full { Err(WithdrawalsFull) } else { Ok(()) }
    }

    /// How often something was withdrawn.
    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// True if a token with these facts was taken back.
    #[must_use]
    pub fn strikes(&self, token: &Facts) -> bool {
        self.strikes_these(&Struck {
            issuer: &token.issuer,
            subject: &token.subject,
            key_id: token.key_id.as_deref(),
            fingerprint: token.fingerprint,
            issued_at: token.issued_at,
        })
    }

    pub(crate) fn strikes_these(&self, token: &Struck<'_>) -> bool {
        if self.count.load(Ordering::Acquire) == 0 {
            return false;
        }
        // A token that does not say when it was issued is taken to be older than any withdrawal, and so is one
        // of an issuer whose clock may be ahead of ours: a new one waits for a minute.
        let older = |at: UnixTime| token.issued_at.is_none_or(|issued| issued <= at.after(MAX_LEEWAY));
        let kept = self.kept.read().unwrap_or_else(PoisonError::into_inner);
        kept.entries.iter().any(|entry| match &entry.what {
            Withdrawal::Key { issuer, key_id } => {
                **issuer == *token.issuer && token.key_id == Some(&**key_id)
            }
            Withdrawal::Issuer(issuer) => **issuer == *token.issuer && older(entry.at),
            Withdrawal::Token(fingerprint) => *fingerprint == token.fingerprint,
            Withdrawal::Subject { issuer, subject } => {
                **issuer == *token.issuer && **subject == *token.subject && older(entry.at)
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence_for_tests::facts;

    const AT: UnixTime = UnixTime::from_secs(1000);
    const UNTIL: UnixTime = UnixTime::from_secs(2000);

    #[track_caller]
    fn struck(what: Withdrawal, change: impl FnOnce(&mut Facts), expected: bool) {
        let withdrawals = Withdrawals::new();
        let mut token = facts();
        token.issued_at = Some(AT);
        change(&mut token);
        assert!(!withdrawals.strikes(&token));
        withdrawals.withdraw(what, AT, UNTIL).unwrap();
        assert_eq!(withdrawals.strikes(&token), expected);
    }

    #[test]
    fn each_kind_strikes_its_own() {
        let token = facts();
        let (issuer, subject) = (token.issuer.clone(), token.subject.clone());
        let key = Withdrawal::Key { issuer: issuer.clone(), key_id: "k1".into() };
        struck(key.clone(), |t| t.key_id = Some("k1".into()), true);
        struck(key.clone(), |t| t.key_id = Some("k2".into()), false);
        struck(key, |t| (t.key_id, t.issuer) = (Some("k1".into()), "https://other".into()), false);
        struck(Withdrawal::Issuer(issuer.clone()), |_| (), true);
        struck(Withdrawal::Issuer(issuer.clone()), |t| t.issued_at = None, true);
        struck(
            Withdrawal::Issuer(issuer.clone()),
            |t| t.issued_at = Some(AT.after(crate::seconds(61))),
            false,
        );
        struck(Withdrawal::Token(token.fingerprint), |_| (), true);
        struck(Withdrawal::Token(Fingerprint::of_token("other")), |_| (), false);
        let person = Withdrawal::Subject { issuer: issuer.clone(), subject };
        struck(person.clone(), |_| (), true);
        struck(person.clone(), |t| t.subject = "someone else".into(), false);
        struck(person, |t| t.issued_at = Some(AT.after(crate::seconds(61))), false);
    }

    #[test]
    fn a_clock_that_is_ahead_does_not_save_a_token() {
        let subject = Withdrawal::Subject { issuer: facts().issuer, subject: facts().subject };
        struck(subject.clone(), |t| t.issued_at = Some(AT.after(MAX_LEEWAY)), true);
        struck(subject, |t| t.issued_at = Some(AT.after(crate::seconds(61))), false);
    }

    #[test]
    fn withdrawing_again_never_shortens() {
        let withdrawals = Withdrawals::new();
        let token = facts();
        let what = || Withdrawal::Token(token.fingerprint);
        withdrawals.withdraw(what(), AT, UNTIL).unwrap();
        withdrawals.withdraw(what(), AT, UnixTime::from_secs(1001)).unwrap();
        let later = UnixTime::from_secs(1500);
        withdrawals.withdraw(Withdrawal::Token(Fingerprint::of_token("x")), later, UNTIL).unwrap();
        assert!(withdrawals.strikes(&token));
        let at_once = Withdrawals::new();
        at_once.withdraw(what(), AT, UnixTime::from_secs(0)).unwrap();
        assert!(at_once.strikes(&token));
    }

    #[test]
    fn it_is_bounded_and_drops_nothing_in_force() {
        let withdrawals = Withdrawals::new();
        for n in 0..Withdrawals::MOST {
            withdrawals
                .withdraw(Withdrawal::Token(Fingerprint::of_bytes(&n.to_le_bytes())), AT, UNTIL)
                .unwrap();
        }
        let mut first = facts();
        first.fingerprint = Fingerprint::of_bytes(&0usize.to_le_bytes());
        let one_more = Withdrawal::Token(Fingerprint::of_token("x"));
        assert_eq!(withdrawals.withdraw(one_more.clone(), AT, UNTIL), Err(WithdrawalsFull));
        let mut other = facts();
        other.fingerprint = Fingerprint::of_token("x");
        assert!(!withdrawals.strikes(&other), "there was no room");
        assert!(withdrawals.strikes(&first));
        assert_eq!(withdrawals.withdraw(one_more, UNTIL, UNTIL.after(crate::seconds(9))), Ok(()));
        assert!(!withdrawals.strikes(&first));
    }

    /// True if a withdrawal at [`AT`] that need not be kept still strikes after another one `later`.
    fn is_kept(withdrawals: &Withdrawals, later: u64) -> bool {
        let other = || Withdrawal::Token(Fingerprint::of_token("x"));
        let now = AT.after(crate::seconds(later));
        withdrawals.withdraw(Withdrawal::Token(facts().fingerprint), AT, AT).unwrap();
        withdrawals.withdraw(other(), now, now).unwrap();
        withdrawals.strikes(&facts())
    }

    #[test]
    fn it_is_kept_as_long_as_something_runs_on() {
        let running = |longest: &[Duration]| {
            let withdrawals = Withdrawals::new();
            longest.iter().for_each(|&longest| withdrawals.outlasts(longest));
            withdrawals
        };
        assert!(is_kept(&running(&[]), 59) && !is_kept(&running(&[]), 60));
        let part = [crate::seconds(100), Duration::from_millis(200_001), crate::seconds(100)];
        assert!(is_kept(&running(&part), 200) && !is_kept(&running(&part), 201));
        let whole = [crate::seconds(200)];
        assert!(is_kept(&running(&whole), 199) && !is_kept(&running(&whole), 200));
    }

    #[test]
    fn that_of_what_never_expires_is_kept_for_good() {
        let withdrawals = Withdrawals::new();
        withdrawals.keep_for_good(facts().fingerprint);
        assert!(is_kept(&withdrawals, 1_000_000));
    }

    #[test]
    fn a_secret_that_was_withdrawn_before_it_was_known_is_withdrawn_still() {
        let (withdrawals, secret) = (Withdrawals::new(), facts());
        let other = |n: usize| Withdrawal::Token(Fingerprint::of_bytes(&n.to_le_bytes()));
        withdrawals.withdraw(Withdrawal::Token(secret.fingerprint), AT, UNTIL).unwrap();
        withdrawals.withdraw(other(0), UNTIL, UNTIL).unwrap();
        assert!(!withdrawals.strikes(&secret), "an ordinary token has expired by then");
        withdrawals.keep_for_good(secret.fingerprint);
        assert!(withdrawals.strikes(&secret));
        withdrawals.withdraw(other(1), UNTIL.after(crate::minutes(9)), UNTIL).unwrap();
        assert!(withdrawals.strikes(&secret), "for good");
        let mut innocent = facts();
        innocent.fingerprint = Fingerprint::of_token("other");
        withdrawals.keep_for_good(innocent.fingerprint);
        assert!(!withdrawals.strikes(&innocent));
    }

    #[test]
    fn what_is_over_is_remembered_within_bounds() {
        let withdrawals = Withdrawals::new();
        let token = |n: usize| Fingerprint::of_bytes(&n.to_le_bytes());
        for n in 0..=Withdrawals::MOST {
            // Each is over when the next comes.
            let now = AT.after(crate::minutes(2 * n as u64));
            withdrawals.withdraw(Withdrawal::Token(token(n)), now, now).unwrap();
        }
        let end = AT.after(crate::minutes(3 * Withdrawals::MOST as u64));
        withdrawals.withdraw(Withdrawal::Issuer("https://elsewhere".into()), end, end).unwrap();
        assert_eq!(withdrawals.kept.read().unwrap().over.len(), Withdrawals::MOST);
        let struck = |n: usize| {
            withdrawals.keep_for_good(token(n));
            let mut secret = facts();
            secret.fingerprint = token(n);
            withdrawals.strikes(&secret)
        };
        assert_eq!([struck(0), struck(1), struck(Withdrawals::MOST)], [false, true, true]);
    }
}
