//! One change to all transports, through the log: what three more sinks cost, and how long a change takes to each.

use crate::{
    disk,
    measure::Goal,
    scene::{Load, Scene, Servers},
};
use hdrhistogram::Histogram;
use std::{path::Path, time::Duration};

const N_AUTHORS: usize = 64;
const LOAD_TIME: Duration = Duration::from_secs(5);
const CHANGES_PER_SECOND: u32 = 200;
const PACED_TIME: Duration = Duration::from_secs(10);

pub fn run(built: &Path, dir: &Path) {
    let servers = Servers::start();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        // Its host has ended when the next one starts.
        let one = Scene::start(built, dir, None).await.load(N_AUTHORS, LOAD_TIME).await;
        let all = Scene::start(built, dir, Some(&servers)).await;
        print_loads(dir, &one, &all.load(N_AUTHORS, LOAD_TIME).await);
        print_ages(dir, &all).await;
    });
}

fn print_loads(dir: &Path, one: &Load, all: &Load) {
    let bare = disk::appends_per_second(dir, N_AUTHORS, Duration::from_secs(3)) * N_AUTHORS as f64;
    println!(
        "\none change -> all transports, through the log, {N_AUTHORS} WebSocket authors with one change at a time"
    );
    println!(
        "{:<32}{:>12}{:>13}{:>16}{:>14}",
        "sinks", "answered/s", "delivered/s", "CPU s/million", "RSS MB"
    );
    for (name, load) in [("websocket", one), ("websocket, kafka, mqtt, redis", all)] {
        let Load { answered_per_second, delivered_per_second, cpu_us, memory_mb } = load;
        println!(
            "{name:<32}{answered_per_second:>12.0}{delivered_per_second:>13.0}{cpu_us:>16.1}{memory_mb:>14.1}"
        );
    }
    println!("{:<32}{bare:>12.0}", "bare append + fdatasync");
    println!("{:<32}{:>12.2}", "CPU of all to one", all.cpu_us / one.cpu_us);
    println!("{:<32}{:>12.2}", "answered/s of all to one", all.answered_per_second / one.answered_per_second);
    let ratio = all.answered_per_second / bare;
    println!("{:<32}{ratio:>12.2}  {}", "answered/s of all to bare", Goal::at_least(ratio, 0.6));
}

/// At a rate that does not wait for anybody.
async fn print_ages(dir: &Path, all: &Scene) {
    let disk = disk::paced_latencies(dir, CHANGES_PER_SECOND, PACED_TIME);
    all.witnesses.iter().for_each(|witness| witness.forget());
    let n_changes = crate::authors::open_loop(all.address, CHANGES_PER_SECOND, PACED_TIME, all.clock).await;
    all.everybody_has_seen(n_changes).await;
    println!("\nauthor -> consumer of each transport, {CHANGES_PER_SECOND} changes/s, milliseconds");
    println!("{:<32}{:>9}{:>9}", "", "p50", "p99");
    row("bare append + fdatasync", &disk);
    all.witnesses.iter().for_each(|witness| row(witness.name, &witness.ages()));
    let (seen, limit) = (ms(&all.witnesses[0].ages(), 99.0), 2.0 * ms(&disk, 99.0) + 5.0);
    println!("websocket p99 {}", Goal::at_most(seen, (limit * 10.0).round() / 10.0));
}

fn row(name: &str, ages: &Histogram<u64>) {
    println!("{name:<32}{:>9.2}{:>9.2}", ms(ages, 50.0), ms(ages, 99.0));
}

/// Ages are counted in microseconds.
fn ms(ages: &Histogram<u64>, percentile: f64) -> f64 {
    ages.value_at_percentile(percentile) as f64 / 1000.0
}
