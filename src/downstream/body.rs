//! Reading a request's body: bounded, in one piece, one copy for small ones.

use super::{
    Reply,
    pulse::Pulse,
    reply::{self, class},
};
use bytes::{Bytes, BytesMut};
use hyper::{
    StatusCode,
    body::{Body, Incoming},
};
use std::{future::poll_fn, pin::Pin, task::Poll};

/// Up to here a body is copied out, so that the connection's read buffer is free for the next request while this one is answered.
const COPY_BYTES_MAX: usize = 4 << 10;

/// Slow bodies are cut by the connection's own timers.
pub(super) async fn read(body: &mut Incoming, pulse: &Pulse, bytes_max: usize) -> Result<Bytes, BodyError> {
    let too_large = BodyError::TooLarge { bytes_max };
    if body.size_hint().lower() > bytes_max as u64 {
        return Err(too_large);
    }
    let mut whole = BytesMut::new();
    while let Some(chunk) = next(body, pulse).await? {
        if whole.len() + chunk.len() > bytes_max {
            return Err(too_large);
        }
        if whole.is_empty() && body.is_end_stream() {
            return Ok(if chunk.len() <= COPY_BYTES_MAX { Bytes::copy_from_slice(&chunk) } else { chunk });
        }
        if whole.is_empty() {
            // At most `bytes_max`; a length that is only announced reserves no more than has come at least in part.
            let rest = usize::try_from(body.size_hint().lower()).unwrap_or(0).min(bytes_max);
            whole.reserve(chunk.len() + rest.min(16 * chunk.len()));
        }
        whole.extend_from_slice(&chunk);
    }
    Ok(whole.freeze())
}

/// The next data; `None` at the end.
async fn next(body: &mut Incoming, pulse: &Pulse) -> Result<Option<Bytes>, BodyError> {
    loop {
        let frame = poll_fn(|cx| {
            let frame = Pin::new(&mut *body).poll_frame(cx);
            if matches!(frame, Poll::Pending) {
                pulse.on_body_wait();
            }
            frame
        })
        .await;
        match frame {
            None => {
                pulse.on_body_end();
                return Ok(None);
            }
            Some(Err(_)) => return Err(BodyError::Cut),
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    if body.is_end_stream() {
                        pulse.on_body_end();
                    }
                    return Ok(Some(data));
                }
            }
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    #[error("the body is larger than {bytes_max} bytes")]
    TooLarge { bytes_max: usize },
    #[error("the client closed the connection inside the body")]
    Cut,
}
impl BodyError {
    /// 413 or 400 with the one error body.
    pub fn to_reply(self) -> Reply {
        let status = match self {
            Self::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Cut => StatusCode::BAD_REQUEST,
        };
        reply::error(status, class::VALIDATION, &self.to_string(), serde_json::json!({"origin": "hub"}))
    }
}
