//! Records through real brokers: the real host with the real plugins, beside a bare program that does the same work with
//! nothing but the brokers' client libraries.
//!
//! `cargo bench -p lockstep-tests --bench brokers`, or one part of it with `-- kafka`, `-- mqtt` or `-- all` (one change
//! to all transports). Host and bare program are processes that take turns at the same servers, so that the CPU time of
//! each can be told from everything else's. That is what counts: the servers run on the same machine, and how many
//! records pass in a second depends on them first of all.
#![expect(clippy::disallowed_methods, reason = "tasks and channels of a benchmark end with its process")]

#[path = "../../../host/benches/measure/mod.rs"]
mod measure;
#[path = "../fan_out/server.rs"]
#[expect(dead_code, reason = "each benchmark uses a part of it")]
mod server;
#[path = "../log/host.rs"]
#[expect(dead_code, reason = "each benchmark uses a part of it")]
mod websocket;
#[path = "../log/bare.rs"]
mod disk;
mod process;
mod rate;
mod message;
mod producer;
mod kafka;
mod kafka_bare;
mod mqtt;
mod mqtt_bare;
mod all;
mod scene;
mod authors;
mod witness;
mod witnesses;

use process::BARE;

const PLUGINS: [&str; 8] = [
    "lockstep",
    "lockstep-plugin-bench",
    "lockstep-plugin-websocket",
    "lockstep-plugin-kafka",
    "lockstep-plugin-mqtt",
    "lockstep-plugin-redis",
    "lockstep-plugin-lock",
    "lockstep-plugin-resolver",
];

fn main() {
    if let Ok(work) = std::env::var(BARE) {
        return bare(&work);
    }
    let part = std::env::args().skip(1).find(|argument| !argument.starts_with("--"));
    let runs = |name: &str| part.as_deref().is_none_or(|part| part == name);
    let built = measure::build(&PLUGINS);
    let dir = measure::empty_dir();
    if runs("kafka") {
        kafka::run(&built, &dir);
    }
    if runs("mqtt") {
        mqtt::run(&built, &dir);
    }
    if runs("all") {
        all::run(&built, &dir);
    }
    std::fs::remove_dir_all(&dir).expect("the benchmark's folder can be removed");
}

/// What a process does that is there for comparison.
fn bare(work: &str) {
    match work.split(' ').collect::<Vec<_>>()[..] {
        ["kafka", servers, input, output] => kafka_bare::run(servers, input, output),
        ["mqtt", mqtt_port, redis_port] => mqtt_bare::run(port(mqtt_port), port(redis_port)),
        _ => panic!("`{work}` is no work of this benchmark"),
    }
}

fn port(text: &str) -> u16 {
    text.parse().expect("a port")
}
