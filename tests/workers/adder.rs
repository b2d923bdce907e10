//! A process that adds one to a number behind a lock, over and over: it is stopped and continued from outside.
//!
//!     adder PORT ADMIN KEY TTL_MS
//!
//! It prints `granted` after each grant and its tally as JSON at the end, which is when its standard input ends.

use lockstep_test_support::{
    Frame, LIMIT, WsClient,
    counter::{Guarded, Wrote, work},
    http,
};
use serde_json::{Value, json};
use std::{
    env,
    io::{Read, Write},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};
use tokio_tungstenite::tungstenite::Message;

/// How long it takes between reading the number and writing it: longer than it takes to stop it in between.
const THINKING: Duration = Duration::from_millis(100);

/// A client that connects again when its connection was ended, which is what happens to one that is stopped for long.
struct Client {
    connection: WsClient,
    port: u16,
    admin: String,
    key: String,
    ttl_ms: u64,
    next_id: u64,
}

fn main() {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [port, admin, key, ttl_ms] = arguments.as_slice() else { panic!("adder PORT ADMIN KEY TTL_MS") };
    let number = |text: &String| text.parse::<u64>().expect("a number");
    let port = number(port).try_into().expect("a port");
    let connection = connect(port);
    let (admin, key, ttl_ms) = (admin.clone(), key.clone(), number(ttl_ms));
    let mut client = Client { connection, port, admin, key, ttl_ms, next_id: 0 };

    let is_over = Arc::new(AtomicBool::new(false));
    let told = is_over.clone();
    thread::spawn(move || {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        told.store(true, Ordering::Relaxed);
    });
    let tally =
        work(&mut client, || say("granted"), || thread::sleep(THINKING), || is_over.load(Ordering::Relaxed));
    say(&serde_json::to_string(&tally).expect("a tally is JSON"));
}

fn say(line: &str) {
    let mut output = std::io::stdout().lock();
    writeln!(output, "{line}").and_then(|()| output.flush()).expect("somebody listens");
}

fn connect(port: u16) -> WsClient {
    let mut connection = WsClient::connect(port);
    connection.subscribe(&[]);
    connection
}

impl Client {
    /// Sends a message and gives the answer that has its id; nothing if the connection ended before.
    fn try_ask(&mut self, message: &Value) -> Option<Value> {
        self.next_id += 1;
        let mut message = message.clone();
        message["id"] = self.next_id.into();
        message["config_key"] = self.key.as_str().into();
        let answer = self.try_exchange(&message);
        if answer.is_none() {
            self.connection = connect(self.port);
        }
        answer
    }

    fn try_exchange(&mut self, message: &Value) -> Option<Value> {
        self.connection.try_send_frame(Message::text(message.to_string())).ok()?;
        loop {
            match self.connection.try_next(LIMIT)? {
                Frame::Message(answer) if answer["id"] == message["id"] => return Some(answer),
                Frame::Message(_) => {}
                Frame::Closed(_) => return None,
            }
        }
    }
}

impl Guarded for Client {
    fn acquire(&mut self) -> Option<u64> {
        let ask = json!({ "type": "config_lock", "ttl_ms": self.ttl_ms, "wait_ms": 5000 });
        let answer = self.try_ask(&ask)?;
        if answer["success"] == true { answer["token"].as_u64() } else { None }
    }

    fn read(&mut self) -> u64 {
        let path = format!("/v1/keys/{}", self.key);
        let answer = http(&self.admin, "GET", &path).expect("the admin server answers");
        if answer.code == 404 { 0 } else { answer.json()["new_value"].as_u64().expect("a number") }
    }

    fn write(&mut self, number: u64, token: u64) -> Wrote {
        let fence = json!({ "lock": self.key, "token": token });
        // One that is sent again is the same one, so that each addition is counted once.
        let mut change =
            json!({ "type": "config_change", "new_value": number, "fence": fence, "user_id": "adder" });
        change["idempotency_key"] = format!("{}-{token}", std::process::id()).into();
        let answer = loop {
            if let Some(answer) = self.try_ask(&change) {
                break answer;
            }
        };
        if answer["success"] == true {
            Wrote::Accepted
        } else {
            Wrote::Refused(answer["code"].as_str().unwrap_or("no code").to_owned())
        }
    }

    fn release(&mut self) {
        self.try_ask(&json!({ "type": "config_unlock" }));
    }
}
