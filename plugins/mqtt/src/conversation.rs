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
const PATIENCE: Duration = Duration::from_secs(10);

/// Long enough for what must not come to come.
const SHORT: Duration = Duration::from_millis(400);

const PUBLISH: u8 = 3;
const SUBSCRIBE: u8 = 8;

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
        let mut peer = Peer(self.0.accept().expect("a client").0);
        assert_eq!(peer.hear(PATIENCE).expect("a connect").kind, 1);
        let length = properties.len() as u8;
        peer.say(&[&[0x20, length + 3, 0, 0, length], properties].concat());
        peer
    }
}

struct Peer(TcpStream);

struct Heard {
    kind: u8,
    body: Vec<u8>,
}

impl Heard {
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
        let rest = [&[0, topic.len() as u8], topic.as_bytes(), &[0], payload].concat();
        self.say(&[&[0x30, rest.len() as u8], &rest[..]].concat());
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
    let config = broker.config(r#","topics":["$share/g/rooms/+","halls/#"]"#);
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
    let config = broker.config(r#","topics":["rooms/+"],"answer_timeout":"500ms""#);
    let mut source = source::<MqttSource>(&config, &Place::default()).expect("a source");
    let mut peer = broker.accept(&[]);
    assert_eq!(peer.hear(PATIENCE).expect("a subscription").kind, SUBSCRIBE);
    for _ in 0..10 {
        peer.deliver("rooms/1", b"21.5");
        thread::sleep(Duration::from_millis(100));
    }
    peer.say(&[0x90, 4, 0, 1, 0, 1]);
    peer.deliver("rooms/2", b"22");
    let records = source.poll_until(11, PATIENCE).expect("records");
    assert_eq!(records.last().and_then(Record::key_str), Some("rooms/2"));
}
