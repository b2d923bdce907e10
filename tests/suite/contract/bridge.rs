//! A host that joins WebSocket clients and one other place through the log, and what tests ask of both sides.

use lockstep_test_support::{Host, Python, Site, WsClient, free_port};
use serde_json::{Value, json};

/// The host with its place.
pub struct Bridge {
    pub site: Site,
    pub host: Host,
    port: u16,
}

impl Bridge {
    /// `plugin` is the place, with these settings of its source and its sink. Hosts of one place differ by `node_id`.
    pub fn start(node_id: &str, plugin: &str, source: &str, sink: &str) -> Self {
        let port = free_port();
        let websocket = format!("plugin: websocket, config: {{ listen: 127.0.0.1:{port} }}");
        let yaml = format!(
            "
sources:
  - {{ {websocket} }}
  - {{ plugin: {plugin}, config: {{ {source} }} }}
transforms: [ {{ plugin: resolver }} ]
sinks:
  - {{ {websocket} }}
  - {{ plugin: {plugin}, config: {{ {sink} }} }}
"
        );
        let site = Site::new()
            .pipeline("bridge", &yaml)
            .env("LOCKSTEP_NODE_ID", node_id)
            // Notices would take revisions at times that no test can know.
            .env("LOCKSTEP_SYNC_SETTINGS__HEARTBEAT_INTERVAL", "24h")
            .env("LOCKSTEP_LOG__FILTER", format!("info,lockstep_plugin_{plugin}=debug"));
        let mut host = site.start();
        host.wait_ready();
        Self { site, host, port }
    }

    /// A client of this tenant, which sees and makes its changes alone.
    pub fn client(&self, tenant: Option<&str>) -> WsClient {
        let tenant = tenant.map_or(String::new(), |tenant| format!("?tenant={tenant}"));
        WsClient::connect_to(&format!("ws://127.0.0.1:{}/{tenant}", self.port))
    }
}

/// Makes a change and expects that it is taken.
#[track_caller]
pub fn change(client: &mut WsClient, key: &str, value: &Value) -> Value {
    let answer = client.change(key, value);
    assert_eq!(answer["success"], true, "{answer}");
    answer
}

/// Deletes a key.
#[track_caller]
pub fn delete(client: &mut WsClient, key: &str) {
    client.send(&json!({ "type": "config_change", "config_key": key, "op": "delete", "user_id": "suite" }));
    let answer = client.next_of_type("config_change_response");
    assert_eq!(answer["success"], true, "{answer}");
}

/// The next `config_sync` of a key; those of other keys are passed over.
pub fn synced(client: &mut WsClient, key: &str) -> Value {
    loop {
        let message = client.next_of_type("config_sync");
        if message["config_key"] == key {
            return message;
        }
    }
}

/// The next thing that a program was shown which has these fields.
#[track_caller]
pub fn shown(program: &mut Python, fields: &Value) -> Value {
    let shown = program.ask(&format!("next {fields}"));
    assert!(shown.get("timeout").is_none(), "nothing with {fields} came: {shown}");
    shown
}

/// An object has these fields with these values.
#[track_caller]
pub fn assert_fields(object: &Value, expected: &Value) {
    for (name, value) in expected.as_object().expect("fields") {
        assert_eq!(&object[name], value, "`{name}` of {object}");
    }
}

/// An object has none of these fields.
#[track_caller]
pub fn assert_without(object: &Value, names: &[&str]) {
    for name in names {
        assert!(object.get(name).is_none(), "`{name}` in {object}");
    }
}

/// What only hosts need to keep each other in step.
pub const ORDER: [&str; 4] = ["dot", "ctx", "hlc", "strategy"];

/// Python's `datetime`, to read timestamps with.
pub struct Isoformat(Python);

impl Isoformat {
    pub fn start() -> Self {
        Self(Python::start(include_str!("../../support/peers/isoformat.py"), &[]))
    }

    fn read(&mut self, timestamp: &Value) -> Value {
        let text = timestamp.as_str().unwrap_or_else(|| panic!("a time: {timestamp}"));
        self.0.ask(text)
    }

    /// A timestamp of now as the contract has it, or, if it is naive, exactly as `datetime.utcnow().isoformat()` writes it.
    #[track_caller]
    pub fn assert_now(&mut self, timestamp: &Value, naive: bool) {
        let read = self.read(timestamp);
        assert_eq!(read["has_offset"], !naive, "{timestamp}: {read}");
        let seconds_ago = read["seconds_ago"].as_f64().expect("a number");
        assert!((-5.0..120.0).contains(&seconds_ago), "{timestamp}: {read}");
        if naive {
            assert_eq!(&read["isoformat"], timestamp);
        } else {
            let text = timestamp.as_str().expect("a time");
            let decimals = text.strip_suffix('Z').and_then(|text| text.rsplit_once('.'));
            assert_eq!(decimals.map(|(_, decimals)| decimals.len()), Some(6), "{timestamp}");
        }
    }
}
