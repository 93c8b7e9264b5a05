//! Outbox to pipe, and the link's one timer.

use std::{io::IoSlice, sync::Arc, time::Duration};

use bytes::{Buf, Bytes};
use tokio::{
    io::{AsyncWrite, AsyncWriteExt},
    time::{Instant, sleep_until},
};

use super::link::Shared;

/// Lines of one vectored write.
const BATCH: usize = 64;
const FAR: Duration = Duration::from_secs(24 * 3600);

/// Ends when the link is closed or the pipe cannot be written; dropping the pipe is what tells the server.
pub(super) async fn run(shared: Arc<Shared>, mut pipe: impl AsyncWrite + Unpin) {
    let mut batch = Batch::default();
    let timer = sleep_until(Instant::now() + FAR);
    tokio::pin!(timer);
    // The timer is only ever moved nearer: deadlines that pass unneeded cost one look each.
    let mut armed = None;
    loop {
        {
            let mut core = shared.lock();
            if core.calls.is_closed() {
                return;
            }
            if batch.is_empty() {
                let taken = batch.refill(|lines| core.take_lines(lines, BATCH));
                shared.wire.sent_each(&batch.lines);
                shared.make_room(&core, taken);
            }
            let due = core.calls.due();
            if let Some(due) = due.filter(|due| armed.is_none_or(|armed| *due < armed)) {
                timer.as_mut().reset(due);
                armed = Some(due);
            }
        }
        tokio::select! {
            biased;
            written = batch.write(&mut pipe), if !batch.is_empty() => match written {
                Ok(()) => {}
                Err(error) => {
                    tracing::debug!(server = %shared.server, %error, "the server reads no more");
                    shared.signs.broken.cancel();
                    break;
                }
            },
            () = shared.to_write.notified() => {}
            () = &mut timer, if armed.is_some() => {
                armed = None;
                shared.handle_timeout(Instant::now());
            }
        }
    }
    // Calls still open may have their answers on the way; their deadlines stay in force until the link is closed.
    deadlines(&shared).await;
}

async fn deadlines(shared: &Shared) {
    loop {
        let due = shared.lock().calls.due();
        tokio::select! {
            biased;
            () = shared.signs.closed() => return,
            () = sleep_until(due.unwrap_or_else(|| Instant::now() + FAR)) => shared.handle_timeout(Instant::now()),
        }
    }
}

/// Lines in the writer's hand, the first of them perhaps written in part.
#[derive(Default)]
struct Batch {
    lines: Vec<Bytes>,
    /// Lines before this one are written.
    next: usize,
}

impl Batch {
    fn is_empty(&self) -> bool {
        self.next >= self.lines.len()
    }

    fn refill<T>(&mut self, take: impl FnOnce(&mut Vec<Bytes>) -> T) -> T {
        self.lines.clear();
        self.next = 0;
        take(&mut self.lines)
    }

    /// One write. Cancel-safe: nothing is written unless it returns.
    async fn write(&mut self, pipe: &mut (impl AsyncWrite + Unpin)) -> std::io::Result<()> {
        let rest = self.lines.get(self.next..).unwrap_or_default();
        let mut written = match rest {
            [line] => pipe.write(line).await?,
            lines => {
                let mut slices = [IoSlice::new(&[]); BATCH];
                for (slice, line) in slices.iter_mut().zip(lines) {
                    *slice = IoSlice::new(line);
                }
                pipe.write_vectored(slices.get(..lines.len().min(BATCH)).unwrap_or_default()).await?
            }
        };
        if written == 0 {
            return Err(std::io::ErrorKind::WriteZero.into());
        }
        while let Some(line) = self.lines.get_mut(self.next) {
            if written < line.len() {
                line.advance(written);
                break;
            }
            written -= line.len();
            // Freed now, not when the whole batch is through.
            *line = Bytes::new();
            self.next += 1;
        }
        Ok(())
    }
}
