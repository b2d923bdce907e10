//! The comparison for the runtime: the linked chain with the same threads, channels and bounds, and nothing that a host
//! adds to them.

use crate::linked::{Linked, Sink, Source, Transform};
use lockstep_plugin_api::Batch;
use std::{
    collections::VecDeque,
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicUsize, Ordering},
        mpsc::{self, Receiver, Sender, SyncSender},
    },
    thread,
};

const QUEUED_BATCHES: usize = 256;
const MAX_IN_FLIGHT: usize = 10_000;

/// Runs `n_records` from a source's thread, which also runs the chain, to a sink's, and accounts for them on a third.
pub fn run(n_records: u64, batch: usize) {
    let Linked { source, transforms, sink } = Linked::new(n_records);
    let in_flight = Arc::new(InFlight::default());
    let (finished, news) = mpsc::channel();
    let (sender, queue) = mpsc::sync_channel(QUEUED_BATCHES);
    let bound = in_flight.clone();
    let threads = [
        thread::spawn(move || read(source, transforms, batch, &bound, &finished, &sender)),
        thread::spawn(move || write(sink, &queue)),
        thread::spawn(move || account(&news, &in_flight)),
    ];
    threads.into_iter().for_each(|thread| thread.join().expect("nothing panics"));
}

struct Flight {
    seq: u64,
    n_records: usize,
    holders: AtomicUsize,
    finished: Sender<Arc<Flight>>,
}

struct Delivery {
    flight: Arc<Flight>,
    batch: Batch,
}

impl Flight {
    fn release(self: &Arc<Self>) {
        if self.holders.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.finished.send(self.clone()).expect("it listens until the end");
        }
    }
}

#[derive(Default)]
struct InFlight {
    n_records: Mutex<usize>,
    released: Condvar,
    /// In the source's order; true once finished.
    flights: Mutex<VecDeque<(Arc<Flight>, bool)>>,
}

impl InFlight {
    fn wait_for_room(&self) {
        let n_records = self.n_records.lock().expect("nothing panics");
        drop(self.released.wait_while(n_records, |n| *n >= MAX_IN_FLIGHT).expect("nothing panics"));
    }

    fn add(&self, n: usize) {
        *self.n_records.lock().expect("nothing panics") += n;
    }

    fn release(&self, n: usize) {
        *self.n_records.lock().expect("nothing panics") -= n;
        self.released.notify_all();
    }
}

fn read(
    mut source: Box<dyn Source>,
    mut transforms: Vec<Box<dyn Transform>>,
    max: usize,
    in_flight: &InFlight,
    finished: &Sender<Arc<Flight>>,
    sink: &SyncSender<Delivery>,
) {
    for seq in 0.. {
        in_flight.wait_for_room();
        let records = source.poll(max);
        if records.is_empty() {
            return;
        }
        let n_records = records.len();
        in_flight.add(n_records);
        let holders = AtomicUsize::new(1);
        let flight = Arc::new(Flight { seq, n_records, holders, finished: finished.clone() });
        in_flight.flights.lock().expect("nothing panics").push_back((flight.clone(), false));
        let records = transforms.iter_mut().fold(records, |records, transform| transform.apply(records));
        flight.holders.fetch_add(1, Ordering::Relaxed);
        let delivery = Delivery { flight: flight.clone(), batch: Batch::new(records) };
        sink.send(delivery).expect("it listens until the end");
        flight.release();
    }
}

fn write(mut sink: Box<dyn Sink>, queue: &Receiver<Delivery>) {
    while let Ok(delivery) = queue.recv() {
        sink.write(&delivery.batch);
        delivery.flight.release();
    }
}

/// Batches finish in any order and are accounted for in the source's.
fn account(news: &Receiver<Arc<Flight>>, in_flight: &InFlight) {
    while let Ok(first) = news.recv() {
        let mut flights = in_flight.flights.lock().expect("nothing panics");
        for flight in std::iter::once(first).chain(news.try_iter()) {
            let first = flights.front().map_or(0, |(flight, _)| flight.seq);
            flights[(flight.seq - first) as usize].1 = true;
        }
        let n_finished = flights.iter().take_while(|(_, is_finished)| *is_finished).count();
        let settled: Vec<_> = flights.drain(..n_finished).collect();
        drop(flights);
        settled.iter().for_each(|(flight, _)| in_flight.release(flight.n_records));
    }
}
