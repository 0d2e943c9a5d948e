//! Who allowed a relaxation, why, and until when: every `dangerous_*` setting is a table with these three.

use hopguard_core::{UnixTime, Waiver};

use crate::section::Section;

impl Section<'_> {
    /// The waiver that this table holds. What is missing is a problem; one that has ended is a warning, because the
    /// check it relaxed is then as strict as ever, and a service that restarts at night should not stand still.
    pub(crate) fn waiver(&mut self) -> Waiver {
        let reason = self.needed("reason", "why the check is relaxed");
        let owner = self.needed("owner", "who answers for it");
        self.demand("until", "the day on which the check is strict again, such as 2027-03-01");
        let until = self.date("until");
        if until.is_some_and(|until| until <= self.notes.now) {
            self.notes
                .warn(&self.setting("until"), "has passed: the check is strict again, take the setting out");
        }
        // An empty text is noted by the builder.
        Waiver::new(reason.unwrap_or("?"), owner.unwrap_or("?"), until.unwrap_or(UnixTime::from_secs(0)))
    }
}
