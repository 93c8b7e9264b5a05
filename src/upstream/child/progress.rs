//! Progress of one call on its way to the caller: so many a second, and of more than that the last.

use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    sync::Notify,
    time::{Instant, sleep_until},
};

use crate::{limits::PROGRESS_PER_SECOND, protocol::Message};

const WINDOW: Duration = Duration::from_secs(1);
/// A caller that reads slowly misses the oldest.
const QUEUED_MAX: usize = PROGRESS_PER_SECOND as usize;

#[derive(Debug)]
pub(in crate::upstream) struct Progress {
    state: Mutex<State>,
    came: Notify,
}

#[derive(Debug)]
struct State {
    queued: VecDeque<Message>,
    /// Over the rate: replaced by what comes later, delivered in the next window or before the answer.
    held: Option<Box<Message>>,
    window: Instant,
    in_window: u32,
}

impl Progress {
    pub(in crate::upstream) fn new(now: Instant) -> Self {
        let state = State { queued: VecDeque::new(), held: None, window: now, in_window: 0 };
        Self { state: Mutex::new(state), came: Notify::new() }
    }

    pub(in crate::upstream) fn put(&self, message: Message, now: Instant) {
        let mut state = self.lock();
        state.turn(now);
        if state.in_window < PROGRESS_PER_SECOND {
            state.in_window += 1;
            state.enqueue(message);
        } else {
            state.held = Some(Box::new(message));
        }
        drop(state);
        self.came.notify_one();
    }

    /// Cancel-safe.
    pub(in crate::upstream) async fn next(&self) -> Message {
        loop {
            let next_window = {
                let mut state = self.lock();
                state.turn(Instant::now());
                if let Some(message) = state.queued.pop_front() {
                    return message;
                }
                state.held.is_some().then(|| state.window + WINDOW)
            };
            match next_window {
                None => self.came.notified().await,
                Some(instant) => sleep_until(instant).await,
            }
        }
    }

    /// What is left, without regard to the rate: the call is over.
    pub(in crate::upstream) fn rest(&self) -> Option<Message> {
        let mut state = self.lock();
        state.queued.pop_front().or_else(|| state.held.take().map(|message| *message))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn turn(&mut self, now: Instant) {
        if now.saturating_duration_since(self.window) < WINDOW {
            return;
        }
        (self.window, self.in_window) = (now, 0);
        if let Some(message) = self.held.take() {
            self.in_window = 1;
            self.enqueue(*message);
        }
    }

    fn enqueue(&mut self, message: Message) {
        if self.queued.len() >= QUEUED_MAX {
            self.queued.pop_front();
        }
        self.queued.push_back(message);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(number: u32) -> Message {
        let text = format!(r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":1,"progress":{number}}}}}"#);
        Message::parse(text.into()).unwrap()
    }

    fn number(message: &Message) -> u32 {
        let text = String::from_utf8(message.bytes().to_vec()).unwrap();
        text.rsplit(':').next().unwrap().trim_end_matches('}').parse().unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_is_thinned_to_the_rate_and_its_last_one_arrives() {
        let start = Instant::now();
        let progress = Progress::new(start);
        for n in 0..1000 {
            progress.put(note(n), Instant::now());
        }
        for n in 0..PROGRESS_PER_SECOND {
            assert_eq!(number(&progress.next().await), n);
        }
        assert_eq!(start.elapsed(), Duration::ZERO);
        assert_eq!(number(&progress.next().await), 999);
        assert_eq!(start.elapsed(), WINDOW);
        assert!(progress.rest().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn when_the_call_ends_what_is_left_is_handed_out_at_once_and_is_bounded() {
        let progress = Progress::new(Instant::now());
        for n in 0..1000 {
            progress.put(note(n), Instant::now());
            tokio::time::advance(Duration::from_millis(60)).await;
        }
        let rest: Vec<_> = std::iter::from_fn(|| progress.rest()).map(|message| number(&message)).collect();
        assert_eq!(rest.len(), QUEUED_MAX);
        assert_eq!(rest.last(), Some(&999));
    }
}
