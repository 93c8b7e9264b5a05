//! Bodies of answers, never more than a bound.

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};

use super::NetError;

/// The body of one answer, as it comes.
#[derive(Debug)]
pub struct Stream {
    body: Incoming,
    host: String,
}

impl Stream {
    /// `host`: for people.
    pub fn new(body: Incoming, host: &str) -> Self {
        Self { body, host: host.to_owned() }
    }

    /// The next piece; `None` at the end. Cancel-safe.
    ///
    /// # Errors
    /// The connection was lost.
    pub async fn next(&mut self) -> Result<Option<Bytes>, NetError> {
        loop {
            let Some(frame) = self.body.frame().await else { return Ok(None) };
            let frame = frame.map_err(|error| NetError::Lost { host: self.host.clone(), why: error.to_string() })?;
            // Trailers say nothing to us.
            if let Ok(data) = frame.into_data()
                && !data.is_empty()
            {
                return Ok(Some(data));
            }
        }
    }

    /// All of it. One piece is not copied.
    ///
    /// # Errors
    /// The connection was lost, or there is more than `limit_bytes`.
    pub async fn all(mut self, limit_bytes: usize) -> Result<Bytes, NetError> {
        let too_large = || NetError::TooLarge { host: self.host.clone(), limit_bytes };
        if self.body.size_hint().lower() > limit_bytes as u64 {
            return Err(too_large());
        }
        let Some(first) = self.next().await? else { return Ok(Bytes::new()) };
        let mut rest = BytesMut::new();
        let mut len = first.len();
        while len <= limit_bytes {
            match self.next().await? {
                None if rest.is_empty() => return Ok(first),
                None => return Ok(rest.freeze()),
                Some(piece) => {
                    if rest.is_empty() {
                        rest.extend_from_slice(&first);
                    }
                    len += piece.len();
                    rest.extend_from_slice(&piece);
                }
            }
        }
        Err(NetError::TooLarge { host: self.host, limit_bytes })
    }
}
