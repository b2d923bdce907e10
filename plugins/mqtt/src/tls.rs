//! TLS to the broker, and what its failures mean. The provider is named explicitly: a process-wide default would be one
//! per library.

use lockstep_plugin_api::prelude::*;
use rustls::{
    AlertDescription, CertificateError, ClientConfig, ConfigBuilder, Error as TlsError, RootCertStore,
    client::WantsClientCert, crypto::aws_lc_rs,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject};
use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};

/// Whom to believe and what to show, as files; they are read at every connect, so that they can be replaced.
#[derive(Debug, Clone)]
pub(crate) struct TlsFiles {
    cafile: Option<PathBuf>,
    /// Certificate chain and key.
    identity: Option<(PathBuf, PathBuf)>,
}

impl TlsFiles {
    pub(crate) fn new(files: &ClientTls, context: &Context) -> Self {
        let resolved = |path: &Option<String>| path.as_ref().map(|path| context.resolve(path));
        Self {
            cafile: resolved(&files.cafile),
            identity: resolved(&files.certfile).zip(resolved(&files.keyfile)),
        }
    }

    /// Reads the files.
    ///
    /// # Errors
    /// `Config` at the field whose file cannot be read or does not fit the others.
    pub(crate) fn connector(&self) -> Result<TlsConnector> {
        let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(Error::config)?
            .with_root_certificates(self.roots()?);
        Ok(TlsConnector::from(Arc::new(self.with_identity(builder)?)))
    }

    fn roots(&self) -> Result<RootCertStore> {
        let field = "ssl_context.cafile";
        let mut roots = RootCertStore::empty();
        match &self.cafile {
            Some(path) => {
                for certificate in certificates(field, path)? {
                    roots.add(certificate).map_err(|error| unreadable(field, path, &error))?;
                }
            }
            None => drop(roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs)),
        }
        if roots.is_empty() {
            return Err(Error::config("this system trusts no authority: name the broker's").at(field));
        }
        Ok(roots)
    }

    fn with_identity(&self, builder: ConfigBuilder<ClientConfig, WantsClientCert>) -> Result<ClientConfig> {
        let Some((certfile, keyfile)) = &self.identity else { return Ok(builder.with_no_client_auth()) };
        let chain = certificates("ssl_context.certfile", certfile)?;
        let key = PrivateKeyDer::from_pem_file(keyfile)
            .map_err(|error| unreadable("ssl_context.keyfile", keyfile, &error))?;
        builder.with_client_auth_cert(chain, key).map_err(|error| {
            let (certificate, key) = (certfile.display(), keyfile.display());
            Error::config(format!("{certificate} and {key} cannot be used together: {error}"))
                .at("ssl_context.certfile")
        })
    }
}

fn certificates(field: &str, path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    match read {
        Ok(chain) if chain.is_empty() => {
            Err(Error::config(format!("{} has no certificate in PEM form", path.display())).at(field))
        }
        Ok(chain) => Ok(chain),
        Err(error) => Err(unreadable(field, path, &error)),
    }
}

fn unreadable(field: &str, path: &Path, error: &dyn std::fmt::Display) -> Error {
    Error::config(format!("{} cannot be used: {error}", path.display())).at(field)
}

/// Speaks TLS over a connection, with a server that shows a certificate for `host`.
pub(crate) async fn connect(
    connector: &TlsConnector,
    host: &str,
    stream: TcpStream,
) -> io::Result<TlsStream<TcpStream>> {
    let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
    connector.connect(name, stream).await
}

/// What a TLS failure says about the broker, as the end of a sentence; `None` if the failure is none of TLS.
pub(crate) fn failure(error: &io::Error) -> Option<String> {
    let error = error.get_ref()?.downcast_ref::<TlsError>()?;
    Some(match error {
        TlsError::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::BadSignature) => {
            "shows a certificate that no trusted authority has signed: is `ssl_context.cafile` the broker's?"
                .into()
        }
        TlsError::InvalidCertificate(CertificateError::Expired | CertificateError::ExpiredContext { .. }) => {
            "shows a certificate that has expired".into()
        }
        TlsError::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => format!("shows a certificate for another name: {error}"),
        TlsError::InvalidCertificate(_) => format!("shows a certificate that is not valid: {error}"),
        TlsError::AlertReceived(alert) if is_about_certificate(*alert) => {
            format!("does not accept this client's certificate (`ssl_context.certfile`): it says {alert:?}")
        }
        TlsError::AlertReceived(alert) => format!("refuses TLS: it says {alert:?}"),
        TlsError::InvalidMessage(_) => format!("does not speak TLS at this port: {error}"),
        _ => format!("cannot be spoken to by TLS: {error}"),
    })
}

fn is_about_certificate(alert: AlertDescription) -> bool {
    matches!(
        alert,
        AlertDescription::CertificateRequired
            | AlertDescription::NoCertificate
            | AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnknownCA
            | AlertDescription::AccessDenied
            | AlertDescription::DecryptError
            | AlertDescription::HandshakeFailure
    )
}

#[cfg(test)]
mod tests;
