//! Somebody at a broker who reads along, and writes down what came when.
//!
//! A witness reads as a program that knows nothing of Lockstep would. It waits for its broker to come back, except by MQTT,
//! where a new one is placed before anybody else is let in.

mod kafka;
mod mqtt;
mod redis;
mod websocket;

use crate::key_ledger::Numbered;
use serde_json::Value;
use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

/// How long a witness waits for a message before it looks whether it is still wanted.
const PATIENCE: Duration = Duration::from_millis(200);

/// One change, at one place.
#[derive(Debug, Clone)]
pub struct Arrival {
    pub what: Numbered,
    pub at: Instant,
}

/// What came to one place so far, in order.
#[derive(Debug, Clone, Default)]
pub struct Arrivals(Arc<Mutex<Vec<Arrival>>>);

/// A running witness. Gone when it is dropped.
#[derive(Debug)]
pub struct Witness {
    arrivals: Arrivals,
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Arrivals {
    fn lock(&self) -> MutexGuard<'_, Vec<Arrival>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes down a message that is a change with a number in it: `{"config_key", "new_value": {"n"}}`; others are passed
    /// over.
    fn tell(&self, message: &Value) {
        let (key, number) = (message["config_key"].as_str(), message["new_value"]["n"].as_u64());
        if let (Some(key), Some(number)) = (key, number) {
            self.lock().push(Arrival { what: Numbered::new(key, number), at: Instant::now() });
        }
    }

    /// Everything that came.
    pub fn all(&self) -> Vec<Numbered> {
        self.lock().iter().map(|arrival| arrival.what.clone()).collect()
    }

    /// How many different changes came.
    pub fn n_distinct(&self) -> usize {
        self.lock().iter().map(|arrival| arrival.what.number).collect::<HashSet<_>>().len()
    }

    /// Whether this number came.
    pub fn has(&self, number: u64) -> bool {
        self.lock().iter().any(|arrival| arrival.what.number == number)
    }

    /// When the first one came that came after this moment.
    pub fn first_after(&self, moment: Instant) -> Option<Instant> {
        self.lock().iter().map(|arrival| arrival.at).find(|at| *at > moment)
    }

    /// When each number came for the first time.
    pub fn first_times(&self) -> HashMap<u64, Instant> {
        let mut times = HashMap::new();
        for arrival in self.lock().iter() {
            times.entry(arrival.what.number).or_insert(arrival.at);
        }
        times
    }
}

impl Witness {
    fn start(arrivals: &Arrivals, watch: impl FnOnce(&Arrivals, &dyn Fn() -> bool) + Send + 'static) -> Self {
        let (is_over, told) = (Arc::new(AtomicBool::new(false)), arrivals.clone());
        let over = is_over.clone();
        let thread = std::thread::spawn(move || watch(&told, &|| over.load(Ordering::Relaxed)));
        Self { arrivals: arrivals.clone(), is_over, thread: Some(thread) }
    }

    /// What it has seen so far.
    pub fn arrivals(&self) -> &Arrivals {
        &self.arrivals
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        let ended = self.thread.take().expect("dropped once").join();
        assert!(ended.is_ok() || std::thread::panicking(), "the witness does not panic");
    }
}
