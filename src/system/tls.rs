//! TLS for outgoing connections: rustls with aws-lc-rs and the system's root certificates.

use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore, crypto::CryptoProvider};

/// Makes aws-lc-rs the process's provider, for libraries that ask for the default one. May be called
/// more than once; the first one stands.
pub fn install() {
    // An error only says that a provider is installed already.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}

/// A client's configuration that trusts what the system trusts, read from disk now.
///
/// A system without certificates (a bare container) is not an error here: plain HTTP still works, and
/// every TLS handshake says that the issuer is unknown.
pub fn client_config() -> ClientConfig {
    config_of(roots())
}

/// A configuration that trusts nobody, at no cost: for clients that are told to speak plain HTTP.
pub fn unused_config() -> ClientConfig {
    config_of(RootCertStore::empty())
}

fn roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        tracing::warn!(%error, "a root certificate could not be loaded");
    }
    let (added, ignored) = roots.add_parsable_certificates(found.certs);
    tracing::debug!(added, ignored, "loaded the system's root certificates");
    if added == 0 {
        tracing::warn!("the system has no root certificates: HTTPS requests will fail");
    }
    roots
}

fn config_of(roots: RootCertStore) -> ClientConfig {
    let provider = CryptoProvider::get_default()
        .cloned()
        .unwrap_or_else(|| Arc::new(rustls::crypto::aws_lc_rs::default_provider()));
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap_or_else(|error| unreachable!("aws-lc-rs supports the default protocol versions: {error}"))
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn installing_twice_is_fine() {
        install();
        install();
        assert!(CryptoProvider::get_default().is_some());
        assert_eq!(client_config().alpn_protocols.len(), 2);
    }
}
