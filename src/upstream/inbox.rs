//! What a server says for one call before its answer, on its way to the caller.
//!
//! Progress: so many a second, and of more than that the last. Notes: a caller that reads slowly misses the oldest. Questions are
//! bounded by their link (`SERVER_QUESTIONS_MAX`), and none is lost: one that nobody took is answered when the inbox goes.
//!
//! No `Question` is ever dropped under the lock: its drop answers the server, which takes the lock of the link.

use std::{
    collections::VecDeque,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::Notify,
    time::{Instant, sleep_until},
};

use super::{Event, Question};
use crate::{
    limits::{NOTES_QUEUED_MAX, PROGRESS_BYTES_MAX, PROGRESS_PER_SECOND},
    protocol::{Message, RequestId},
};

const WINDOW: Duration = Duration::from_secs(1);
/// A caller that reads slowly misses the oldest.
const PROGRESS_QUEUED_MAX: usize = PROGRESS_PER_SECOND as usize;

#[derive(Debug)]
pub(super) struct Inbox {
    state: Mutex<State>,
    came: Notify,
    /// The caller has left: no questions from now on.
    closed: AtomicBool,
}

#[derive(Debug)]
struct State {
    /// In the order they came.
    queued: VecDeque<Event>,
    progress: usize,
    notes: usize,
    /// Progress over the rate: replaced by what comes later, delivered in the next window or before the answer.
    held: Option<Box<Message>>,
    window: Instant,
    in_window: u32,
}

impl Inbox {
    pub(super) fn new(now: Instant) -> Self {
        let state = State { queued: VecDeque::new(), progress: 0, notes: 0, held: None, window: now, in_window: 0 };
        Self { state: Mutex::new(state), came: Notify::new(), closed: AtomicBool::new(false) }
    }

    /// What waits for a slow caller is bounded: in bytes here, in count below.
    pub(super) fn progress(&self, message: Message, now: Instant) {
        if message.bytes().len() > PROGRESS_BYTES_MAX {
            return;
        }
        let mut state = self.lock();
        state.turn(now);
        if state.in_window < PROGRESS_PER_SECOND {
            state.in_window += 1;
            state.put_progress(message);
        } else {
            state.held = Some(Box::new(message));
        }
        drop(state);
        self.came.notify_one();
    }

    pub(super) fn note(&self, message: Message) {
        let mut state = self.lock();
        if state.notes >= NOTES_QUEUED_MAX {
            state.forget_oldest(|event| matches!(event, Event::Note(_)));
            state.notes -= 1;
        }
        state.notes += 1;
        state.queued.push_back(Event::Note(message));
        drop(state);
        self.came.notify_one();
    }

    /// Handed back when the caller has left.
    pub(super) fn ask(&self, question: Question) -> Option<Question> {
        let mut state = self.lock();
        if self.is_closed() {
            return Some(question);
        }
        state.queued.push_back(Event::Question(question));
        drop(state);
        self.came.notify_one();
        None
    }

    /// The server takes a question back: handed out here if nobody took it yet, else told to who did.
    pub(super) fn withdraw(&self, id: &RequestId) -> Option<Question> {
        let mut state = self.lock();
        let at = state.queued.iter().position(|event| matches!(event, Event::Question(question) if question.id() == *id));
        let Some(at) = at else {
            state.queued.push_back(Event::Withdrawn(id.clone()));
            drop(state);
            self.came.notify_one();
            return None;
        };
        match state.queued.remove(at) {
            Some(Event::Question(question)) => Some(question),
            _ => None,
        }
    }

    /// Cancel-safe.
    pub(super) async fn next(&self) -> Event {
        loop {
            let next_window = {
                let mut state = self.lock();
                state.turn(Instant::now());
                if let Some(event) = state.pop() {
                    return event;
                }
                state.held.is_some().then(|| state.window + WINDOW)
            };
            match next_window {
                None => self.came.notified().await,
                Some(instant) => tokio::select! {
                    biased;
                    () = self.came.notified() => {}
                    () = sleep_until(instant) => {}
                },
            }
        }
    }

    /// What is left, without regard to the rate: the call is over.
    pub(super) fn rest(&self) -> Option<Event> {
        let mut state = self.lock();
        state.pop().or_else(|| state.held.take().map(|message| Event::Progress(*message)))
    }

    /// Nobody reads it any more: takes no further question, answers those that wait.
    pub(super) fn close(&self) {
        let left = {
            let mut state = self.lock();
            self.closed.store(true, Ordering::Release);
            std::mem::take(&mut state.queued)
        };
        drop(left);
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
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
            self.put_progress(*message);
        }
    }

    fn put_progress(&mut self, message: Message) {
        if self.progress >= PROGRESS_QUEUED_MAX {
            self.forget_oldest(|event| matches!(event, Event::Progress(_)));
            self.progress -= 1;
        }
        self.progress += 1;
        self.queued.push_back(Event::Progress(message));
    }

    /// Of notifications only.
    fn forget_oldest(&mut self, is_it: impl Fn(&Event) -> bool) {
        if let Some(at) = self.queued.iter().position(is_it) {
            self.queued.remove(at);
        }
    }

    fn pop(&mut self) -> Option<Event> {
        let event = self.queued.pop_front()?;
        match event {
            Event::Progress(_) => self.progress -= 1,
            Event::Note(_) => self.notes -= 1,
            _ => {}
        }
        Some(event)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(number: u32) -> Message {
        let text = format!(r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":1,"progress":{number}}}}}"#);
        Message::parse(text.into()).unwrap()
    }

    fn number(event: Event) -> u32 {
        let (Event::Progress(message) | Event::Note(message)) = event else { panic!("{event:?}") };
        let text = String::from_utf8(message.bytes().to_vec()).unwrap();
        text.rsplit(':').next().unwrap().trim_end_matches('}').parse().unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_is_thinned_to_the_rate_and_its_last_one_arrives() {
        let start = Instant::now();
        let inbox = Inbox::new(start);
        for n in 0..1000 {
            inbox.progress(note(n), Instant::now());
        }
        for n in 0..PROGRESS_PER_SECOND {
            assert_eq!(number(inbox.next().await), n);
        }
        assert_eq!(start.elapsed(), Duration::ZERO);
        assert_eq!(number(inbox.next().await), 999);
        assert_eq!(start.elapsed(), WINDOW);
        assert!(inbox.rest().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn when_the_call_ends_what_is_left_is_handed_out_at_once_and_is_bounded() {
        let inbox = Inbox::new(Instant::now());
        for n in 0..1000 {
            inbox.progress(note(n), Instant::now());
            tokio::time::advance(Duration::from_millis(60)).await;
        }
        let rest: Vec<_> = std::iter::from_fn(|| inbox.rest()).map(number).collect();
        assert_eq!(rest.len(), PROGRESS_QUEUED_MAX);
        assert_eq!(rest.last(), Some(&999));
    }

    fn asked(id: u64) -> (Question, std::sync::Arc<Mutex<Vec<u64>>>) {
        let answered = std::sync::Arc::new(Mutex::new(Vec::new()));
        let text = format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"roots/list"}}"#);
        let reply = std::sync::Arc::clone(&answered);
        let question = Question::new(Message::parse(text.into()).unwrap(), Box::new(move |_| reply.lock().unwrap().push(id)));
        (question, answered)
    }

    #[tokio::test(start_paused = true)]
    async fn everything_arrives_in_its_order_and_old_notes_give_way_to_new_ones() {
        let inbox = Inbox::new(Instant::now());
        inbox.progress(note(0), Instant::now());
        let (question, answered) = asked(0);
        assert!(inbox.ask(question).is_none());
        for n in 0..=NOTES_QUEUED_MAX as u32 {
            inbox.note(note(n));
        }
        assert_eq!(number(inbox.next().await), 0);
        let Event::Question(question) = inbox.next().await else { panic!("a question") };
        for n in 1..=NOTES_QUEUED_MAX as u32 {
            assert_eq!(number(inbox.next().await), n);
        }
        assert!(inbox.withdraw(&question.id()).is_none());
        assert!(matches!(inbox.next().await, Event::Withdrawn(id) if id == question.id()));
        assert!(inbox.rest().is_none() && answered.lock().unwrap().is_empty());
    }

    #[test]
    fn a_question_that_nobody_took_is_handed_back_or_answered_once() {
        let inbox = Inbox::new(Instant::now());
        let (question, answered) = asked(1);
        let id = question.id();
        assert!(inbox.ask(question).is_none());
        assert!(inbox.withdraw(&id).is_some());
        assert_eq!(*answered.lock().unwrap(), [1], "by the drop of what was handed back");
        let (question, answered) = asked(2);
        assert!(inbox.ask(question).is_none());
        inbox.close();
        inbox.close();
        assert_eq!(*answered.lock().unwrap(), [2]);
        let (question, answered) = asked(3);
        assert!(inbox.ask(question).is_some());
        assert_eq!(*answered.lock().unwrap(), [3]);
    }
}
