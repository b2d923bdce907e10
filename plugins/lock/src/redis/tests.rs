//! The locks of one host at a real server, with their tasks standing still: what a request does, whatever was done before it
//! and is not finished.

mod hosts;
mod returning;

use super::{keeping::settle, known::Due, *};
use crate::{
    event::What,
    lease::Lease,
    request::Whose,
    writes::{FenceWrite, Writes, token_to_stored},
};
use ::redis::{Client, Cmd, cmd};
use lockstep_plugin_api::testing::{self, MemoryHost, Place};
use serde_json::{Value, json};
use std::{
    cell::RefCell,
    net::TcpListener,
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

pub const RULES: Rules = Rules { longest_heartbeat: Duration::from_secs(30), max_per_user: 100 };

thread_local! { static LENT: RefCell<Option<Context>> = const { RefCell::new(None) } }

/// A component whose context outlives it.
struct Lender;

#[config]
struct NoConfig {}

impl Transform for Lender {
    type Config = NoConfig;

    fn new(_: NoConfig, context: &Context) -> Result<Self> {
        LENT.set(Some(context.clone()));
        Ok(Self)
    }

    fn apply(&mut self, record: Record, out: &mut Output) -> Result<()> {
        out.push(record);
        Ok(())
    }
}

/// A context of a host in memory.
pub fn context() -> (Context, MemoryHost) {
    let place = Place { through_log: true, ..Place::default() };
    testing::transform_at::<Lender>("{}", &place).expect("a component");
    (LENT.take().expect("a context"), place.host)
}

/// A server that keeps nothing on disk; ended when this is dropped.
struct Server {
    process: Child,
    port: u16,
}

impl Server {
    /// Somebody else may take a port that was free a moment ago: then the server ends, and another port is tried.
    fn start() -> Self {
        (0..20).find_map(|_| Self::try_start()).expect("a port that nobody takes in between")
    }

    fn try_start() -> Option<Self> {
        let port =
            TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a port").port();
        let port_text = port.to_string();
        let arguments = ["--bind", "127.0.0.1", "--port", &port_text, "--save", "", "--appendonly", "no"];
        let process = Command::new("redis-server").args(arguments).stdout(Stdio::null()).spawn();
        let mut server = Self { process: process.expect("redis-server is installed"), port };
        let itself = format!("process_id:{}\r\n", server.process.id());
        let began = std::time::Instant::now();
        while !server.ask::<String>(cmd("INFO").arg("server")).is_ok_and(|told| told.contains(&itself)) {
            if server.process.try_wait().expect("a child can be asked").is_some() {
                return None;
            }
            assert!(began.elapsed().as_secs() < 60, "redis-server answers within 60 s");
            thread::sleep(Duration::from_millis(20));
        }
        Some(server)
    }

    fn client(&self) -> Client {
        Client::open(format!("redis://127.0.0.1:{}", self.port)).expect("an address")
    }

    fn ask<T: ::redis::FromRedisValue>(&self, command: &Cmd) -> ::redis::RedisResult<T> {
        command.query(&mut self.client().get_connection()?)
    }

    /// Keeps the server from doing anything, or no longer.
    fn pause(&self, is_paused: bool) {
        let mut command = cmd("CLIENT");
        if is_paused {
            command.arg("PAUSE").arg(60_000).arg("WRITE")
        } else {
            command.arg("UNPAUSE")
        };
        let _: String = self.ask(&command).expect("an answer");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A host's locks.
struct Site {
    server: Arc<Server>,
    context: Context,
    host: MemoryHost,
    locks: Arc<Locks>,
    unsent: Option<Receiver<String>>,
    _alive: watch::Sender<()>,
}

fn site() -> Site {
    at(Arc::new(Server::start()))
}

fn at(server: Arc<Server>) -> Site {
    let (context, host) = context();
    let config = serde_json::from_value(json!({ "port": server.port })).expect("fields");
    let settings = Settings::new(&config, "config_lock:").expect("a place");
    let (locks, unsent, alive) = Redis::locks(settings, &context, RULES).expect("locks");
    Site { server, context, host, locks, unsent: Some(unsent), _alive: alive }
}

fn name() -> LockName {
    LockName::new(None, "app.x").expect("a name")
}

impl Site {
    /// Waits for what runs where the plugin's tasks do.
    fn run<T: Send + 'static>(&self, future: impl Future<Output = T> + Send + 'static) -> T {
        let (tell, told) = mpsc::sync_channel(1);
        self.context.spawn(async move { tell.send(future.await).expect("somebody waits") });
        told.recv().expect("it does not panic")
    }

    /// Another host with the same server, which hears what is said.
    fn beside(&self) -> Self {
        let other = at(self.server.clone());
        other.context.spawn(listen(other.locks.clone()));
        let n_listening = || -> (String, u64) {
            let mut command = cmd("PUBSUB");
            self.server.ask(command.arg("NUMSUB").arg("config_lock:events")).expect("an answer")
        };
        until("the other host listens", || n_listening().1 > 0);
        other
    }

    fn ask(&self, request: Request) -> Result<Value> {
        let locks = self.locks.clone();
        let answer = self.run(async move { locks.ask(request).await })?;
        serde_json::to_value(answer).map_err(Error::failed)
    }

    /// Takes the lock, and says under which token.
    fn acquire(&self, session: &str, request: Option<&str>) -> Result<u64> {
        self.acquire_for(session, request, Duration::from_secs(60))
    }

    fn acquire_for(&self, session: &str, request: Option<&str>, ttl: Duration) -> Result<u64> {
        let ask = crate::request::Ask {
            user_id: "alice".to_owned(),
            session: session.to_owned(),
            ttl,
            metadata: crate::lease::Fields::new(),
            request_id: request.map(str::to_owned),
        };
        let lease = self.ask(Request::Acquire { name: name(), ask, wait: Duration::ZERO })?;
        Ok(lease["token"].as_u64().expect("a token"))
    }

    fn lease(&self) -> Arc<Lease> {
        self.locks.registry.lease(&name()).expect("held")
    }

    fn end(&self, lease: Arc<Lease>) {
        let locks = self.locks.clone();
        self.run(async move { locks.end(&name(), lease, What::Lost, None).await }).expect("committed");
    }

    fn settle(&self, due: Due) {
        let locks = self.locks.clone();
        self.run(async move { settle(&locks, due).await });
    }

    /// The token that the lock is held under, as the server has it.
    fn held(&self) -> Option<u64> {
        self.ask(Request::Info { name: name() }).expect("an answer")["token"].as_u64()
    }

    fn notices(&self) -> Vec<String> {
        let kind = |mut notice: Record| notice.change().expect("a notice").event_type().to_owned();
        self.host.notices().into_iter().map(kind).collect()
    }

    fn audited(&self, kind: &str) -> usize {
        self.host.audit().into_iter().filter(|entry| entry.contains(&format!("\"{kind}\""))).count()
    }
}

/// Waits for what other threads bring about.
fn until(what: &str, is_so: impl Fn() -> bool) {
    let began = std::time::Instant::now();
    while !is_so() {
        assert!(began.elapsed().as_secs() < 60, "{what} within 60 s");
        thread::sleep(Duration::from_millis(10));
    }
}

fn code(answer: Result<impl std::fmt::Debug>) -> String {
    answer.expect_err("refused").code().expect("a code").to_owned()
}

#[test]
fn a_lease_that_was_told_to_be_lost_is_so_whatever_the_server_says() {
    let site = site();
    let token = site.acquire("s1", Some("a:1")).expect("free");
    site.end(site.lease());
    assert_eq!(site.held(), Some(token), "nobody has told the server");
    let extend = Request::Extend { name: name(), session: "s1".to_owned(), token, ttl: None };
    assert_eq!(code(site.ask(extend)), "not_found");
    assert_eq!(
        code(site.acquire("s1", Some("a:1"))),
        "not_found",
        "a repeat of the request that it was granted"
    );
    assert!(site.acquire("s1", Some("a:2")).expect("free") > token);
}

#[test]
fn a_grant_below_what_is_registered_is_asked_for_again_above_it() {
    let site = site();
    let registry = &site.locks.registry;
    assert_eq!(registry.registered(&name()).expect("read"), 0);
    // Another host's, which came with a change; then the server forgot its count, and its clock was set back.
    let registered = 9_000_000_000_000;
    let fence = FenceWrite { name: name(), before: None, after: token_to_stored(registered) };
    let writes = Writes { fences: vec![fence], ..Writes::default() };
    registry.store.commit(&writes, registry.clock.now()).expect("committed");
    assert_eq!(site.acquire("s1", Some("a:1")).expect("free"), registered + 1);
    assert_eq!(site.held(), Some(registered + 1));
}

#[test]
fn no_announcement_overtakes_another() {
    const MESSAGES: u64 = 500;
    let mut site = site();
    let mut connection = site.server.client().get_connection().expect("a connection");
    connection.set_read_timeout(Some(Duration::from_secs(60))).expect("a timeout");
    let mut heard = connection.as_pubsub();
    heard.subscribe("config_lock:events").expect("subscribed");
    let unsent = site.unsent.take().expect("nobody sends it yet");
    site.context.spawn(announce(site.locks.clone(), unsent));
    for token in 1..=MESSAGES {
        let lease = crate::lease::tests::lease("s1", token, site.locks.registry.clock.now());
        site.locks.announcer.tell(&site.locks, &name(), &lease, &What::Acquired);
    }
    for token in 1..=MESSAGES {
        let message: String = heard.get_message().expect("a message").get_payload().expect("text");
        let lease: Value = serde_json::from_str(message.lines().nth(2).expect("a lease")).expect("JSON");
        assert_eq!(lease["token"], token);
    }
}

#[test]
fn what_no_host_wrote_is_named_and_not_taken_for_an_outage() {
    for (name, verb, value) in [
        ("{config_lock:global:app.x}:fence", "SET", "no number"),
        ("{config_lock:global:app.x}:fence", "SET", "inf"),
        ("{config_lock:global:app.x}:fence", "SET", "9007199254740992"),
        ("{config_lock:global:app.x}:fence", "LPUSH", "a list"),
        ("{config_lock:global:app.x}:state", "SET", "no hash"),
    ] {
        let site = site();
        let _: ::redis::Value = site.server.ask(cmd(verb).arg(name).arg(value)).expect("written");
        let error = site.acquire("s1", None).expect_err(name);
        assert_eq!(error.code(), Some("bad_lock"), "{error}");
        assert!(error.to_string().contains(name), "{error}");
        let _: u32 = site.server.ask(cmd("DEL").arg(name)).expect("deleted");
        site.acquire("s1", None).expect("free");
    }
}

#[test]
fn what_is_no_text_in_the_place_of_a_lock_is_another_programs_lock() {
    let site = site();
    let lock = "config_lock:global:app.x";
    let _: u32 = site.server.ask(cmd("LPUSH").arg(lock).arg("a list")).expect("written");
    assert_eq!(code(site.acquire("s1", None)), "locked");
    assert_eq!(site.ask(Request::Info { name: name() }).expect("shown")["user_id"], "unknown");
}

#[test]
fn every_answer_about_a_lease_says_the_end_that_the_servers_text_has() {
    let site = site();
    site.acquire("s1", None).expect("free");
    let text: String = site.server.ask(&Cmd::get("config_lock:global:app.x")).expect("a text");
    let written = serde_json::from_str::<Value>(&text).expect("JSON")["expires_at"].clone();
    for _ in 0..20 {
        assert_eq!(site.ask(Request::Info { name: name() }).expect("shown")["expires_at"], written);
    }
    let refused = site.beside().acquire("s2", None).expect_err("held");
    let details: Value = serde_json::from_str(refused.details().expect("details")).expect("JSON");
    assert_eq!(details["expires_at"], written);
}

#[test]
fn where_nothing_is_locked_the_list_is_empty() {
    let site = site();
    for of in [Whose::Tenant(None), Whose::Everybodys] {
        assert_eq!(site.ask(Request::List { of }).expect("listed"), json!([]));
    }
}
