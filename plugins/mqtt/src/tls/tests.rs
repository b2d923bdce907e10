//! A server that shows a certificate and perhaps wants one, and what a client says of it.

use super::*;
use rcgen::{CertificateParams, CertifiedIssuer, KeyPair, date_time_ymd};
use rustls::{ServerConfig, server::WebPkiClientVerifier};
use std::{fs, path::Path, time::Duration};
use tempfile::TempDir;
use tokio::{io::AsyncReadExt, net::TcpListener, runtime, time::timeout};
use tokio_rustls::TlsAcceptor;

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority() -> Authority {
    let mut params = CertificateParams::default();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("an authority")
}

/// Certificate and key for `localhost`, PEM.
fn issued(by: &Authority, change: impl FnOnce(&mut CertificateParams)) -> (String, String) {
    let mut params = CertificateParams::new(["localhost".to_owned()]).expect("names");
    change(&mut params);
    let key = KeyPair::generate().expect("a key");
    let certificate = params.signed_by(&key, by).expect("a certificate");
    (certificate.pem(), key.serialize_pem())
}

fn written(folder: &Path, name: &str, text: &str) -> PathBuf {
    let path = folder.join(name);
    fs::write(&path, text).expect("written");
    path
}

/// What the client says of a server with this certificate, if anything; a server with an authority wants a certificate too.
fn said(
    host: &str,
    server: &(String, String),
    wants: Option<&Authority>,
    files: &TlsFiles,
) -> Option<String> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .expect("versions");
    let builder = match wants {
        None => builder.with_no_client_auth(),
        Some(authority) => {
            let mut roots = RootCertStore::empty();
            roots.add(authority.der().clone()).expect("a root");
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            builder.with_client_cert_verifier(verifier.build().expect("a verifier"))
        }
    };
    let chain = vec![CertificateDer::from_pem_slice(server.0.as_bytes()).expect("a certificate")];
    let key = PrivateKeyDer::from_pem_slice(server.1.as_bytes()).expect("a key");
    let acceptor = TlsAcceptor::from(Arc::new(builder.with_single_cert(chain, key).expect("they fit")));
    let runtime = runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let talk = async {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let accepted = async {
            let (stream, _) = listener.accept().await.expect("a client");
            // It says nothing more: what the client hears is the end, or why it is not let in.
            drop(acceptor.accept(stream).await);
        };
        let connected = async {
            let stream = TcpStream::connect(address).await.expect("a server");
            let mut stream = connect(&files.connector().expect("the files fit"), host, stream).await?;
            // With TLS 1.3 a client learns of a refusal with the first it reads.
            stream.read(&mut [0; 1]).await
        };
        tokio::join!(accepted, connected).1
    };
    let result = runtime.block_on(async { timeout(Duration::from_secs(10), talk).await.expect("in time") });
    result.err().and_then(|error| failure(&error))
}

#[test]
fn a_failure_says_what_is_wrong_with_whose_certificate() {
    let folder = TempDir::new().expect("a folder");
    let (authority, stranger) = (authority(), authority());
    let trusting = |authority: &Authority, name: &str| TlsFiles {
        cafile: Some(written(folder.path(), name, &authority.pem())),
        identity: None,
    };
    let files = trusting(&authority, "ca.crt");
    let good = issued(&authority, |_| {});
    let expired = issued(&authority, |params| params.not_after = date_time_ymd(2021, 1, 1));
    assert_eq!(said("localhost", &good, None, &files), None);

    let what = |said: Option<String>| said.expect("a failure of TLS");
    assert!(what(said("localhost", &expired, None, &files)).contains("has expired"));
    assert!(what(said("example.org", &good, None, &files)).contains("for another name"));
    let wrong = trusting(&stranger, "other.crt");
    assert!(what(said("localhost", &good, None, &wrong)).contains("no trusted authority"));

    let unknown = what(said("localhost", &good, Some(&authority), &files));
    assert!(unknown.contains("this client's certificate"), "{unknown}");
    let shown = |by: &Authority, name: &str| {
        let (certificate, key) = issued(by, |_| {});
        let certfile = written(folder.path(), &format!("{name}.crt"), &certificate);
        let identity = Some((certfile, written(folder.path(), &format!("{name}.key"), &key)));
        TlsFiles { identity, ..files.clone() }
    };
    assert_eq!(said("localhost", &good, Some(&authority), &shown(&authority, "own")), None);
    let refused = what(said("localhost", &good, Some(&authority), &shown(&stranger, "stranger")));
    assert!(refused.contains("this client's certificate"), "{refused}");
}

#[test]
fn a_bad_file_is_refused_at_its_field() {
    let folder = TempDir::new().expect("a folder");
    let authority = authority();
    let cafile = written(folder.path(), "ca.crt", &authority.pem());
    let (certificate, _) = issued(&authority, |_| {});
    let certfile = written(folder.path(), "own.crt", &certificate);
    let otherkey = written(folder.path(), "other.key", &issued(&authority, |_| {}).1);
    let empty = written(folder.path(), "empty.crt", "");
    let check = |cafile: &PathBuf, identity: Option<(&PathBuf, &PathBuf)>, field: &str| {
        let identity = identity.map(|(certificate, key)| (certificate.clone(), key.clone()));
        let files = TlsFiles { cafile: Some(cafile.clone()), identity };
        let error = files.connector().err().expect("refused");
        assert_eq!((error.kind(), error.detail()), (ErrorKind::CONFIG, field), "{error}");
    };
    check(&folder.path().join("none.crt"), None, "ssl_context.cafile");
    check(&empty, None, "ssl_context.cafile");
    check(&cafile, Some((&empty, &otherkey)), "ssl_context.certfile");
    check(&cafile, Some((&certfile, &empty)), "ssl_context.keyfile");
    check(&cafile, Some((&certfile, &otherkey)), "ssl_context.certfile");
}
