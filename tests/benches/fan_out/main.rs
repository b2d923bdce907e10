//! One change to a thousand WebSocket clients: the real host beside a bare tokio-tungstenite broadcast.
//!
//! `cargo bench -p lockstep-tests --bench fan_out`. Each server is a process of its own with one thread for its sockets;
//! the clients are in this process and the same for both. Compared is CPU time of the server per delivery: deliveries
//! per second depend on what else the machine does, the clients first of all.
#![expect(clippy::disallowed_methods, reason = "tasks and channels of a benchmark end with its process")]

#[path = "../../../host/benches/measure/mod.rs"]
#[expect(dead_code, reason = "each benchmark uses a part of it")]
mod measure;
mod bare;
mod clients;
mod host;
mod server;

use clients::Clients;
use measure::Goal;
use server::Server;
use std::time::{Duration, Instant};

const N_SUBSCRIBERS: usize = 1_000;
const N_SLICES: usize = 5;
const SLICE: Duration = Duration::from_millis(1000);
/// How many changes may be on their way at once: one, so that every delivery is a write of its own, and so many that
/// both servers write several at a time.
const AHEAD: [u64; 2] = [1, 16];

fn main() {
    if std::env::var_os(bare::CHILD).is_some() {
        return bare::serve();
    }
    raise_file_limit();
    let built = measure::build(&["lockstep", "lockstep-plugin-websocket"]);
    let dir = measure::empty_dir();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let (host, bare) = (host::start(&built, &dir), bare::start());
        let mut of_host = Clients::connect(&host, N_SUBSCRIBERS, host::CHANGE).await;
        // Both send the same bytes to every client.
        let frame = of_host.sample().await;
        let mut of_bare = Clients::connect(&bare, N_SUBSCRIBERS, &frame).await;
        println!("\n1 change -> {N_SUBSCRIBERS} subscribers, frames of {} bytes", frame.len());
        for ahead in AHEAD {
            let mut best = [Rate::default(); 2];
            for _ in 0..N_SLICES {
                best[0].take(slice(&bare, &mut of_bare, ahead).await);
                best[1].take(slice(&host, &mut of_host, ahead).await);
            }
            print(ahead, &best);
        }
    });
    std::fs::remove_dir_all(&dir).expect("the benchmark's folder can be removed");
}

/// The best that was seen of a server.
#[derive(Clone, Copy, Default)]
struct Rate {
    per_second: f64,
    per_cpu_second: f64,
}

impl Rate {
    fn take(&mut self, other: Self) {
        self.per_second = self.per_second.max(other.per_second);
        self.per_cpu_second = self.per_cpu_second.max(other.per_cpu_second);
    }
}

async fn slice(server: &Server, clients: &mut Clients, ahead: u64) -> Rate {
    let (start, cpu) = (Instant::now(), server.cpu());
    let n = clients.publish_for(SLICE, ahead).await as f64;
    let elapsed = start.elapsed().as_secs_f64();
    Rate { per_second: n / elapsed, per_cpu_second: n / (server.cpu() - cpu).as_secs_f64() }
}

fn print(ahead: u64, [bare, host]: &[Rate; 2]) {
    println!(
        "{:<28}{:>16}{:>18}{:>14}",
        format!("{ahead} at once"),
        "deliveries/s",
        "per CPU second",
        "us/delivery"
    );
    for (name, rate) in [("tokio-tungstenite broadcast", bare), ("lockstep", host)] {
        let (per_second, per_cpu) = (rate.per_second, rate.per_cpu_second);
        println!("{name:<28}{per_second:>16.0}{per_cpu:>18.0}{:>14.2}", 1e6 / per_cpu);
    }
    let ratio = host.per_cpu_second / bare.per_cpu_second;
    println!("ratio per CPU second {ratio:.2}  {}", Goal::at_least(ratio, 0.8));
    println!("deliveries/s {:.0}  {}", host.per_second, Goal::at_least(host.per_second, 100_000.0));
}

/// A thousand sockets and more, here and in the servers, which inherit it.
fn raise_file_limit() {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: both calls read or fill in the structure they are given.
    unsafe {
        libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit);
        limit.rlim_cur = limit.rlim_max;
        libc::setrlimit(libc::RLIMIT_NOFILE, &limit);
    }
}
