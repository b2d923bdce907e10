//! Reads what is not a regular file (standard input, a FIFO, a terminal) on a thread of its own.
//!
//! Such a read cannot be interrupted, and what it returned cannot be read again. So the thread belongs to the process
//! and not to the component: a component that is started again takes over what its predecessor left in the channel.

use crate::lines::{Line, Lines};
use lockstep_plugin_api::prelude::*;
use std::{
    collections::HashMap,
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
    sync::{
        Mutex, MutexGuard,
        mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    },
    thread,
    time::Duration,
};

const CHUNK: usize = 64 << 10;

/// How many chunks of lines the thread may be ahead.
const CHUNKS_AHEAD: usize = 16;

/// The readers of this process; `None` while a component has the receiver.
static READERS: Mutex<Option<HashMap<PathBuf, Option<Receiver<Piece>>>>> = Mutex::new(None);

enum Piece {
    Lines { lines: Vec<Line>, n_bytes: u64 },
    Failed(String),
    End,
}

/// The lines of one stream.
#[derive(Debug)]
pub struct StreamSource {
    path: PathBuf,
    /// Present until the component ends and gives it back.
    pieces: Option<Receiver<Piece>>,
    lines: std::vec::IntoIter<Line>,
    bytes_read: Counter,
    has_ended: bool,
}

impl StreamSource {
    /// Begins to read `path`, or goes on where an earlier component stopped. `reopen` waits for the next writer of a FIFO.
    ///
    /// # Errors
    /// `Config` if another component reads it already.
    pub fn open(path: &Path, max_line: usize, reopen: bool, context: &Context) -> Result<Self> {
        let mut readers = readers();
        let readers = readers.get_or_insert_default();
        let pieces = match readers.get_mut(path) {
            Some(waiting) => waiting.take().ok_or_else(|| {
                Error::config(format!("`{}` is already read by another source", path.display())).at("path")
            })?,
            None => spawn_reader(path.to_owned(), max_line, reopen)?,
        };
        readers.insert(path.to_owned(), None);
        Ok(Self {
            path: path.to_owned(),
            pieces: Some(pieces),
            lines: Vec::new().into_iter(),
            bytes_read: context.counter("file_bytes_read"),
            has_ended: false,
        })
    }

    /// The next lines, waiting at most `wait` for the first.
    ///
    /// # Errors
    /// `EndOfInput` at the end, `NotConnected` if the stream cannot be read.
    pub fn take(&mut self, max: usize, wait: Duration) -> Result<Vec<Line>> {
        if self.lines.len() == 0 {
            self.receive(wait)?;
        }
        Ok(self.lines.by_ref().take(max).collect())
    }

    fn receive(&mut self, wait: Duration) -> Result<()> {
        let pieces = self.pieces.as_ref().expect("it is given back by `drop` only");
        match pieces.recv_timeout(wait) {
            Ok(Piece::Lines { lines, n_bytes }) => {
                self.bytes_read.add(n_bytes);
                self.lines = lines.into_iter();
                Ok(())
            }
            Ok(Piece::Failed(reason)) => Err(Error::not_connected(reason)),
            Err(RecvTimeoutError::Timeout) => Ok(()),
            Ok(Piece::End) | Err(RecvTimeoutError::Disconnected) => {
                self.has_ended = true;
                Err(Error::end_of_input())
            }
        }
    }
}

impl Drop for StreamSource {
    fn drop(&mut self) {
        let mut readers = readers();
        let Some(readers) = readers.as_mut() else { return };
        // A FIFO or a terminal can be opened again, standard input stays at its end.
        if self.has_ended && self.path != Path::new(crate::config::STANDARD_STREAM) {
            readers.remove(&self.path);
        } else {
            readers.insert(self.path.clone(), self.pieces.take());
        }
    }
}

fn readers() -> MutexGuard<'static, Option<HashMap<PathBuf, Option<Receiver<Piece>>>>> {
    READERS.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

fn spawn_reader(path: PathBuf, max_line: usize, reopen: bool) -> Result<Receiver<Piece>> {
    let (pieces, received) = sync_channel(CHUNKS_AHEAD);
    thread::Builder::new().name("file-source".to_owned()).spawn(move || {
        // The receiver is gone only together with the process.
        let _ = read_stream(&path, max_line, reopen, &pieces);
    })?;
    Ok(received)
}

/// The receiver of the pieces is gone.
struct Unwanted;

fn read_stream(
    path: &Path,
    max_line: usize,
    reopen: bool,
    pieces: &SyncSender<Piece>,
) -> Result<(), Unwanted> {
    let send = |piece| pieces.send(piece).map_err(|_| Unwanted);
    let mut lines = Lines::at(0, max_line);
    if path == Path::new(crate::config::STANDARD_STREAM) {
        read_lines(&mut io::stdin().lock(), &mut lines, &send)?;
        return send(Piece::End);
    }
    loop {
        match File::open(path) {
            Ok(mut file) => read_lines(&mut file, &mut lines, &send)?,
            Err(error) => {
                send(Piece::Failed(format!("cannot open `{}`: {error}", path.display())))?;
                thread::sleep(Duration::from_secs(1));
                continue;
            }
        }
        if !reopen {
            return send(Piece::End);
        }
    }
}

fn read_lines(
    stream: &mut impl Read,
    lines: &mut Lines,
    send: &impl Fn(Piece) -> Result<(), Unwanted>,
) -> Result<(), Unwanted> {
    let mut chunk = vec![0; CHUNK];
    loop {
        let n_read = match stream.read(&mut chunk) {
            Ok(n_read) => n_read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => {
                send(Piece::Failed(format!("cannot read the stream: {error}")))?;
                0
            }
        };
        let mut whole = Vec::new();
        if n_read == 0 {
            whole.extend(lines.finish());
        } else {
            lines.feed(&chunk[..n_read]);
            whole.extend(std::iter::from_fn(|| lines.next()));
        }
        if n_read > 0 || !whole.is_empty() {
            send(Piece::Lines { lines: whole, n_bytes: n_read as u64 })?;
        }
        if n_read == 0 {
            return Ok(());
        }
    }
}
