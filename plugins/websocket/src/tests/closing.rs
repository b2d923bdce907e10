//! The end of a server, and TLS.

use super::support::{Client, Pipeline, SOON, change, config, free_address, source};
use futures_util::{SinkExt, StreamExt};
use rustls_pki_types::ServerName;
use serde_json::json;
use std::{fs, sync::Arc, sync::atomic::Ordering};
use tokio::{net::TcpStream, runtime::Builder, time::timeout};
use tokio_rustls::{
    TlsConnector,
    rustls::{ClientConfig, RootCertStore, crypto::aws_lc_rs},
};
use tokio_tungstenite::{
    client_async,
    tungstenite::{Message, protocol::frame::coding::CloseCode},
};

#[test]
fn a_server_that_stops_answers_what_it_took_and_closes_with_1012() {
    let mut pipeline = Pipeline::start(json!({}));
    let (mut author, mut reader) = (pipeline.client(), pipeline.client());
    author.send(&change("app.x", 1));
    assert_eq!(reader.receive()["config_key"], "app.x");
    author.receive_type("config_sync");
    pipeline.is_stuck.store(true, Ordering::Relaxed);
    author.send(&change("app.y", 2));
    author.is_served();
    pipeline.end();
    let answer = author.receive();
    assert_eq!(
        (&answer["config_key"], &answer["code"]),
        (&json!("app.y"), &json!("unavailable")),
        "{answer}"
    );
    assert_eq!(author.closed(), Some(CloseCode::Restart));
    assert_eq!(reader.closed(), Some(CloseCode::Restart));
}

#[test]
fn a_client_that_says_goodbye_is_answered_and_forgotten() {
    let pipeline = Pipeline::start(json!({"max_connections": 1}));
    let mut client = pipeline.client();
    client.send_raw(Message::Close(None));
    assert_eq!(client.closed(), None);
    let start = std::time::Instant::now();
    while Client::try_connect(pipeline.address, "/").is_err() {
        assert!(start.elapsed() < SOON, "the place is free again");
    }
}

#[test]
fn wss_serves_with_the_files_of_ssl_context() {
    let folder = tempfile::tempdir().expect("a folder");
    let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let (certfile, keyfile) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    fs::write(&certfile, pair.cert.pem()).expect("written");
    fs::write(&keyfile, pair.signing_key.serialize_pem()).expect("written");
    let address = free_address();
    let settings = json!({"ssl_context": {"certfile": certfile, "keyfile": keyfile}});
    let _source = source(&config(address, settings)).expect("a source");

    let mut roots = RootCertStore::empty();
    roots.add(pair.cert.der().clone()).expect("added");
    let client = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    let talk = async {
        let stream = TcpStream::connect(address).await.expect("connected");
        let name = ServerName::try_from("localhost").expect("a name");
        let stream = TlsConnector::from(Arc::new(client)).connect(name, stream).await.expect("TLS");
        let (mut socket, _) = client_async("wss://localhost/", stream).await.expect("a WebSocket");
        let welcome = socket.next().await.expect("a message").expect("read");
        assert!(welcome.to_text().expect("text").contains("connection_established"));
        socket.send(Message::text(r#"{"type":"ping"}"#)).await.expect("sent");
        assert_eq!(
            socket.next().await.expect("a message").expect("read"),
            Message::text(r#"{"type":"pong"}"#)
        );
    };
    runtime.block_on(async { timeout(SOON, talk).await }).expect("in time");
}
