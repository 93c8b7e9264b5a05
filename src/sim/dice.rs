//! The world's own choices: all of them follow from the seed.

use std::time::Duration;

use tokio::{task::yield_now, time::sleep};

pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// For somebody else, who then rolls without disturbing this one.
    pub(super) fn fork(&mut self) -> Self {
        Self(self.next())
    }

    /// splitmix64
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// 0 to `end`, without it.
    pub(super) fn below(&mut self, end: u64) -> u64 {
        self.next() % end.max(1)
    }

    pub(super) fn between(&mut self, least: u64, most: u64) -> u64 {
        least + self.below(most - least + 1)
    }

    pub(super) fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    pub(super) fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[usize::try_from(self.below(of.len() as u64)).unwrap()]
    }

    pub(super) fn millis(&mut self, least: u64, most: u64) -> Duration {
        Duration::from_millis(self.between(least, most))
    }

    /// Nothing, a few turns of the scheduler, or up to so many milliseconds.
    pub(super) fn lag(&mut self, most_ms: u64) -> Lag {
        match self.below(4) {
            0 => Lag { turns: 0, wait: Duration::ZERO },
            1 => Lag { turns: self.between(1, 6), wait: Duration::ZERO },
            _ => Lag { turns: self.below(3), wait: self.millis(0, most_ms) },
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Lag {
    turns: u64,
    wait: Duration,
}

impl Lag {
    pub(super) async fn pass(self) {
        if !self.wait.is_zero() {
            sleep(self.wait).await;
        }
        for _ in 0..self.turns {
            yield_now().await;
        }
    }
}
