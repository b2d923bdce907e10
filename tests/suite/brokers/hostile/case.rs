//! One message that somebody sends, and what is to become of it.

use fastrand::Rng;
use lockstep_test_support::KafkaRecord;
use serde_json::{Value, json};

/// What becomes of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    Applied,
    Dead,
    /// Odd, and nobody says whether it is wrong: one of the two.
    Either,
}

/// A message, as it is sent by Kafka and by MQTT.
#[derive(Debug, Clone)]
pub struct Case {
    pub number: u64,
    pub class: &'static str,
    pub fate: Fate,
    pub value: Vec<u8>,
    /// By Kafka alone.
    pub key: Option<Vec<u8>>,
    pub headers: Vec<(String, Vec<u8>)>,
    /// By MQTT alone.
    pub topic: String,
}

/// A class of messages: what becomes of them, and what makes one of a good message.
type Class = (&'static str, Fate, fn(&mut Case, &mut Rng));

const CLASSES: [Class; 22] = [
    ("not json", Fate::Dead, not_json),
    ("cut json", Fate::Dead, cut_json),
    ("no object", Fate::Dead, no_object),
    ("invalid utf-8", Fate::Dead, invalid_utf8),
    ("deep json", Fate::Dead, deep_json),
    ("empty", Fate::Either, empty),
    ("key of another type", Fate::Dead, key_of_another_type),
    ("bad key", Fate::Dead, bad_key),
    ("long key", Fate::Dead, long_key),
    ("no value", Fate::Dead, no_value),
    ("event type of another type", Fate::Dead, event_type_of_another_type),
    ("tenant of another type", Fate::Dead, tenant_of_another_type),
    ("bad tenant", Fate::Dead, bad_tenant),
    ("another tenant outside", Fate::Dead, another_tenant_outside),
    ("bad dot", Fate::Dead, bad_dot),
    ("bad time", Fate::Either, bad_time),
    ("fields nobody knows", Fate::Applied, unknown_fields),
    ("any value", Fate::Applied, any_value),
    ("headers nobody knows", Fate::Applied, unknown_headers),
    ("bytes in known headers", Fate::Either, bytes_in_known_headers),
    ("record key of any bytes", Fate::Either, any_record_key),
    ("hostile topic", Fate::Either, hostile_topic),
];

impl Case {
    /// A change as the guide has it.
    pub fn good(number: u64) -> Self {
        let mut case = Self {
            number,
            class: "good",
            fate: Fate::Applied,
            value: Vec::new(),
            key: Some(format!("default:app.good.k{number}").into_bytes()),
            headers: Vec::new(),
            topic: format!("apg/config/global/app/good/k{number}"),
        };
        let headers = [("event_type", "config_updated"), ("tenant_id", ""), ("timestamp", "1717243200")];
        case.headers.extend(headers.map(|(name, value)| (name.to_owned(), value.as_bytes().to_vec())));
        case.set(case.change());
        case
    }

    /// One that is odd in a way of its own.
    pub fn hostile(number: u64, random: &mut Rng) -> Self {
        let (class, fate, spoil) = CLASSES[random.usize(0..CLASSES.len())];
        let mut case = Self { class, fate, ..Self::good(number) };
        spoil(&mut case, random);
        case
    }

    /// The message as a record.
    pub fn record(&self) -> KafkaRecord {
        KafkaRecord { key: self.key.clone(), value: self.value.clone(), headers: self.headers.clone() }
    }

    fn change(&self) -> Value {
        json!({
            "event_type": "config_updated",
            "config_key": format!("app.good.k{}", self.number),
            "new_value": { "n": self.number },
            "timestamp": "2024-06-01T12:00:00.123456Z",
            "publisher_id": "peer",
        })
    }

    fn set(&mut self, value: Value) {
        self.value = value.to_string().into_bytes();
    }

    /// The change with another field.
    fn with(&mut self, name: &str, field: Value) {
        let mut change = self.change();
        change[name] = field;
        self.set(change);
    }

    fn header(&mut self, name: &str, value: Vec<u8>) {
        self.headers.retain(|(header, _)| header != name);
        self.headers.push((name.to_owned(), value));
    }
}

fn bytes(random: &mut Rng, most: usize) -> Vec<u8> {
    let length = random.usize(1..most);
    std::iter::repeat_with(|| random.u8(..)).take(length).collect()
}

fn one_of<const N: usize>(random: &mut Rng, values: [Value; N]) -> Value {
    values[random.usize(0..N)].clone()
}

fn not_json(case: &mut Case, random: &mut Rng) {
    case.value = format!("{{{{ {:x}", random.u64(..)).into_bytes();
}

fn cut_json(case: &mut Case, random: &mut Rng) {
    case.value.truncate(random.usize(1..case.value.len()));
}

fn no_object(case: &mut Case, random: &mut Rng) {
    case.set(one_of(random, [json!([1]), json!("text"), json!(17), json!(null), json!(true)]));
}

fn invalid_utf8(case: &mut Case, random: &mut Rng) {
    let at = random.usize(1..case.value.len());
    // Never part of UTF-8.
    case.value[at] = 0xff;
}

fn deep_json(case: &mut Case, random: &mut Rng) {
    let depth = random.usize(200..20_000);
    let (open, close) = ("[".repeat(depth), "]".repeat(depth));
    let key = case.number;
    case.value = format!(
        "{{\"config_key\":\"app.deep.k{key}\",\"new_value\":{{\"n\":{key},\"deep\":{open}{close}}}}}"
    )
    .into();
}

fn empty(case: &mut Case, _: &mut Rng) {
    case.value = Vec::new();
}

fn key_of_another_type(case: &mut Case, random: &mut Rng) {
    case.with("config_key", one_of(random, [json!(1), json!(["a"]), json!({}), json!(true)]));
}

fn bad_key(case: &mut Case, random: &mut Rng) {
    let keys = ["a..b", ".a", "a.", ".", "a/b", "a+b", "a#b", "a{b}", "a:b", "a\u{0}b", "a\nb"];
    case.with("config_key", json!(keys[random.usize(0..keys.len())]));
}

fn long_key(case: &mut Case, random: &mut Rng) {
    case.with("config_key", json!(format!("app.{}", "k".repeat(random.usize(509..3_000)))));
}

fn no_value(case: &mut Case, _: &mut Rng) {
    let mut change = case.change();
    change.as_object_mut().expect("an object").remove("new_value");
    case.set(change);
}

fn event_type_of_another_type(case: &mut Case, random: &mut Rng) {
    case.headers.clear();
    case.with("event_type", one_of(random, [json!(1), json!([]), json!({ "a": 1 })]));
}

fn tenant_of_another_type(case: &mut Case, random: &mut Rng) {
    case.headers.clear();
    case.with("tenant_id", one_of(random, [json!(1), json!(["t"]), json!({})]));
}

fn bad_tenant(case: &mut Case, random: &mut Rng) {
    let tenants = ["a/b", "a b", "status", "system", "t:1", "+", "#", "ten\u{e4}nt"];
    let tenant = tenants[random.usize(0..tenants.len())];
    case.header("tenant_id", tenant.as_bytes().to_vec());
    case.with("tenant_id", json!(tenant));
    // Where the topic says otherwise, that would be the reason.
    case.topic = format!("apg/config/{}/app/good/k{}", "x".repeat(65), case.number);
}

fn another_tenant_outside(case: &mut Case, _: &mut Rng) {
    case.header("tenant_id", b"one".to_vec());
    case.topic = format!("apg/config/one/app/good/k{}", case.number);
    case.with("tenant_id", json!("another"));
}

fn bad_dot(case: &mut Case, random: &mut Rng) {
    case.with("dot", one_of(random, [json!(1), json!("dot"), json!({ "node": 7 }), json!({ "seq": -1 })]));
}

fn bad_time(case: &mut Case, random: &mut Rng) {
    let times = [json!("yesterday"), json!(1), json!({}), json!("9999999-01-01T00:00:00Z"), json!("")];
    case.with("timestamp", one_of(random, times));
}

fn unknown_fields(case: &mut Case, random: &mut Rng) {
    case.with(&format!("x{:x}", random.u64(..)), json!({ "deep": [[{}]], "text": "\u{0}\u{fffd}" }));
}

fn any_value(case: &mut Case, random: &mut Rng) {
    let text: String = (0..random.usize(1..200)).map(|_| random.char(..)).collect();
    case.with("new_value", json!({ "n": case.number, text.clone(): text, "null": null, "big": 1e300 }));
}

fn unknown_headers(case: &mut Case, random: &mut Rng) {
    for _ in 0..random.usize(1..5) {
        let name = format!("x-{:x}", random.u64(..));
        let value = bytes(random, 300);
        case.header(&name, value);
    }
}

fn bytes_in_known_headers(case: &mut Case, random: &mut Rng) {
    let names = ["event_type", "tenant_id", "timestamp", "event_id", "source_node", "revision", "epoch"];
    let name = names[random.usize(0..names.len())];
    let mut value = bytes(random, 300);
    if name == "event_type" {
        // A text would be a type of another program's own, which is passed on: no change, and no dead letter.
        value[0] = 0xff;
    }
    case.header(name, value);
}

fn any_record_key(case: &mut Case, random: &mut Rng) {
    case.key = random.bool().then(|| bytes(random, 300));
}

/// Topics that somebody with the rights of an administrator may publish to below the changes' tree.
fn hostile_topic(case: &mut Case, random: &mut Rng) {
    let (number, long) = (case.number, "l".repeat(20_000));
    let topics = [
        format!("apg/config//app/k{number}"),
        format!("apg/config/global//app//k{number}"),
        format!("apg/config/global/app/k{number}/"),
        format!("apg/config/global/%zz/%2f/k{number}"),
        format!("apg/config/global/app%2fk{number}"),
        format!("apg/config/system/app/k{number}"),
        format!("apg/config/default/app/k{number}"),
        format!("apg/config/$SYS/app/k{number}"),
        format!("apg/config/t\u{e9}nant/app/\u{1f980}/k{number}"),
        format!("apg/config/global/{long}/k{number}"),
        format!("apg/config/global/app/other/k{number}"),
    ];
    case.topic = topics[random.usize(0..topics.len())].clone();
}
