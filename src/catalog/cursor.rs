//! The hub's own list cursors: base64url of generation, offset and a check that binds them to one list. A server's cursor never leaves the hub.
//!
//! ```text
//! generation u64 │ offset u32 │ first 8 bytes of HMAC-SHA-256(key, generation, offset, list)
//! ```

use super::{Scope, rendered::Variant};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;

const CHECK_LEN: usize = 8;

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CursorError {
    #[error("the cursor is not one of this list")]
    Unknown,
}

/// The key of one process: cursors of another one are unknown here.
#[derive(Clone)]
pub(super) struct Key(Hmac<Sha256>);

/// What a cursor says: how far into which state of the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Position {
    pub(super) generation: u64,
    pub(super) offset: u32,
}

impl Key {
    pub(super) fn new(bytes: [u8; 32]) -> Self {
        Self(Hmac::new_from_slice(&bytes).expect("HMAC takes a key of any length"))
    }

    pub(super) fn seal(&self, position: Position, scope: Scope<'_>, variant: Variant) -> String {
        let mut bytes = Vec::with_capacity(12 + CHECK_LEN);
        bytes.extend_from_slice(&position.generation.to_be_bytes());
        bytes.extend_from_slice(&position.offset.to_be_bytes());
        bytes.extend_from_slice(&self.check(position, scope, variant));
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// # Errors
    /// Anything this key did not seal for this very list.
    pub(super) fn open(&self, cursor: &str, scope: Scope<'_>, variant: Variant) -> Result<Position, CursorError> {
        let mut bytes = [0; 12 + CHECK_LEN];
        let len = URL_SAFE_NO_PAD.decode_slice(cursor, &mut bytes).map_err(|_| CursorError::Unknown)?;
        let (Some((generation, rest)), 20) = (bytes.split_first_chunk::<8>(), len) else { return Err(CursorError::Unknown) };
        let Some((offset, check)) = rest.split_first_chunk::<4>() else { return Err(CursorError::Unknown) };
        let position = Position { generation: u64::from_be_bytes(*generation), offset: u32::from_be_bytes(*offset) };
        let genuine = bool::from(self.check(position, scope, variant).as_slice().ct_eq(check));
        genuine.then_some(position).ok_or(CursorError::Unknown)
    }

    fn check(&self, position: Position, scope: Scope<'_>, variant: Variant) -> [u8; CHECK_LEN] {
        let mut mac = self.0.clone();
        mac.update(&position.generation.to_be_bytes());
        mac.update(&position.offset.to_be_bytes());
        mac.update(&variant.bytes());
        // Names hold no `:` and are never empty, so this text stands for one list only.
        mac.update(scope.tenant.as_str().as_bytes());
        mac.update(b":");
        mac.update(scope.server.map_or("", |server| server.as_str()).as_bytes());
        let digest = mac.finalize().into_bytes();
        digest.first_chunk().copied().unwrap_or_default()
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        catalog::{Kind, Names, uri::Uris},
        name::{ServerName, TenantId},
        protocol::{Version, capability::Profile},
    };

    fn variant(kind: Kind, names: Names, client: Version) -> Variant {
        Variant::merged(kind, names, Uris::Prefixed, client, Profile::BARE)
    }

    #[test]
    fn a_cursor_opens_for_its_own_list_only() {
        let (acme, umbrella) = (TenantId::new("acme").unwrap(), TenantId::new("umbrella").unwrap());
        let server = ServerName::new("github").unwrap();
        let (key, other_key) = (Key::new([7; 32]), Key::new([8; 32]));
        let position = Position { generation: 3, offset: 1000 };
        let plain = Scope { tenant: &acme, server: None, names: Names::Dotted, uris: None };
        let (a, b) = (Version::LATEST_HANDSHAKE, Version::STATELESS);
        let dotted = variant(Kind::Tools, Names::Dotted, b);
        let lists = [
            (plain, dotted),
            (plain, variant(Kind::Tools, Names::Safe, b)),
            (plain, variant(Kind::Tools, Names::Dotted, a)),
            (plain, variant(Kind::Prompts, Names::Dotted, b)),
            (plain, Variant { uris: Uris::Raw, ..dotted }),
            (plain, Variant { profile: Profile::FORM, ..dotted }),
            (plain, Variant { execution: true, ..dotted }),
            (Scope { server: Some(&server), ..plain }, dotted),
            (Scope { tenant: &umbrella, ..plain }, dotted),
        ];
        for (i, (scope, variant)) in lists.into_iter().enumerate() {
            let cursor = key.seal(position, scope, variant);
            assert_eq!(cursor.len(), 27);
            for (j, (scope, variant)) in lists.into_iter().enumerate() {
                let expected = if i == j { Ok(position) } else { Err(CursorError::Unknown) };
                assert_eq!(key.open(&cursor, scope, variant), expected);
                assert_eq!(other_key.open(&cursor, scope, variant), Err(CursorError::Unknown));
            }
        }
    }

    #[test]
    fn an_altered_cursor_never_opens() {
        let tenant = TenantId::default_tenant();
        let scope = Scope { tenant: &tenant, server: None, names: Names::Dotted, uris: None };
        let variant = variant(Kind::Tools, Names::Dotted, Version::STATELESS);
        let key = Key::new([7; 32]);
        let cursor = key.seal(Position { generation: 3, offset: 1000 }, scope, variant);
        let mut altered: Vec<_> = (0..cursor.len())
            .flat_map(|at| ["A", "B", "_"].map(|letter| [&cursor[..at], letter, &cursor[at + 1..]].concat()))
            .filter(|altered| *altered != cursor)
            .collect();
        altered.extend(["", "=", "1", "é", "AAAA"].map(String::from));
        altered.extend([cursor[..26].to_owned(), format!("{cursor}A"), format!("{cursor}=")]);
        for cursor in altered {
            assert_eq!(key.open(&cursor, scope, variant), Err(CursorError::Unknown), "{cursor}");
        }
    }
}
