//! One open socket: what its client says (`Inbox`), what it is told (`Writer`), and how both end (RFC 6455).
//!
//! A socket is one task. Its door reads the inbox and fills the outlet; the writer runs beside the door, and neither waits for the
//! other. Nothing here knows what messages mean.

use std::{future::Future, pin::Pin, time::Duration};

use bytes::{BufMut, Bytes, BytesMut};
use fastwebsockets::OpCode;
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt, WriteHalf, split},
    sync::mpsc,
    time::{Instant, Sleep, sleep, timeout},
};

use super::{
    super::{
        gather::Gather,
        work::{self, Outlet},
    },
    assembly::{Assembly, Taken},
    close::{Close, End},
    frames::Frames,
};
use crate::{limits, protocol::Body};

/// Pings and pongs that wait for the writer; one more is dropped, as nobody is there to read it.
const CONTROLS_QUEUE: usize = 4;
/// Without an answer to so many pings in a row the client is gone.
const SILENCES_MAX: u32 = 2;

/// From the end of the handshake to the end of the stream. `door` serves the client until it has enough or the inbox ends; what is
/// queued then is still written. Dropping the future drops the door and the stream.
pub(super) async fn serve<S, D, F>(stream: S, door: D)
where
    S: AsyncRead + AsyncWrite + Send + 'static,
    D: FnOnce(Inbox, Outlet) -> F,
    F: Future<Output = End>,
{
    let (reader, stream) = split(stream);
    let (outlet, messages) = work::outlet();
    let (controls, controlled) = mpsc::channel(CONTROLS_QUEUE);
    let mut writer = Writer { stream, messages, controls: controlled, gather: Gather::default(), heads: BytesMut::new() };
    // This outlet stays, so that the writer's queue is open for as long as the writer runs.
    let end = tokio::select! {
        end = door(Inbox::new(Frames::new(reader), controls), outlet.clone()) => end,
        end = writer.run() => end,
    };
    if let End::Close(close) = end {
        writer.farewell(close).await;
    }
}

/// What the client says. Pings are answered and sent here, so the inbox must be read to keep a socket alive.
pub(super) struct Inbox {
    frames: Frames,
    assembly: Assembly,
    controls: mpsc::Sender<Control>,
    beat: Pin<Box<Sleep>>,
    /// Since the last beat.
    heard: bool,
    silences: u32,
}

enum Control {
    Ping,
    Pong(Bytes),
}

impl Inbox {
    fn new(frames: Frames, controls: mpsc::Sender<Control>) -> Self {
        // The handshake was heard.
        Self { frames, assembly: Assembly::default(), controls, beat: Box::pin(sleep(limits::SOCKET_PING)), heard: true, silences: 0 }
    }

    /// The next whole message, UTF-8; cancel-safe.
    ///
    /// # Errors
    /// There is none: the client closed, vanished, broke a rule or fell silent. Nothing may be asked for after that.
    pub(super) async fn next(&mut self) -> Result<Bytes, End> {
        loop {
            let frame = tokio::select! {
                biased;
                frame = self.frames.next() => frame?,
                () = &mut self.beat => {
                    self.on_beat()?;
                    continue;
                }
            };
            self.heard = true;
            match self.assembly.take(frame, Instant::now().into_std()).map_err(End::Close)? {
                Taken::Message(message) => return Ok(message),
                Taken::Ping(payload) => self.control(Control::Pong(payload)),
                Taken::Close(close) => return Err(End::Close(close)),
                Taken::Partial | Taken::Pong => {}
            }
        }
    }

    fn on_beat(&mut self) -> Result<(), End> {
        self.silences = if self.heard { 0 } else { self.silences + 1 };
        if self.silences == SILENCES_MAX {
            return Err(End::Close(Close::SILENT));
        }
        self.heard = false;
        self.control(Control::Ping);
        self.beat.as_mut().reset(Instant::now() + limits::SOCKET_PING);
        Ok(())
    }

    fn control(&self, control: Control) {
        // RFC 6455 5.5.3: not every ping needs an answer of its own.
        let _ = self.controls.try_send(control);
    }
}

struct Writer<S> {
    stream: WriteHalf<S>,
    messages: mpsc::Receiver<Body>,
    controls: mpsc::Receiver<Control>,
    gather: Gather,
    /// Frame heads are cut off from here: one allocation for many of them.
    heads: BytesMut,
}

impl<S: AsyncRead + AsyncWrite> Writer<S> {
    /// Until the client takes no more. Dropping the future loses nothing of what was queued.
    async fn run(&mut self) -> End {
        loop {
            self.fill().await;
            if let Err(end) = self.flush(limits::WRITE_STALL).await {
                return end;
            }
        }
    }

    /// Waits for something to write, then takes all there is.
    async fn fill(&mut self) {
        if self.gather.is_empty() {
            tokio::select! {
                biased;
                Some(control) = self.controls.recv() => self.control(control),
                Some(message) = self.messages.recv() => self.message(message),
            }
        }
        while let Ok(control) = self.controls.try_recv() {
            self.control(control);
        }
        self.take_queued();
    }

    fn take_queued(&mut self) {
        for _ in 0..limits::PIPE_QUEUE {
            let Ok(message) = self.messages.try_recv() else { return };
            self.message(message);
        }
    }

    /// # Errors
    /// The client is gone, or took nothing for all of `patience`.
    async fn flush(&mut self, patience: Duration) -> Result<(), End> {
        let gone = |_| End::Gone;
        while !self.gather.is_empty() {
            match timeout(patience, self.gather.write_some(&mut self.stream)).await {
                Ok(written) => written.map_err(gone)?,
                Err(_) => return Err(End::Close(Close::TOO_SLOW)),
            }
        }
        timeout(patience, self.stream.flush()).await.map_or(Err(End::Gone), |flushed| flushed.map_err(gone))
    }

    /// What is queued, the close frame, the end of our side; then what the client still sends is thrown away, for a while.
    async fn farewell(mut self, close: Close) {
        self.messages.close();
        self.take_queued();
        self.push(OpCode::Close, Body::one(close.payload()));
        if self.flush(limits::LINGER).await.is_ok() {
            let _ = timeout(limits::LINGER, self.stream.shutdown()).await;
        }
    }

    fn control(&mut self, control: Control) {
        match control {
            Control::Ping => self.push(OpCode::Ping, Body::default()),
            Control::Pong(payload) => self.push(OpCode::Pong, Body::one(payload)),
        }
    }

    fn message(&mut self, message: Body) {
        self.push(OpCode::Text, message);
    }

    /// A frame of its own, unmasked.
    fn push(&mut self, opcode: OpCode, payload: Body) {
        const FINAL: u8 = 0x80;
        const HEAD_BYTES_MAX: usize = 10;
        const HEADS_BYTES: usize = 256;
        if self.heads.capacity() < HEAD_BYTES_MAX {
            self.heads.reserve(HEADS_BYTES);
        }
        self.heads.put_u8(FINAL | opcode as u8);
        let len = payload.len();
        match (u8::try_from(len), u16::try_from(len)) {
            (Ok(len @ ..=125), _) => self.heads.put_u8(len),
            (_, Ok(len)) => {
                self.heads.put_u8(126);
                self.heads.put_u16(len);
            }
            (_, Err(_)) => {
                self.heads.put_u8(127);
                self.heads.put_u64(len as u64);
            }
        }
        self.gather.push(self.heads.split());
        self.gather.push_body(payload);
    }
}

#[cfg(test)]
mod tests;
