//! Starts background tasks: the one file that may.

/// A handle that starts tasks on the runtime in which it is used.
///
/// Work that must survive its caller's cancellation (an exchange under way, a key set being refreshed) goes
/// through this handle, so that one search finds every task of the process.
#[derive(Clone, Copy, Debug, Default)]
pub struct Spawn(());

impl Spawn {
    /// Starts tasks on the Tokio runtime that is current when [`Spawn::spawn`] is called.
    #[must_use]
    pub const fn current() -> Self {
        Self(())
    }

    /// Starts `task` and forgets it: the task reports by its own means.
    ///
    /// # Panics
    ///
    /// If no Tokio runtime is current.
    #[expect(clippy::disallowed_methods, reason = "this is the one place that starts tasks")]
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        drop(tokio::spawn(task));
    }

    /// Starts `task` if a Tokio runtime is current; drops it and returns false if none is.
    #[expect(clippy::disallowed_methods, reason = "this is the one place that starts tasks")]
    pub fn try_spawn(&self, task: impl Future<Output = ()> + Send + 'static) -> bool {
        let runtime = tokio::runtime::Handle::try_current();
        runtime.is_ok_and(|_current| {
            drop(tokio::spawn(task));
            true
        })
    }
}

/// Lets the HTTP client drive its connections through the same handle.
impl<F: Future<Output = ()> + Send + 'static> hyper::rt::Executor<F> for Spawn {
    fn execute(&self, task: F) {
        self.spawn(task);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_task_runs_though_nobody_holds_it() {
        let (tell, told) = tokio::sync::oneshot::channel();
        Spawn::current().spawn(async move { tell.send(7).unwrap() });
        assert_eq!(told.await, Ok(7));
        let (tell, told) = tokio::sync::oneshot::channel();
        assert!(Spawn::current().try_spawn(async move { tell.send(7).unwrap() }));
        assert_eq!(told.await, Ok(7));
    }

    #[test]
    fn without_a_runtime_the_task_is_dropped_and_said_to_be() {
        assert!(!Spawn::current().try_spawn(async { panic!("it runs nowhere") }));
    }
}
