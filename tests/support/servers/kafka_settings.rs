//! What the tests' Kafka is told: listeners, users, and everything that makes it small and quick.

use super::{PASSWORD, USER, certificates::Certificates, folder::Folder};
use crate::ports::free_port;
use std::{ffi::OsString, path::Path};

/// A port per listener.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ports {
    pub(crate) plaintext: u16,
    pub(crate) sasl_ssl: u16,
    pub(crate) ssl: u16,
    pub(crate) expired: u16,
    controller: u16,
}

impl Ports {
    pub(crate) fn free() -> Self {
        Self {
            plaintext: free_port(),
            sasl_ssl: free_port(),
            ssl: free_port(),
            expired: free_port(),
            controller: free_port(),
        }
    }
}

/// The same for every broker of the tests: they never meet.
const CLUSTER: &str = "bG9ja3N0ZXAtdGVzdHMtMA";

/// What turns an empty folder into a broker's data folder, with its users by SCRAM in it.
pub(crate) fn format_arguments(settings: &Path) -> Vec<OsString> {
    let mut arguments: Vec<OsString> =
        vec!["format".into(), "-t".into(), CLUSTER.into(), "-c".into(), settings.into()];
    for user in [USER, "guest"] {
        let user = format!("SCRAM-SHA-256=[name={user},password={user}-secret]");
        arguments.extend(["--add-scram".into(), user.into()]);
    }
    arguments
}

/// `log4j2.properties`: warnings to standard output.
pub(crate) fn logging() -> &'static str {
    "rootLogger.level = WARN
rootLogger.appenderRef.console.ref = console
appender.console.type = Console
appender.console.name = console
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = %d %p %c %m%n
"
}

/// `server.properties`.
pub(crate) fn server(folder: &Folder, ports: &Ports) -> String {
    let data = folder.file("data");
    [
        format!("log.dirs={}\n", data.display()),
        listeners(ports),
        security(Certificates::shared()),
        SMALL.to_owned(),
        QUICK.to_owned(),
    ]
    .concat()
}

fn listeners(ports: &Ports) -> String {
    let Ports { plaintext, sasl_ssl, ssl, expired, controller } = ports;
    let open = format!(
        "PLAINTEXT://127.0.0.1:{plaintext},SASL_SSL://127.0.0.1:{sasl_ssl},\
         SSL://127.0.0.1:{ssl},EXPIRED://127.0.0.1:{expired}"
    );
    format!(
        "process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
listeners={open},CONTROLLER://127.0.0.1:{controller}
advertised.listeners={open}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,SASL_SSL:SASL_SSL,SSL:SSL,EXPIRED:SSL,CONTROLLER:PLAINTEXT
"
    )
}

/// Whoever comes without a name may do everything, as `app` and `client-a` may; everybody else is granted each thing.
fn security(certificates: &Certificates) -> String {
    let module = "org.apache.kafka.common.security";
    format!(
        "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS;User:{USER};User:CN=client-a
sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256
listener.name.sasl_ssl.scram-sha-256.sasl.jaas.config={module}.scram.ScramLoginModule required;
listener.name.sasl_ssl.plain.sasl.jaas.config={module}.plain.PlainLoginModule required \
user_{USER}=\"{PASSWORD}\" user_guest=\"guest-secret\";
ssl.keystore.type=PEM
ssl.keystore.location={}
ssl.truststore.type=PEM
ssl.truststore.location={}
listener.name.ssl.ssl.client.auth=required
listener.name.expired.ssl.keystore.type=PEM
listener.name.expired.ssl.keystore.location={}
",
        certificates.server.both.display(),
        certificates.ca.display(),
        certificates.expired.both.display(),
    )
}

/// One node, and no more threads and memory than tests need. Records up to a little over the guide's 10 MiB.
const SMALL: &str = "auto.create.topics.enable=false
num.network.threads=1
num.io.threads=2
background.threads=1
num.recovery.threads.per.data.dir=1
log.cleaner.dedupe.buffer.size=4194304
log.index.size.max.bytes=65536
message.max.bytes=11534336
offsets.topic.num.partitions=3
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=3
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
";

/// Groups form at once, a killed broker comes back in seconds, compaction is soon.
const QUICK: &str = "group.initial.rebalance.delay.ms=0
group.consumer.min.heartbeat.interval.ms=300
group.consumer.heartbeat.interval.ms=300
broker.session.timeout.ms=1500
broker.heartbeat.interval.ms=300
log.cleaner.backoff.ms=500
controlled.shutdown.enable=false
";
