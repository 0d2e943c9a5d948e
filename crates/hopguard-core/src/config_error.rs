//! What is wrong with a configuration, all of it at once.

use std::fmt;

use crate::redacted;

/// One setting that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigProblem {
    /// The setting's path, such as `egress.route[1].audience`.
    pub setting: String,
    /// What is wrong with it, and what would be right.
    pub problem: String,
}

/// Every problem that was found when a stack was built.
///
/// ```
/// use hopguard_core::Problems;
///
/// let mut problems = Problems::new();
/// problems.add("inbound.ttl", "is missing: name at least one rule");
/// problems.add("inbound.audience", "is empty: name this service's own URI");
/// let errors = problems.into_result(()).unwrap_err();
/// assert_eq!(errors.problems().len(), 2);
/// assert_eq!(
///     errors.to_string(),
///     "the configuration has 2 problems\n  inbound.ttl is missing: name at least one rule\n  \
///      inbound.audience is empty: name this service's own URI",
/// );
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct ConfigErrors(Vec<ConfigProblem>);

impl ConfigErrors {
    /// The problems, in the order of the settings.
    #[must_use]
    pub fn problems(&self) -> &[ConfigProblem] {
        &self.0
    }

    /// The stable name of this failure.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        "config_invalid"
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.len() {
            1 => f.write_str("the configuration has a problem")?,
            count => write!(f, "the configuration has {count} problems")?,
        }
        self.0.iter().try_for_each(|one| write!(f, "\n  {} {}", one.setting, one.problem))
    }
}

/// The same as `Display`: it is what a program shows whose `main` returns the error.
impl fmt::Debug for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for ConfigErrors {}

/// Collects problems while a configuration is read.
#[derive(Debug, Default)]
pub struct Problems(Vec<ConfigProblem>);

impl Problems {
    /// No problem yet.
    #[must_use]
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Notes that `setting` is wrong; `problem` reads on from the setting's name. Whoever put a token into a
    /// setting does not see it again.
    pub fn add(&mut self, setting: impl Into<String>, problem: impl Into<String>) {
        // INVARIANT: I10 — what is wrong is often quoted.
        let (setting, problem) = (setting.into(), problem.into());
        let (setting, problem) = (redacted(&setting).into_owned(), redacted(&problem).into_owned());
        self.0.push(ConfigProblem { setting, problem });
    }

    /// Takes over the problems of a nested configuration, each below `parent`.
    pub fn absorb(&mut self, parent: &str, nested: ConfigErrors) {
        for one in nested.0 {
            self.add(format!("{parent}.{}", one.setting), one.problem);
        }
    }

    /// `value` if nothing was wrong.
    ///
    /// # Errors
    ///
    /// [`ConfigErrors`] with every problem that was added.
    pub fn into_result<T>(self, value: T) -> Result<T, ConfigErrors> {
        if self.0.is_empty() { Ok(value) } else { Err(ConfigErrors(self.0)) }
    }

    /// The problems as an error; for a caller that cannot go on and has at least one.
    #[must_use]
    pub fn into_errors(self) -> ConfigErrors {
        ConfigErrors(self.0)
    }

    /// True if nothing was wrong so far.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
