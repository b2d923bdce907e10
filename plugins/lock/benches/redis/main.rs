//! How many leases of a real Redis are taken and given back in a second, beside as many bare round trips over connections of
//! the same client; the host's store is in memory, so that the disk is not in it.
//!
//! `cargo bench -p lockstep-plugin-lock --bench redis`; needs `redis-server`, which it starts on loopback. Wall time, for both
//! wait; what is compared is measured by turns in one run.
#![allow(
    dead_code,
    unused_imports,
    reason = "a benchmark asks for a part of the plugin, and for none of its tests"
)]

#[path = "../../src/arguments.rs"]
mod arguments;
#[path = "../../src/backend.rs"]
mod backend;
#[path = "../../src/check.rs"]
mod check;
#[path = "../../src/clock.rs"]
mod clock;
#[path = "../../src/config.rs"]
mod config;
#[path = "../../src/embedded/mod.rs"]
mod embedded;
#[path = "../../src/event.rs"]
mod event;
#[path = "../../src/lease.rs"]
mod lease;
#[path = "../../src/line.rs"]
mod line;
#[path = "../../src/meters.rs"]
mod meters;
#[path = "../../src/name.rs"]
mod name;
#[path = "../../src/operations.rs"]
mod operations;
#[path = "../../src/redis/mod.rs"]
mod redis;
#[path = "../../src/refusal.rs"]
mod refusal;
#[path = "../../src/request.rs"]
mod request;
#[path = "../../src/store.rs"]
mod store;
#[path = "../../src/table.rs"]
mod table;
#[path = "../../src/transform.rs"]
mod transform;
#[path = "../../src/writes.rs"]
mod writes;

use ::redis::{Client, Cmd, cmd};
use lockstep_plugin_api::testing::{self, MemoryHost, Place};
use serde_json::json;
use std::{
    net::TcpListener,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

const SLICE: Duration = Duration::from_secs(1);
const N_SLICES: usize = 3;

fn main() {
    let server = Server::start();
    let place = Place { through_log: true, ..Place::default() };
    let config =
        json!({ "backend": "redis", "max_locks_per_user": 1_000_000, "redis": { "port": server.port } });
    let _lock = testing::transform_at::<transform::Lock>(&config.to_string(), &place).expect("a lock");
    println!("callers   acquire+release/s   two round trips/s   ratio");
    for n_callers in [1, 8, 64] {
        let mut best = (0.0_f64, 0.0_f64);
        for _ in 0..N_SLICES {
            best.0 = best.0.max(leases(&place.host, n_callers));
            best.1 = best.1.max(server.round_trips(n_callers));
        }
        println!("{n_callers:>7} {:>19.0} {:>19.0} {:>7.2}", best.0, best.1, best.0 / best.1);
    }
}

/// Takes and gives back locks, each caller its own, one after the other.
fn leases(host: &MemoryHost, n_callers: usize) -> f64 {
    per_second(n_callers, |caller| {
        let name = json!({ "config_key": format!("app.key-{caller}"), "session": format!("s{caller}") });
        let host = host.clone();
        move || {
            host.call("lock.acquire", &name).expect("free");
            host.call("lock.release", &name).expect("held");
        }
    })
}

/// How often all callers together do something in a second.
fn per_second<F: FnMut() + Send>(n_callers: usize, caller: impl Fn(usize) -> F) -> f64 {
    let start = Instant::now();
    let n: usize = thread::scope(|scope| {
        let run = |mut act: F| {
            scope.spawn(move || {
                let mut n = 0;
                while start.elapsed() < SLICE {
                    act();
                    n += 1;
                }
                n
            })
        };
        let running: Vec<_> = (0..n_callers).map(|number| run(caller(number))).collect();
        running.into_iter().map(|caller| caller.join().expect("it does not panic")).sum()
    });
    n as f64 / start.elapsed().as_secs_f64()
}

/// A server that keeps nothing on disk; ended when this is dropped.
struct Server {
    process: Child,
    port: u16,
}

impl Server {
    fn start() -> Self {
        let port =
            TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a port").port();
        let mut command = Command::new("redis-server");
        command.args([
            "--bind",
            "127.0.0.1",
            "--port",
            &port.to_string(),
            "--save",
            "",
            "--appendonly",
            "no",
        ]);
        let process = command.stdout(Stdio::null()).spawn().expect("redis-server is installed");
        let server = Self { process, port };
        let is_up =
            || server.client().get_connection().and_then(|mut to| Cmd::ping().query::<String>(&mut to));
        while is_up().is_err() {
            thread::sleep(Duration::from_millis(20));
        }
        server
    }

    fn client(&self) -> Client {
        Client::open(format!("redis://127.0.0.1:{}", self.port)).expect("an address")
    }

    /// Two round trips at a time: `SET NX PX`, then `DEL`.
    fn round_trips(&self, n_callers: usize) -> f64 {
        per_second(n_callers, |caller| {
            let mut connection = self.client().get_connection().expect("a connection");
            let mut set = cmd("SET");
            set.arg(format!("bare-{caller}")).arg("{\"user_id\":\"x\"}").arg("NX").arg("PX").arg(60_000);
            let delete = Cmd::del(format!("bare-{caller}"));
            move || {
                set.query::<String>(&mut connection).expect("set");
                delete.query::<i64>(&mut connection).expect("deleted");
            }
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
