//! What the disk alone allows: a file that is appended to and synced.

use hdrhistogram::Histogram;
use std::{
    fs::{File, OpenOptions},
    io::Write,
    path::Path,
    thread,
    time::{Duration, Instant},
};

/// About what one change takes in the log.
const ENTRY_BYTES: usize = 300;

/// How often per second `n_entries` can be appended and synced together.
pub fn appends_per_second(dir: &Path, n_entries: usize, time: Duration) -> f64 {
    let (mut file, entries) = (new_file(dir), vec![b'x'; ENTRY_BYTES * n_entries]);
    let (start, mut n) = (Instant::now(), 0_u32);
    while start.elapsed() < time {
        append(&mut file, &entries);
        n += 1;
    }
    f64::from(n) / start.elapsed().as_secs_f64()
}

/// How long one append and its sync take, so many per second.
pub fn paced_latencies(dir: &Path, per_second: u32, time: Duration) -> Histogram<u64> {
    let (mut file, entry) = (new_file(dir), vec![b'x'; ENTRY_BYTES]);
    let mut latencies = Histogram::new(3).expect("three digits");
    let start = Instant::now();
    for n in 0..(time.as_secs_f64() * f64::from(per_second)) as u32 {
        let due = start + Duration::from_secs(1) * n / per_second;
        thread::sleep(due.saturating_duration_since(Instant::now()));
        append(&mut file, &entry);
        latencies.record(due.elapsed().as_micros() as u64).expect("it grows");
    }
    latencies
}

fn new_file(dir: &Path) -> File {
    let options = OpenOptions::new().create(true).append(true).truncate(false).to_owned();
    options.open(dir.join("bare.log")).expect("the folder can be written")
}

fn append(file: &mut File, bytes: &[u8]) {
    file.write_all(bytes).expect("there is room");
    file.sync_data().expect("it can be synced");
}
