//! The components as a broker sees them: the tests are the broker, and say each of its words themselves.

use crate::{sink::MqttSink, source::MqttSource};
use lockstep_plugin_api::{
    prelude::*,
    testing::{Place, pipelined_sink, source},
};
use std::{
    io::{ErrorKind as Io, Read, Write},
    net::{TcpListener, TcpStream},
    thread,
    time::Duration,
};

/// Long enough for what has to come, also on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(60);

/// Long enough for what must not come to come.
const SHORT: Duration = Duration::from_millis(400);

const PUBLISH: u8 = 3;
const PUBACK: u8 = 4;
const SUBSCRIBE: u8 = 8;
const DISCONNECT: u8 = 14;

struct Broker(TcpListener);

impl Broker {
    fn new() -> Self {
        Self(TcpListener::bind("127.0.0.1:0").expect("a port"))
    }

    fn config(&self, rest: &str) -> String {
        let port = self.0.local_addr().expect("an address").port();
        format!(r#"{{"broker_port":{port}{rest}}}"#)
    }

    /// Takes a client in, with these properties of the answer.
    fn accept(&self, properties: &[u8]) -> Peer {
        self.accept_as(false, properties).0
    }

    /// Takes a client in that is known or not, and gives its name.
    fn accept_as(&self, is_known: bool, properties: &[u8]) -> (Peer, String) {
        let mut peer = Peer(self.0.accept().expect("a client").0);
        let connect = peer.hear(PATIENCE).expect("a connect");
        assert_eq!(connect.kind, 1);
        let length = properties.len() as u8;
        peer.say(&[&[0x20, length + 3, is_known.into(), 0, length], properties].concat());
        (peer, connect.client_id())
    }

    fn accept_of_3_1_1(&self) -> Peer {
        let mut peer = Peer(self.0.accept().expect("a client").0);
        assert_eq!(peer.hear(PATIENCE).expect("a connect").kind, 1);
        peer.say(&[0x20, 2, 0, 0]);
        peer
    }

    /// Takes in both connections of a source.
    fn accept_source(&self, is_known: bool) -> (Peer, Peer) {
        let (main, name) = self.accept_as(is_known, &[]);
        let (snapshot, other) = self.accept_as(false, &[]);
        assert_ne!(name, other);
        (main, snapshot)
    }
}

struct Peer(TcpStream);

struct Heard {
    kind: u8,
    body: Vec<u8>,
}

impl Heard {
    /// Of a connect.
    fn client_id(&self) -> String {
        let n_properties = usize::from(self.body[10]);
        let id = &self.body[11 + n_properties..];
        let length = usize::from(u16::from_be_bytes([id[0], id[1]]));
        String::from_utf8(id[2..2 + length].to_vec()).expect("a name")
    }

    /// Behind the topic of a publish.
    fn id(&self) -> [u8; 2] {
        let at = 2 + usize::from(u16::from_be_bytes([self.body[0], self.body[1]]));
        [self.body[at], self.body[at + 1]]
    }
}

impl Peer {
    fn say(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).expect("the client reads");
    }

    /// The next packet that is no ping; `None` if none comes for so long.
    fn hear(&mut self, wait: Duration) -> Option<Heard> {
        self.0.set_read_timeout(Some(wait)).expect("a limit");
        loop {
            let kind = match self.byte() {
                Ok(first) => first >> 4,
                Err(error) if matches!(error.kind(), Io::WouldBlock | Io::TimedOut) => return None,
                Err(error) => panic!("{error}"),
            };
            let (mut length, mut shift) = (0, 0);
            loop {
                let byte = self.byte().expect("a length");
                length |= usize::from(byte & 0x7f) << shift;
                shift += 7;
                if byte & 0x80 == 0 {
                    break;
                }
            }
            let mut body = vec![0; length];
            self.0.read_exact(&mut body).expect("a whole packet");
            match kind {
                12 => self.say(&[0xd0, 0]),
                _ => return Some(Heard { kind, body }),
            }
        }
    }

    fn byte(&mut self) -> std::io::Result<u8> {
        let mut byte = [0];
        self.0.read_exact(&mut byte).map(|()| byte[0])
    }

    fn publish(&mut self) -> Heard {
        let heard = self.hear(PATIENCE).expect("a publish");
        assert_eq!(heard.kind, PUBLISH);
        heard
    }

    fn ack(&mut self, publish: &Heard) {
        let [high, low] = publish.id();
        self.say(&[0x40, 2, high, low]);
    }

    /// A message that is delivered at most once.
    fn deliver(&mut self, topic: &str, payload: &[u8]) {
        self.send(0x30, topic, &[], payload);
    }

    fn show(&mut self, topic: &str, payload: &[u8]) {
        self.send(0x31, topic, &[], payload);
    }

    /// A message that wants an answer.
    fn deliver_once(&mut self, id: u8, topic: &str, payload: &[u8]) {
        self.send(0x32, topic, &[0, id], payload);
    }

    fn send(&mut self, first: u8, topic: &str, id: &[u8], payload: &[u8]) {
        let rest = [&[0, topic.len() as u8], topic.as_bytes(), id, &[0], payload].concat();
        let length = rest.len() as u8;
        let header = if length < 0x80 { vec![first, length] } else { vec![first, length, 1] };
        self.say(&[header, rest].concat());
    }

    /// Answers a subscription to one filter, and gives its options.
    fn subscribed(&mut self) -> u8 {
        let heard = self.hear(PATIENCE).expect("a subscription");
        assert_eq!(heard.kind, SUBSCRIBE);
        self.say(&[0x90, 4, 0, 1, 0, 1]);
        *heard.body.last().expect("options")
    }
}

fn change(n: usize) -> Record {
    Record::new(format!(r#"{{"config_key":"app.k{n}","new_value":{n}}}"#))
}

#[test]
fn no_more_is_under_way_than_the_broker_allows_the_last_word_included() {
    let broker = Broker::new();
    let mut sink = pipelined_sink::<MqttSink>(&broker.config(""), &Place::default()).expect("a sink");
    // Receive Maximum 2.
    let mut peer = broker.accept(&[0x21, 0, 2]);
    let online = peer.publish();
    peer.ack(&online);
    sink.put((0..3).map(change).collect()).expect("taken");
    let unanswered = [peer.publish(), peer.publish()];
    let ending = thread::spawn(move || drop(sink));
    assert!(peer.hear(SHORT).is_none(), "two are unanswered");
    peer.ack(&unanswered[0]);
    assert!(peer.publish().body.ends_with(b"offline"));
    ending.join().expect("it ends");
}

#[test]
fn what_an_earlier_subscription_of_the_session_asked_for_is_passed_over() {
    let broker = Broker::new();
    let config = broker.config(r#","topics":["$share/g/rooms/+","halls/#"],"retain":false"#);
    let mut source = source::<MqttSource>(&config, &Place::default()).expect("a source");
    let mut peer = broker.accept(&[]);
    assert_eq!(peer.hear(PATIENCE).expect("a subscription").kind, SUBSCRIBE);
    peer.say(&[0x90, 5, 0, 1, 0, 1, 1]);
    for topic in ["cellars/1", "rooms/1", "rooms/1/2", "halls", "halls/1/2"] {
        peer.deliver(topic, b"21.5");
    }
    let records = source.poll_until(3, PATIENCE).expect("records");
    let keys: Vec<_> = records.iter().filter_map(Record::key_str).collect();
    assert_eq!(keys, ["rooms/1", "halls", "halls/1/2"]);
}

#[test]
fn a_backlog_may_come_for_longer_than_an_answer_may_take() {
    let broker = Broker::new();
    let config = broker.config(r#","topics":["rooms/+"],"answer_timeout":"3s","retain":false"#);
    let mut source = source::<MqttSource>(&config, &Place::default()).expect("a source");
    let mut peer = broker.accept(&[]);
    assert_eq!(peer.hear(PATIENCE).expect("a subscription").kind, SUBSCRIBE);
    for _ in 0..10 {
        peer.deliver("rooms/1", b"21.5");
        thread::sleep(Duration::from_millis(400));
    }
    peer.say(&[0x90, 4, 0, 1, 0, 1]);
    peer.deliver("rooms/2", b"22");
    let records = source.poll_until(11, PATIENCE).expect("records");
    assert_eq!(records.last().and_then(Record::key_str), Some("rooms/2"));
}

fn keys(records: &[Record]) -> Vec<&str> {
    records.iter().filter_map(Record::key_str).collect()
}

/// Quality of service 1 or 0; what is retained is sent never or always.
const LIVE: u8 = 0x21;
const RETAINED: u8 = 0x00;

#[test]
fn what_is_retained_comes_by_a_connection_of_its_own_and_before_what_came_meanwhile() {
    let broker = Broker::new();
    let place = Place::default();
    let config = broker.config(r#","topics":["rooms/+"],"retained_quiet":"3s""#);
    let mut source = source::<MqttSource>(&config, &place).expect("a source");
    let (mut main, mut snapshot) = broker.accept_source(false);
    assert!(snapshot.hear(SHORT).is_none(), "first what is live");
    assert_eq!(main.subscribed(), LIVE);
    assert_eq!(snapshot.subscribed(), RETAINED);
    main.deliver_once(7, "rooms/1", b"live");
    for room in 1..=3 {
        snapshot.show(&format!("rooms/{room}"), b"kept");
        snapshot.deliver("rooms/1", b"live");
    }
    let records = source.poll_until(3, PATIENCE).expect("records");
    assert_eq!(keys(&records), ["rooms/1", "rooms/2", "rooms/3"]);
    assert!(place.host.is_catching_up());
    assert_eq!(snapshot.hear(PATIENCE).expect("a goodbye").kind, DISCONNECT);
    let records = source.poll_until(1, PATIENCE).expect("records");
    assert_eq!(records[0].value().as_deref(), Some(&b"live"[..]));
    assert!(!place.host.is_catching_up());
    assert!(main.hear(SHORT).is_none(), "it is not written yet");
    source.commit(records[0].position().expect("a place")).expect("taken");
    assert_eq!(main.hear(PATIENCE).expect("an answer").kind, PUBACK);
}

#[test]
fn what_a_session_kept_comes_before_what_is_retained_and_nobody_is_ready_before_that() {
    let broker = Broker::new();
    let place = Place::default();
    let config = broker.config(r#","topics":["rooms/+"],"retained_quiet":"2s""#);
    let mut source = source::<MqttSource>(&config, &place).expect("a source");
    let (mut main, mut snapshot) = broker.accept_source(true);
    main.subscribed();
    for n in 0..10 {
        main.deliver("rooms/1", format!("{n}").as_bytes());
        thread::sleep(Duration::from_millis(300));
    }
    let records = source.poll_until(10, PATIENCE).expect("records");
    assert!(place.host.is_catching_up(), "{} came", records.len());
    let last = records.last().and_then(Record::position).expect("a place");
    source.commit(last).expect("taken");
    snapshot.subscribed();
    snapshot.show("rooms/2", b"kept");
    assert_eq!(keys(&source.poll_until(1, PATIENCE).expect("records")), ["rooms/2"]);
    while place.host.is_catching_up() {
        assert!(source.poll_until(1, SHORT).expect("nothing").is_empty());
        assert!(main.hear(Duration::from_millis(10)).is_none());
    }
}

#[test]
fn what_3_1_1_retains_comes_once() {
    let broker = Broker::new();
    let config = broker.config(r#","topics":["rooms/+"],"protocol":"3.1.1","retained_quiet":"2s""#);
    let mut source = source::<MqttSource>(&config, &Place::default()).expect("a source");
    let [mut main, mut snapshot] = std::array::from_fn(|_| broker.accept_of_3_1_1());
    let subscribed = |peer: &mut Peer| {
        assert_eq!(peer.hear(PATIENCE).expect("a subscription").kind, SUBSCRIBE);
        peer.say(&[0x90, 3, 0, 1, 1]);
    };
    subscribed(&mut main);
    main.say(&[&[0x33, 12, 0, 7], &b"rooms/1"[..], &[0, 9], b"a"].concat());
    assert_eq!(main.hear(PATIENCE).expect("an answer").kind, PUBACK, "though nobody has seen it");
    subscribed(&mut snapshot);
    snapshot.say(&[&[0x31, 10, 0, 7], &b"rooms/1"[..], b"a"].concat());
    assert_eq!(keys(&source.poll_until(1, PATIENCE).expect("records")), ["rooms/1"]);
    // Longer than what is retained may be quiet; pings are answered meanwhile.
    for _ in 0..8 {
        assert!(source.poll_until(1, SHORT).expect("nothing").is_empty());
        assert!(main.hear(Duration::from_millis(10)).is_none());
    }
}

#[test]
fn a_broker_that_does_not_show_what_it_retains_is_away() {
    let broker = Broker::new();
    let config = broker.config(r#","topics":["rooms/+"],"client_id":"me""#);
    let mut source = source::<MqttSource>(&config, &Place::default()).expect("a source");
    let (mut main, mut snapshot) = broker.accept_source(false);
    main.subscribed();
    assert_eq!(snapshot.hear(PATIENCE).expect("a subscription").kind, SUBSCRIBE);
    snapshot.say(&[0x90, 4, 0, 1, 0, 0x87]);
    let error = source.poll_until(1, PATIENCE).expect_err("away");
    assert_eq!(error.kind(), ErrorKind::NOT_CONNECTED);
    let port = broker.0.local_addr().expect("an address").port();
    let expected = format!(
        "the MQTT broker at 127.0.0.1:{port} does not show what it retains to the client `me_retained`: \
         it does not let this client subscribe to `rooms/+`: not authorized"
    );
    assert_eq!(error.message(), expected);
    broker.accept_source(false);
}
