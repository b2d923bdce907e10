//! Against librdkafka's own mock cluster: positions, the group, and what happens to what cannot be read.

use super::*;
use crate::lanes::End;
use lockstep_plugin_api::testing::{self, Place as Stage, SourceDriver};
use rdkafka::{
    ClientConfig,
    mocking::MockCluster,
    producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer},
};
use std::{cell::RefCell, time::Instant};

/// How long a machine with much else to do may take for what should come at once.
const LIMIT: Duration = Duration::from_secs(60);

type Cluster = MockCluster<'static, DefaultProducerContext>;

fn cluster() -> Cluster {
    let cluster = MockCluster::new(1).expect("a cluster");
    cluster.create_topic("t", 1, 1).expect("a topic");
    cluster
}

fn write(cluster: &Cluster, values: &[&str]) {
    write_to(cluster, "t", values);
}

fn write_to(cluster: &Cluster, topic: &str, values: &[&str]) {
    let mut settings = ClientConfig::new();
    settings.set("bootstrap.servers", cluster.bootstrap_servers());
    let producer: BaseProducer = settings.create().expect("a producer");
    for value in values {
        let record = BaseRecord::to(topic).partition(0).key("k").payload(*value);
        producer.send(record).map_err(|(error, _)| error).expect("taken");
    }
    producer.flush(LIMIT).expect("written");
}

fn source(cluster: &Cluster, stage: &Stage, more: &str) -> SourceDriver {
    let servers = cluster.bootstrap_servers();
    let topic = if more.contains("topics") { "" } else { r#","topic":"t""# };
    let config = format!(r#"{{"bootstrap_servers":["{servers}"]{topic}{more}}}"#);
    testing::source::<KafkaSource>(&config, stage).expect("a source")
}

fn texts(records: &[Record]) -> Vec<String> {
    records
        .iter()
        .map(|record| String::from_utf8_lossy(&record.value().unwrap_or_default()).into_owned())
        .collect()
}

/// Polls a source that has nothing to give until something else has happened.
fn nothing_until(source: &mut SourceDriver, has_happened: impl Fn() -> bool) {
    let until = Instant::now() + LIMIT;
    while !has_happened() {
        assert!(Instant::now() < until, "it has not happened within {LIMIT:?}");
        assert!(source.poll(10, Duration::from_millis(50)).expect("polled").is_empty());
    }
}

fn change(n: u32) -> String {
    format!(r#"{{"config_key":"app.x","new_value":{n},"source_node":"other"}}"#)
}

#[test]
fn a_direct_pipeline_goes_on_where_the_host_has_come_to() {
    let cluster = cluster();
    write(&cluster, &["a", "{", "c"]);
    let mut stage = Stage::default();
    let mut first = source(&cluster, &stage, r#","auto_offset_reset":"earliest""#);
    let records = first.poll_until(3, LIMIT).expect("messages");
    assert_eq!(texts(&records), ["a", "{", "c"]);
    assert_eq!(records[0].key_str(), Some("k"));
    let position = records[1].position().expect("a position").clone();
    assert_eq!(position.bytes().as_ref(), b"t/0@2");
    drop(first);

    stage.positions = vec![position];
    let mut second = source(&cluster, &stage, "");
    assert_eq!(texts(&second.poll_until(1, LIMIT).expect("messages")), ["c"]);
    assert_eq!(stage.host.endpoint(), Some(format!("kafka:{}/t", cluster.bootstrap_servers())));
}

#[test]
fn d_17_without_a_position_a_direct_pipeline_begins_where_it_is_told() {
    let cluster = cluster();
    write(&cluster, &["before"]);
    let mut latest = source(&cluster, &Stage::default(), "");
    while latest.poll(10, Duration::from_millis(50)).expect("polled").is_empty() {
        // The end is found by asking for it, so what is written from now on may come too late to be read.
        write(&cluster, &["after"]);
    }
    let mut earliest =
        source(&cluster, &Stage::default(), r#","auto_offset_reset":"earliest","group_id":"g""#);
    assert_eq!(texts(&earliest.poll_until(1, LIMIT).expect("messages"))[0], "before");
}

#[test]
fn d_16_the_group_is_told_what_the_host_has_stored_and_nothing_else() {
    let cluster = cluster();
    write(&cluster, &["a", "b", "c"]);
    let more = r#","auto_offset_reset":"earliest","auto_commit_interval_ms":1"#;
    let mut first = source(&cluster, &Stage::default(), more);
    let records = first.poll_until(3, LIMIT).expect("messages");
    assert_eq!(records.len(), 3);
    first.commit(records[1].position().expect("a position")).expect("stored");
    drop(first);
    let mut second = source(&cluster, &Stage::default(), more);
    assert_eq!(texts(&second.poll_until(1, LIMIT).expect("messages")), ["c"]);
}

#[test]
fn through_the_log_everything_is_read_before_the_host_is_ready() {
    let cluster = cluster();
    write(&cluster, &[&change(1), "{", &change(2)]);
    let stage = Stage { through_log: true, ..Stage::default() };
    let mut source = source(&cluster, &stage, r#","dead_letter_topic":null"#);
    assert!(stage.host.is_catching_up());
    let records = source.poll_until(3, LIMIT).expect("messages");
    assert_eq!(
        records.iter().map(|record| record.error().is_some()).collect::<Vec<_>>(),
        [false, true, false]
    );
    assert_eq!(records[0].known_change().expect("read").config_key(), "app.x");
    nothing_until(&mut source, || !stage.host.is_catching_up());
    assert_eq!(
        (stage.host.counter("kafka_messages_received"), stage.host.counter("kafka_bad_messages")),
        (3, 1)
    );
}

#[test]
fn d_18_what_cannot_be_read_lies_in_its_topic_before_the_source_goes_on() {
    let cluster = cluster();
    cluster.create_topic("apg-config-dlq", 1, 1).expect("a topic");
    write(&cluster, &[&change(1), "{"]);
    let mut stage = Stage { through_log: true, ..Stage::default() };
    let mut first = source(&cluster, &stage, "");
    let records = first.poll_until(1, LIMIT).expect("messages");
    assert_eq!(texts(&records).len(), 1);
    nothing_until(&mut first, || stage.host.counter("kafka_dead_letters_sent") == 1);
    drop(first);

    // What was passed over at the end is not met again.
    stage.positions = vec![records[0].position().expect("a position").clone()];
    let mut second = source(&cluster, &stage, "");
    write(&cluster, &[&change(2)]);
    let records = second.poll_until(1, LIMIT).expect("messages");
    assert_eq!(records[0].position().expect("a position").bytes().as_ref(), b"t/0@3");
    assert_eq!(stage.host.counter("kafka_dead_letters_sent"), 1);
}

#[test]
fn topics_that_do_not_exist_are_told() {
    let cluster = MockCluster::new(1).expect("a cluster");
    cluster
        .topic_error("t", rdkafka::types::RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART)
        .expect("no topic");
    let mut source = source(&cluster, &Stage { through_log: true, ..Stage::default() }, "");
    let error = source.poll_until(1, LIMIT).expect_err("there is nothing to read");
    assert_eq!(error.kind(), ErrorKind::NOT_CONNECTED);
    assert_eq!(error.message(), "none of the topics exists: t");
}

#[test]
fn what_comes_while_a_source_is_away_is_read_also_if_it_had_read_nothing_before() {
    let cluster = cluster();
    write(&cluster, &["before"]);
    let stage = Stage::default();
    let more = r#","auto_commit_interval_ms":1"#;
    let mut first = source(&cluster, &stage, more);
    let begun = Instant::now();
    nothing_until(&mut first, || begun.elapsed() >= Duration::from_secs(2));
    drop(first);
    write(&cluster, &["meanwhile"]);
    let mut second = source(&cluster, &stage, more);
    assert_eq!(texts(&second.poll_until(1, LIMIT).expect("messages")), ["meanwhile"]);
}

/// Lets a topic appear that was not there.
fn appear(cluster: &Cluster, topic: &str, is_there: bool) {
    use rdkafka::types::RDKafkaRespErr as Code;
    let code = if is_there {
        Code::RD_KAFKA_RESP_ERR_NO_ERROR
    } else {
        Code::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART
    };
    cluster.topic_error(topic, code).expect("told");
}

#[test]
fn a_topic_that_is_found_later_is_read_from_its_beginning_and_no_other_is_read_again() {
    let cluster = cluster();
    cluster.create_topic("u", 1, 1).expect("a topic");
    write_to(&cluster, "u", &["first of u"]);
    appear(&cluster, "u", false);
    let stage = Stage::default();
    let mut source = source(&cluster, &stage, r#","topics":["t","u"]"#);
    let begun = Instant::now();
    nothing_until(&mut source, || begun.elapsed() >= Duration::from_secs(2));
    assert_eq!(stage.host.gauge("kafka_topics_missing"), 1);
    appear(&cluster, "u", true);
    let (mut read, mut n_written) = (Vec::new(), 0);
    let until = Instant::now() + LIMIT;
    while Instant::now() < until && !(read.contains(&"first of u".to_owned()) && read.len() > n_written) {
        write(&cluster, &[&n_written.to_string()]);
        n_written += 1;
        read.extend(texts(&source.poll(10, Duration::from_secs(1)).expect("polled")));
    }
    let mut expected: Vec<_> = (0..n_written).map(|n| n.to_string()).collect();
    expected.push("first of u".to_owned());
    let by_number = |text: &String| text.parse::<usize>().unwrap_or(usize::MAX);
    read.sort_by_key(by_number);
    assert_eq!(read, expected, "everything, once");
    assert_eq!(stage.host.gauge("kafka_topics_missing"), 0);
}

#[test]
fn a_topic_that_was_made_anew_is_read_before_the_host_is_ready() {
    let cluster = cluster();
    write(&cluster, &[&change(1), &change(2), &change(3)]);
    let position = Position::new(0, "t/0@100");
    let stage = Stage { through_log: true, positions: vec![position], ..Stage::default() };
    let mut source = source(&cluster, &stage, "");
    let (mut n_read, until) = (0, Instant::now() + LIMIT);
    while n_read < 3 && Instant::now() < until {
        assert!(stage.host.is_catching_up(), "{n_read} of 3 are read");
        n_read += source.poll(1, Duration::from_millis(50)).expect("polled").len();
    }
    assert_eq!(n_read, 3);
}

#[test]
fn what_was_passed_over_in_a_topic_that_was_made_anew_hides_nothing_of_the_new_one() {
    let old = cluster();
    old.create_topic("apg-config-dlq", 1, 1).expect("a topic");
    write(&old, &["{", "{", "{"]);
    let mut stage = Stage { through_log: true, ..Stage::default() };
    let mut first = source(&old, &stage, "");
    nothing_until(&mut first, || stage.host.counter("kafka_dead_letters_sent") == 3);
    drop(first);

    let new = cluster();
    write(&new, &[&change(1), &change(2), &change(3), &change(4)]);
    stage.positions = vec![Position::new(0, "t/0@1")];
    let mut second = source(&new, &stage, "");
    let records = second.poll_until(3, LIMIT).expect("messages");
    assert_eq!(records[0].position().expect("a position").bytes().as_ref(), b"t/0@2");
}

thread_local! {
    static MADE: RefCell<Option<KafkaSource>> = const { RefCell::new(None) };
}

/// Gives the source that a driver made to the test.
struct Made;

impl Source for Made {
    type Config = KafkaSourceConfig;

    fn new(config: KafkaSourceConfig, context: &Context) -> Result<Self> {
        let source = KafkaSource::new(config, context)?;
        MADE.with(|made| made.replace(Some(source)));
        Ok(Self)
    }

    fn poll(&mut self, _: usize, _: Duration) -> Result<Vec<Record>> {
        Ok(Vec::new())
    }
}

#[test]
fn a_host_becomes_ready_although_a_broker_lost_what_it_was_to_read() {
    let cluster = cluster();
    write(&cluster, &[&change(1)]);
    let stage = Stage { through_log: true, ..Stage::default() };
    let config = format!(r#"{{"bootstrap_servers":["{}"],"topic":"t"}}"#, cluster.bootstrap_servers());
    drop(testing::source::<Made>(&config, &stage).expect("a source"));
    let mut source = MADE.with(RefCell::take).expect("it was made");
    let until = Instant::now() + LIMIT;
    let mut n_read = 0;
    assert!(source.poll(0, Duration::ZERO).expect("polled").is_empty());
    // When it came, there were more.
    source.lanes.table().assigned().for_each(|lane| lane.end = End::At(1000));
    while stage.host.is_catching_up() && Instant::now() < until {
        n_read += source.poll(10, Duration::from_millis(50)).expect("polled").len();
    }
    assert_eq!((n_read, stage.host.is_catching_up()), (1, false));
}
