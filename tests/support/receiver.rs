//! An HTTP server that takes whatever is POSTed to it, remembers it, and answers as a test says.

use crate::{servers::Identity, wait::LIMIT, wait::eventually, websocket::runtime};
use rustls::{
    RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::WebPkiClientVerifier,
};
use serde_json::Value;
use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::{JoinHandle, JoinSet},
};
use tokio_rustls::TlsAcceptor;

/// What came in.
#[derive(Debug, Clone)]
pub struct Posted {
    /// Method and path, `POST /hook`.
    pub line: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    pub at: Instant,
}

impl Posted {
    /// A header; empty if it is not there.
    pub fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map_or("", |(_, value)| value)
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// If it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{self:?}: {error}"))
    }
}

/// How a request is answered.
#[derive(Debug, Clone)]
pub struct Reply {
    pub status: u16,
    /// Further headers, each a line.
    pub headers: Vec<String>,
    pub body: Vec<u8>,
    pub after: Duration,
}

impl Reply {
    /// At once, with a status and nothing else.
    pub fn status(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Vec::new(), after: Duration::ZERO }
    }
}

type Answering = Box<dyn Fn(&Posted) -> Reply + Send + Sync>;

/// A server on loopback. Ends when it is dropped.
pub struct HttpReceiver {
    port: u16,
    scheme: &'static str,
    heard: Arc<Heard>,
    task: JoinHandle<()>,
}

struct Heard {
    requests: Mutex<Vec<Posted>>,
    answering: Mutex<Answering>,
}

impl Default for HttpReceiver {
    fn default() -> Self {
        Self::start_at(0)
    }
}

impl HttpReceiver {
    /// A server on this port, 0 for any; it takes everything.
    pub fn start_at(port: u16) -> Self {
        Self::serve(port, None)
    }

    /// The same by TLS; with an authority, clients have to show a certificate of it.
    ///
    /// # Panics
    /// If a file cannot be used.
    pub fn start_tls(identity: &Identity, client_ca: Option<&Path>) -> Self {
        let certificates = |path: &Path| -> Vec<CertificateDer<'static>> {
            let read = CertificateDer::pem_file_iter(path).expect("a file");
            read.collect::<Result<_, _>>().expect("certificates")
        };
        let builder = ServerConfig::builder();
        let builder = match client_ca {
            Some(ca) => {
                let mut roots = RootCertStore::empty();
                certificates(ca).into_iter().for_each(|ca| roots.add(ca).expect("an authority"));
                let verifier = WebPkiClientVerifier::builder(Arc::new(roots)).build();
                builder.with_client_cert_verifier(verifier.expect("a verifier"))
            }
            None => builder.with_no_client_auth(),
        };
        let key = PrivateKeyDer::from_pem_file(&identity.key).expect("a key");
        let config = builder.with_single_cert(certificates(&identity.certificate), key);
        Self::serve(
            0,
            Some(TlsAcceptor::from(Arc::new(config.expect("certificate and key belong together")))),
        )
    }

    fn serve(port: u16, tls: Option<TlsAcceptor>) -> Self {
        let listener = runtime().block_on(TcpListener::bind(("127.0.0.1", port))).expect("a port");
        let port = listener.local_addr().expect("a bound address").port();
        let answering: Answering = Box::new(|_| Reply::status(200));
        let heard = Arc::new(Heard { requests: Mutex::default(), answering: Mutex::new(answering) });
        let scheme = if tls.is_some() { "https" } else { "http" };
        let task = runtime().spawn(accept(listener, tls, heard.clone()));
        Self { port, scheme, heard, task }
    }

    /// Answers like this from now on.
    pub fn answer(&self, answering: impl Fn(&Posted) -> Reply + Send + Sync + 'static) {
        *self.heard.answering.lock().unwrap_or_else(PoisonError::into_inner) = Box::new(answering);
    }

    /// The port it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// An address below it.
    pub fn url(&self, path: &str) -> String {
        format!("{}://127.0.0.1:{}{path}", self.scheme, self.port)
    }

    /// Everything that came so far, refused or not.
    pub fn requests(&self) -> Vec<Posted> {
        self.heard.requests.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until so many have come, and gives all.
    ///
    /// # Panics
    /// If they do not come.
    pub fn wait_for(&self, n_requests: usize) -> Vec<Posted> {
        let enough = || Some(self.requests()).filter(|requests| requests.len() >= n_requests);
        eventually(LIMIT, enough)
            .unwrap_or_else(|| panic!("waited for {n_requests} requests, came: {:#?}", self.requests()))
    }
}

impl Drop for HttpReceiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, tls: Option<TlsAcceptor>, heard: Arc<Heard>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let (tls, heard) = (tls.clone(), heard.clone());
        connections.spawn(async move { serve_connection(stream, tls, &heard).await });
    }
}

async fn serve_connection(stream: TcpStream, tls: Option<TlsAcceptor>, heard: &Heard) -> Option<()> {
    match tls {
        None => converse(stream, heard).await,
        Some(tls) => converse(tls.accept(stream).await.ok()?, heard).await,
    }
}

/// Requests and answers, one after the other, until the connection ends.
async fn converse(mut stream: impl AsyncRead + AsyncWrite + Unpin, heard: &Heard) -> Option<()> {
    let mut buffer = Vec::new();
    loop {
        let posted = read_request(&mut stream, &mut buffer).await?;
        heard.requests.lock().unwrap_or_else(PoisonError::into_inner).push(posted.clone());
        let reply = heard.answering.lock().unwrap_or_else(PoisonError::into_inner)(&posted);
        tokio::time::sleep(reply.after).await;
        let mut head =
            format!("HTTP/1.1 {} Answer\r\nContent-Length: {}\r\n", reply.status, reply.body.len());
        reply.headers.iter().for_each(|line| head.push_str(&format!("{line}\r\n")));
        head.push_str("\r\n");
        stream.write_all(&[head.as_bytes(), &reply.body].concat()).await.ok()?;
        stream.flush().await.ok()?;
    }
}

async fn read_request(stream: &mut (impl AsyncRead + Unpin), buffer: &mut Vec<u8>) -> Option<Posted> {
    let head_end = loop {
        if let Some(at) = buffer.windows(4).position(|end| end == b"\r\n\r\n") {
            break at + 4;
        }
        read_more(stream, buffer).await?;
    };
    let head = String::from_utf8(buffer.drain(..head_end).collect()).ok()?;
    let mut lines = head.split("\r\n");
    let line = lines.next()?.trim_end_matches(" HTTP/1.1").to_owned();
    let header =
        |line: &str| line.split_once(':').map(|(name, value)| (name.to_owned(), value.trim().to_owned()));
    let headers = lines.filter_map(header).collect();
    let mut posted = Posted { line, headers, body: Vec::new(), at: Instant::now() };
    let length = posted.header("content-length").parse().unwrap_or(0);
    while buffer.len() < length {
        read_more(stream, buffer).await?;
    }
    posted.body = buffer.drain(..length).collect();
    Some(posted)
}

async fn read_more(stream: &mut (impl AsyncRead + Unpin), buffer: &mut Vec<u8>) -> Option<()> {
    (stream.read_buf(buffer).await.ok()? > 0).then_some(())
}
