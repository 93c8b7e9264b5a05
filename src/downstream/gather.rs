//! Bytes on their way out of a pipe or socket: pieces of many messages, written with as few system calls as can be. A body's pieces
//! are shared, not copied, unless the writer takes one buffer at a time.

use std::{
    collections::VecDeque,
    io::{self, IoSlice},
};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncWrite, AsyncWriteExt};

use crate::protocol::Body;

/// Slices in one write.
const SLICES_MAX: usize = 64;
/// For writers of one buffer at a time: pieces are joined up to so many bytes.
const JOINED_BYTES_MAX: usize = 64 << 10;

/// What is still to be written, in order.
#[derive(Debug, Default)]
pub(super) struct Gather(VecDeque<Bytes>);

impl Gather {
    pub(super) fn push(&mut self, bytes: impl Into<Bytes>) {
        let bytes = bytes.into();
        if !bytes.is_empty() {
            self.0.push_back(bytes);
        }
    }

    pub(super) fn push_body(&mut self, body: Body) {
        self.0.extend(body);
    }

    /// Writes all of it. Dropping the future leaves what is not written yet, to the byte.
    ///
    /// # Errors
    /// The other side is gone.
    pub(super) async fn write<W: AsyncWrite + Unpin>(&mut self, out: &mut W) -> io::Result<()> {
        while !self.0.is_empty() {
            self.write_some(out).await?;
        }
        out.flush().await
    }

    /// One write: some of it, at least a byte.
    pub(super) async fn write_some<W: AsyncWrite + Unpin>(&mut self, out: &mut W) -> io::Result<()> {
        let written = if out.is_write_vectored() {
            let mut slices = [IoSlice::new(&[]); SLICES_MAX];
            let mut filled = 0;
            for (slice, piece) in slices.iter_mut().zip(&self.0) {
                *slice = IoSlice::new(piece);
                filled += 1;
            }
            out.write_vectored(slices.get(..filled).unwrap_or_default()).await?
        } else {
            self.join();
            out.write(self.0.front().map_or(&[], |piece| &**piece)).await?
        };
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        self.advance(written);
        Ok(())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn advance(&mut self, mut written: usize) {
        while let Some(piece) = self.0.front_mut() {
            if written < piece.len() {
                piece.advance(written);
                return;
            }
            written -= piece.len();
            self.0.pop_front();
        }
    }

    /// Makes the first piece of as many as fit.
    fn join(&mut self) {
        let mut len = 0;
        let fitting = self.0.iter().take_while(|piece| {
            len += piece.len();
            len <= JOINED_BYTES_MAX
        });
        let fitting = fitting.count();
        if fitting > 1 {
            let mut joined = BytesMut::with_capacity(JOINED_BYTES_MAX.min(self.0.iter().take(fitting).map(Bytes::len).sum()));
            self.0.drain(..fitting).for_each(|piece| joined.extend_from_slice(&piece));
            self.0.push_front(joined.freeze());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::{
        pin::Pin,
        task::{Context, Poll},
    };

    /// Takes at most so many bytes at a time.
    struct Narrow {
        most: usize,
        vectored: bool,
        taken: Vec<u8>,
        writes: usize,
    }
    impl AsyncWrite for Narrow {
        fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
            let most = bytes.len().min(self.most);
            self.taken.extend_from_slice(&bytes[..most]);
            self.writes += 1;
            Poll::Ready(Ok(most))
        }
        fn poll_write_vectored(mut self: Pin<&mut Self>, _: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
            let joined: Vec<u8> = slices.iter().flat_map(|slice| slice.iter().copied()).take(self.most).collect();
            self.taken.extend_from_slice(&joined);
            self.writes += 1;
            Poll::Ready(Ok(joined.len()))
        }
        fn is_write_vectored(&self) -> bool {
            self.vectored
        }
        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    fn written(pieces: &[Vec<u8>], most: usize, vectored: bool) -> Narrow {
        let mut gather = Gather::default();
        pieces.iter().for_each(|piece| gather.push(piece.clone()));
        let mut out = Narrow { most, vectored, taken: Vec::new(), writes: 0 };
        futures_util::FutureExt::now_or_never(gather.write(&mut out)).unwrap().unwrap();
        assert!(gather.is_empty());
        out
    }

    #[test]
    fn many_small_messages_are_one_write() {
        let pieces = vec![b"{}\n".to_vec(); 60];
        for vectored in [true, false] {
            assert_eq!(written(&pieces, usize::MAX, vectored).writes, 1);
        }
    }

    #[test]
    fn a_writer_that_takes_nothing_is_gone() {
        let mut gather = Gather::default();
        gather.push("x");
        let mut out = Narrow { most: 0, vectored: true, taken: Vec::new(), writes: 0 };
        assert!(futures_util::FutureExt::now_or_never(gather.write(&mut out)).unwrap().is_err());
    }

    proptest! {
        #[test]
        fn every_byte_goes_out_once_and_in_order(pieces: Vec<Vec<u8>>, most in 1..40usize, vectored: bool) {
            prop_assert_eq!(written(&pieces, most, vectored).taken, pieces.concat());
        }
    }
}
