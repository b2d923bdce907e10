//! A sink that writes down what it is given, and what a replay gives it when the file `replay` orders one.

use crate::bumps::BETWEEN_LOOKS;
use lockstep_plugin_api::{log::Replay, prelude::*};
use std::{
    fs::{self, File, OpenOptions},
    io::Write,
    path::{Path, PathBuf},
    thread,
};

#[config]
pub struct ReplayerConfig {
    /// The folder of orders.
    dir: PathBuf,
}

pub struct Replayer(File);

impl Sink for Replayer {
    type Config = ReplayerConfig;

    fn new(config: ReplayerConfig, context: &Context) -> Result<Self> {
        let dir = context.resolve(&config.dir);
        fs::create_dir_all(&dir)?;
        let (context, orders) = (context.clone(), dir.clone());
        thread::spawn(move || serve(&context, &orders));
        Ok(Self(OpenOptions::new().create(true).append(true).open(dir.join("given"))?))
    }

    fn write(&mut self, batch: &[Record], _: &mut Failures) -> Result<()> {
        let lines: String = batch.iter().map(|record| line(record) + "\n").collect();
        Ok(self.0.write_all(lines.as_bytes())?)
    }
}

fn line(record: &Record) -> String {
    let Some(change) = record.known_change() else { return "no change".to_owned() };
    format!("{} {} {}", change.revision().unwrap_or(0), change.event_type(), change.config_key())
}

/// The order says `history` or `current`, and after which revision.
fn serve(context: &Context, dir: &Path) {
    while !context.stopping() {
        thread::sleep(BETWEEN_LOOKS);
        let Ok(order) = fs::read_to_string(dir.join("replay")) else { continue };
        let Some((what, after)) = order.split_once(' ') else { continue };
        let what = if what == "current" { Replay::Current } else { Replay::History };
        let answer = replay_all(context, what, after.trim().parse().unwrap_or(0));
        let text = answer.unwrap_or_else(|error| format!("{error:?}"));
        fs::write(dir.join("replayed.draft"), text).unwrap_or_default();
        fs::remove_file(dir.join("replay")).unwrap_or_default();
        fs::rename(dir.join("replayed.draft"), dir.join("replayed")).unwrap_or_default();
    }
}

/// Page by page, a few at a time.
fn replay_all(context: &Context, what: Replay, mut after: u64) -> Result<String> {
    let mut lines = String::new();
    loop {
        let page = context.replay(after, what, 3)?;
        lines.extend(page.records.iter().map(|record| line(record) + "\n"));
        after = page.through;
        if page.is_end {
            return Ok(lines + &format!("end at {after}\n"));
        }
    }
}
