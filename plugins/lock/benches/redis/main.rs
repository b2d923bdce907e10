//! How many leases of a real Redis are taken and given back in a second, and what that takes of the processors here and at the
//! server, beside two bare round trips (`SET NX PX`, `DEL`) over connections of the same client. The host's store is in memory:
//! the disk is not in it.
//!
//! `cargo bench -p lockstep-plugin-lock --bench redis`; needs `redis-server`, which it starts on loopback. What is compared is
//! measured by turns in one run.
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
#[path = "../../src/owners.rs"]
mod owners;
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
#[path = "../../../../host/benches/measure/mod.rs"]
mod measure;

use ::redis::{Client, Cmd, cmd};
use lockstep_plugin_api::testing::{self, MemoryHost, Place};
use measure::{cpu_of, own_cpu};
use serde_json::json;
use std::{
    fmt,
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
    for n_callers in [1, 8, 64] {
        let (mut leases, mut bare) = (Rate::default(), Rate::default());
        for _ in 0..N_SLICES {
            leases = leases.max(server.measure(|| take_and_give(&place.host, n_callers)));
            bare = bare.max(server.measure(|| server.round_trips(n_callers)));
        }
        println!("{n_callers:>2} callers   acquire+release {leases}   two round trips {bare}");
    }
}

/// How often something was done.
#[derive(Clone, Copy, Default)]
struct Rate {
    per_second: f64,
    /// Microseconds of processor time for each.
    own_us: f64,
    server_us: f64,
}

impl Rate {
    fn max(self, other: Self) -> Self {
        if other.per_second > self.per_second { other } else { self }
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:>7.0}/s ({:.0} us here, {:.0} us at the server)",
            self.per_second, self.own_us, self.server_us
        )
    }
}

/// Takes and gives back locks, each caller its own, one after the other.
fn take_and_give(host: &MemoryHost, n_callers: usize) -> usize {
    count(n_callers, |caller| {
        let name = json!({ "config_key": format!("app.key-{caller}"), "session": format!("s{caller}") });
        let host = host.clone();
        move || {
            host.call("lock.acquire", &name).expect("free");
            host.call("lock.release", &name).expect("held");
        }
    })
}

/// How often all callers together do something in a slice.
fn count<F: FnMut() + Send>(n_callers: usize, caller: impl Fn(usize) -> F) -> usize {
    let start = Instant::now();
    thread::scope(|scope| {
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
    })
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

    fn measure(&self, act: impl FnOnce() -> usize) -> Rate {
        let (start, own, server) = (Instant::now(), own_cpu(), cpu_of(self.process.id()));
        let n = act() as f64;
        let each = |time: Duration| time.as_secs_f64() * 1e6 / n;
        Rate {
            per_second: n / start.elapsed().as_secs_f64(),
            own_us: each(own_cpu() - own),
            server_us: each(cpu_of(self.process.id()) - server),
        }
    }

    /// Two round trips at a time: `SET NX PX`, then `DEL`.
    fn round_trips(&self, n_callers: usize) -> usize {
        count(n_callers, |caller| {
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
