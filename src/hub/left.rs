//! What callers have left behind, for the simulation: after the last of them it is nothing.

use super::Hub;

impl Hub {
    pub(crate) fn left(&self) -> Vec<String> {
        let counts = [
            ("parked calls", self.parks.len()),
            ("watches", self.watches.len()),
            ("held tasks", self.holds.len()),
            ("questions outside any call", self.asking.len()),
            ("tasks of the hub's", self.tasks.len()),
            ("sessions", self.sessions.all().len()),
            ("bytes of mail and events", self.sessions.kept()),
        ];
        counts.into_iter().filter(|(_, count)| *count > 0).map(|(what, count)| format!("{count} {what}")).collect()
    }
}
