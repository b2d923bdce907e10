//! The sink: one line per record, one write per batch, as durable as `fsync` asks.

use crate::{
    append::Appender,
    config::{FileSinkConfig, Fsync, STANDARD_STREAM},
    encode,
    sink_error::refused,
    stream_sink::StreamSink,
    sync::Syncer,
};
use lockstep_plugin_api::prelude::*;
use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};
use tracing::info;

/// What the line buffer may keep reserved between batches.
const KEPT_BUFFER: usize = 1 << 20;

/// The `file` sink.
pub struct FileSink {
    config: FileSinkConfig,
    path: PathBuf,
    output: Output,
    buffer: Vec<u8>,
    counters: Counters,
}

enum Output {
    File { appender: Appender, syncer: Option<Syncer> },
    Stream(StreamSink),
}

struct Counters {
    lines_written: Counter,
    bytes_written: Counter,
    reopened: Counter,
}

impl Sink for FileSink {
    type Config = FileSinkConfig;

    fn check(config: &FileSinkConfig) -> Result<()> {
        config.check()
    }

    fn new(config: FileSinkConfig, context: &Context) -> Result<Self> {
        let is_standard = config.path == STANDARD_STREAM;
        let path = if is_standard { PathBuf::from(STANDARD_STREAM) } else { context.resolve(&config.path) };
        let output = open(&config, &path)?;
        let counters = Counters {
            lines_written: context.counter("file_lines_written"),
            bytes_written: context.counter("file_bytes_written"),
            reopened: context.counter("file_reopened"),
        };
        Ok(Self { config, path, output, buffer: Vec::new(), counters })
    }

    fn write(&mut self, batch: &[Record], failures: &mut Failures) -> Result<()> {
        self.buffer.clear();
        let mut n_lines = 0;
        for record in batch {
            match encode::push_line(&mut self.buffer, record) {
                Ok(()) => n_lines += 1,
                Err(error) => failures.push(record, error),
            }
        }
        if n_lines == 0 {
            return Ok(());
        }
        self.write_buffer()?;
        self.counters.lines_written.add(n_lines);
        self.counters.bytes_written.add(self.buffer.len() as u64);
        self.buffer.shrink_to(KEPT_BUFFER);
        Ok(())
    }

    fn flush(&mut self, _deadline: Duration) -> Result<()> {
        match &self.output {
            Output::File { appender, .. } => {
                appender.file().sync_data().map_err(|error| refused("sync", &self.path, &error))
            }
            Output::Stream(_) => Ok(()),
        }
    }
}

impl FileSink {
    fn write_buffer(&mut self) -> Result<()> {
        self.reopen_if_rotated()?;
        match &mut self.output {
            Output::Stream(stream) => stream.write(&self.buffer),
            Output::File { appender, syncer } => {
                let sync = self.config.fsync == Fsync::Batch;
                let written = appender.write(&self.buffer, sync);
                written.map_err(|error| refused("write to", &self.path, &error))?;
                if let Some(syncer) = syncer {
                    syncer.mark_dirty();
                }
                Ok(())
            }
        }
    }

    fn reopen_if_rotated(&mut self) -> Result<()> {
        let Output::File { appender, .. } = &mut self.output else { return Ok(()) };
        let rotated = appender.was_rotated().map_err(|error| refused("look at", &self.path, &error))?;
        if rotated {
            // The old file's syncer writes what it still has to the disk when it is dropped here.
            self.output = open(&self.config, &self.path)
                .map_err(|error| Error::not_connected(format!("the file was rotated away: {error}")))?;
            self.counters.reopened.add(1);
            info!(path = %self.path.display(), "the file was rotated, writing to a new one");
        }
        Ok(())
    }
}

fn open(config: &FileSinkConfig, path: &Path) -> Result<Output> {
    if path == Path::new(STANDARD_STREAM) {
        return StreamSink::open(path.to_owned()).map(Output::Stream);
    }
    match fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => {
            return Err(Error::config(format!("`{}` is a directory", path.display())).at("path"));
        }
        Ok(metadata) if !metadata.is_file() => return StreamSink::open(path.to_owned()).map(Output::Stream),
        _ => {}
    }
    prepare_folder(config, path)?;
    let appender =
        Appender::open(path.to_owned(), config.append).map_err(|error| refused("open", path, &error))?;
    let syncer = (config.fsync == Fsync::Interval)
        .then(|| Syncer::start(appender.file().clone(), path.to_owned(), config.fsync_interval.0))
        .transpose()?;
    Ok(Output::File { appender, syncer })
}

fn prepare_folder(config: &FileSinkConfig, path: &Path) -> Result<()> {
    let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) else { return Ok(()) };
    if config.create_dirs {
        return fs::create_dir_all(folder).map_err(|error| refused("make the folder", folder, &error));
    }
    if fs::metadata(folder).is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound) {
        let message =
            format!("the folder `{}` does not exist; make it, or set `create_dirs: true`", folder.display());
        return Err(Error::config(message).at("path"));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
