//! The primitives that the flights are built from: the standard library's here, `loom`'s in their model.

pub(crate) use std::sync::{Mutex, MutexGuard, atomic};
