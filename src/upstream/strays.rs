//! Calls that were given up while their server may still work on them: it may ask for them, and speak of them, as if they were open.
//!
//! Most servers stop at once when they read the cancellation and say nothing of having stopped, so only time ends a stray for certain;
//! an answer that comes after all ends it early. Pure: `now` is an argument.

use tokio::time::Instant;

use crate::mux::WireId;

/// Those told apart.
const STRAYS_MAX: usize = 64;

#[derive(Debug, Default)]
pub(super) struct Strays {
    /// And until when they count.
    each: Vec<(WireId, Instant)>,
    /// Of more of them: no answer ends these.
    others: Option<Instant>,
}

impl Strays {
    /// `wire` was given up.
    pub(super) fn add(&mut self, wire: WireId, until: Instant, now: Instant) {
        self.each.retain(|(_, until)| *until > now);
        if self.each.len() < STRAYS_MAX {
            self.each.push((wire, until));
        } else {
            self.others = self.others.max(Some(until));
        }
    }

    /// Its server is done with it.
    pub(super) fn end(&mut self, wire: WireId) {
        self.each.retain(|(stray, _)| *stray != wire);
    }

    /// When the last of them counts no more; `None`: there is none.
    pub(super) fn until(&self, now: Instant) -> Option<Instant> {
        let each = self.each.iter().map(|(_, until)| *until);
        each.chain(self.others).max().filter(|until| *until > now)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn wire(number: usize) -> WireId {
        WireId::parse(((1 << 16) + number).to_string().as_bytes()).unwrap()
    }

    #[test]
    fn a_stray_counts_until_its_answer_or_its_time() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut strays = Strays::default();
        assert_eq!(strays.until(at(0)), None);
        let [first, second] = [0, 1].map(wire);
        strays.add(first, at(30), at(0));
        strays.add(second, at(40), at(10));
        assert_eq!(strays.until(at(10)), Some(at(40)));
        strays.end(second);
        assert_eq!((strays.until(at(29)), strays.until(at(30))), (Some(at(30)), None));
        strays.end(first);
        assert_eq!(strays.until(at(10)), None);
    }

    #[test]
    fn of_more_than_are_told_apart_only_time_ends_the_rest() {
        let start = Instant::now();
        let until = start + Duration::from_secs(30);
        let ids: Vec<_> = (0..=STRAYS_MAX).map(wire).collect();
        let mut strays = Strays::default();
        ids.iter().for_each(|id| strays.add(*id, until, start));
        ids.iter().for_each(|id| strays.end(*id));
        assert_eq!((strays.until(start), strays.until(until)), (Some(until), None));
    }
}
