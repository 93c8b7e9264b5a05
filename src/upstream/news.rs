//! What a server says outside any call.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use super::{fleet::NewsDesk, inbox::Inbox, question::Question};
use crate::{
    name::ServerId,
    protocol::{Message, Method, RequestId},
};

#[derive(Debug)]
pub struct News {
    pub server: ServerId,
    /// Tells its connection from every other, as `Lease::connection` does: ids of a server's questions are unique on one, and those of its
    /// tasks may be no more than that.
    pub connection: u64,
    pub whose: Whose,
    pub what: What,
}

/// For whom the connection is that said it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Whose {
    /// Every caller of the tenant.
    Everyone,
    Principal(Arc<str>),
    Session(Arc<str>),
}

#[derive(Debug)]
pub enum What {
    /// `notifications/resources/updated`.
    Updated(Message),
    /// `notifications/message` that cannot be laid to one call.
    Log(Message),
    /// `notifications/elicitation/complete`. `is_told`: a call of a caller's has it too, so that its session needs it no more.
    Elicited { note: Message, is_told: bool },
    /// Any other notification but those of lists, which end in `Learned`.
    Note(Message),
    /// A request of the server while no call that could be asked is under way. Only for sessions (`Whose::Session`).
    Question(Question),
    /// The server takes such a question back, or is gone: the id is the server's own.
    Withdrawn(RequestId),
}

/// The way of one connection to the desk. Until somebody has the connection, its news are nobody's.
pub(super) struct Outlet {
    server: ServerId,
    connection: u64,
    desk: Option<NewsDesk>,
    /// And whether they can be asked.
    whose: Mutex<Option<(Whose, bool)>>,
    /// The result of `roots/list`, where its callers have none of their own: a raw JSON object.
    roots: Option<Box<str>>,
}

impl Outlet {
    /// `connection`: its number, of no other connection of this fleet's.
    pub(super) fn new(server: ServerId, connection: u64, desk: Option<NewsDesk>, roots: Option<Box<str>>) -> Arc<Self> {
        Arc::new(Self { server, connection, desk, whose: Mutex::default(), roots })
    }

    pub(super) fn connection(&self) -> u64 {
        self.connection
    }

    pub(super) fn roots(&self) -> Option<&str> {
        self.roots.as_deref()
    }

    /// Whether the hub answers such a request of the server itself, whoever could be asked.
    pub(super) fn answers(&self, method: Method<'_>) -> bool {
        method == Method::Ping || (method == Method::RootsList && self.roots.is_some())
    }

    /// Whose it is from now on, and whether they can be asked.
    pub(super) fn settle(&self, whose: Option<(Whose, bool)>) {
        *self.whose() = whose;
    }

    /// Whether all of its callers are one principal.
    pub(super) fn is_of_one(&self) -> bool {
        matches!(*self.whose(), Some((Whose::Session(_) | Whose::Principal(_), _)))
    }

    /// Whether a question outside any call has somebody to go to.
    pub(super) fn takes_questions(&self) -> bool {
        self.desk.is_some() && matches!(*self.whose(), Some((Whose::Session(_), true)))
    }

    pub(super) fn tell(&self, what: What) {
        let whose = self.whose().as_ref().map(|(whose, _)| whose.clone());
        match (&self.desk, whose) {
            (Some(desk), Some(whose)) => desk(News { server: self.server.clone(), connection: self.connection, whose, what }),
            _ => tracing::debug!(server = %self.server, "news for nobody"),
        }
    }

    /// Hands a question on: to the call whose inbox this is, else to the session.
    pub(super) fn ask(&self, question: Question, inbox: Option<Arc<Inbox>>) {
        match inbox {
            // One that is handed back is answered by being dropped.
            Some(inbox) => drop(inbox.ask(question)),
            None => self.tell(What::Question(question)),
        }
    }

    /// Tells who was asked that the server has taken the question back.
    pub(super) fn withdraw(&self, id: RequestId, asked: Option<Weak<Inbox>>) {
        match asked {
            // Nobody saw it yet: its drop finds it closed and says nothing.
            Some(inbox) => drop(inbox.upgrade().and_then(|inbox| inbox.withdraw(&id))),
            None => self.tell(What::Withdrawn(id)),
        }
    }

    /// The work behind an elicitation by URL is done. `inbox`: of a call whose caller may have opened the page.
    pub(super) fn elicited(&self, note: Message, inbox: Option<Arc<Inbox>>) {
        let is_told = inbox.map(|inbox| inbox.note(note.clone())).is_some();
        self.tell(What::Elicited { note, is_told });
    }

    fn whose(&self) -> MutexGuard<'_, Option<(Whose, bool)>> {
        self.whose.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Outlet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Outlet").field("server", &self.server).field("whose", &self.whose).finish_non_exhaustive()
    }
}
