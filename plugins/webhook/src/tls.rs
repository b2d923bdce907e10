//! TLS to receivers, and what its failures mean. The provider is named explicitly: a process-wide default would be one per
//! library.

use lockstep_plugin_api::{config::ClientTls, prelude::*};
use rustls::{CertificateError, ClientConfig, Error as TlsError, RootCertStore, crypto::aws_lc_rs};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use std::{
    error::Error as StdError,
    fmt, io,
    path::{Path, PathBuf},
    sync::Arc,
};

/// Whom to believe and what to show, as files.
#[derive(Debug, Clone)]
pub(crate) struct TlsFiles {
    cafile: Option<PathBuf>,
    /// Certificate chain and key.
    identity: Option<(PathBuf, PathBuf)>,
    /// Whether any receiver is spoken to by TLS.
    is_used: bool,
}

impl TlsFiles {
    pub(crate) fn new(files: Option<&ClientTls>, is_used: bool, context: &Context) -> Self {
        let files = files.cloned().unwrap_or_default();
        let resolved = |path: Option<String>| path.map(|path| context.resolve(path));
        let identity = resolved(files.certfile).zip(resolved(files.keyfile));
        Self { cafile: resolved(files.cafile), identity, is_used }
    }

    /// Whether the configuration names any.
    pub(crate) fn are_given(&self) -> bool {
        self.cafile.is_some() || self.identity.is_some()
    }

    /// Reads the files.
    ///
    /// # Errors
    /// `Config` at the field whose file cannot be used.
    pub(crate) fn config(&self) -> Result<ClientConfig> {
        let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(Error::config)?;
        if !self.is_used {
            return Ok(builder.with_root_certificates(RootCertStore::empty()).with_no_client_auth());
        }
        let builder = builder.with_root_certificates(self.roots()?);
        let Some((certfile, keyfile)) = &self.identity else { return Ok(builder.with_no_client_auth()) };
        let chain = certificates("certfile", certfile)?;
        let key =
            PrivateKeyDer::from_pem_file(keyfile).map_err(|error| unusable("keyfile", keyfile, &error))?;
        builder.with_client_auth_cert(chain, key).map_err(|error| unusable("certfile", certfile, &error))
    }

    fn roots(&self) -> Result<RootCertStore> {
        let mut roots = RootCertStore::empty();
        match &self.cafile {
            Some(path) => {
                for certificate in certificates("cafile", path)? {
                    roots.add(certificate).map_err(|error| unusable("cafile", path, &error))?;
                }
            }
            None => drop(roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs)),
        }
        if roots.is_empty() {
            let message = "this system trusts no authority: name the receiver's";
            return Err(Error::config(message).at("ssl_context.cafile"));
        }
        Ok(roots)
    }
}

fn certificates(field: &str, path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    match read {
        Ok(chain) if chain.is_empty() => Err(unusable(field, path, &"it has no certificate in PEM form")),
        Ok(chain) => Ok(chain),
        Err(error) => Err(unusable(field, path, &error)),
    }
}

fn unusable(field: &str, path: &Path, why: &dyn fmt::Display) -> Error {
    Error::config(format!("{} cannot be used: {why}", path.display())).at(format!("ssl_context.{field}"))
}

/// What a failure of TLS says about the receiver, as the end of a sentence; `None` if the failure is none of TLS.
pub(crate) fn failure(error: &(dyn StdError + 'static)) -> Option<String> {
    let error = tls_error(error)?;
    Some(match error {
        TlsError::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::BadSignature) => {
            "shows a certificate that no trusted authority has signed: is `ssl_context.cafile` the receiver's?".to_owned()
        }
        TlsError::InvalidCertificate(CertificateError::Expired | CertificateError::ExpiredContext { .. }) => {
            "shows a certificate that has expired".to_owned()
        }
        TlsError::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => "shows a certificate for another name".to_owned(),
        TlsError::InvalidCertificate(_) => format!("shows a certificate that is not valid: {error}"),
        TlsError::AlertReceived(alert) => {
            format!("refuses TLS (does it ask for a certificate, `ssl_context.certfile`?): it says {alert:?}")
        }
        TlsError::InvalidMessage(_) => "does not speak TLS at this port".to_owned(),
        _ => format!("cannot be spoken to by TLS: {error}"),
    })
}

/// The first error of TLS among an error and its causes.
fn tls_error<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a TlsError> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<TlsError>() {
            return Some(found);
        }
        let within = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        if let Some(found) = within.and_then(|inner| tls_error(inner)) {
            return Some(found);
        }
        next = error.source();
    }
    None
}
