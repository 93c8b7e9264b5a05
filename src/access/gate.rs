//! From a request's credential to its principal. A credential that is present but wrong is refused and never falls through.

use std::{net::IpAddr, sync::Arc};

use subtle::ConstantTimeEq;

use super::Principal;

/// The rules in force since the start of the hub.
pub struct Gate {
    first_key: Option<String>,
    unauthenticated: bool,
    local_admin: Arc<Principal>,
    key_holder: Arc<Principal>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    #[error("a credential is needed: send 'Authorization: Bearer' with the key that the hub printed at its first start")]
    Missing,
    #[error("the credential is not valid")]
    Invalid,
}

impl Gate {
    /// Loopback peers that no proxy speaks for are local admin. Everybody else needs `first_key`, unless `unauthenticated`.
    pub fn new(first_key: Option<String>, unauthenticated: bool) -> Self {
        Self { first_key, unauthenticated, local_admin: Principal::local_admin(), key_holder: Principal::first_key() }
    }

    /// `authorization`: the header as sent; `forwarded`: the request carries a forwarding header, so `peer` is a proxy's address.
    ///
    /// # Errors
    /// `Invalid` for any credential that is not the key (compared in constant time), `Missing` where one is needed and none came.
    pub fn authenticate(&self, authorization: Option<&[u8]>, peer: IpAddr, forwarded: bool) -> Result<Arc<Principal>, Denied> {
        if let Some(header) = authorization {
            let token = bearer(header).ok_or(Denied::Invalid)?;
            return match &self.first_key {
                Some(key) if bool::from(key.as_bytes().ct_eq(token)) => Ok(Arc::clone(&self.key_holder)),
                _ => Err(Denied::Invalid),
            };
        }
        let local = peer.to_canonical().is_loopback() && !forwarded;
        if local || self.unauthenticated { Ok(Arc::clone(&self.local_admin)) } else { Err(Denied::Missing) }
    }
}

impl std::fmt::Debug for Gate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gate").field("first_key", &self.first_key.is_some()).field("unauthenticated", &self.unauthenticated).finish()
    }
}

/// The token of `Bearer <token>` (RFC 6750 §2.1; the scheme in any case, RFC 9110 §11.1).
fn bearer(header: &[u8]) -> Option<&[u8]> {
    let (scheme, rest) = header.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| rest.trim_ascii())
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use super::*;

    const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
    const FAR: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7));

    #[test]
    fn only_loopback_without_a_proxy_needs_no_key() {
        let gate = Gate::new(Some("secret".into()), false);
        let mapped = IpAddr::V6(Ipv4Addr::LOCALHOST.to_ipv6_mapped());
        for (peer, forwarded, want) in [
            (LOOPBACK, false, Ok("local")),
            (IpAddr::V6(Ipv6Addr::LOCALHOST), false, Ok("local")),
            (mapped, false, Ok("local")),
            (LOOPBACK, true, Err(Denied::Missing)),
            (FAR, false, Err(Denied::Missing)),
        ] {
            let got = gate.authenticate(None, peer, forwarded);
            assert_eq!(got.as_ref().map(|p| &**p.id()).map_err(|e| *e), want, "{peer} forwarded={forwarded}");
        }
    }

    #[test]
    fn a_wrong_credential_never_falls_through_to_loopback() {
        let gate = Gate::new(Some("secret".into()), false);
        for (header, want) in [
            ("Bearer secret", Ok("first-key")),
            ("bearer  secret ", Ok("first-key")),
            ("Bearer secre", Err(Denied::Invalid)),
            ("Bearer secret2", Err(Denied::Invalid)),
            ("Basic c2VjcmV0", Err(Denied::Invalid)),
            ("secret", Err(Denied::Invalid)),
            ("", Err(Denied::Invalid)),
        ] {
            let got = gate.authenticate(Some(header.as_bytes()), LOOPBACK, false);
            assert_eq!(got.as_ref().map(|p| &**p.id()).map_err(|e| *e), want, "{header:?}");
        }
        let denied = Gate::new(None, true).authenticate(Some(b"Bearer x"), LOOPBACK, false);
        assert_eq!(denied.map(|_| ()), Err(Denied::Invalid));
    }

    #[test]
    fn a_hub_that_was_told_so_lets_everybody_in() {
        assert!(Gate::new(None, true).authenticate(None, FAR, true).is_ok());
    }
}
