//! How long to wait before the next try.

use std::time::Duration;

use tokio::time::Instant;

use crate::{config::Restart, random};

/// Doubles with every failure in a row, ±20 % so that servers that failed together do not come back together.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    failures: u32,
    until: Option<Instant>,
}

impl Backoff {
    /// One more failure. The wait before the next try, and whether that try may be made unasked.
    pub(super) fn fail(&mut self, restart: &Restart, now: Instant) -> (Duration, bool) {
        self.failures = self.failures.saturating_add(1);
        let doubled = restart.wait.saturating_mul(1 << (self.failures - 1).min(20));
        let wait = doubled.min(restart.wait_max).mul_f64(jitter());
        self.until = Some(now + wait);
        (wait, restart.max_retries.is_none_or(|most| self.failures <= most))
    }

    /// An instance ran this long before it ended.
    pub(super) fn lived(&mut self, restart: &Restart, life: Duration) {
        if life >= restart.reset_after {
            *self = Self::default();
        }
    }

    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }

    pub(super) fn failures(&self) -> u32 {
        self.failures
    }

    /// What is left to wait.
    pub(super) fn left(&self, now: Instant) -> Option<Duration> {
        self.until.and_then(|until| until.checked_duration_since(now)).filter(|left| !left.is_zero())
    }

    /// A failure is not forgotten before the server had the time to prove itself.
    pub(super) fn matters(&self, restart: &Restart, now: Instant) -> bool {
        self.until.is_some_and(|until| until + restart.reset_after > now)
    }
}

/// 0.8 to 1.2.
fn jitter() -> f64 {
    let random = u32::from_ne_bytes(random::bytes());
    0.8 + 0.4 * f64::from(random) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RESTART: Restart = Restart {
        max_retries: Some(3),
        wait: Duration::from_millis(100),
        wait_max: Duration::from_secs(30),
        reset_after: Duration::from_secs(60),
    };

    #[test]
    fn waits_double_up_to_the_most_with_jitter() {
        let mut backoff = Backoff::default();
        let restart = Restart { max_retries: None, ..RESTART };
        for failures in 0..40_u32 {
            let (wait, may_retry) = backoff.fail(&restart, Instant::now());
            let expected = 0.1 * 2_f64.powi(failures as i32).min(300.0);
            let ratio = wait.as_secs_f64() / expected;
            assert!((0.799..=1.201).contains(&ratio), "{failures}: {wait:?}");
            assert!(may_retry);
        }
    }

    #[test]
    fn retries_end_at_the_most_and_health_resets_them() {
        let mut backoff = Backoff::default();
        let tries = |backoff: &mut Backoff| (0..5).map(|_| backoff.fail(&RESTART, Instant::now()).1).collect::<Vec<_>>();
        assert_eq!(tries(&mut backoff), [true, true, true, false, false]);
        backoff.lived(&RESTART, Duration::from_secs(59));
        assert!(!backoff.fail(&RESTART, Instant::now()).1);
        backoff.lived(&RESTART, Duration::from_secs(60));
        assert_eq!(backoff.left(Instant::now()), None);
        assert_eq!(tries(&mut backoff), [true, true, true, false, false]);
    }
}
