//! One POST.

use crate::{
    answer::{self, Answer},
    config::Settings,
    message::Message,
    receiver::Receiver,
    signature::Signer,
    tls::TlsFiles,
};
use lockstep_plugin_api::{prelude::*, time};
use reqwest::{
    Response,
    header::{CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER},
    redirect::Policy,
};
use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

/// How much of an answer's body is read, so that the connection can be used again, and for how long.
const MOST_READ: usize = 64 << 10;
const LONGEST_READ: Duration = Duration::from_secs(1);

/// Connecting is given up sooner than waiting for an answer.
const LONGEST_CONNECT: Duration = Duration::from_secs(3);

/// Sends messages to every receiver of a sink.
#[derive(Debug)]
pub(crate) struct Client {
    http: Mutex<reqwest::Client>,
    files: TlsFiles,
    headers: HeaderMap,
    signer: Option<Signer>,
    timeout: Duration,
}

impl Client {
    /// Reads the certificates; connects nowhere.
    ///
    /// # Errors
    /// `Config`, if one cannot be used.
    pub(crate) fn open(settings: &Settings, files: TlsFiles) -> Result<Self> {
        let mut headers = settings.headers.clone();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let http = Mutex::new(http(&files, settings.timeout)?);
        Ok(Self { http, files, headers, signer: settings.signer.clone(), timeout: settings.timeout })
    }

    /// Reads the certificates again: those that a receiver refuses, or is refused by, may have been replaced meanwhile.
    /// What cannot be read leaves everything as it was.
    pub(crate) fn renew(&self) {
        if !self.files.are_given() {
            return;
        }
        if let Ok(http) = http(&self.files, self.timeout) {
            *self.http.lock().unwrap_or_else(PoisonError::into_inner) = http;
        }
    }

    /// Sends a message once.
    pub(crate) async fn post(&self, receiver: &Receiver, message: &Message) -> Answer {
        let http = self.http.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut headers = self.headers.clone();
        self.sign(&mut headers, message);
        let request = http.post(receiver.url().clone()).headers(headers).body(message.body.clone());
        match request.send().await {
            Ok(response) => {
                let status = response.status();
                let answer = answer::of_status(receiver.shown(), status, response.headers().get(RETRY_AFTER));
                let _ = tokio::time::timeout(LONGEST_READ, read_through(response)).await;
                answer
            }
            Err(error) => Answer::Later(answer::of_failure(receiver.shown(), &error, self.timeout)),
        }
    }

    /// The time is that of the attempt: receivers refuse what was signed long ago.
    fn sign(&self, headers: &mut HeaderMap, message: &Message) {
        let timestamp = time::now_us().unsigned_abs() / 1_000_000;
        let mut set = |name: &'static str, value: String| {
            headers.insert(
                name,
                HeaderValue::try_from(value).expect("digits, base64 and an id of plain letters"),
            );
        };
        if let Some(signer) = &self.signer {
            set("webhook-signature", signer.sign(&message.id, timestamp, &message.body));
        }
        set("webhook-id", message.id.to_string());
        set("webhook-timestamp", timestamp.to_string());
    }
}

/// A client that follows no redirect and asks no proxy: a message goes where the configuration says, or nowhere.
fn http(files: &TlsFiles, timeout: Duration) -> Result<reqwest::Client> {
    reqwest::Client::builder()
        .tls_backend_preconfigured(files.config()?)
        .redirect(Policy::none())
        .no_proxy()
        .referer(false)
        .retry(reqwest::retry::never())
        .user_agent(concat!("lockstep-webhook/", env!("CARGO_PKG_VERSION")))
        .timeout(timeout)
        .connect_timeout(timeout.min(LONGEST_CONNECT))
        .pool_idle_timeout(Duration::from_secs(30))
        .build()
        .map_err(|error| Error::fatal(format!("no HTTP client can be made: {error}")))
}

/// Reads what comes behind the status, unless it is too much. Nothing of it is kept.
async fn read_through(mut response: Response) {
    let mut n_read = 0;
    while let Ok(Some(chunk)) = response.chunk().await {
        n_read += chunk.len();
        if n_read > MOST_READ {
            return;
        }
    }
}
