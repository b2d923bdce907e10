//! Apache Kafka: one node that is broker and controller.
//!
//! One for the whole test process where a test needs no broker of its own: a start takes seconds and some 300 MB. Topics
//! are made by name, never by use.

use super::{
    daemon::{Daemon, Recipe},
    folder::Folder,
    kafka_client::KafkaClient,
    kafka_settings::{Ports, format_arguments, logging, server},
};
use crate::{artifacts::target_dir, gate::Busy};
use rdkafka::{
    consumer::{BaseConsumer, Consumer},
    metadata::Metadata,
};
use std::{
    fs,
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

/// The guide's topics.
pub(crate) const GUIDE_TOPICS: [&str; 4] =
    ["apg-config-general", "apg-config-database", "apg-config-security", "apg-config-features"];

/// A broker with a listener for each way in. Gone when it is dropped.
#[derive(Debug)]
pub struct Kafka {
    daemon: Daemon,
    ports: Ports,
    client: OnceLock<KafkaClient>,
    _folder: Folder,
}

impl Kafka {
    /// The broker that the tests of this process share: their topics' names are their own ([`Kafka::topic`]).
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Kafka> = OnceLock::new();
        // Whoever starts it must not wait for a test that measures and then waits for the start.
        let _busy = Busy::new();
        SHARED.get_or_init(Self::start)
    }

    /// A broker of the test's own, that it may kill, with nothing in it.
    ///
    /// # Panics
    /// If there is no Java or `make kafka` was not run.
    pub fn start() -> Self {
        let folder = Folder::new("kafka");
        let ports = Ports::free();
        folder.write("log4j2.properties", logging());
        folder.write("server.properties", &server(&folder, &ports));
        copy(&formatted(), &folder.file("data"));
        let settings = folder.file("server.properties");
        let logging = folder.file("log4j2.properties");
        let recipe = Recipe {
            name: "Kafka",
            log: folder.file("kafka.log"),
            command: Box::new(move || {
                let mut command = java(&logging);
                command.arg("kafka.Kafka").arg(&settings);
                command
            }),
            answers: Box::new(move || answers(ports.plaintext)),
        };
        Self { daemon: recipe.start(), ports, client: OnceLock::new(), _folder: folder }
    }

    /// The port of the listener without any security.
    pub fn port(&self) -> u16 {
        self.ports.plaintext
    }

    /// `bootstrap.servers` of the listener without any security.
    pub fn plaintext(&self) -> String {
        bootstrap(self.ports.plaintext)
    }

    /// `bootstrap.servers` of the listener with TLS and a password (`PLAIN` and `SCRAM-SHA-256`). `app` may do
    /// everything, `guest` nothing but what [`Kafka::allow`] grants.
    pub fn sasl_ssl(&self) -> String {
        bootstrap(self.ports.sasl_ssl)
    }

    /// `bootstrap.servers` of the listener that wants a client's certificate.
    pub fn ssl(&self) -> String {
        bootstrap(self.ports.ssl)
    }

    /// `bootstrap.servers` of a listener with TLS whose certificate has expired.
    pub fn expired(&self) -> String {
        bootstrap(self.ports.expired)
    }

    /// Makes a topic of which no other test knows the name, and gives the name.
    pub fn topic(&self, name: &str, n_partitions: i32, settings: &[(&str, &str)]) -> String {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("{name}-{}", NEXT.fetch_add(1, Ordering::Relaxed));
        self.create(&name, n_partitions, settings);
        name
    }

    /// Makes a topic of exactly this name.
    pub fn create(&self, name: &str, n_partitions: i32, settings: &[(&str, &str)]) {
        self.client().create(&[name], n_partitions, settings);
    }

    /// Makes the guide's four topics and the one for dead letters.
    pub fn create_guide_topics(&self) {
        let topics: Vec<&str> = GUIDE_TOPICS.into_iter().chain(["apg-config-dlq"]).collect();
        self.client().create(&topics, 1, &[]);
    }

    /// Lets `guest` do this with a topic: `READ`, `WRITE`, ...
    pub fn allow(&self, operation: &str, topic: &str) {
        let script = include_str!("../peers/kafka_acl.py");
        crate::python::run(script, &[&self.plaintext(), "guest", operation, topic]);
    }

    /// A client without any security.
    pub fn client(&self) -> &KafkaClient {
        self.client.get_or_init(|| KafkaClient::new(&self.plaintext()))
    }

    /// The process's id.
    pub fn id(&self) -> u32 {
        self.daemon.id()
    }

    /// Ends it as a crash would (SIGKILL).
    pub fn kill(&self) {
        self.daemon.kill();
    }

    /// It does nothing from now on, but its connections stay open (SIGSTOP).
    pub fn stop(&self) {
        self.daemon.stop();
    }

    /// It goes on where it was stopped (SIGCONT).
    pub fn cont(&self) {
        self.daemon.cont();
    }

    /// Starts it again with what it has on disk, and waits until every partition has a leader.
    pub fn restart(&self) {
        self.daemon.restart();
    }

    /// Starts it again without waiting until it answers.
    pub fn restart_unwatched(&self) {
        self.daemon.restart_unwatched();
    }
}

fn bootstrap(port: u16) -> String {
    format!("127.0.0.1:{port}")
}

fn java(logging: &Path) -> Command {
    let jars = target_dir().join("kafka");
    assert!(jars.is_dir(), "{} is missing: `make kafka` prepares it", jars.display());
    let mut command = Command::new("java");
    command
        .args(["-Xms96m", "-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"])
        .arg(format!("-Dlog4j2.configurationFile={}", logging.display()))
        .arg("-cp")
        .arg(jars.join("*"));
    command
}

/// A formatted data folder: made once, since every broker's looks the same and a Java start is dear.
fn formatted() -> PathBuf {
    static FORMATTED: OnceLock<Folder> = OnceLock::new();
    let format = || {
        let folder = Folder::new("kafka-formatted");
        let logging = folder.write("log4j2.properties", logging());
        let settings = folder.write("server.properties", &server(&folder, &Ports::free()));
        let mut command = java(&logging);
        command.arg("kafka.tools.StorageTool").args(format_arguments(&settings)).stdin(Stdio::null());
        let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        assert!(output.status.success(), "{command:?}: {output:?}");
        folder
    };
    FORMATTED.get_or_init(format).file("data")
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("the server's folder can be written");
    for entry in fs::read_dir(from).expect("the formatted folder is there").flatten() {
        fs::copy(entry.path(), to.join(entry.file_name())).expect("the formatted folder holds files");
    }
}

/// Whether every partition that the broker knows has a leader.
fn answers(port: u16) -> bool {
    if TcpStream::connect(("127.0.0.1", port)).is_err() {
        return false;
    }
    let consumer: Result<BaseConsumer, _> =
        rdkafka::ClientConfig::new().set("bootstrap.servers", bootstrap(port)).create();
    let Ok(consumer) = consumer else { return false };
    let metadata = consumer.fetch_metadata(None, Duration::from_secs(1));
    metadata.is_ok_and(|metadata| !metadata.brokers().is_empty() && is_led(&metadata))
}

fn is_led(metadata: &Metadata) -> bool {
    let mut partitions = metadata.topics().iter().flat_map(|topic| topic.partitions());
    partitions.all(|partition| partition.leader() >= 0 && partition.error().is_none())
}
