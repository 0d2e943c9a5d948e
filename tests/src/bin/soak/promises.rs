//! Which promises broke, how often, and how the first time.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

/// What is held against the run. Cloning shares it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Promises(Arc<Mutex<BTreeMap<&'static str, (u64, String)>>>);

impl Promises {
    /// `promise` did not hold; the first instance is kept.
    pub(crate) fn broke(&self, promise: &'static str, instance: impl FnOnce() -> String) {
        let mut broken = self.0.lock().unwrap();
        broken.entry(promise).or_insert_with(|| (0, instance())).0 += 1;
    }

    /// Unless `holds`, `promise` broke.
    pub(crate) fn hold(&self, promise: &'static str, holds: bool, instance: impl FnOnce() -> String) {
        if !holds {
            self.broke(promise, instance);
        }
    }

    pub(crate) fn all_held(&self) -> bool {
        self.0.lock().unwrap().is_empty()
    }

    pub(crate) fn told(&self) -> Value {
        let broken = self.0.lock().unwrap();
        let one = |(promise, (times, first)): (&&str, &(u64, String))| json!({ "promise": promise, "times": times, "first": first });
        broken.iter().map(one).collect()
    }
}
