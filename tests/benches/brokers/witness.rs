//! What somebody outside has seen of the changes: how many, and how old each was.

use hdrhistogram::Histogram;
use std::{
    sync::{Mutex, MutexGuard},
    time::Instant,
};

/// The value of every change begins with the time at which it was sent.
const SENT: &str = r#""new_value":{"sent_us":"#;

/// Where one transport's consumer notes what it sees.
pub struct Witness {
    pub name: &'static str,
    clock: Instant,
    /// In microseconds.
    ages: Mutex<Histogram<u64>>,
}

impl Witness {
    pub fn new(name: &'static str, clock: Instant) -> Self {
        Self { name, clock, ages: Mutex::new(Histogram::new(3).expect("three digits")) }
    }

    /// Notes a message, if it is a change.
    pub fn note(&self, message: &[u8]) {
        let now_us = self.clock.elapsed().as_micros() as u64;
        let text = String::from_utf8_lossy(message);
        if let Some(sent_us) = text.split_once(SENT).and_then(|(_, rest)| leading_number(rest)) {
            self.ages().record(now_us.saturating_sub(sent_us)).expect("it grows");
        }
    }

    /// How many changes were seen since the last [`Witness::forget`].
    pub fn n_seen(&self) -> u64 {
        self.ages().len()
    }

    pub fn forget(&self) {
        self.ages().reset();
    }

    /// How old the changes were, in microseconds.
    pub fn ages(&self) -> MutexGuard<'_, Histogram<u64>> {
        self.ages.lock().expect("nothing panics")
    }
}

fn leading_number(text: &str) -> Option<u64> {
    let end = text.find(|c: char| !c.is_ascii_digit())?;
    text[..end].parse().ok()
}
