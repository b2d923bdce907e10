//! Against librdkafka's own mock cluster, which answers with whatever error a test wants.

use super::*;
use lockstep_plugin_api::testing::{Place, pipelined_sink};
use rdkafka::{
    Message,
    consumer::{BaseConsumer, Consumer},
    mocking::MockCluster,
    producer::DefaultProducerContext,
    topic_partition_list::{Offset, TopicPartitionList},
    types::{RDKafkaApiKey, RDKafkaRespErr},
};
use std::{cell::RefCell, ops::Range};

const LIMIT: Duration = Duration::from_secs(60);

type Cluster = MockCluster<'static, DefaultProducerContext>;

fn cluster() -> Cluster {
    let cluster = MockCluster::new(1).expect("a cluster");
    cluster.create_topic("t", 1, 1).expect("a topic");
    cluster
}

thread_local! {
    static MADE: RefCell<Option<KafkaSink>> = const { RefCell::new(None) };
}

/// Gives the sink that a driver made to the test, which then calls it as the host does.
struct Made;

impl PipelinedSink for Made {
    type Config = KafkaSinkConfig;

    fn new(config: KafkaSinkConfig, context: &Context) -> Result<Self> {
        let sink = KafkaSink::new(config, context)?;
        MADE.with(|made| made.replace(Some(sink)));
        Ok(Self)
    }

    fn put(&mut self, _: u64, _: Batch) -> Result<()> {
        Ok(())
    }

    fn acked(&mut self, _: Duration) -> Result<Acked> {
        Ok(Acked::default())
    }

    fn flush(&mut self, _: Duration) -> Result<()> {
        Ok(())
    }
}

/// Puts as the host does: what an endpoint that is away has not acked is given again, under its old number.
struct Host {
    sink: KafkaSink,
    place: Place,
    put: Vec<Batch>,
    acked: Acked,
    /// What the sink said of its endpoint.
    told: Vec<String>,
}

impl Host {
    fn new(cluster: &Cluster, more: &str) -> Self {
        let place = Place::default();
        let servers = cluster.bootstrap_servers();
        let servers: Vec<_> = servers.split(',').map(|server| format!("\"{server}\"")).collect();
        let config = format!(r#"{{"bootstrap_servers":[{}],"topic":"t"{more}}}"#, servers.join(","));
        drop(pipelined_sink::<Made>(&config, &place).expect("a sink"));
        let sink = MADE.with(RefCell::take).expect("it was made");
        Self { sink, place, put: Vec::new(), acked: Acked::default(), told: Vec::new() }
    }

    /// One batch of records with these values, which are their ids too.
    fn put(&mut self, values: Range<u64>) {
        let record = |value: u64| {
            let mut record = Record::new(value.to_string()).with_key("k");
            record.set_id(value);
            record
        };
        self.put.push(Batch::new(values.map(record).collect()));
        self.give(self.put.len());
    }

    fn give(&mut self, seq: usize) {
        if let Err(error) = self.sink.put(seq as u64, self.put[seq - 1].clone()) {
            self.away(&error);
        }
    }

    /// The oldest alone; the rest when it is acked.
    fn away(&mut self, error: &Error) {
        assert_eq!(error.kind(), ErrorKind::NOT_CONNECTED, "{error}");
        self.told.push(error.message().to_owned());
    }

    fn finish(&mut self) {
        let until = Instant::now() + LIMIT;
        let mut n_told = 0;
        while self.acked.through_seq < self.put.len() as u64 {
            assert!(Instant::now() < until, "acked {:?}, told {:?}", self.acked, self.told);
            if n_told < self.told.len() {
                n_told = self.told.len();
                (self.acked.through_seq as usize + 1..=self.put.len()).for_each(|seq| self.give(seq));
            }
            match self.sink.acked(Duration::from_millis(50)) {
                Ok(acked) => {
                    self.acked.through_seq = acked.through_seq;
                    self.acked.failed.extend(acked.failed);
                }
                Err(error) => self.away(&error),
            }
        }
    }

    fn count(&self, counter: &str) -> u64 {
        self.place.host.counter(counter)
    }
}

/// The values in the topic, in order.
fn written(cluster: &Cluster, n_messages: usize) -> Vec<u64> {
    let mut settings = ClientConfig::new();
    settings.set("bootstrap.servers", cluster.bootstrap_servers()).set("group.id", "test");
    let consumer: BaseConsumer = settings.create().expect("a consumer");
    let mut list = TopicPartitionList::new();
    list.add_partition_offset("t", 0, Offset::Beginning).expect("an offset");
    consumer.assign(&list).expect("assigned");
    let mut values = Vec::new();
    let until = Instant::now() + LIMIT;
    while values.len() < n_messages && Instant::now() < until {
        if let Some(Ok(message)) = consumer.poll(Duration::from_millis(100)) {
            let text = std::str::from_utf8(message.payload().expect("a value")).expect("text");
            values.push(text.parse().expect("a number"));
        }
    }
    values
}

#[test]
fn batches_are_acked_when_the_broker_has_them_and_a_repeat_is_not_sent_again() {
    let cluster = cluster();
    let mut host = Host::new(&cluster, "");
    (0..20).for_each(|n| host.put(n * 10..(n + 1) * 10));
    (1..=20).for_each(|seq| host.give(seq));
    host.finish();
    assert_eq!(written(&cluster, 200), (0..200).collect::<Vec<_>>());
    assert_eq!((host.count("kafka_messages_sent"), host.acked.failed.len()), (200, 0));
    host.sink.flush(LIMIT).expect("nothing is left");
}

#[test]
fn d_20c_an_outage_loses_and_repeats_nothing() {
    let cluster = cluster();
    let mut host = Host::new(&cluster, "");
    host.put(0..10);
    host.finish();
    cluster.broker_down(1).expect("down");
    (1..5).for_each(|n| host.put(n * 10..(n + 1) * 10));
    let until = Instant::now() + LIMIT;
    while host.told.is_empty() && Instant::now() < until {
        if let Err(error) = host.sink.acked(Duration::from_millis(50)) {
            host.away(&error);
        }
    }
    assert!(
        host.told[0].starts_with("no broker of") || host.told[0].starts_with("no answer"),
        "{:?}",
        host.told
    );
    cluster.broker_up(1).expect("up");
    host.finish();
    assert_eq!(written(&cluster, 50), (0..50).collect::<Vec<_>>());
    assert_eq!(host.count("kafka_clients_replaced"), 0);
}

/// The client gives a message up after `retries`; the ones behind it must not pass it.
#[test]
fn d_20c_what_the_client_gives_up_is_sent_again_in_order() {
    let cluster = cluster();
    let mut host = Host::new(&cluster, r#","retries":1,"retry_backoff_ms":10"#);
    host.put(0..10);
    host.finish();
    let error = RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS;
    // One more than there are batches: however the client puts them together, one of them meets two.
    cluster.request_errors(RDKafkaApiKey::Produce, &[error; 5]);
    (1..5).for_each(|n| host.put(n * 10..(n + 1) * 10));
    host.finish();
    assert!(host.count("kafka_clients_replaced") > 0, "told {:?}", host.told);
    assert!(host.acked.failed.is_empty(), "no record is to blame");
    let written = written(&cluster, 50);
    assert_eq!(written, (0..50).collect::<Vec<_>>());
}

#[test]
fn a_producer_that_can_do_nothing_any_more_is_replaced() {
    let cluster = cluster();
    let mut host = Host::new(&cluster, "");
    host.put(0..10);
    host.finish();
    // What a broker says that has forgotten the producer: for an idempotent one that is fatal.
    let error = RDKafkaRespErr::RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER;
    cluster.request_errors(RDKafkaApiKey::Produce, &[error]);
    host.put(10..20);
    host.put(20..30);
    host.finish();
    assert_eq!(host.count("kafka_clients_replaced"), 1, "told {:?}", host.told);
    assert_eq!(written(&cluster, 30), (0..30).collect::<Vec<_>>());
}

#[test]
fn a_record_that_is_refused_is_given_back_and_its_neighbours_are_written() {
    let cluster = cluster();
    let mut host = Host::new(&cluster, r#","max_request_size":1000"#);
    let mut large = Record::new("x".repeat(1001)).with_key("k");
    large.set_id(1);
    let (mut first, mut last) = (Record::new("0"), Record::new("2"));
    first.set_id(0);
    last.set_id(2);
    host.put.push(Batch::new(vec![first, large, last]));
    host.give(1);
    host.finish();
    let [(id, error)] = &host.acked.failed[..] else { panic!("{:?}", host.acked) };
    assert_eq!((*id, error.code()), (1, Some("too_large")));
    assert_eq!(written(&cluster, 2), [0, 2]);
}

#[test]
fn a_topic_that_is_not_there_fails_its_records_alone() {
    let cluster = cluster();
    cluster.topic_error("gone", RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED).expect("set");
    let mut host = Host::new(&cluster, "");
    host.sink.topics = Topics::new(vec!["gone".to_owned()], None);
    host.put(0..2);
    host.finish();
    let codes: Vec<_> = host.acked.failed.iter().map(|(_, error)| error.code()).collect();
    assert_eq!(codes, [Some("forbidden"); 2]);
    assert_eq!(host.count("kafka_messages_failed"), 2);
}

#[test]
fn a_broker_that_was_never_there_is_told_within_seconds() {
    let place = Place::default();
    drop(
        pipelined_sink::<Made>(r#"{"bootstrap_servers":["127.0.0.1:1"],"topic":"t"}"#, &place).expect("made"),
    );
    let mut sink = MADE.with(RefCell::take).expect("it was made");
    let asked_at = Instant::now();
    let error = sink.put(1, Batch::new(vec![Record::new("x")])).expect_err("nobody is there");
    assert_eq!(error.kind(), ErrorKind::NOT_CONNECTED);
    assert!(error.message().contains("127.0.0.1:1"), "{error}");
    assert!(asked_at.elapsed() < Duration::from_secs(20), "{:?}", asked_at.elapsed());
    assert_eq!(place.host.endpoint().as_deref(), Some("kafka:127.0.0.1:1/t"));
}
