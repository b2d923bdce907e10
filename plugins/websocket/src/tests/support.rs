//! A pipeline of this plugin's source and sink, and clients that wait with a limit.

use crate::{sink::WebSocketSink, source::WebSocketSource};
use futures_util::{SinkExt, StreamExt};
use lockstep_plugin_api::{
    prelude::*,
    testing::{self, MemoryHost, Place, SinkDriver, SourceDriver},
};
use serde_json::{Value, json};
use std::{
    net::{SocketAddr, TcpListener},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU8, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};
use tokio::{
    net::{TcpSocket, TcpStream},
    runtime::{Builder, Runtime},
    time::timeout,
};
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{Error as WsError, Message, protocol::frame::coding::CloseCode},
};

/// How long a machine with much else to do may take for what should come at once.
pub(super) const SOON: Duration = Duration::from_secs(60);
/// Long enough for a message that should not come to have come.
const NEVER: Duration = Duration::from_millis(300);

/// An address nobody else uses: each test takes a loopback IP of its own, and a free port of it.
pub(super) fn free_address() -> SocketAddr {
    static NEXT: AtomicU8 = AtomicU8::new(1);
    let process = std::process::id().to_be_bytes();
    let ip = [127, process[2] | 1, process[3], NEXT.fetch_add(1, Ordering::Relaxed)];
    let listener = TcpListener::bind(SocketAddr::from((ip, 0))).expect("a free port");
    listener.local_addr().expect("an address")
}

/// The settings as JSON, with the address added.
pub(super) fn config(address: SocketAddr, mut settings: Value) -> String {
    settings["listen"] = json!(address.to_string());
    settings.to_string()
}

pub(super) fn source(config: &str) -> Result<SourceDriver> {
    testing::async_source::<WebSocketSource>(config, &Place::default())
}

pub(super) fn sink(config: &str) -> Result<SinkDriver> {
    testing::sink::<WebSocketSink>(config, &Place::default())
}

/// What the pipeline in the middle says to a record.
pub(super) type Judge = dyn Fn(&mut Record) -> Option<OutcomeResult> + Send + Sync;

/// A direct pipeline: what the source gives is written to the sink and answered.
pub(super) struct Pipeline {
    pub(super) address: SocketAddr,
    /// While this is set, records are taken and neither written nor answered.
    pub(super) is_stuck: Arc<AtomicBool>,
    pub(super) taken: Arc<Mutex<Vec<Record>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Pipeline {
    pub(super) fn start(settings: Value) -> Self {
        Self::with_judge(settings, |_| None)
    }

    /// `judge` may answer a record instead of the sink.
    pub(super) fn with_judge(
        settings: Value,
        judge: impl Fn(&mut Record) -> Option<OutcomeResult> + Send + Sync + 'static,
    ) -> Self {
        let address = free_address();
        let config = config(address, settings);
        let source = source(&config).expect("a source");
        let sink = sink(&config).expect("a sink");
        let (stop, is_stuck) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let taken = Arc::new(Mutex::new(Vec::new()));
        let thread = std::thread::spawn({
            let (stop, is_stuck, taken) = (stop.clone(), is_stuck.clone(), taken.clone());
            move || pump(source, sink, &judge, &stop, &is_stuck, &taken)
        });
        Self { address, is_stuck, taken, stop, thread: Some(thread) }
    }

    pub(super) fn client(&self) -> Client {
        let mut client = Client::connect(self.address, "/");
        client.welcome();
        client
    }

    pub(super) fn end(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let joined = thread.join();
            assert!(joined.is_ok() || std::thread::panicking(), "the pipeline did not panic");
        }
    }
}

impl Drop for Pipeline {
    fn drop(&mut self) {
        self.end();
    }
}

fn pump(
    mut source: SourceDriver,
    mut sink: SinkDriver,
    judge: &Judge,
    stop: &AtomicBool,
    is_stuck: &AtomicBool,
    taken: &Mutex<Vec<Record>>,
) {
    let mut waiting = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let polled = source.poll(100, Duration::from_millis(10)).expect("a poll");
        taken.lock().expect("unpoisoned").extend(polled.iter().cloned());
        waiting.extend(polled);
        if is_stuck.load(Ordering::Relaxed) {
            continue;
        }
        let mut outcomes = Vec::new();
        for mut record in waiting.drain(..) {
            let id = record.id();
            let result = judge(&mut record).unwrap_or_else(|| {
                assert!(sink.write(vec![record]).expect("written").is_empty(), "no record fails");
                OutcomeResult::Written
            });
            outcomes.push(Outcome { id, result });
        }
        source.outcomes(outcomes).expect("taken");
    }
    drop(source);
}

/// A pipeline through the log, in memory: what the source gives is committed and answered, and shown when it is delivered.
pub(super) struct LogPipeline {
    pub(super) address: SocketAddr,
    pub(super) host: MemoryHost,
    /// What was taken from clients, as it came.
    pub(super) taken: Arc<Mutex<Vec<Record>>>,
    sink: Arc<Mutex<Delivering>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

struct Delivering {
    driver: SinkDriver,
    committed: Vec<Record>,
    n_delivered: usize,
    /// Whether entries are shown as soon as they are committed.
    is_prompt: bool,
}

impl LogPipeline {
    pub(super) fn start(settings: Value) -> Self {
        Self::at(free_address(), settings, MemoryHost::default())
    }

    /// Another life of the same log.
    pub(super) fn at(address: SocketAddr, settings: Value, host: MemoryHost) -> Self {
        let config = config(address, settings);
        let place = Place { through_log: true, host: host.clone(), ..Place::default() };
        let source = testing::async_source::<WebSocketSource>(&config, &place).expect("a source");
        let driver = testing::sink::<WebSocketSink>(&config, &place).expect("a sink");
        let sink = Delivering { driver, committed: Vec::new(), n_delivered: 0, is_prompt: true };
        let (sink, stop) = (Arc::new(Mutex::new(sink)), Arc::new(AtomicBool::new(false)));
        let taken = Arc::new(Mutex::new(Vec::new()));
        let thread = std::thread::spawn({
            let (sink, stop, host, taken) = (sink.clone(), stop.clone(), host.clone(), taken.clone());
            move || commit_all(source, &sink, &host, &stop, &taken)
        });
        Self { address, host, taken, sink, stop, thread: Some(thread) }
    }

    pub(super) fn client(&self) -> Client {
        let mut client = Client::connect(self.address, "/");
        client.welcome();
        client
    }

    /// Keeps entries from being shown, until [`LogPipeline::deliver`].
    pub(super) fn hold_back(&self) {
        self.sink.lock().expect("unpoisoned").is_prompt = false;
    }

    /// Shows what was committed, now and from now on.
    pub(super) fn deliver(&self) {
        let mut sink = self.sink.lock().expect("unpoisoned");
        sink.is_prompt = true;
        sink.deliver();
    }

    /// Shows everything again, as after a crash that lost the cursor.
    pub(super) fn deliver_again(&self) {
        let mut sink = self.sink.lock().expect("unpoisoned");
        sink.n_delivered = 0;
        sink.deliver();
    }

    /// Commits a change of somebody else and gives its revision.
    pub(super) fn commit(&self, key: &str, value: impl Into<Value>) -> u64 {
        let value = Json::parse(&value.into().to_string()).expect("JSON");
        self.commit_record(Record::from_change(Change::new(key.to_owned(), value)))
    }

    pub(super) fn commit_record(&self, record: Record) -> u64 {
        self.sink.lock().expect("unpoisoned").commit(&self.host, vec![record])
    }
}

impl Drop for LogPipeline {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let joined = thread.join();
            assert!(joined.is_ok() || std::thread::panicking(), "the pipeline did not panic");
        }
    }
}

impl Delivering {
    /// Gives the last revision.
    fn commit(&mut self, host: &MemoryHost, records: Vec<Record>) -> u64 {
        let mut revision = 0;
        for mut record in records {
            revision = host.append([record.clone()]);
            let change = record.change_mut().expect("a change");
            change.set_epoch(Some(host.epoch().into()));
            change.set_revision(Some(revision));
            self.committed.push(record);
        }
        if self.is_prompt {
            self.deliver();
        }
        revision
    }

    fn deliver(&mut self) {
        let batch = self.committed[self.n_delivered..].to_vec();
        self.n_delivered = self.committed.len();
        if !batch.is_empty() {
            assert!(self.driver.write(batch).expect("written").is_empty(), "no entry fails");
        }
    }
}

fn commit_all(
    mut source: SourceDriver,
    sink: &Mutex<Delivering>,
    host: &MemoryHost,
    stop: &AtomicBool,
    taken: &Mutex<Vec<Record>>,
) {
    while !stop.load(Ordering::Relaxed) {
        let polled = source.poll(100, Duration::from_millis(10)).expect("a poll");
        taken.lock().expect("unpoisoned").extend(polled.iter().cloned());
        let mut sink = sink.lock().expect("unpoisoned");
        for record in polled {
            let id = record.id();
            // Shown first: the worst case for the order of answers.
            let revision = sink.commit(host, vec![record]);
            let result = OutcomeResult::Applied { revision, details: None };
            source.outcomes(vec![Outcome { id, result }]).expect("taken");
        }
    }
    drop(source);
}

/// A connection that takes little on its way, however much this machine gives to others: a server soon feels who does not
/// read.
async fn narrow(address: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.set_recv_buffer_size(64 * 1024)?;
    socket.connect(address).await
}

/// One client, with a runtime of its own: the drivers block, which they must not do inside of one.
pub(super) struct Client {
    runtime: Runtime,
    socket: WebSocketStream<TcpStream>,
}

impl Client {
    pub(super) fn connect(address: SocketAddr, path: &str) -> Self {
        Self::try_connect(address, path).unwrap_or_else(|error| panic!("connects: {error}"))
    }

    pub(super) fn try_connect(address: SocketAddr, path: &str) -> Result<Self, WsError> {
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
        let socket = runtime.block_on(async {
            let stream = narrow(address).await?;
            let connected = timeout(SOON, client_async(format!("ws://{address}{path}"), stream)).await;
            connected.expect("an answer in time").map(|(socket, _)| socket)
        })?;
        Ok(Self { runtime, socket })
    }

    /// Takes the first message, which must be the welcome, and gives the connection's id.
    pub(super) fn welcome(&mut self) -> String {
        let welcome = self.receive();
        assert_eq!(welcome["type"], "connection_established", "the welcome comes first: {welcome}");
        welcome["connection_id"].as_str().expect("an id").to_owned()
    }

    pub(super) fn send(&mut self, message: &Value) {
        self.send_raw(Message::text(message.to_string()));
    }

    pub(super) fn send_raw(&mut self, message: Message) {
        self.runtime
            .block_on(async { timeout(SOON, self.socket.send(message)).await })
            .expect("in time")
            .expect("sent");
    }

    /// Sends as many of these as the server takes before it is full and reads no more, and gives how many. A server that
    /// is slow is not full.
    pub(super) fn send_until_stuck(
        &mut self,
        mut message: impl FnMut(usize) -> Value,
        limit: usize,
        is_full: impl Fn() -> bool,
    ) -> usize {
        let start = Instant::now();
        for n in 0..limit {
            let mut sending = Box::pin(self.socket.send(Message::text(message(n).to_string())));
            while self.runtime.block_on(async { timeout(NEVER, &mut sending).await }).is_err() {
                if is_full() {
                    return n;
                }
                assert!(start.elapsed() < SOON, "the server takes no more, and is not full");
            }
        }
        limit
    }

    /// The next JSON message.
    pub(super) fn receive(&mut self) -> Value {
        match self.next() {
            Ok(message) => serde_json::from_str(message.to_text().expect("text")).expect("JSON"),
            Err(code) => panic!("the connection was closed with {code:?}"),
        }
    }

    /// Receives until a message has this type.
    pub(super) fn receive_type(&mut self, kind: &str) -> Value {
        loop {
            let message = self.receive();
            if message["type"] == kind {
                return message;
            }
        }
    }

    /// Everything that the server has sent up to the answer to a ping sent now.
    pub(super) fn messages_so_far(&mut self) -> Vec<Value> {
        self.send(&json!({"type": "ping"}));
        std::iter::from_fn(|| Some(self.receive()).filter(|message| message["type"] != "pong")).collect()
    }

    /// Every message up to one of this type, that one left out.
    pub(super) fn messages_before(&mut self, kind: &str) -> Vec<Value> {
        std::iter::from_fn(|| Some(self.receive()).filter(|message| message["type"] != kind)).collect()
    }

    /// The next text message, or how the connection was closed.
    pub(super) fn next(&mut self) -> Result<Message, Option<CloseCode>> {
        loop {
            let next = self.runtime.block_on(async { timeout(SOON, self.socket.next()).await });
            match next.expect("a message in time") {
                Some(Ok(Message::Close(frame))) => return Err(frame.map(|frame| frame.code)),
                Some(Ok(message @ Message::Text(_))) => return Ok(message),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Err(None),
            }
        }
    }

    /// How the server closes the connection, whatever it says before.
    pub(super) fn closed(&mut self) -> Option<CloseCode> {
        loop {
            if let Err(code) = self.next() {
                return code;
            }
        }
    }

    /// Reads for this long, answering pings, and gives how many there were; none if the server closes the connection.
    pub(super) fn count_pings(&mut self, period: Duration) -> Option<usize> {
        let mut n_pings = 0;
        let pings = async {
            while let Some(Ok(Message::Ping(_))) = self.socket.next().await {
                n_pings += 1;
            }
        };
        self.runtime.block_on(async { timeout(period, pings).await }).is_err().then_some(n_pings)
    }

    pub(super) fn receives_nothing(&mut self) {
        let next = self.runtime.block_on(async { timeout(NEVER, self.socket.next()).await });
        assert!(next.is_err(), "nothing was expected: {next:?}");
    }

    /// The server still listens: what was sent before has been handled.
    pub(super) fn is_served(&mut self) {
        self.send(&json!({"type": "ping"}));
        assert_eq!(self.receive(), json!({"type": "pong"}));
    }
}

pub(super) fn change(key: &str, value: impl Into<Value>) -> Value {
    json!({"type": "config_change", "config_key": key, "new_value": value.into()})
}
