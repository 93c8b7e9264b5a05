//! Whether a remote server is worth asking. Pure: `now` is an argument.
//!
//! ```text
//! closed ── 5 failures in 10 s ──► open ── after a back-off, the next call ──► half-open ── it works ──► closed
//!                                    ▲                                            └── it fails: a longer back-off ──► open
//! ```

use std::{collections::VecDeque, time::Duration};

use tokio::time::Instant;

use crate::{config::Restart, limits, upstream::backoff::Backoff};

#[derive(Debug, Default)]
pub(in crate::upstream) struct Breaker {
    state: State,
    /// Those of the last while, while closed.
    failures: VecDeque<Instant>,
    backoff: Backoff,
}

#[derive(Clone, Copy, Debug, Default)]
enum State {
    #[default]
    Closed,
    Open {
        until: Instant,
        wait: Duration,
    },
    /// One call is on its way to find out. Should nothing be heard of it until then, another one is.
    HalfOpen {
        until: Instant,
        wait: Duration,
    },
}

impl Breaker {
    /// May a call be made?
    ///
    /// # Errors
    /// How long to wait before asking again.
    pub(super) fn admit(&mut self, now: Instant) -> Result<(), Duration> {
        match self.state {
            State::Closed => Ok(()),
            State::Open { until, .. } | State::HalfOpen { until, .. } if now < until => Err(until - now),
            State::Open { wait, .. } | State::HalfOpen { wait, .. } => {
                self.state = State::HalfOpen { until: now + wait, wait };
                Ok(())
            }
        }
    }

    /// The server is there: it has begun to answer.
    pub(super) fn reach(&mut self) {
        if !matches!(self.state, State::Closed) {
            *self = Self::default();
        }
    }

    /// The server answered.
    pub(super) fn succeed(&mut self) {
        self.reach();
        self.failures.clear();
    }

    /// It did not, or said that it cannot. `true`: it has opened now.
    pub(super) fn fail(&mut self, restart: &Restart, now: Instant) -> bool {
        match self.state {
            // Calls made before it opened say nothing new.
            State::Open { .. } => return false,
            State::HalfOpen { .. } => {}
            State::Closed => {
                self.failures.retain(|failure| now.saturating_duration_since(*failure) < limits::BREAKER_WINDOW);
                self.failures.push_back(now);
                if self.failures.len() < limits::BREAKER_FAILURES {
                    return false;
                }
                self.failures.clear();
            }
        }
        let (wait, _) = self.backoff.fail(restart, now);
        self.state = State::Open { until: now + wait, wait };
        true
    }

    /// `closed`, `open` or `half-open`.
    pub(in crate::upstream) fn as_str(&self) -> &'static str {
        match self.state {
            State::Closed => "closed",
            State::Open { .. } => "open",
            State::HalfOpen { .. } => "half-open",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RESTART: Restart =
        Restart { max_retries: None, wait: Duration::from_secs(1), wait_max: Duration::from_secs(8), reset_after: Duration::from_secs(60) };

    fn at(start: Instant, ms: u64) -> Instant {
        start + Duration::from_millis(ms)
    }

    #[test]
    fn it_opens_after_enough_failures_in_a_while_and_lets_one_call_find_out() {
        let (mut breaker, start) = (Breaker::default(), Instant::now());
        for n in 0..4 {
            assert!(!breaker.fail(&RESTART, at(start, n)));
        }
        assert_eq!((breaker.as_str(), breaker.admit(at(start, 5))), ("closed", Ok(())));
        assert!(breaker.fail(&RESTART, at(start, 5)));
        assert!(!breaker.fail(&RESTART, at(start, 6)), "calls that were under way change nothing");
        let left = breaker.admit(at(start, 5)).unwrap_err();
        assert!((800..=1200).contains(&left.as_millis()), "{left:?}");
        assert_eq!(breaker.as_str(), "open");
        let later = at(start, 1300);
        assert_eq!((breaker.admit(later), breaker.as_str()), (Ok(()), "half-open"));
        assert!(breaker.admit(later).is_err(), "only one");
        assert!(breaker.fail(&RESTART, later));
        let left = breaker.admit(later).unwrap_err();
        assert!((1600..=2400).contains(&left.as_millis()), "longer: {left:?}");
        let later = at(start, 5000);
        assert_eq!(breaker.admit(later), Ok(()));
        breaker.succeed();
        assert_eq!((breaker.admit(later), breaker.admit(later), breaker.as_str()), (Ok(()), Ok(()), "closed"));
        assert!(!breaker.fail(&RESTART, later), "all is forgotten");
    }

    #[test]
    fn a_call_that_nothing_is_heard_of_does_not_keep_it_half_open() {
        let (mut breaker, start) = (Breaker::default(), Instant::now());
        for _ in 0..5 {
            breaker.fail(&RESTART, start);
        }
        assert_eq!(breaker.admit(at(start, 1300)), Ok(()));
        assert!(breaker.admit(at(start, 1400)).is_err());
        assert_eq!(breaker.admit(at(start, 2600)), Ok(()));
    }

    #[test]
    fn a_server_that_begins_to_answer_and_never_ends_opens_it_too() {
        let (mut breaker, start) = (Breaker::default(), Instant::now());
        let mut opened = Vec::new();
        for n in 0..5 {
            breaker.reach();
            opened.push(breaker.fail(&RESTART, at(start, n)));
        }
        assert_eq!(opened, [false, false, false, false, true]);
        assert_eq!(breaker.admit(at(start, 1300)), Ok(()));
        breaker.reach();
        assert_eq!(breaker.as_str(), "closed");
    }

    #[test]
    fn rare_failures_and_failures_between_answers_open_nothing() {
        let (mut breaker, start) = (Breaker::default(), Instant::now());
        for n in 0..50 {
            assert!(!breaker.fail(&RESTART, at(start, n * 2600)), "{n}");
        }
        let start = at(start, 1_000_000);
        for n in 0..50 {
            assert!(!breaker.fail(&RESTART, at(start, n)));
            breaker.succeed();
        }
    }
}
