//! A process that adds one to a number behind a lock, over and over: it is stopped and continued from outside.
//!
//!     adder PORT ADMIN KEY TTL_MS
//!
//! It prints `granted` after each grant and its tally as JSON at the end, which is when its standard input ends.

use lockstep_test_support::{
    WsClient,
    counter::{Guarded, THINKING, Wrote, work},
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
};

struct Client {
    connection: WsClient,
    admin: String,
    key: String,
    ttl_ms: u64,
    next_id: u64,
}

fn main() {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [port, admin, key, ttl_ms] = arguments.as_slice() else { panic!("adder PORT ADMIN KEY TTL_MS") };
    let number = |text: &String| text.parse::<u64>().expect("a number");
    let mut connection = WsClient::connect(number(port).try_into().expect("a port"));
    connection.subscribe(&[]);
    let (admin, key, ttl_ms) = (admin.clone(), key.clone(), number(ttl_ms));
    let mut client = Client { connection, admin, key, ttl_ms, next_id: 0 };

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

impl Client {
    /// Sends a message and gives the answer that has its id.
    fn ask(&mut self, mut message: Value) -> Value {
        self.next_id += 1;
        message["id"] = self.next_id.into();
        message["config_key"] = self.key.as_str().into();
        self.connection.send(&message);
        loop {
            let answer = self.connection.next_message();
            if answer["id"] == self.next_id {
                return answer;
            }
        }
    }
}

impl Guarded for Client {
    fn acquire(&mut self) -> Option<u64> {
        let answer = self.ask(json!({ "type": "config_lock", "ttl_ms": self.ttl_ms, "wait_ms": 5000 }));
        if answer["success"] == true { answer["token"].as_u64() } else { None }
    }

    fn read(&mut self) -> u64 {
        let path = format!("/v1/keys/{}", self.key);
        let answer = http(&self.admin, "GET", &path).expect("the admin server answers");
        if answer.code == 404 { 0 } else { answer.json()["new_value"].as_u64().expect("a number") }
    }

    fn write(&mut self, number: u64, token: u64) -> Wrote {
        let fence = json!({ "lock": self.key, "token": token });
        let answer = self.ask(json!({ "type": "config_change", "new_value": number, "fence": fence }));
        if answer["success"] == true {
            Wrote::Accepted
        } else {
            Wrote::Refused(answer["code"].as_str().unwrap_or("no code").to_owned())
        }
    }

    fn release(&mut self) {
        self.ask(json!({ "type": "config_unlock" }));
    }
}
