//! The server as its clients see it: real sockets, a real store, no pipelines but a stand-in for the one through the
//! log.

mod audit;
mod log;
mod past;

use super::*;
use crate::audit::AuditOptions;
use crate::config::{DeadLetterSettings, HostSettings};
use crate::log::Log;
use crate::registry::RegistryOptions;
use crate::runtime::{DeadLetter, StoredError, StoredRecord};
use crate::store::StoreOptions;
use crate::telemetry::log_host;
use jiff::Timestamp;
use lockstep_plugin_api::{Bytes, Error, Record};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use tempfile::TempDir;

/// A server on a folder of its own.
struct Served {
    folder: TempDir,
    log: Log,
    metrics: Metrics,
    letters: DeadLetters,
    server: AdminServer,
}

fn view(folder: &TempDir) -> HostView {
    view_with(folder, StoreOptions::default())
}

fn view_with(folder: &TempDir, options: StoreOptions) -> HostView {
    let store = Store::open(folder.path(), options).expect("a store");
    let registry = Registry::open(RegistryOptions {
        plugin_path: vec![folder.path().to_owned()],
        cache_dir: folder.path().join("plugins"),
        log_host: log_host(),
    });
    HostView {
        node_id: "node-1".into(),
        registry,
        dead_letters: DeadLetters::open(store.clone(), DeadLetterSettings::default()).expect("readable"),
        log: log::view(&store),
        audit: Audit::open(store.clone(), AuditOptions::new(&HostSettings::default())).expect("an audit"),
        store,
        metrics: Metrics::new(),
        pipelines: Vec::new(),
        started: Instant::now(),
    }
}

fn serve(listen: &str) -> Served {
    let folder = tempfile::tempdir().expect("a folder");
    let view = view(&folder);
    serve_view(listen, folder, view)
}

fn serve_view(listen: &str, folder: TempDir, view: HostView) -> Served {
    let (letters, log, metrics) = (view.dead_letters.clone(), view.log.log.clone(), view.metrics.clone());
    let server = AdminServer::start(BoundAddress::bind(listen, "test").expect("bound"), folder.path(), view)
        .expect("started");
    Served { folder, log, metrics, letters, server }
}

impl Served {
    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn address(&self) -> SocketAddr {
        self.server.address().expect("an address")
    }

    fn token(&self) -> String {
        std::fs::read_to_string(self.path(TOKEN)).expect("a token").trim().to_owned()
    }

    fn socket(&self) -> Client {
        Client::of_socket(&self.path(SOCKET))
    }

    /// The status of a request over TCP with these headers more.
    fn status(&self, request: &str, headers: &str) -> u16 {
        let mut stream = TcpStream::connect(("127.0.0.1", self.address().port())).expect("it listens");
        let host =
            if headers.contains("Host:") { String::new() } else { format!("Host: {}\r\n", self.address()) };
        write!(stream, "{request} HTTP/1.1\r\n{host}{headers}Connection: close\r\n\r\n").expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("answered");
        answer.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status")
    }

    /// All of an answer over TCP to this body.
    fn answer(&self, request: &str, body: &str) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.address().port())).expect("it listens");
        let (host, token, length) = (self.address(), self.token(), body.len());
        write!(
            stream,
            "{request} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\nContent-Length: {length}\r\n\
             Connection: close\r\n\r\n{body}"
        )
        .expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("answered");
        answer
    }

    fn store_letters(&self, pipelines: &[&str]) {
        let letter = |pipeline: &&str| {
            let mut record = Record::new(Bytes::from("the value"));
            record.set_key(Some(Bytes::from("app.key")));
            let letter = DeadLetter {
                pipeline: (*pipeline).to_owned(),
                component: "out".into(),
                kind: "sink".into(),
                source: "in".into(),
                record_id: 7,
                attempts: 4,
                is_undecided: false,
                error: StoredError::from(&Error::rejected("invalid_value", "no good")),
                first_failed_at: Timestamp::now(),
                last_failed_at: Timestamp::now(),
                record: StoredRecord::from(&record),
            };
            (None, letter)
        };
        self.letters.put(&pipelines.iter().map(letter).collect::<Vec<_>>()).expect("stored");
    }
}

#[test]
fn health_readiness_and_metrics_are_served() {
    let served = serve("127.0.0.1:0");
    let client = served.socket();
    assert_eq!(client.get("/healthz").expect("alive")["node_id"], "node-1");
    assert_eq!(client.get("/readyz").expect("ready")["checks"], serde_json::json!([]));
    let verbose = client.get("/readyz?verbose").expect("ready");
    assert_eq!(verbose["checks"][0]["name"], "store");
    assert_eq!(client.get("/v1/pipelines").expect("none"), serde_json::json!([]));
    assert!(client.get("/v1/plugins").expect("none")["plugins"].is_array());
    assert_eq!(served.status("GET /metrics", ""), 200);
    let written = std::fs::read_to_string(served.path(ADDRESS)).expect("the address");
    assert_eq!(written.trim(), served.address().to_string());
}

#[test]
fn metrics_show_process_store_and_dead_letters_and_counters_do_not_run_away() {
    let folder = tempfile::tempdir().expect("a folder");
    let view = view(&folder);
    scrape::describe(&view.metrics);
    let commits = |text: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix("lockstep_store_commits_total "));
        line.and_then(|value| value.parse::<f64>().ok()).expect("a count")
    };
    let first = scrape::text(&view);
    for part in [
        "process_resident_memory_bytes ",
        "process_open_fds ",
        "lockstep_store_writable 1",
        "# HELP lockstep_uptime",
    ] {
        assert!(first.contains(part), "`{part}` in\n{first}");
    }
    assert_eq!(commits(&first), commits(&scrape::text(&view)), "nothing was committed in between");
    assert_eq!(commits(&first), view.store.counts().n_commits as f64);
}

#[test]
fn what_is_not_there_is_said_in_json() {
    let served = serve("127.0.0.1:0");
    for (path, status, code) in [
        ("/nothing", 404, "not_found"),
        ("/v1/pipelines/nothing", 404, "not_found"),
        ("/v1/dead-letters/1", 404, "not_found"),
        ("/v1/dead-letters/one", 400, "bad_message"),
        ("/v1/dead-letters?limit=many", 400, "bad_message"),
    ] {
        let Err(ClientError::Refused { status: found, code: found_code, .. }) = served.socket().get(path)
        else {
            panic!("{path} was answered")
        };
        assert_eq!((found, found_code.as_str()), (status, code), "{path}");
    }
    assert_eq!(served.status("DELETE /healthz", ""), 405);
}

#[test]
fn over_tcp_on_loopback_reading_is_open_and_changing_takes_the_token() {
    let served = serve("127.0.0.1:0");
    served.store_letters(&["flow"]);
    let token = format!("Authorization: Bearer {}\r\n", served.token());
    assert_eq!(served.status("GET /v1/dead-letters", ""), 200);
    assert_eq!(served.status("GET /v1/dead-letters/1", ""), 401, "a record is no status");
    assert_eq!(served.status("GET /v1/dead-letters/1", &token), 200);
    assert_eq!(served.status("DELETE /v1/dead-letters/1", ""), 401);
    assert_eq!(served.status("DELETE /v1/dead-letters/1", "Authorization: Bearer wrong\r\n"), 401);
    assert_eq!(served.status("POST /v1/dead-letters/1/retry", &token), 404, "its pipeline does not run");
    assert_eq!(served.status("DELETE /v1/dead-letters/1", &token), 204);
    assert_eq!(served.status("DELETE /v1/dead-letters/1", &token), 404);
}

#[test]
fn what_another_site_makes_a_browser_send_is_refused() {
    let served = serve("127.0.0.1:0");
    let token = format!("Authorization: Bearer {}\r\n", served.token());
    assert_eq!(served.status("GET /v1/pipelines", "Host: evil.example\r\n"), 403);
    assert_eq!(served.status("GET /v1/pipelines", "Origin: http://evil.example\r\n"), 403);
    assert_eq!(served.status("DELETE /v1/dead-letters/1", &format!("Origin: null\r\n{token}")), 403);
    let own = format!("Origin: http://{}\r\n", served.address());
    assert_eq!(served.status("GET /v1/pipelines", &own), 200);
    assert_eq!(served.status("GET /healthz", "Host: probe.example\r\n"), 200);
    assert_eq!(served.status("POST /v1/dead-letters/1/retry", "Content-Length: 70000\r\n"), 413);
    for forged in [
        "POST /v1/changes",
        "POST /v1/keys/app.x/rollback",
        "POST /v1/operations/echo",
        "POST /v1/metrics/reset",
    ] {
        assert_eq!(served.status(forged, ""), 401, "{forged} without the token");
        assert_eq!(served.status(forged, "Authorization: Bearer wrong\r\n"), 401, "{forged} with another");
        assert_eq!(served.status(forged, &format!("Host: evil.example\r\n{token}")), 403, "{forged}");
        let foreign = format!("Origin: http://evil.example\r\n{token}");
        assert_eq!(served.status(forged, &foreign), 403, "{forged}");
    }
    assert_eq!(served.status("GET /v1/watch", "Origin: http://evil.example\r\n"), 403);
}

#[test]
fn beyond_loopback_only_the_probes_are_open() {
    let served = serve("0.0.0.0:0");
    let token = format!("Authorization: Bearer {}\r\nHost: lockstep.prod\r\n", served.token());
    for (path, status) in [("/healthz", 200), ("/readyz", 200), ("/metrics", 401), ("/v1/pipelines", 401)] {
        assert_eq!(served.status(&format!("GET {path}"), ""), status, "{path}");
        assert_eq!(served.status(&format!("GET {path}"), &token), 200, "{path} with the token");
    }
}

#[test]
fn dead_letters_are_listed_in_pages_without_their_records() {
    let served = serve("off");
    served.store_letters(&["a", "b", "a", "b", "a"]);
    let client = served.socket();
    let ids = |path: &str| {
        let page: Page = serde_json::from_value(client.get(path).expect("a page")).expect("its shape");
        let ids: Vec<_> =
            page.dead_letters.iter().map(|letter| letter["id"].as_u64().expect("a number")).collect();
        (ids, page.next)
    };
    assert_eq!(ids("/v1/dead-letters"), (vec![1, 2, 3, 4, 5], None));
    assert_eq!(ids("/v1/dead-letters?pipeline=a&limit=2"), (vec![1, 3], Some(3)));
    assert_eq!(ids("/v1/dead-letters?pipeline=a&limit=2&after=3"), (vec![5], None));
    let listed = client.get("/v1/dead-letters").expect("a page")["dead_letters"][0].clone();
    assert_eq!((&listed["key"], &listed["attempts"]), (&"app.key".into(), &4.into()));
    assert!(!listed.to_string().contains("the value"), "{listed}");
    let shown = client.get("/v1/dead-letters/1").expect("it is there");
    assert_eq!(shown["record"]["value"]["text"], "the value");
}

#[test]
fn a_server_that_ends_takes_its_traces_with_it() {
    let served = serve("127.0.0.1:0");
    let (socket, address) = (served.path(SOCKET), served.path(ADDRESS));
    assert!(served.socket().is_there() && address.exists());
    drop(served.server);
    assert!(!socket.exists() && !address.exists());
    assert!(!Client::of_socket(&socket).is_there());
}
