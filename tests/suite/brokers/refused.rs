//! Brokers that let nobody in: the status says why, the password is nowhere, and the pipeline beside it does not notice.

use lockstep_test_support::{
    Certificates, Host, Kafka, LIMIT, Ledger, Mosquitto, MosquittoOptions, Probe, Redis, RedisOptions, Site,
    Status, eventually,
};
use std::path::Path;

/// In every configuration that is to be refused, and nowhere in what the host says.
const WRONG_PASSWORD: &str = "hunter2-wrong";

/// A way in that is shut.
struct Refusal {
    name: String,
    plugin: &'static str,
    /// `config:` of a source and of a sink.
    source: String,
    sink: String,
    /// What the status has to say, one word of each group.
    says: &'static [&'static [&'static str]],
}

const KINDS: [&str; 2] = ["sources", "sinks"];

const BAD_LOGIN: &[&[&str]] = &[&["authenticat", "password", "login", "authorized", "credentials"], &["app"]];
const UNKNOWN_AUTHORITY: &[&[&str]] = &[&["certificate", "unknownissuer", "unknown issuer"]];
const EXPIRED: &[&[&str]] = &[&["certificate"], &["expired"]];

#[test]
fn who_is_not_let_in_or_distrusts_the_server_says_so_and_harms_no_neighbour() {
    let kafka = Kafka::shared();
    let mosquitto = Mosquitto::start(&MosquittoOptions::default());
    let redis = Redis::start(&RedisOptions::default());
    let expired = Redis::start(&RedisOptions { is_expired: true, ..Default::default() });
    let topic = kafka.topic("refused", 1, &[]);
    let mut refusals = kafka_refusals(kafka, &topic);
    refusals.extend(mqtt_refusals(&mosquitto));
    refusals.extend(redis_refusals(&redis, &expired));

    let mut site = Site::new().pipeline("neighbour", &neighbour(kafka, &topic));
    for refusal in &refusals {
        site = site.pipeline(&refusal.name, &refusal.pipeline());
    }
    let read = Probe::new(&site, "neighbour-out");
    let mut host = site.start();
    let told = eventually(LIMIT, || untold(&host, &refusals).is_empty().then_some(()));
    let status = host.status();
    for refusal in &refusals {
        for kind in KINDS {
            println!("{} in {kind}: {}", refusal.name, refusal.said(&status, kind).unwrap_or_default());
        }
        assert_eq!(status.state(&refusal.name), "running", "somebody may mend it");
    }
    assert!(told.is_some(), "{:#?}", untold(&host, &refusals));
    host.wait_until("everything of the neighbour", LIMIT, |_| read.written().len() >= N_NEIGHBOUR as usize);
    assert_eq!(host.status().state("neighbour"), "running");
    Ledger::new(&Probe::keys(N_NEIGHBOUR), &read.written()).assert_exactly_once_in_order();
    assert_eq!(host.get("/healthz").code, 200);
    // Nothing was read at a shut door, nothing was lost at one, and nobody says what was tried.
    for refusal in &refusals {
        assert_eq!(
            host.metrics().sum("lockstep_records_dead_lettered_total", &[("pipeline", &refusal.name)]),
            0.0
        );
    }
    let said = [host.log(), host.get("/v1/pipelines").body, host.get("/readyz?verbose").body].join("\n");
    assert!(!said.contains(WRONG_PASSWORD), "a password is shown");
}

/// How many records the neighbour moves meanwhile.
const N_NEIGHBOUR: u64 = 500;

/// Writes to Kafka and reads from it all the while.
fn neighbour(kafka: &Kafka, topic: &str) -> String {
    let servers = format!("bootstrap_servers: [\"{}\"], topic: {topic}", kafka.plaintext());
    format!(
        "
sources:
  - {{ plugin: probe, config: {{ dir: SITE/neighbour-in, count: {N_NEIGHBOUR}, rate: 100 }} }}
sinks:
  - {{ plugin: kafka, config: {{ {servers} }} }}
  - {{ plugin: probe, config: {{ dir: SITE/neighbour-out }} }}
"
    )
}

impl Refusal {
    fn new(
        plugin: &'static str,
        name: &str,
        common: &str,
        (source, sink): (&str, &str),
        says: &'static [&'static [&'static str]],
    ) -> Self {
        let name = format!("{plugin}-{name}");
        Self {
            source: format!("{{ {common}{source} }}"),
            sink: format!("{{ {common}{sink} }}"),
            name,
            plugin,
            says,
        }
    }

    /// The shut door on both sides, and a source that has something for it.
    fn pipeline(&self) -> String {
        let Self { name, plugin, source, sink, .. } = self;
        format!(
            "
sources:
  - {{ plugin: probe, config: {{ dir: SITE/{name}-in, count: 3 }} }}
  - {{ plugin: {plugin}, config: {source} }}
sinks:
  - plugin: {plugin}
    on_error: {{ retry: {{ attempts: 1, backoff: 10ms, max: 10ms }}, then: dead_letter }}
    config: {sink}
"
        )
    }

    /// What a component of this kind says, if it is away.
    fn said(&self, status: &Status, kind: &str) -> Option<String> {
        let component = status.component(&self.name, kind, self.plugin);
        let error = &component["last_error"];
        (component["state"] == "not_connected").then(|| format!("{} {}", error["message"], error["detail"]))
    }

    fn is_told_by(&self, said: &str) -> bool {
        let said = said.to_lowercase();
        self.says.iter().all(|words| words.iter().any(|word| said.contains(word)))
    }
}

/// Every source and every sink that is shut out says why; what does not.
fn untold(host: &Host, refusals: &[Refusal]) -> Vec<String> {
    let status = host.status();
    let components = refusals.iter().flat_map(|refusal| KINDS.map(|kind| (refusal, kind)));
    let untold = components.filter_map(|(refusal, kind)| {
        let said = refusal.said(&status, kind);
        let is_told = said.as_ref().is_some_and(|said| refusal.is_told_by(said));
        (!is_told).then(|| format!("{} in {kind}: {said:?}", refusal.name))
    });
    untold.collect()
}

fn kafka_refusals(kafka: &Kafka, topic: &str) -> Vec<Refusal> {
    let certificates = Certificates::shared();
    let door = |servers: &str, protocol: &str, ca: &Path, more: &str| {
        format!(
            "bootstrap_servers: [\"{servers}\"], security_protocol: {protocol}, topic: {topic}, \
             ssl_context: {{ cafile: {}{more} }}",
            ca.display()
        )
    };
    let login = |mechanism: &str, password: &str| {
        format!(", sasl_mechanism: {mechanism}, sasl_username: app, sasl_password: {password}")
    };
    let refusal = |name: &str, common: &str, says| Refusal::new("kafka", name, common, ("", ""), says);
    let wrong = |mechanism: &str| {
        let door = door(&kafka.sasl_ssl(), "SASL_SSL", &certificates.ca, "");
        format!("{door}{}", login(mechanism, WRONG_PASSWORD))
    };
    let stranger = &certificates.stranger;
    let stranger =
        format!(", certfile: {}, keyfile: {}", stranger.certificate.display(), stranger.key.display());
    let other_ca = door(&kafka.sasl_ssl(), "SASL_SSL", &certificates.other_ca, "");
    vec![
        refusal("wrong-password", &wrong("PLAIN"), BAD_LOGIN),
        refusal("wrong-password-by-scram", &wrong("SCRAM-SHA-256"), BAD_LOGIN),
        refusal("wrong-ca", &format!("{other_ca}{}", login("PLAIN", "app-secret")), UNKNOWN_AUTHORITY),
        refusal("expired", &door(&kafka.expired(), "SSL", &certificates.ca, ""), EXPIRED),
        refusal("unknown-client", &door(&kafka.ssl(), "SSL", &certificates.ca, &stranger), UNKNOWN_AUTHORITY),
    ]
}

fn mqtt_refusals(mosquitto: &Mosquitto) -> Vec<Refusal> {
    let certificates = Certificates::shared();
    let by_tls = |port: u16, ca: &Path| {
        format!(
            "broker_host: localhost, broker_port: {port}, tls_enabled: true, ssl_context: {{ cafile: {} }}, \
             username: app, password: app-secret",
            ca.display()
        )
    };
    let refusal = |name: &str, common: &str, says| {
        Refusal::new("mqtt", name, common, (", topics: [\"plant/#\"]", ", topic: plant/refused"), says)
    };
    let login = format!("broker_port: {}, username: app, password: {WRONG_PASSWORD}", mosquitto.port);
    vec![
        refusal("wrong-password", &login, BAD_LOGIN),
        refusal("wrong-password-in-3-1-1", &format!("{login}, protocol: 3.1.1"), BAD_LOGIN),
        refusal("wrong-ca", &by_tls(mosquitto.tls_port, &certificates.other_ca), UNKNOWN_AUTHORITY),
        refusal("expired", &by_tls(mosquitto.expired_port, &certificates.ca), EXPIRED),
    ]
}

fn redis_refusals(redis: &Redis, expired: &Redis) -> Vec<Refusal> {
    let certificates = Certificates::shared();
    let by_tls = |port: u16, ca: &Path| {
        format!(
            "host: localhost, port: {port}, ssl: true, ssl_context: {{ cafile: {} }}, \
             username: app, password: app-secret",
            ca.display()
        )
    };
    let refusal = |name: &str, common: &str, says| {
        Refusal::new("redis", name, common, (", streams: [refused]", ", stream: refused"), says)
    };
    let login = format!("port: {}, username: app, password: {WRONG_PASSWORD}", redis.port);
    vec![
        refusal("wrong-password", &login, BAD_LOGIN),
        refusal("wrong-ca", &by_tls(redis.tls_port, &certificates.other_ca), UNKNOWN_AUTHORITY),
        refusal("expired", &by_tls(expired.tls_port, &certificates.ca), EXPIRED),
    ]
}
