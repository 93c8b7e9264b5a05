//! What a session is told without having asked: changes of lists, updates, logs, questions. One reader at a time takes it: the
//! stream of a GET, or the writer of a pipe.

use std::{
    collections::VecDeque,
    future::poll_fn,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use bytes::Bytes;

use super::{Session, store::Budget};
use crate::{
    limits,
    protocol::{Body, Method},
};

/// A list whose changes are announced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum List {
    Tools,
    Prompts,
    Resources,
}

impl List {
    pub(super) const ALL: [Self; 3] = [Self::Tools, Self::Prompts, Self::Resources];

    pub(in crate::hub) const fn method(self) -> Method<'static> {
        match self {
            Self::Tools => Method::ToolsListChanged,
            Self::Prompts => Method::PromptsListChanged,
            Self::Resources => Method::ResourcesListChanged,
        }
    }

    fn changed(self) -> Body {
        let line: &[u8] = match self {
            Self::Tools => br#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#,
            Self::Prompts => br#"{"jsonrpc":"2.0","method":"notifications/prompts/list_changed"}"#,
            Self::Resources => br#"{"jsonrpc":"2.0","method":"notifications/resources/list_changed"}"#,
        };
        Body::one(Bytes::from_static(line))
    }
}

/// A set of `List`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::hub) struct Lists(u8);

impl Lists {
    pub(in crate::hub) const ALL: Self = Self(1 << List::Tools as u8 | 1 << List::Prompts as u8 | 1 << List::Resources as u8);

    pub(in crate::hub) fn add(&mut self, other: Self) {
        self.0 |= other.0;
    }

    pub(in crate::hub) const fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(in crate::hub) const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    pub(in crate::hub) fn take_first(&mut self) -> Option<List> {
        let first = List::ALL.into_iter().find(|list| self.0 & Self::from(*list).0 != 0)?;
        self.0 &= !Self::from(first).0;
        Some(first)
    }
}

impl From<List> for Lists {
    fn from(list: List) -> Self {
        Self(1 << list as u8)
    }
}

/// What waits for a reader: at most `limits::MAIL_MAX` messages and `limits::MAIL_BYTES_MAX` bytes (or one message), and one
/// mark for each list that changed. Without a reader it waits too.
pub(super) struct Outbox {
    budget: Arc<Budget>,
    changed: Lists,
    queue: VecDeque<Letter>,
    bytes: usize,
    /// Who reads; the last to come.
    reader: Option<u32>,
    readers: u32,
    waker: Option<Waker>,
    closed: bool,
}

struct Letter {
    body: Body,
    /// Somebody waits for the answer: not dropped to make room.
    is_question: bool,
}

impl Outbox {
    pub(super) fn new(budget: &Arc<Budget>) -> Self {
        Self {
            budget: Arc::clone(budget),
            changed: Lists::default(),
            queue: VecDeque::new(),
            bytes: 0,
            reader: None,
            readers: 0,
            waker: None,
            closed: false,
        }
    }

    /// `false` when there is no room, or nobody will ever read. The oldest notices make room for what is newer.
    fn put(&mut self, letter: Letter) -> bool {
        if self.closed {
            return false;
        }
        let len = letter.body.len();
        while self.queue.len() >= limits::MAIL_MAX || !self.queue.is_empty() && self.bytes + len > limits::MAIL_BYTES_MAX {
            let Some(oldest) = self.queue.iter().position(|letter| !letter.is_question) else { return false };
            let removed = self.queue.remove(oldest).map_or(0, |letter| letter.body.len());
            self.bytes -= removed;
            self.budget.give(removed);
        }
        if !self.budget.take(len) {
            return false;
        }
        self.bytes += len;
        self.queue.push_back(letter);
        true
    }

    fn take(&mut self) -> Option<Body> {
        if let Some(list) = self.changed.take_first() {
            return Some(list.changed());
        }
        let Letter { body, .. } = self.queue.pop_front()?;
        self.bytes -= body.len();
        self.budget.give(body.len());
        if self.queue.is_empty() {
            // Thousands of sessions are silent for hours.
            self.queue = VecDeque::new();
        }
        Some(body)
    }

    fn clear(&mut self) {
        self.queue = VecDeque::new();
        self.budget.give(std::mem::take(&mut self.bytes));
    }

    fn attach(&mut self) -> u32 {
        self.readers = self.readers.wrapping_add(1);
        self.reader = Some(self.readers);
        self.readers
    }
}

impl Drop for Outbox {
    fn drop(&mut self) {
        self.clear();
    }
}

impl Session {
    /// A notification for this client that belongs to none of its requests. When too much waits for a reader, the oldest are lost.
    pub fn post(&self, notice: Body) {
        self.put(Letter { body: notice, is_question: false });
    }

    /// A request of the hub's to this client, for want of a stream of a request that it belongs to. `false` when it has no room,
    /// and so will never be read.
    #[must_use = "a question that is not read is not answered"]
    pub fn post_question(&self, question: Body) -> bool {
        self.put(Letter { body: question, is_question: true })
    }

    /// The client is told, once for any number of changes before it reads.
    pub fn list_changed(&self, list: List) {
        self.lists_changed(list.into());
    }

    pub(super) fn lists_changed(&self, lists: Lists) {
        let waker = self.with_outbox(|outbox| {
            outbox.changed.add(lists);
            outbox.waker.take()
        });
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// The unsolicited messages for this client. `None` while another stream has them. What came since the session was opened, or
    /// since the last stream was dropped, comes first.
    pub fn take_mail(self: &Arc<Self>) -> Option<Mail> {
        let reader = self.with_outbox(|outbox| outbox.reader.is_none().then(|| outbox.attach()))?;
        Some(Mail { session: Arc::clone(self), reader })
    }

    /// As `take_mail`; who has them now gets nothing more.
    pub(super) fn take_over_mail(self: &Arc<Self>) -> Mail {
        let (reader, waker) = self.with_outbox(|outbox| (outbox.attach(), outbox.waker.take()));
        if let Some(waker) = waker {
            waker.wake();
        }
        Mail { session: Arc::clone(self), reader }
    }

    /// Whether a stream takes the messages.
    pub fn has_reader(&self) -> bool {
        self.with_outbox(|outbox| outbox.reader.is_some())
    }

    pub(super) fn close_mail(&self) {
        let waker = self.with_outbox(|outbox| {
            outbox.closed = true;
            outbox.clear();
            outbox.waker.take()
        });
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn put(&self, letter: Letter) -> bool {
        let (is_in, waker) = self.with_outbox(|outbox| (outbox.put(letter), outbox.waker.take()));
        if let Some(waker) = waker {
            waker.wake();
        }
        is_in
    }

    fn with_outbox<T>(&self, then: impl FnOnce(&mut Outbox) -> T) -> T {
        then(&mut self.outbox.lock().expect("no panic under this lock"))
    }
}

/// The receiving end of a session's unsolicited messages; dropping it lets another stream take them.
pub struct Mail {
    session: Arc<Session>,
    reader: u32,
}

impl Mail {
    /// The next message; `None` when the session has ended, or another stream has taken over. Cancel-safe.
    pub async fn next(&mut self) -> Option<Body> {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    pub(super) fn poll_next(&self, cx: &Context<'_>) -> Poll<Option<Body>> {
        self.session.with_outbox(|outbox| {
            if outbox.closed || outbox.reader != Some(self.reader) {
                return Poll::Ready(None);
            }
            match outbox.take() {
                Some(body) => Poll::Ready(Some(body)),
                None => {
                    outbox.waker = Some(cx.waker().clone());
                    Poll::Pending
                }
            }
        })
    }

    pub fn session(&self) -> &Arc<Session> {
        &self.session
    }
}

impl Drop for Mail {
    fn drop(&mut self) {
        // Dropped outside the lock: a waker may hold the last of a task.
        let _waker = self.session.with_outbox(|outbox| {
            let is_reader = outbox.reader == Some(self.reader);
            is_reader.then(|| {
                outbox.reader = None;
                outbox.waker.take()
            })
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letter(text: &str, is_question: bool) -> Letter {
        Letter { body: Body::one(Bytes::copy_from_slice(text.as_bytes())), is_question }
    }

    fn drain(outbox: &mut Outbox) -> Vec<String> {
        std::iter::from_fn(|| outbox.take()).map(|body| String::from_utf8(body.to_bytes().to_vec()).unwrap()).collect()
    }

    #[test]
    fn the_oldest_notices_make_room_and_questions_stay() {
        let mut outbox = Outbox::new(&Arc::default());
        assert!(outbox.put(letter("question", true)));
        for number in 0..limits::MAIL_MAX + 1 {
            assert!(outbox.put(letter(&number.to_string(), false)));
        }
        let read = drain(&mut outbox);
        assert_eq!((read.len(), &*read[0], &*read[1]), (limits::MAIL_MAX, "question", "2"));
        assert_eq!(read.last().unwrap(), &limits::MAIL_MAX.to_string());
    }

    #[test]
    fn questions_that_do_not_fit_are_refused_and_so_is_a_closed_box() {
        let mut outbox = Outbox::new(&Arc::default());
        assert!((0..limits::MAIL_MAX).all(|_| outbox.put(letter("q", true))));
        assert!(!outbox.put(letter("q", true)) && !outbox.put(letter("n", false)));
        outbox.closed = true;
        outbox.clear();
        assert!(!outbox.put(letter("n", false)));
    }

    #[test]
    fn bytes_are_bounded_but_for_one_message() {
        let mut outbox = Outbox::new(&Arc::default());
        let large = "x".repeat(limits::MAIL_BYTES_MAX);
        assert!(outbox.put(letter("small", false)));
        assert!(outbox.put(letter(&large, false)), "the small one made room");
        assert_eq!((outbox.queue.len(), outbox.bytes), (1, large.len()));
        assert!(outbox.put(letter(&format!("{large}x"), true)), "alone it may be larger");
        assert!(!outbox.put(letter("n", false)));
        assert_eq!(drain(&mut outbox).len(), 1);
        assert_eq!(outbox.bytes, 0);
    }

    #[test]
    fn changes_of_one_list_are_one_message() {
        let mut outbox = Outbox::new(&Arc::default());
        for list in [List::Resources, List::Tools, List::Resources] {
            outbox.changed.add(list.into());
        }
        let read = drain(&mut outbox);
        assert_eq!(read.len(), 2);
        assert!(read[0].contains("notifications/tools/list_changed") && read[1].contains("notifications/resources/list_changed"));
        assert!(List::ALL.iter().all(|list| {
            let mut rest = Lists::ALL;
            std::iter::from_fn(|| rest.take_first()).any(|other| other == *list)
        }));
    }
}
