//! Tokens of our own: the client credentials grant (RFC 6749 section 4.4), kept and proven like any other.

use std::future::ready;
use std::sync::Arc;

use hopguard_client::BoxFuture;
use hopguard_core::{AsOurselves, CacheState, Destination, Granted, Refusal};

use crate::exchanger::{Exchanger, Job};

impl Exchanger {
    /// The token of our own for calls to `destination` if a live one is in the cache: no waiting. A use near its
    /// end begins to fetch its successor.
    #[must_use]
    pub fn own_cached(&self, target: &AsOurselves, destination: &Destination) -> Option<Granted> {
        let key = self.0.keys.own_key(target, destination);
        let found = self.0.kept(key, None, self.0.clock.unix_millis())?;
        Some(self.0.used(key, &found, || Job::own(key, target, destination)))
    }

    /// The token of our own for calls to `destination`, asking for it if need be. Who may cause that is judged
    /// before: [`AsOurselves::demand`].
    ///
    /// ```no_run
    /// # use hopguard_core::{AsOurselves, Destination, Refusal};
    /// # async fn of(exchanger: hopguard_exchange::Exchanger, ledger: Destination) -> Result<(), Refusal> {
    /// let target = AsOurselves::audience("https://ledger.internal").scope("entries:write").requires_none();
    /// let (grant, _from) = exchanger.own_grant(&target, &ledger).await?;
    /// assert!(grant.parent().is_none());
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// Faults alone, as [`grant`](Self::grant) has them: there is no caller to blame.
    #[must_use = "nothing is asked before the future is polled"]
    pub fn own_grant(
        &self,
        target: &AsOurselves,
        destination: &Destination,
    ) -> BoxFuture<'static, Result<(Granted, CacheState), Refusal>> {
        let key = self.0.keys.own_key(target, destination);
        if let Some(granted) = self.own_cached(target, destination) {
            return Box::pin(ready(Ok((granted, CacheState::Hit))));
        }
        Box::pin(Arc::clone(&self.0).wait_for(Job::own(key, target, destination)))
    }

    /// Drops a token of our own that its destination has refused with `invalid_token`. A newer one stays.
    pub fn forget_own(&self, target: &AsOurselves, destination: &Destination, refused: &Granted) {
        let key = self.0.keys.own_key(target, destination);
        self.0.cache.forget(key, refused.facts().fingerprint);
    }
}
