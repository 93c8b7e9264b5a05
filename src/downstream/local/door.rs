//! The hub's side of the local socket: whoever comes is the local admin, because only processes of the same user get in. What one of
//! them has under way is counted for it alone.

use std::{io, os::unix::net, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{UnixListener, UnixStream},
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    hello::{self, Hello},
    ledger::{CONSENT, PARTING},
    seat::{self, Seat},
};
use crate::{
    access::{Client, Principal},
    config::Identity,
    downstream::{
        pipe::Pipe,
        stdio::{self, Parting, Stop},
        work,
    },
    hub::{Endpoint, Hub},
    limits,
};

/// After the system had no descriptor for a connection.
const PAUSE: Duration = Duration::from_millis(100);

/// What a connection is served with.
#[derive(Clone)]
pub struct Door {
    pub hub: Arc<Hub>,
    pub identity: Identity,
    pub principal: Arc<Principal>,
    /// For calls under way when the hub stops.
    pub patience: Duration,
}

impl Door {
    /// Until `stop`, or until nobody is there any more after `alone`. Then the seat is free for the next one before those who are still
    /// there are waited for.
    pub async fn serve(self, seat: Seat, listener: net::UnixListener, alone: CancellationToken, stop: CancellationToken) {
        let listener = match UnixListener::from_std(listener) {
            Ok(listener) => listener,
            Err(error) => return tracing::warn!(%error, "the local socket cannot be used"),
        };
        let mut open = JoinSet::new();
        loop {
            let is_left = alone.is_cancelled();
            if is_left && open.is_empty() {
                break;
            }
            tokio::select! {
                () = stop.cancelled() => break,
                () = alone.cancelled(), if !is_left => {}
                Some(_) = open.join_next() => {}
                // Those beyond the bound are there to be told so.
                accepted = listener.accept(), if open.len() < 2 * limits::LOCAL_CONNECTIONS_MAX => match accepted {
                    Ok((stream, _)) => {
                        let has_room = open.len() < limits::LOCAL_CONNECTIONS_MAX;
                        open.spawn(self.clone().connection(stream, has_room, stop.clone()));
                    }
                    Err(error) => {
                        tracing::debug!(%error, "a local connection could not be accepted");
                        sleep(PAUSE).await;
                    }
                },
            }
        }
        // Those in the listener's queue find it closed, and look for the next hub.
        drop((seat, listener));
        while open.join_next().await.is_some() {}
    }

    async fn connection(self, mut stream: UnixStream, has_room: bool, stop: CancellationToken) {
        let greeted = tokio::select! {
            () = stop.cancelled() => return,
            greeted = timeout(limits::LOCAL_HELLO, self.greet(&mut stream, has_room)) => greeted,
        };
        let hello = match greeted {
            Ok(Ok(Some(hello))) => hello,
            Ok(Ok(None)) => return tracing::debug!("a local process was turned away"),
            Ok(Err(error)) => return tracing::debug!(%error, "a local connection ended before it began"),
            Err(_) => return tracing::debug!("a local connection said nothing"),
        };
        let pid = stream.peer_cred().ok().and_then(|peer| peer.pid());
        tracing::debug!(pid, "a local process joined");
        let (reader, writer) = stream.into_split();
        self.pipe(hello.endpoint, hello.questions, reader, writer, stop).await;
    }

    /// `None`: it is told, if it is somebody to talk to, that it has no business here.
    async fn greet(&self, stream: &mut UnixStream, has_room: bool) -> io::Result<Option<Hello>> {
        if !seat::is_own(stream.peer_cred()?.uid()) {
            return Ok(None);
        }
        let hello = hello::hear(stream).await?;
        let is_ours = |hello: &Hello| hello.names(self.identity) && self.hub.knows(&self.principal, &hello.endpoint);
        let hello = hello.filter(|hello| has_room && is_ours(hello));
        hello::reply(stream, hello.is_some()).await?;
        Ok(hello)
    }

    /// One client whose lines come by way of a `Front`. Its first question has the number after `questions`.
    pub(super) async fn pipe<R, W>(self, endpoint: Endpoint, questions: u64, reader: R, writer: W, stop: CancellationToken)
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        let client = Client::of(&self.principal);
        let (outlet, queue) = work::outlet();
        let pipe = Pipe::new(self.hub, Arc::new(endpoint), Arc::clone(client.principal()), outlet);
        pipe.session().number_questions_after(questions);
        let parting = Some(Parting { notice: PARTING, consent: CONSENT });
        stdio::carry(pipe, queue, reader, writer, Stop { token: stop, patience: self.patience, parting }).await;
    }
}
