//! What runs under a lock: adds one to a number of a host, once.
//!
//!     addition ADMIN TOKEN KEY THINK_MS
//!
//! With the token of a lock in its environment, which `lockstep locks run` puts there, it writes as the holder of that token,
//! on the revision it has read; without one, it writes whatever has happened since. It does not end when it is told that the
//! lock is lost: that is the worst that can happen.

use lockstep_test_support::{Added, Request, Said, http, monotonic_us};
use serde_json::{Value, json};
use std::{env, io::Write, thread, time::Duration};

fn main() {
    // SAFETY: plain system call, before there is another thread.
    unsafe { libc::signal(libc::SIGTERM, libc::SIG_IGN) };
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [admin, secret, key, think_ms] = arguments.as_slice() else {
        panic!("addition ADMIN TOKEN KEY THINK_MS")
    };
    let token = env::var("LOCKSTEP_LOCK_TOKEN").ok().and_then(|token| token.parse::<u64>().ok());
    say(&Said::Granted { at: monotonic_us(), token: token.unwrap_or(0) });
    let read = http(admin, "GET", &format!("/v1/keys/{key}")).expect("the host answers").json();
    let number = read["new_value"].as_u64().expect("the key has a number");
    say(&Said::Read { number });
    thread::sleep(Duration::from_millis(think_ms.parse().expect("milliseconds")));
    let mut change = json!({ "config_key": key, "new_value": number + 1, "user_id": "addition" });
    if let Some(token) = token {
        change["fence"] = json!({ "lock": key, "token": token });
        change["base_revision"] = read["revision"].clone();
        change["session"] = env::var("LOCKSTEP_LOCK_SESSION").expect("a token has a session").into();
    }
    let added = add(admin, secret, &change);
    say(&Said::Added { at: monotonic_us(), added });
}

fn say(said: &Said) {
    let line = serde_json::to_string(said).expect("it is JSON");
    let mut output = std::io::stdout().lock();
    writeln!(output, "{line}").and_then(|()| output.flush()).expect("somebody listens");
}

fn add(admin: &str, secret: &str, change: &Value) -> Added {
    let answer = Request::new("POST", "/v1/changes").bearer(secret).json(change).send(admin);
    let Ok(answer) = answer else { return Added::Unanswered };
    let body: Value = serde_json::from_str(&answer.body).unwrap_or_default();
    match (body["revision"].as_u64(), body["error"]["code"].as_str()) {
        (Some(revision), _) => Added::Accepted(revision),
        (None, Some("unavailable")) => Added::Unanswered,
        (None, code) => Added::Refused(code.unwrap_or("no code").to_owned()),
    }
}
