//! Finding the hub of an identity, or becoming it. Many may try at the same time: each connects to who listens, else tries for the seat.

use std::{io, os::unix::net};

use tokio::{
    net::UnixStream,
    time::{Instant, sleep, timeout},
};

use super::{
    hello::{self, Hello},
    seat::{self, Address, Seat},
};
use crate::{config::Identity, hub::Endpoint, limits};

/// What a process is to be.
#[derive(Debug)]
pub enum Found {
    /// The hub is another process: this connection leads to it.
    Hub { stream: UnixStream, pid: u32 },
    /// This process is the hub of all that come.
    Seat(Seat, net::UnixListener),
    /// This process is a hub by itself; the text says why.
    Alone(String),
}

/// Where a process looks for the hub that it may share.
#[derive(Clone, Debug)]
pub struct Place {
    pub address: Address,
    pub identity: Identity,
}

impl Place {
    /// Takes a few milliseconds, and at most as long as the waits in `limits`. Questions of the hub are numbered from the one after
    /// `questions`.
    pub async fn find(&self, endpoint: &Endpoint, questions: u64) -> Found {
        let deadline = Instant::now() + limits::LOCAL_WAIT;
        loop {
            match self.connect(endpoint, questions).await {
                Ok(found) => return found,
                // Nobody listens, or whoever did is about to end.
                Err(error) if is_absence(&error) => {}
                Err(error) => return Found::Alone(format!("the local socket cannot be used: {error}")),
            }
            match Seat::take(&self.address) {
                Ok(Some((seat, listener))) => return Found::Seat(seat, listener),
                // Somebody starts, or ends.
                Ok(None) if Instant::now() < deadline => sleep(limits::LOCAL_LOOK).await,
                Ok(None) => return Found::Alone("another process holds the local socket and does not listen".into()),
                Err(error) => return Found::Alone(format!("the local socket cannot be made: {error}")),
            }
        }
    }

    async fn connect(&self, endpoint: &Endpoint, questions: u64) -> io::Result<Found> {
        let mut stream = UnixStream::connect(&self.address.socket).await?;
        if !seat::is_own(stream.peer_cred()?.uid()) {
            return Ok(Found::Alone("the local socket belongs to somebody else".into()));
        }
        let hello = Hello::new(self.identity, endpoint.clone(), questions);
        Ok(match timeout(limits::LOCAL_HELLO, hello::say(&mut stream, &hello)).await {
            Ok(Ok(reply)) if reply.joined => Found::Hub { stream, pid: reply.pid },
            Ok(Ok(_)) => Found::Alone("the hub on the local socket is another one".into()),
            Ok(Err(error)) => return Err(error),
            Err(_) => Found::Alone("the hub on the local socket does not answer".into()),
        })
    }
}

/// As opposed to something that will not get better.
fn is_absence(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionRefused, ConnectionReset, NotConnected, NotFound, UnexpectedEof, WouldBlock};
    matches!(error.kind(), NotFound | ConnectionRefused | ConnectionReset | BrokenPipe | UnexpectedEof | NotConnected | WouldBlock)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        catalog::Names,
        config::{environment::Environment, read},
        name::TenantId,
    };

    fn place(folder: &std::path::Path) -> Place {
        let environment = Environment { cwd: "/nowhere".into(), ..Environment::default() };
        let settings = read::read(&[], &environment, &read::Overrides::default()).unwrap();
        let identity = Identity::of(&settings, &environment, &[]);
        Place { address: Address::find(&[folder.to_owned()], identity).unwrap(), identity }
    }

    fn endpoint() -> Endpoint {
        Endpoint::plain(TenantId::default_tenant(), None, Names::Safe)
    }

    fn why(found: Found) -> String {
        match found {
            Found::Alone(why) => why,
            found => panic!("{found:?}"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_socket_where_nobody_answers_keeps_nobody_for_long() {
        let dir = tempfile::tempdir().unwrap();
        let place = place(dir.path());
        let silent = Seat::take(&place.address).unwrap().unwrap();
        assert!(why(place.find(&endpoint(), 0).await).contains("does not answer"));
        // The lock is still held, but nobody listens.
        let (_seat, listener) = silent;
        drop(listener);
        let start = Instant::now();
        assert!(why(place.find(&endpoint(), 0).await).contains("does not listen"));
        assert!(start.elapsed() >= limits::LOCAL_WAIT);
    }

    #[tokio::test]
    async fn a_hub_that_ends_while_somebody_comes_gives_up_its_seat_to_them() {
        let dir = tempfile::tempdir().unwrap();
        let place = place(dir.path());
        let (seat, listener) = Seat::take(&place.address).unwrap().unwrap();
        let listener = tokio::net::UnixListener::from_std(listener).unwrap();
        let ended = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            hello::hear(&mut stream).await.unwrap().unwrap();
            drop((seat, listener));
        });
        assert!(matches!(place.find(&endpoint(), 0).await, Found::Seat(..)));
        ended.await.unwrap();
    }

    #[tokio::test]
    async fn a_hub_that_wants_nobody_is_believed() {
        let dir = tempfile::tempdir().unwrap();
        let place = place(dir.path());
        let (_seat, listener) = Seat::take(&place.address).unwrap().unwrap();
        let listener = tokio::net::UnixListener::from_std(listener).unwrap();
        let refusing = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let hello = hello::hear(&mut stream).await.unwrap().unwrap();
            hello::reply(&mut stream, false).await.unwrap();
            hello
        };
        let endpoint = endpoint();
        let (found, hello) = tokio::join!(place.find(&endpoint, 7), refusing);
        assert!(why(found).contains("another one"));
        assert_eq!((hello.endpoint, hello.questions), (endpoint, 7));
    }
}
