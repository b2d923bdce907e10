//! The source: lines become records, each with the place behind it.

use crate::{
    config::{FileSourceConfig, Format, STANDARD_STREAM},
    follow::{Follower, Next},
    line_record,
    lines::Line,
    position::{POSITION_BYTES, Place},
    stream_source::StreamSource,
};
use lockstep_plugin_api::prelude::*;
use std::{fs, path::Path, sync::Once, thread, time::Duration};
use tracing::warn;

/// A file has one order, so one lane.
const LANE: u32 = 0;

/// How much one poll reads at most: a pipeline with large batches is not kept waiting for a whole file.
const READ_PER_POLL: usize = 1 << 20;

/// Naps while nothing comes: short at first, because lines come in bursts.
const FIRST_NAP: Duration = Duration::from_millis(5);
const LONGEST_NAP: Duration = Duration::from_millis(100);

/// The `file` source.
pub struct FileSource {
    input: Input,
    format: Format,
    context: Context,
    counters: Counters,
}

enum Input {
    File(Box<Follower>),
    Stream(StreamSource),
}

struct Counters {
    lines_read: Counter,
    oversize_lines: Counter,
    bad_lines: Counter,
    /// Said once: a writer that makes such lines makes many, and each is counted and in the dead letter queue.
    warned: Once,
}

impl Source for FileSource {
    type Config = FileSourceConfig;

    fn check(config: &FileSourceConfig) -> Result<()> {
        config.check()
    }

    /// A named path may be a file or a FIFO, which is not for a configuration to know.
    fn advise(config: &FileSourceConfig, advice: &mut Advice) {
        if config.path == STANDARD_STREAM {
            advice.at_most_once();
        }
    }

    fn new(config: FileSourceConfig, context: &Context) -> Result<Self> {
        let counters = Counters {
            lines_read: context.counter("file_lines_read"),
            oversize_lines: context.counter("file_oversize_lines"),
            bad_lines: context.counter("file_bad_lines"),
            warned: Once::new(),
        };
        Ok(Self { input: open(&config, context)?, format: config.format, context: context.clone(), counters })
    }

    fn poll(&mut self, max: usize, wait: Duration) -> Result<Vec<Record>> {
        match &mut self.input {
            Input::Stream(stream) => {
                let lines = stream.take(max, wait)?;
                Ok(lines.iter().filter_map(|line| self.counters.record(line, self.format)).collect())
            }
            Input::File(follower) => poll_file(follower, &self.context, wait, |follower| {
                take(follower, &self.counters, self.format, max)
            }),
        }
    }
}

fn open(config: &FileSourceConfig, context: &Context) -> Result<Input> {
    let max_line = config.max_line_bytes.0 as usize;
    if config.path == STANDARD_STREAM {
        return StreamSource::open(Path::new(STANDARD_STREAM), max_line, false, context).map(Input::Stream);
    }
    let path = context.resolve(&config.path);
    match fs::metadata(&path) {
        Ok(metadata) if metadata.is_dir() => {
            Err(Error::config(format!("`{}` is a directory", path.display())).at("path"))
        }
        Ok(metadata) if !metadata.is_file() => {
            StreamSource::open(&path, max_line, config.follow, context).map(Input::Stream)
        }
        _ => {
            let stored = context.position(LANE).map(|bytes| Place::read(bytes)).transpose()?;
            Ok(Input::File(Box::new(Follower::new(path, config, stored, context))))
        }
    }
}

/// Takes what is there, or naps until something is, the wait is over, or the host stops.
fn poll_file(
    follower: &mut Follower,
    context: &Context,
    wait: Duration,
    take: impl Fn(&mut Follower) -> Result<Vec<Record>>,
) -> Result<Vec<Record>> {
    let (mut left, mut nap) = (wait, FIRST_NAP);
    loop {
        let records = take(follower)?;
        if !records.is_empty() || left.is_zero() || context.stopping() {
            return Ok(records);
        }
        let step = nap.min(left);
        thread::sleep(step);
        left -= step;
        nap = (nap * 2).min(LONGEST_NAP);
    }
}

/// Takes at most `max` records; their places share one buffer.
fn take(follower: &mut Follower, counters: &Counters, format: Format, max: usize) -> Result<Vec<Record>> {
    let (mut records, mut places) = (Vec::new(), Vec::new());
    let mut read_budget = READ_PER_POLL;
    while records.len() < max {
        match follower.next(&mut read_budget) {
            Ok(Next::Line(line, place)) => {
                if let Some(record) = counters.record(&line, format) {
                    records.push(record);
                    place.write_to(&mut places);
                }
            }
            Ok(Next::Nothing) => break,
            Ok(Next::End) if records.is_empty() => return Err(Error::end_of_input()),
            Err(error) if records.is_empty() => return Err(error),
            // Said again at the next call, when the records are on their way.
            Ok(Next::End) | Err(_) => break,
        }
    }
    let places = Bytes::from(places);
    let place = |i: usize| Position::new(LANE, places.slice(i * POSITION_BYTES..(i + 1) * POSITION_BYTES));
    Ok(records.into_iter().enumerate().map(|(i, record)| record.with_position(place(i))).collect())
}

impl Counters {
    /// The record of a line; none of an empty one.
    fn record(&self, line: &Line, format: Format) -> Option<Record> {
        if line.length == 0 {
            return None;
        }
        self.lines_read.add(1);
        let record = line_record::read(line, format);
        if line.is_oversize {
            self.oversize_lines.add(1);
            self.warned.call_once(|| {
                warn!(
                    end_offset = line.end,
                    bytes = line.length,
                    "a line is longer than `max_line_bytes`; later ones are only counted"
                );
            });
        } else if record.error().is_some() {
            self.bad_lines.add(1);
        }
        Some(record)
    }
}

#[cfg(test)]
mod tests;
