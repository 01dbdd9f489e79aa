//! HTTP clients, one per kind of trust.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
};

use crate::Error;
use crate::hosts::Trust;
use crate::retry::Timing;
use crate::words::{one_line, root_cause};

const USER_AGENT: &str = concat!("rctr/", env!("CARGO_PKG_VERSION"));

#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct ClientKind {
    /// `None` for plain HTTP: reading the system's certificates takes longer than a request on loopback.
    pub trust: Option<Trust>,
    pub proxied: bool,
}

pub(crate) fn build_client(kind: &ClientKind, timing: &Timing) -> Result<reqwest::Client, Error> {
    // Fails only if a provider is chosen already, which is as good.
    let _ = ring::default_provider().install_default();
    let mut builder = reqwest::Client::builder()
        .user_agent(USER_AGENT)
        .hickory_dns(true)
        .redirect(reqwest::redirect::Policy::none())
        .http2_adaptive_window(true)
        .connect_timeout(timing.connect);
    if !kind.proxied {
        // A plain HTTP server may wait for the end of what it takes for a request line.
        let handshake = timing.connect.min(Duration::from_secs(2));
        builder = builder.no_proxy().connect_timeout(handshake);
    }
    builder = match &kind.trust {
        None => builder.tls_certs_only([]),
        Some(Trust::System) => builder,
        Some(Trust::Anyone) => builder
            .tls_certs_only([])
            .tls_danger_accept_invalid_certs(true),
        Some(Trust::SystemAnd(file)) => builder.tls_backend_preconfigured(trusting(file)?),
    };
    builder.build().map_err(|e| Error::Config {
        what: "TLS set-up".to_owned(),
        reason: root_cause(&e),
    })
}

/// The certificates of a PEM file: at least one, and all of them usable.
pub(crate) fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let unusable = |reason: String| Error::Config {
        what: format!("certificate file {}", file.display()),
        reason,
    };
    let pem = std::fs::read(file).map_err(|e| unusable(e.to_string()))?;
    let found = CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|e| unusable(format!("is no PEM file: {}", one_line(&e.to_string()))))?;
    if found.is_empty() {
        return Err(unusable("holds no PEM certificate".to_owned()));
    }
    let mut store = RootCertStore::empty();
    for (index, certificate) in found.iter().enumerate() {
        store.add(certificate.clone()).map_err(|e| {
            let number = index + 1;
            let reason = one_line(&e.to_string());
            unusable(format!("certificate {number} cannot be used: {reason}"))
        })?;
    }
    Ok(found)
}

/// Trusts the system's authorities, and what is in the file.
fn trusting(file: &Path) -> Result<ClientConfig, Error> {
    let mut config = tls_config(&TlsOptions {
        ca: Some(file.to_owned()),
        ..TlsOptions::default()
    })?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

/// What a TLS client trusts and shows, for whoever speaks another protocol than HTTP.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsOptions {
    /// A PEM file of certificates that are trusted besides the system's authorities.
    pub ca: Option<PathBuf>,
    /// PEM files of the client's own certificate, with those that lead to its authority, and of its key.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// Any certificate will do.
    pub trust_anyone: bool,
}

/// The client that these options ask for.
///
/// # Errors
/// [`Error::Config`] for a file that cannot be read or used.
pub fn tls_config(options: &TlsOptions) -> Result<ClientConfig, Error> {
    let unusable = |error: rustls::Error| Error::Config {
        what: "TLS set-up".to_owned(),
        reason: one_line(&error.to_string()),
    };
    let provider = Arc::new(ring::default_provider());
    let named = options.ca.as_deref().map_or(Ok(Vec::new()), certificates)?;
    let verifier: Arc<dyn ServerCertVerifier> = match options.trust_anyone {
        true => Arc::new(Anyone(Arc::clone(&provider))),
        false => Arc::new(
            OwnAuthority::new(named, Arc::clone(&provider)).map_err(|e| Error::Config {
                what: "trusted certificates".to_owned(),
                reason: one_line(&e.to_string()),
            })?,
        ),
    };
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(unusable)?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let Some((certificate, key)) = &options.identity else {
        return Ok(builder.with_no_client_auth());
    };
    let own = certificates(certificate)?;
    builder
        .with_client_auth_cert(own, private_key(key)?)
        .map_err(unusable)
}

fn private_key(file: &Path) -> Result<PrivateKeyDer<'static>, Error> {
    PrivateKeyDer::from_pem_file(file).map_err(|e| Error::Config {
        what: format!("key file {}", file.display()),
        reason: one_line(&e.to_string()),
    })
}

/// Takes any certificate, and only from whoever has its key.
#[derive(Debug)]
struct Anyone(Arc<CryptoProvider>);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// As the usual verifier, but a certificate of the file may also be the server's own: the common
/// `openssl req -x509` makes one that is both, which Docker accepts and WebPKI does not.
#[derive(Debug)]
struct OwnAuthority {
    named: Vec<CertificateDer<'static>>,
    usual: Arc<WebPkiServerVerifier>,
}

impl OwnAuthority {
    fn new(
        named: Vec<CertificateDer<'static>>,
        provider: Arc<CryptoProvider>,
    ) -> Result<Self, rustls::client::VerifierBuilderError> {
        let mut roots = RootCertStore::empty();
        // One of the system's that cannot be read is no worse than one that is not there.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        roots.add_parsable_certificates(named.iter().cloned());
        let usual =
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build()?;
        Ok(Self { named, usual })
    }
}

/// What remains against a certificate once its dates have been found right.
fn is_authority_itself(error: &rustls::Error) -> bool {
    matches!(
        error,
        rustls::Error::InvalidCertificate(CertificateError::Other(cause))
            if cause.to_string().contains("CaUsedAsEndEntity")
    )
}

impl ServerCertVerifier for OwnAuthority {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let usual = self.usual.verify_server_cert(
            end_entity,
            intermediates,
            server_name,
            ocsp_response,
            now,
        );
        match usual {
            Err(e) if is_authority_itself(&e) && self.named.contains(end_entity) => {
                verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
                Ok(ServerCertVerified::assertion())
            }
            other => other,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.usual.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.usual.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.usual.supported_verify_schemes()
    }
}
