//! `lockstep dlq retry`: again, and what became of it.

use super::super::output::print_json;
use super::super::{DONE, FAILED};
use super::{Common, Queue, QueueError, Selection};
use clap::Args;
use serde::Serialize;
use serde_json::json;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// How many are on their way at once.
const AT_ONCE: usize = 100;

/// How often the host is asked what became of them.
const ASK: Duration = Duration::from_millis(100);

#[derive(Debug, Args)]
pub(super) struct Retry {
    #[command(flatten)]
    selection: Selection,
    /// Do not wait for what becomes of them
    #[arg(long)]
    no_wait: bool,
    /// How long to wait for what becomes of a record, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 30, conflicts_with = "no_wait")]
    wait: u64,
    #[command(flatten)]
    pub(super) common: Common,
}

/// What became of one dead letter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "result", rename_all = "snake_case")]
enum Became {
    /// It is no dead letter any more.
    Delivered,
    /// It is one again.
    FailedAgain { attempts: u64, error: String },
    /// It was not seen to be either.
    OnItsWay,
    /// The host did not let it enter.
    Refused { error: String },
}

impl Retry {
    pub(super) fn retry(&self, queue: &Queue) -> Result<u8, QueueError> {
        if let Queue::Stored(..) = queue {
            return Err(QueueError::NeedsHost);
        }
        let numbers = self.selection.numbers(queue)?;
        if numbers.is_empty() {
            eprintln!("no dead letters");
        }
        let mut results = BTreeMap::new();
        for some in numbers.chunks(AT_ONCE) {
            let begun = begin(queue, some, &mut results)?;
            let wait = if self.no_wait { Duration::ZERO } else { Duration::from_secs(self.wait) };
            follow(queue, begun, wait, &mut results)?;
        }
        self.tell(&results);
        let is_good = |became: &Became| match became {
            Became::Delivered => true,
            Became::OnItsWay => self.no_wait,
            Became::FailedAgain { .. } | Became::Refused { .. } => false,
        };
        Ok(if results.values().all(is_good) { DONE } else { FAILED })
    }

    fn tell(&self, results: &BTreeMap<u64, Became>) {
        if self.common.json {
            let shown = results.iter().map(|(number, became)| {
                let mut shown = json!(became);
                shown["id"] = json!(number);
                shown
            });
            print_json(&json!({ "results": shown.collect::<Vec<_>>() }));
            return;
        }
        for (number, became) in results {
            match became {
                Became::Delivered => eprintln!("{number}: delivered"),
                Became::FailedAgain { attempts, error } => {
                    eprintln!("{number}: failed again, after {attempts} attempts altogether: {error}");
                }
                Became::OnItsWay if self.no_wait => eprintln!("{number}: on its way"),
                Became::OnItsWay => {
                    eprintln!(
                        "{number}: neither delivered nor failed after {} s; it is still on its way",
                        self.wait
                    );
                }
                Became::Refused { error } => eprintln!("{number}: not tried again: {error}"),
            }
        }
    }
}

/// Lets each enter; gives the attempts that each had before.
fn begin(
    queue: &Queue,
    numbers: &[u64],
    results: &mut BTreeMap<u64, Became>,
) -> Result<BTreeMap<u64, u64>, QueueError> {
    let mut begun = BTreeMap::new();
    for number in numbers {
        match queue.retry(*number) {
            Ok(attempts) => drop(begun.insert(*number, attempts)),
            Err(error) if error.is_refusal() => return Err(error),
            Err(error) => drop(results.insert(*number, Became::Refused { error: error.to_string() })),
        }
    }
    Ok(begun)
}

/// Asks until each was delivered or has failed again, or the time is over.
fn follow(
    queue: &Queue,
    mut begun: BTreeMap<u64, u64>,
    wait: Duration,
    results: &mut BTreeMap<u64, Became>,
) -> Result<(), QueueError> {
    let until = Instant::now() + wait;
    loop {
        let mut left = BTreeMap::new();
        for (number, before) in begun {
            let Some(letter) = queue.get(number)? else {
                results.insert(number, Became::Delivered);
                continue;
            };
            let attempts = letter["attempts"].as_u64().unwrap_or_default();
            if attempts > before {
                let error = letter["error"]["message"].as_str().unwrap_or_default().to_owned();
                results.insert(number, Became::FailedAgain { attempts, error });
            } else {
                left.insert(number, before);
            }
        }
        begun = left;
        if begun.is_empty() {
            return Ok(());
        }
        if Instant::now() >= until {
            results.extend(begun.into_keys().map(|number| (number, Became::OnItsWay)));
            return Ok(());
        }
        std::thread::sleep(ASK);
    }
}
