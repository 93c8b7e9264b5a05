//! Sessions of Streamable HTTP (2025-03-26 to 2025-11-25): begun by `initialize`, begun anew when the server has forgotten them, ended
//! by DELETE; and the stream of what a server says unasked.

use std::{
    pin::Pin,
    sync::{Arc, atomic::Ordering},
};

use hyper::{StatusCode, header::HeaderValue};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::{
    call::{self, Media, body, media, read_event},
    events::Events,
    fault::Fault,
    greet,
    heard::Source,
    link::Shared,
};
use crate::{
    bridge::outgoing,
    limits,
    protocol::{Kind, Message},
};

/// None, until `initialize` was answered; without an id where the server gives none.
#[derive(Debug, Default)]
pub(super) struct Session {
    pub(super) id: Option<HeaderValue>,
    /// Counts the sessions of one connection.
    pub(super) epoch: u64,
    /// Its stream of unasked messages ends with it.
    ended: CancellationToken,
}

impl Session {
    /// Whether a refusal says that the server does not know this session. The rule is 404; some deployed servers say 400 with an error
    /// that names no request and speaks of sessions.
    pub(super) fn is_lost(&self, status: StatusCode, error: Option<&Message>) -> bool {
        let speaks_of_it = |error: &Message| {
            let text = error.scan().error_message.and_then(|message| error.string(message));
            error.scan().id.is_none() && text.is_some_and(|text| text.to_ascii_lowercase().contains("session"))
        };
        match status {
            StatusCode::NOT_FOUND => self.id.is_some(),
            StatusCode::BAD_REQUEST => self.id.is_some() && error.is_some_and(speaks_of_it),
            _ => false,
        }
    }
}

/// The session that `initialize` began takes effect. What the one before it asked is taken back: a session that is over cannot be
/// answered, and this one may give the same ids to questions of its own.
pub(super) async fn begin(shared: &Arc<Shared>, id: Option<HeaderValue>) {
    let epoch = shared.session.load().epoch + 1;
    let session = Arc::new(Session { id, epoch, ended: shared.signs.closed.child_token() });
    // Under the lock of the questions, so that each is of the session that is the connection's.
    let (before, asked) = shared.with_calls(|calls| (shared.session.swap(Arc::clone(&session)), calls.withdraw_all(Instant::now())));
    before.ended.cancel();
    shared.timer.notify_one();
    for (id, asked) in asked {
        shared.dial.outlet.withdraw(id, asked);
    }
    if let Some(version) = shared.version() {
        // Nothing else may be said before the server has this.
        call::tell(shared, &session, outgoing::own_notification("notifications/initialized", version)).await;
    }
    shared.tasks.spawn(hear(Arc::clone(shared), session));
}

/// A new session in place of the one of `epoch`, unless somebody else has made one already.
///
/// # Errors
/// There is none, and this connection is over.
pub(super) async fn renew(shared: &Arc<Shared>, epoch: u64) -> Result<(), Fault> {
    let _one = shared.renewing.lock().await;
    if shared.session.load().epoch != epoch {
        return Ok(());
    }
    tracing::debug!(server = %shared.dial.server(), "session lost, begun anew");
    let begun = timeout(limits::REMOTE_ACKNOWLEDGE, greet::initialize_session(shared)).await;
    match begun {
        Ok(Ok((greeting, id))) if Some(greeting.version) == shared.version() => {
            begin(shared, id).await;
            shared.signs.renewed.notify_one();
            // What was said meanwhile is lost; lists may have changed.
            shared.signs.list_changed.notify_one();
            Ok(())
        }
        // Another revision, or none: what was learned of this server no longer holds.
        _ => {
            shared.signs.broken.cancel();
            Err(Fault::SessionLost)
        }
    }
}

/// The server is told that it can forget the session. Bounded; what it says to that does not matter.
pub(super) async fn end(shared: &Shared) {
    let session = shared.session.load_full();
    session.ended.cancel();
    if session.id.is_some() {
        let request = shared.dial.target.delete(shared.head(&session, None));
        let _ = shared.dial.target.send_within(request, limits::LEAVE).await;
    }
}

/// Listens to what the server says unasked, for as long as the session lasts; again after every break.
///
/// Boxed, since it may begin another session, which is listened to in turn.
fn hear(shared: Arc<Shared>, session: Arc<Session>) -> Pin<Box<dyn Future<Output = ()> + Send>> {
    Box::pin(async move {
        let ended = session.ended.clone();
        tokio::select! {
            biased;
            () = ended.cancelled() => {}
            () = listen(&shared, &session) => {}
        }
    })
}

async fn listen(shared: &Arc<Shared>, session: &Arc<Session>) {
    let mut last_id: Option<String> = None;
    let mut wait = limits::RESUME_WAIT;
    let mut was_open = false;
    loop {
        let request = shared.dial.target.get(shared.head(session, None), last_id.as_deref());
        match shared.dial.target.send_within(request, limits::REMOTE_ACKNOWLEDGE).await {
            Ok(response) if response.status() == StatusCode::OK && media(response.headers()) == Media::Stream => {
                if was_open && last_id.is_none() {
                    // What was said in between is lost.
                    shared.signs.list_changed.notify_one();
                }
                was_open = true;
                let mut events = Events::new(body(shared, response), shared.dial.bounds.line_bytes);
                let opened = Instant::now();
                drain(shared, &mut events, session).await;
                if opened.elapsed() >= limits::BACKOFF_RESET {
                    wait = limits::RESUME_WAIT;
                }
                if events.retry_ms.is_some() {
                    wait = events.wait();
                }
                last_id = events.last_id;
            }
            Ok(response) if was_open && session.is_lost(response.status(), None) => {
                // On a task of its own: this one ends with the session.
                let (shared, epoch) = (Arc::clone(shared), session.epoch);
                shared.tasks.clone().spawn(async move { renew(&shared, epoch).await.is_ok() });
                return;
            }
            // It offers none.
            Ok(response) if !response.status().is_server_error() => return,
            Ok(_) | Err(_) => {}
        }
        sleep(wait).await;
        wait = (wait * 2).min(limits::RESUME_WAIT_MAX);
    }
}

async fn drain(shared: &Arc<Shared>, events: &mut Events, session: &Session) {
    let source = Source { epoch: session.epoch, call: None };
    loop {
        let event = match events.next().await {
            Ok(Some(event)) => event,
            Ok(None) => return,
            Err(fault) => {
                tracing::debug!(server = %shared.dial.server(), %fault, "stream of unasked messages broke off");
                return;
            }
        };
        let Ok(messages) = read_event(shared, event.data, None) else { continue };
        for message in messages {
            match message.kind() {
                Kind::Notification => shared.handle_notification(source, message),
                Kind::Request => shared.handle_request(source, message),
                Kind::Result | Kind::Error => {
                    shared.counts.unknown_answers.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
    }
}
