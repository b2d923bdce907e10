//! What the suite needs to drive the real `lockstep` binary with real plugins from outside.
//!
//! A test makes a [`Site`] (a folder with pipelines, settings and data), starts a [`Host`] in it, and waits for conditions
//! with a limit; nothing here sleeps except between two looks at a condition.

mod artifacts;
mod gate;
mod wait;
mod ports;
mod site;
mod host;
mod admin;
mod status;
mod probe;
mod lines;
mod ledger;
mod key_ledger;
mod websocket;
mod connection;
mod authors;
mod watch;
mod subscriber;
mod written;
mod clock;
pub mod counter;
mod guide_lock;
mod adders;
mod locks;
mod servers;
mod brokers;
mod witness;
mod python;
mod peer;
mod oracle;
mod proxy;
mod receiver;
mod scale;

pub use adders::Adders;
pub use admin::{Answer, Request, http, raw_exchange};
pub use artifacts::{built_library, host_binary, python, target_dir, workspace_dir};
pub use authors::{Answered, Authors, Load, Numbers, Sent};
pub use brokers::Brokers;
pub use clock::Clock;
pub use connection::{Connection, Refused};
pub use gate::{Quiet, quiet};
pub use guide_lock::GuideWorkers;
pub use host::Host;
pub use key_ledger::{KeyLedger, Numbered};
pub use ledger::Ledger;
pub use lines::{append, key_of, lines, read};
pub use locks::{
    Added, Additions, AuditFaults, Errand, Grant, GuidePeer, LockEntry, Said, Stored, Turn, Turns, contend,
    disorder, monotonic_us, n_overtakings, overlap, repeated,
};
pub use oracle::{npm_answers, plugin_answers};
pub use peer::PythonPeer;
pub use ports::free_port;
pub use probe::Probe;
pub use proxy::Proxy;
pub use python::Python;
pub use receiver::{HttpReceiver, Posted, Reply};
pub use scale::{is_full, random, scale};
pub use servers::{
    Certificates, Cluster, Identity, Kafka, KafkaClient, KafkaMessage, KafkaReader, KafkaRecord, Mosquitto,
    MosquittoOptions, MqttClient, MqttMessage, PASSWORD, Redis, RedisOptions, Sentinels, USER,
};
pub use site::{Finished, Site};
pub use status::{Metrics, Status};
pub use subscriber::{Habit, Subscriber, Subscription};
pub use wait::{LIMIT, eventually, is_quick};
pub use watch::{Committed, History, Observation, Seen, Session, Verdict, Violation, check};
pub use websocket::{Frame, WsClient, runtime};
pub use witness::{Arrival, Arrivals, Witness};
pub use written::{last_revision, written, written_history};
