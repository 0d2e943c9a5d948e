//! What is run, and for how long?

use std::time::Duration;

pub(crate) const USAGE: &str =
    "usage: soak inbound|egress [--minutes N | --seconds N] [--pace N] [--sabotage unguarded|passed-on]";

/// Longer is a mistake in the command.
const LONGEST: u64 = 24 * 3600;

/// Which half of hopguard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lane {
    Inbound,
    Egress,
}

impl Lane {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Inbound => "inbound",
            Self::Egress => "egress",
        }
    }
}

/// How hopguard is broken on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sabotage {
    /// The service stands open.
    Unguarded,
    /// The service passes on the token that it received.
    PassedOn,
}

/// One run.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) lane: Lane,
    pub(crate) length: Duration,
    /// How many seconds pass in one, as the service and its issuer see it. The way out goes by the system's clock.
    pub(crate) pace: u32,
    pub(crate) sabotage: Option<Sabotage>,
}

impl Plan {
    pub(crate) fn read(arguments: &[String]) -> Result<Self, String> {
        let mut rest = arguments.iter().map(String::as_str);
        let lane = match rest.next() {
            Some("inbound") => Lane::Inbound,
            Some("egress") => Lane::Egress,
            _ => return Err("which one?".to_owned()),
        };
        let (mut seconds, mut pace, mut sabotage) = (600, None, None);
        while let Some(name) = rest.next() {
            let value = rest.next().ok_or_else(|| format!("{name} needs a value"))?;
            let number = || {
                value.parse::<u64>().ok().filter(|n| *n > 0).ok_or(format!("{name} needs a number from 1 on"))
            };
            match (name, value) {
                ("--minutes", _) => seconds = number()?.saturating_mul(60),
                ("--seconds", _) => seconds = number()?,
                ("--pace", _) => pace = Some(u32::try_from(number()?).map_err(|_| "a slower pace, please")?),
                ("--sabotage", "unguarded") if lane == Lane::Inbound => sabotage = Some(Sabotage::Unguarded),
                ("--sabotage", "passed-on") if lane == Lane::Egress => sabotage = Some(Sabotage::PassedOn),
                _ => return Err(format!("{name} {value} means nothing here")),
            }
        }
        if seconds > LONGEST {
            return Err("a day is the longest".to_owned());
        }
        // A short run is to see at least one change of keys and one outage.
        let pace = pace.unwrap_or(if seconds < 60 { 30 } else { 10 });
        Ok(Self { lane, length: Duration::from_secs(seconds), pace, sabotage })
    }
}
