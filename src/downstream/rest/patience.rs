//! How long a REST client waits: `request_options`.

use std::time::Duration;

use serde::Deserialize;
use tokio::time::Instant;

/// `request_options`, in milliseconds.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(default, rename_all = "camelCase")]
pub(in crate::downstream) struct Options {
    timeout: Option<u64>,
    max_total_timeout: Option<u64>,
    reset_timeout_on_progress: bool,
}

impl Options {
    pub(super) const fn resets_on_progress(self) -> bool {
        self.reset_timeout_on_progress
    }
}

/// When the caller's patience ends.
pub(super) struct Clock {
    options: Options,
    start: Instant,
    last_sign: Instant,
}

impl Clock {
    pub(super) fn new(options: Options, start: Instant) -> Self {
        Self { options, start, last_sign: start }
    }

    pub(super) fn progress(&mut self, now: Instant) {
        if self.options.reset_timeout_on_progress {
            self.last_sign = now;
        }
    }

    /// `None`: the server's own time limits alone count.
    pub(super) fn deadline(&self) -> Option<Instant> {
        // A number that no clock can hold is no limit.
        let after = |from: Instant, ms: Option<u64>| from.checked_add(Duration::from_millis(ms?));
        let quiet = after(self.last_sign, self.options.timeout);
        let total = after(self.start, self.options.max_total_timeout);
        quiet.into_iter().chain(total).min()
    }

    pub(super) fn elapsed_ms(&self, now: Instant) -> u128 {
        now.duration_since(self.start).as_millis()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patience_ends_at_the_first_of_the_two_limits_and_progress_renews_only_one() {
        let start = Instant::now();
        let ms = Duration::from_millis;
        let options = |timeout, total, reset| Options { timeout, max_total_timeout: total, reset_timeout_on_progress: reset };
        for (options, progress_at, want) in [
            (options(None, None, false), 0, None),
            (options(Some(100), None, false), 50, Some(100)),
            (options(Some(100), None, true), 50, Some(150)),
            (options(Some(100), Some(120), true), 50, Some(120)),
            (options(None, Some(70), true), 50, Some(70)),
            (options(Some(0), None, false), 0, Some(0)),
            (options(Some(u64::MAX), Some(70), false), 0, Some(70)),
        ] {
            let mut clock = Clock::new(options, start);
            clock.progress(start + ms(progress_at));
            assert_eq!(clock.deadline(), want.map(|want| start + ms(want)), "{options:?}");
        }
    }

    #[test]
    fn options_are_read_as_their_clients_write_them() {
        let read = |text| serde_json::from_str::<Options>(text).ok();
        assert_eq!(read("{}"), Some(Options::default()));
        assert_eq!(
            read(r#"{"timeout":5000,"maxTotalTimeout":9000,"resetTimeoutOnProgress":true,"later":1}"#),
            Some(Options { timeout: Some(5000), max_total_timeout: Some(9000), reset_timeout_on_progress: true })
        );
        assert_eq!(read(r#"{"timeout":"5"}"#), None);
        assert_eq!(read(r#"{"timeout":-1}"#), None);
    }
}
