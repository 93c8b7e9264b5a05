//! TLS for outgoing connections: the system's certificates, Mozilla's where a system has none.

use std::sync::Arc;

use tokio::sync::OnceCell;
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto::aws_lc_rs};

static SYSTEM: OnceCell<Arc<ClientConfig>> = OnceCell::const_new();

/// HTTP/2 is offered, and taken where the server chooses it.
pub fn config(roots: RootCertStore) -> Arc<ClientConfig> {
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider())).with_safe_default_protocol_versions();
    let mut config = builder.expect("the provider has suites for every version").with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Arc::new(config)
}

/// Read from disk once, when it is first needed.
pub(super) async fn system() -> Arc<ClientConfig> {
    let read = || async {
        let roots = tokio::task::spawn_blocking(system_roots).await;
        config(roots.unwrap_or_else(|_| mozilla()))
    };
    Arc::clone(SYSTEM.get_or_init(read).await)
}

fn system_roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    let (added, ignored) = roots.add_parsable_certificates(found.certs);
    tracing::debug!(added, ignored, errors = found.errors.len(), "certificates of the system");
    if roots.is_empty() { mozilla() } else { roots }
}

fn mozilla() -> RootCertStore {
    RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() }
}
