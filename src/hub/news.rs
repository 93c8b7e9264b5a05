//! What servers say outside any call, to whom it concerns and to nobody else.

use std::sync::{Arc, Weak};

use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::{Hub, Session, carried::publish, pages::Page, session::Asked as SessionAsked};
use crate::{
    bridge::{
        content::Publish,
        incoming,
        park::completed_elicitation,
        question::{self, Asked, Kind},
    },
    name::ServerId,
    protocol::{Message, Method, Refusal, Version, code::Code},
    upstream::{News, NewsDesk, Question, Sharer, What, Whose},
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
        What::Log(note) if whose == Whose::Everyone => {
            tracing::debug!(%server, bytes = note.bytes().len(), "a log message of a server with several callers");
        }
        What::Log(note) => sessions_of(hub, &server, &whose).iter().for_each(|session| log(hub, (&server, connection), session, &note)),
        What::Elicited { note, is_told } => {
            if let Some(id) = completed_elicitation(&note) {
                hub.pages.finish(Page { server: server.clone(), id });
            }
            // A server says this when the call that needed the page was refused and is over.
            if !(is_told && matches!(whose, Whose::Session(_))) {
                elicited(&sessions_of(hub, &server, &whose), &note);
            }
        }
        What::Note(note) if note.method() == Method::TasksStatus => match whose {
            Whose::Principal(principal) => hub.task_status(&server, connection, &principal, &note),
            Whose::Session(id) => {
                if let Some(session) = hub.sessions.find(&id) {
                    hub.task_status(&server, connection, session.principal().id(), &note);
                }
            }
            Whose::Everyone => {}
        },
        What::Note(note) => tracing::debug!(%server, method = note.method().as_str(), "a notification that is passed on to nobody"),
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

/// The sessions whose connection it is: one, or as many of one principal as share it.
fn sessions_of(hub: &Hub, server: &ServerId, whose: &Whose) -> Vec<Arc<Session>> {
    let Whose::Principal(principal) = whose else { return session_of(hub, whose).into_iter().collect() };
    let Some(upstream) = hub.fleet.server(server) else { return Vec::new() };
    let mut sessions = hub.sessions.of(principal);
    sessions.retain(|session| {
        let (principal, profile) = (Arc::clone(principal), session.profile());
        let sharer = Sharer { principal, session: Some(session.id().share()), profile };
        session.endpoint().shows(server) && upstream.serves(whose, &sharer)
    });
    sessions
}

fn log(hub: &Hub, (server, connection): (&ServerId, u64), session: &Session, note: &Message) {
    // Before `logging/setLevel` a server decides what it sends.
    let body = incoming::log(note, session.level(), &|task| hub.known_task(server, connection, session.principal().id(), task));
    if let Some(body) = body {
        session.post(body);
    }
}

/// Of the revisions that have sessions, only this one knows of pages.
fn elicited(sessions: &[Arc<Session>], note: &Message) {
    for session in sessions.iter().filter(|session| session.version() == Some(Version::V2025_11_25)) {
        session.post(incoming::notice(note, None));
    }
}

/// Servers ask for the roots right after the handshake, outside any call.
fn ask(hub: &Arc<Hub>, session: &Arc<Session>, (server, connection): (&ServerId, u64), question: Question) {
    let Some(client) = session.client().cloned() else { return refuse(question, "nobody can be asked now") };
    let kind = match Asked::read(question.message(), None) {
        Ok(read) => read.kind,
        Err(refusal) => return question.answer(refusal.to_body().to_bytes()),
    };
    let Some(asked) = session.ask_for(question.progress()) else { return refuse(question, "the client has too many questions open") };
    let revision = hub.catalog.offer(server).map_or(Version::LATEST_HANDSHAKE, |offer| offer.version);
    let publish = session.endpoint().publishes().map(|uris| {
        let principal = session.principal().id();
        move |uri: &str| publish(hub, principal, server, uri, uris)
    });
    let publish = publish.as_ref().map(|publish| publish as &Publish<'_>);
    let tasks = |task: &str| hub.known_task(server, connection, session.principal().id(), task);
    let body = match question::forward(question.message(), asked.id(), (client.version, client.profile), revision, publish, &tasks) {
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
        // Taken back, it has no place any more: its server may have given the id to another question since.
        if !withdrawn.is_cancelled() {
            hub.asking.remove(&place);
        }
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
            said = timeout(hub.limits.parked_ttl, self.asked.answer()) => said.ok().flatten(),
            () = hub.stop.cancelled() => None,
        };
        let response = match said {
            Some(said) => question::answer(&said, self.kind, self.question.message(), self.revision),
            None => self.kind.closing(&self.question.id()),
        };
        self.question.answer(response);
    }
}

fn refuse(question: Question, why: &str) {
    let refusal = Refusal::new(Code::Internal, 200, why).with_id(Some(question.id()));
    question.answer(refusal.to_body().to_bytes());
}
