//! A route's target, made ready for one exchanger: what is equal for every caller is worked out once.

use std::fmt;
use std::sync::Arc;

use hopguard_core::{Destination, Exchange};

use crate::Exchanger;
use crate::key::RouteKeys;
use crate::request::ExchangeParts;

/// What is asked for calls to one destination, by [`Exchanger::prepare`]. Cloning it shares it.
#[derive(Clone)]
pub struct Prepared(Arc<Inner>);

struct Inner {
    target: Exchange,
    destination: Destination,
    keys: RouteKeys,
    form: ExchangeParts,
}

impl Prepared {
    /// What is asked.
    #[must_use]
    pub fn target(&self) -> &Exchange {
        &self.0.target
    }

    /// Where the grants are good for.
    #[must_use]
    pub fn destination(&self) -> &Destination {
        &self.0.destination
    }

    pub(crate) fn keys(&self) -> &RouteKeys {
        &self.0.keys
    }

    pub(crate) fn form(&self) -> &ExchangeParts {
        &self.0.form
    }
}

impl fmt::Debug for Prepared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Prepared").field(&self.0.target).field(&self.0.destination).finish()
    }
}

impl Exchanger {
    /// Makes ready what calls to `destination` ask for. Nothing is fetched.
    #[must_use]
    pub fn prepare(&self, target: &Exchange, destination: &Destination) -> Prepared {
        let keys = self.0.keys.of_route(target, destination);
        let (target, destination, form) = (target.clone(), destination.clone(), ExchangeParts::of(target));
        Prepared(Arc::new(Inner { target, destination, keys, form }))
    }
}
