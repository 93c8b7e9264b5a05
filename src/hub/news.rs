//! What servers say outside any call, to whom it concerns and to nobody else.

use std::sync::{Arc, Weak};

use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::{Hub, Session, pages::Page, session::Asked as SessionAsked};
use crate::{
    bridge::{
        incoming,
        park::completed_elicitation,
        question::{self, Asked, Kind},
    },
    limits,
    name::ServerId,
    protocol::{Message, Method, Refusal, Version, code::Code},
    upstream::{News, NewsDesk, Question, What, Whose},
};

impl Hub {
    /// Takes the news of this hub's servers.
    pub fn desk(self: &Arc<Self>) -> NewsDesk {
        let hub: Weak<Self> = Arc::downgrade(self);
        Arc::new(move |news| {
            if let Some(hub) = hub.upgrade() {
                hear(&hub, news);
            }
        })
    }
}

fn hear(hub: &Arc<Hub>, news: News) {
    let News { server, connection, whose, what } = news;
    match what {
        What::Updated(note) => hub.watches.updated(&server, &whose, &note),
        What::Log(note) => match session_of(hub, &whose) {
            Some(session) => log(&session, &note),
            // Whose it is cannot be told.
            None => tracing::debug!(%server, bytes = note.bytes().len(), "a log message of a server with several callers"),
        },
        What::Note(note) => {
            if note.method() == Method::ElicitationComplete
                && let Some(id) = completed_elicitation(&note)
            {
                hub.pages.finish(Page { server, id });
            }
        }
        What::Question(question) => match session_of(hub, &whose) {
            Some(session) => ask(hub, &session, (&server, connection), question),
            None => refuse(question, "nobody can be asked now"),
        },
        What::Withdrawn(id) => {
            if let Some((_, withdrawn)) = hub.asking.remove(&(connection, id)) {
                withdrawn.cancel();
            }
        }
    }
}

fn session_of(hub: &Hub, whose: &Whose) -> Option<Arc<Session>> {
    match whose {
        Whose::Session(id) => hub.sessions.find(id),
        Whose::Everyone | Whose::Principal(_) => None,
    }
}

fn log(session: &Session, note: &Message) {
    // Before `logging/setLevel` a server decides what it sends.
    let body = match session.level() {
        Some(level) => incoming::log(note, level),
        None => Some(incoming::notice(note, None)),
    };
    if let Some(body) = body {
        session.post(body);
    }
}

/// Servers ask for the roots right after the handshake, outside any call.
fn ask(hub: &Arc<Hub>, session: &Arc<Session>, (server, connection): (&ServerId, u64), question: Question) {
    let Some(client) = session.client().cloned() else { return refuse(question, "nobody can be asked now") };
    let kind = match Asked::read(question.message(), None) {
        Ok(read) => read.kind,
        Err(refusal) => return question.answer(refusal.to_body().to_bytes()),
    };
    let Some(asked) = session.ask() else { return refuse(question, "the client has too many questions open") };
    let revision = hub.catalog.offer(server).map_or(Version::LATEST_HANDSHAKE, |offer| offer.version);
    let body = match question::forward(question.message(), asked.id(), (client.version, client.profile), revision, None) {
        Ok(body) => body,
        Err(refusal) => return question.answer(refusal.to_body().to_bytes()),
    };
    if !session.post_question(body) {
        return refuse(question, "the client has too much to read");
    }
    let place = (connection, question.id());
    let withdrawn = CancellationToken::new();
    hub.asking.insert(place.clone(), withdrawn.clone());
    let (hub, session) = (Arc::clone(hub), Arc::downgrade(session));
    let gone = question::withdrawn(asked.id(), "the server withdrew it");
    let open = Open { asked, question, kind, revision };
    hub.tasks.clone().spawn(async move {
        tokio::select! {
            biased;
            () = open.see_through(&hub) => {}
            () = withdrawn.cancelled() => if let Some(session) = session.upgrade() {
                session.post(gone);
            },
        }
        hub.asking.remove(&place);
    });
}

/// A question of a server that its client has and has not answered.
pub(super) struct Open {
    pub(super) asked: SessionAsked,
    pub(super) question: Question,
    pub(super) kind: Kind,
    /// Of the server.
    pub(super) revision: Version,
}

impl Open {
    /// Waits for the client's answer, and for no longer than a person may take.
    pub(super) async fn see_through(mut self, hub: &Hub) {
        let said = tokio::select! {
            biased;
            said = timeout(limits::PARK, self.asked.answer()) => said.ok().flatten(),
            () = hub.stop.cancelled() => None,
        };
        let response = match said {
            Some(said) => question::answer(&said, self.kind, &self.question.id(), self.revision),
            None => self.kind.closing(&self.question.id()),
        };
        self.question.answer(response);
    }
}

fn refuse(question: Question, why: &str) {
    let refusal = Refusal::new(Code::Internal, 200, why).with_id(Some(question.id()));
    question.answer(refusal.to_body().to_bytes());
}
