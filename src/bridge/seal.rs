//! States that travel through a client (`requestState`, task ids) and come back as they were given, or not at all: encrypted and
//! authenticated (XChaCha20-Poly1305), bound to who got them and for which request. A client can keep, lose or repeat one, nothing else.
//!
//! `v1.` + base64url(nonce ‖ ciphertext ‖ tag); a task id is `t` + the same, fit for a header. What a state is bound to is hashed into
//! the associated data, so that another principal's, or another request's, opens as little as a forged one.

mod digest;

pub use digest::Digest;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use chacha20poly1305::{
    XChaCha20Poly1305, XNonce,
    aead::{Aead, KeyInit, Payload},
};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::reissue::Needed;
use crate::limits;

pub type Key = [u8; 32];
/// Random, never the same for two states.
pub type Nonce = [u8; 24];

const NONCE_BYTES: usize = 24;

/// Seals with one key, opens with that and the one before it.
#[derive(Clone)]
pub struct Sealer {
    current: XChaCha20Poly1305,
    previous: Option<XChaCha20Poly1305>,
}

/// What travels.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    #[serde(rename = "w")]
    pub what: What,
    /// The server's id, as the hub knows it within the tenant.
    #[serde(rename = "s")]
    pub server: String,
    /// Seconds since 1970.
    #[serde(rename = "e")]
    pub expires_unix: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum What {
    /// A stateless server's own `requestState`.
    #[serde(rename = "r")]
    Relay(String),
    /// The same, if there is one, and which of the server's questions the hub answers itself: their keys.
    #[serde(rename = "o")]
    Rooted { state: Option<String>, keys: Vec<String> },
    /// A parked call, and the instance of the hub that holds it.
    #[serde(rename = "p")]
    Park { call: u128, instance: u64 },
    /// Pages to open before the request is sent again.
    #[serde(rename = "i")]
    Reissue(Needed),
    /// The hub's own business.
    #[serde(rename = "h")]
    Hub(String),
}

/// A task of a server, as its id travels.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskRef {
    #[serde(rename = "s")]
    pub server: String,
    /// The server's own id.
    #[serde(rename = "t")]
    pub id: String,
    /// Seconds since 1970.
    #[serde(rename = "e")]
    pub expires_unix: u64,
    /// Where the server made it; absent from ids of hubs that did not say.
    #[serde(rename = "c", default, skip_serializing_if = "Option::is_none")]
    pub place: Option<Place>,
}

/// One connection to a server, of all that there ever are: each process of a server may number its tasks from one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Place {
    /// Of the hub.
    #[serde(rename = "i")]
    pub instance: u64,
    /// Of that instance's connections.
    #[serde(rename = "n")]
    pub connection: u64,
}

/// Whom and what a state was given for.
#[derive(Clone, Copy, Debug)]
pub struct Binding<'a> {
    pub principal: &'a str,
    /// `Digest::of` the request.
    pub request: Digest,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// Not of this hub, altered, or another principal's or request's.
    #[error("not a state of this hub for this request")]
    Unknown,
    #[error("expired")]
    Expired,
}

impl Sealer {
    pub fn new(current: &Key, previous: Option<&Key>) -> Self {
        let cipher = |key: &Key| XChaCha20Poly1305::new(key.into());
        Self { current: cipher(current), previous: previous.map(cipher) }
    }

    /// `v1.…`, to be opened with the same binding.
    pub fn seal(&self, state: &State, binding: &Binding<'_>, nonce: Nonce) -> String {
        format!("{STATE_PREFIX}{}", self.close(&to_json(state), &binding.hash(), nonce))
    }

    /// # Errors
    /// See `SealError`. Clients are told the same in both cases: `park::UNKNOWN_STATE`.
    pub fn open(&self, sealed: &str, binding: &Binding<'_>, now_unix: u64) -> Result<State, SealError> {
        let text = self.reopen(sealed, STATE_PREFIX, &binding.hash())?;
        let state: State = serde_json::from_slice(&text).map_err(|_| SealError::Unknown)?;
        if state.expires_unix <= now_unix { Err(SealError::Expired) } else { Ok(state) }
    }

    /// `t…`: a task's id for this principal. Letters, digits, `-` and `_` only.
    pub fn seal_task(&self, task: &TaskRef, principal: &str, nonce: Nonce) -> String {
        format!("{TASK_PREFIX}{}", self.close(&to_json(task), &task_hash(principal), nonce))
    }

    /// # Errors
    /// See `SealError`; clients are told that there is no such task (`-32602`).
    pub fn open_task(&self, sealed: &str, principal: &str, now_unix: u64) -> Result<TaskRef, SealError> {
        let text = self.reopen(sealed, TASK_PREFIX, &task_hash(principal))?;
        let task: TaskRef = serde_json::from_slice(&text).map_err(|_| SealError::Unknown)?;
        if task.expires_unix <= now_unix { Err(SealError::Expired) } else { Ok(task) }
    }

    fn close(&self, text: &[u8], binding: &[u8; 32], nonce: Nonce) -> String {
        let payload = Payload { msg: text, aad: binding };
        let sealed = self.current.encrypt(&XNonce::from(nonce), payload).expect("only texts beyond 256 GiB cannot be encrypted");
        URL_SAFE_NO_PAD.encode([nonce.as_slice(), &sealed].concat())
    }

    fn reopen(&self, sealed: &str, prefix: &str, binding: &[u8; 32]) -> Result<Vec<u8>, SealError> {
        let encoded = sealed.strip_prefix(prefix).ok_or(SealError::Unknown)?;
        // A server's own state, in JSON with every byte escaped, in base64.
        if encoded.len() > 10 * limits::STATE_BYTES_MAX {
            return Err(SealError::Unknown);
        }
        let bytes = URL_SAFE_NO_PAD.decode(encoded).map_err(|_| SealError::Unknown)?;
        let (nonce, text) = bytes.split_first_chunk::<NONCE_BYTES>().ok_or(SealError::Unknown)?;
        let open = |cipher: &XChaCha20Poly1305| cipher.decrypt(&XNonce::from(*nonce), Payload { msg: text, aad: binding }).ok();
        open(&self.current).or_else(|| open(self.previous.as_ref()?)).ok_or(SealError::Unknown)
    }
}

const STATE_PREFIX: &str = "v1.";
const TASK_PREFIX: &str = "t";

impl std::fmt::Debug for Sealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sealer").field("has_previous", &self.previous.is_some()).finish_non_exhaustive()
    }
}

impl Binding<'_> {
    fn hash(&self) -> [u8; 32] {
        let principal = Sha256::digest(self.principal);
        Sha256::new().chain_update(b"mcp-hub state 1\0").chain_update(principal).chain_update(self.request.as_bytes()).finalize().into()
    }
}

fn task_hash(principal: &str) -> [u8; 32] {
    Sha256::new().chain_update(b"mcp-hub task 1\0").chain_update(principal).finalize().into()
}

fn to_json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("texts and numbers always serialise")
}

mod fuzz;

pub use fuzz::fuzz_seal;

#[cfg(test)]
mod tests;
