//! Frames off a socket: fastwebsockets' reader, of which each read runs to its end.

use bytes::{Bytes, BytesMut};
use fastwebsockets::{Payload, Role, WebSocket, WebSocketError};
use futures_util::{
    StreamExt,
    stream::{self, BoxStream},
};
use tokio::io::{AsyncRead, Join, Sink, join, sink};

use super::{
    assembly::Frame,
    close::{Close, End},
};
use crate::limits;

/// Dropping the library's `read_frame` loses what it has read of a frame. Here a read under way lives in the stream, so that
/// `next` may be dropped and called again.
pub(super) struct Frames(BoxStream<'static, Result<Frame, End>>);

impl Frames {
    pub(super) fn new<R: AsyncRead + Unpin + Send + 'static>(reader: R) -> Self {
        // The library wants to write only when it answers pings and closes itself, which it is told not to.
        let mut socket = WebSocket::after_handshake(join(reader, sink()), Role::Server);
        socket.set_auto_close(false);
        socket.set_auto_pong(false);
        // Its limit is the first length that is too large.
        socket.set_max_message_size(limits::SOCKET_MESSAGE_BYTES_MAX + 1);
        Self(Box::pin(stream::unfold(socket, |mut socket| async move { Some((read(&mut socket).await, socket)) })))
    }

    /// Cancel-safe. Nothing may be asked for after an error.
    pub(super) async fn next(&mut self) -> Result<Frame, End> {
        self.0.next().await.unwrap_or(Err(End::Gone))
    }
}

async fn read<R: AsyncRead + Unpin>(socket: &mut WebSocket<Join<R, Sink>>) -> Result<Frame, End> {
    let mut frame = socket.read_frame().await.map_err(|failure| end(&failure))?;
    // The library unmasks a masked frame and takes an unmasked one as it is; which it was, only the head it would write tells.
    let mut head = [0; 16];
    frame.fmt_head(&mut head);
    let is_masked = head.get(1).is_some_and(|length| length & 0x80 != 0);
    let payload = match frame.payload {
        Payload::Bytes(bytes) => bytes,
        other => BytesMut::from(Bytes::from(Vec::from(other))),
    };
    Ok(Frame { is_final: frame.fin, opcode: frame.opcode, is_masked, payload })
}

fn end(failure: &WebSocketError) -> End {
    match failure {
        WebSocketError::UnexpectedEOF | WebSocketError::IoError(_) => End::Gone,
        WebSocketError::FrameTooLarge => End::Close(Close::TOO_LARGE),
        WebSocketError::InvalidUTF8 => End::Close(Close::NOT_TEXT),
        _ => End::Close(Close::PROTOCOL),
    }
}
