//! `ssl_context` to a TLS acceptor. The provider is named explicitly: a process-wide default would be one per library.

use crate::config::TlsFiles;
use lockstep_plugin_api::prelude::*;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use std::{path::Path, sync::Arc};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        RootCertStore, ServerConfig,
        crypto::{CryptoProvider, aws_lc_rs},
        server::{WebPkiClientVerifier, danger::ClientCertVerifier},
    },
};

/// Reads the files and makes the acceptor.
///
/// # Errors
/// `Config` at the field whose file cannot be read or does not fit the others.
pub(crate) fn acceptor(files: &TlsFiles) -> Result<TlsAcceptor> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let chain = certificates("ssl_context.certfile", &files.certfile)?;
    let key = PrivateKeyDer::from_pem_file(&files.keyfile)
        .map_err(|error| unreadable("ssl_context.keyfile", &files.keyfile, &error))?;
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(Error::config)?;
    let builder = match &files.cafile {
        None => builder.with_no_client_auth(),
        Some(cafile) => builder.with_client_cert_verifier(client_verifier(cafile, provider)?),
    };
    let config = builder.with_single_cert(chain, key).map_err(|error| {
        let (certificate, key) = (files.certfile.display(), files.keyfile.display());
        Error::config(format!("the key in {key} does not fit the certificate in {certificate}: {error}"))
            .at("ssl_context.keyfile")
    })?;
    Ok(TlsAcceptor::from(Arc::new(config)))
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

fn client_verifier(cafile: &Path, provider: Arc<CryptoProvider>) -> Result<Arc<dyn ClientCertVerifier>> {
    let field = "ssl_context.cafile";
    let mut roots = RootCertStore::empty();
    for certificate in certificates(field, cafile)? {
        roots.add(certificate).map_err(|error| unreadable(field, cafile, &error))?;
    }
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
        .build()
        .map_err(|error| unreadable(field, cafile, &error))
}

fn unreadable(field: &str, path: &Path, error: &dyn std::fmt::Display) -> Error {
    Error::config(format!("{} cannot be used: {error}", path.display())).at(field)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn written(folder: &Path, name: &str, text: &str) -> std::path::PathBuf {
        let path = folder.join(name);
        fs::write(&path, text).expect("written");
        path
    }

    #[test]
    fn a_bad_file_is_refused_at_its_field() {
        let folder = tempfile::tempdir().expect("a folder");
        let one = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
        let other = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
        let certfile = written(folder.path(), "cert.pem", &one.cert.pem());
        let keyfile = written(folder.path(), "key.pem", &one.signing_key.serialize_pem());
        let wrong = written(folder.path(), "wrong.pem", &other.signing_key.serialize_pem());
        let missing = folder.path().join("missing.pem");
        let good = TlsFiles { certfile, keyfile, cafile: None };

        acceptor(&good).map(drop).expect("the pair fits");
        let cases = [
            (TlsFiles { certfile: missing.clone(), ..good.clone() }, "ssl_context.certfile"),
            (TlsFiles { certfile: good.keyfile.clone(), ..good.clone() }, "ssl_context.certfile"),
            (TlsFiles { keyfile: missing.clone(), ..good.clone() }, "ssl_context.keyfile"),
            (TlsFiles { keyfile: wrong, ..good.clone() }, "ssl_context.keyfile"),
            (TlsFiles { cafile: Some(missing), ..good.clone() }, "ssl_context.cafile"),
        ];
        for (files, field) in cases {
            let error = acceptor(&files).map(drop).expect_err(field);
            assert_eq!((error.kind(), error.detail()), (ErrorKind::CONFIG, field), "{error}");
        }
    }
}
