//! What all sockets do alike, whatever their messages mean: read one at a time, run what is under way beside that, give up on a
//! client that makes no sense, stop when the hub does.

use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use super::{
    super::work::Work,
    close::{Close, End},
    connection::Inbox,
};
use crate::limits;

/// The hub's side of one socket.
pub(super) trait Door {
    /// One message. `false` when it makes no sense; whatever is to be said of that is said.
    fn take(&mut self, message: Bytes) -> bool;
    /// From here on new calls are refused.
    fn stop(&mut self);
    /// What is under way. Dropping the door cancels it.
    fn work(&mut self) -> &mut Work;
}

/// Until the client has enough of it, or the hub stops: then calls under way are still answered.
pub(super) async fn serve<D: Door>(mut door: D, mut inbox: Inbox, stop: CancellationToken) -> End {
    let mut bad_messages = 0;
    let mut stopping = false;
    loop {
        if stopping && door.work().is_idle() {
            return End::Close(Close::GOING_AWAY);
        }
        let is_full = door.work().is_full();
        tokio::select! {
            () = stop.cancelled(), if !stopping => {
                stopping = true;
                door.stop();
            }
            () = door.work().advance() => {}
            message = inbox.next(), if !is_full => match message {
                Ok(message) => {
                    bad_messages = if door.take(message) { 0 } else { bad_messages + 1 };
                    if bad_messages == limits::SOCKET_BAD_MESSAGES_MAX {
                        return End::Close(Close::BAD_MESSAGES);
                    }
                }
                Err(end) => return end,
            },
        }
    }
}
