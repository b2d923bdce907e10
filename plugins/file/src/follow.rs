//! Follows one path: reads its lines, and notices when it is rotated, emptied or replaced.
//!
//! Invariant: a file is left only when its end was reached after its name had gone to another file, so a line that was
//! written before a rotation is read before any line written after it.

use crate::{
    config::{FileSourceConfig, StartAt},
    lines::{Line, Lines},
    position::{FileId, Fingerprint, Head, Place},
    siblings,
};
use lockstep_plugin_api::prelude::*;
use std::{
    fs::{self, File},
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};
use tracing::{info, warn};

/// How much is read at once.
const CHUNK: usize = 128 << 10;

/// How often the path is looked at while nothing new comes.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// How long a file that lost its name may stay silent before it counts as finished: its writer may still have it open.
const QUIET: Duration = Duration::from_secs(1);

/// What the follower has next.
#[derive(Debug)]
pub enum Next {
    Line(Line, Place),
    /// Nothing now.
    Nothing,
    /// Nothing ever.
    End,
}

/// The lines of one path.
#[derive(Debug)]
pub struct Follower {
    path: PathBuf,
    follow: bool,
    start_at: StartAt,
    max_line: usize,
    /// Where an earlier run stopped; taken when the file it names is found.
    stored: Option<Place>,
    open: Option<Open>,
    scratch: Box<[u8]>,
    looked_at: Option<Instant>,
    told_missing: bool,
    bytes_read: Counter,
    rotations: Counter,
}

/// The file that is being read.
#[derive(Debug)]
struct Open {
    file: File,
    id: FileId,
    head: Head,
    /// The fingerprint from 256 bytes on, which is the same for every later place.
    settled: Option<Fingerprint>,
    lines: Lines,
    /// Whether the last read found nothing new.
    is_at_end: bool,
    /// Whether it was opened under its own name; else it had been rotated away before.
    was_current: bool,
    /// Since when it is known that the path means another file, and nothing new has come.
    silent_since: Option<Instant>,
}

/// What the path means at the moment.
enum PathState {
    /// The open file.
    Same,
    /// The open file, but with another content.
    Emptied,
    /// Another file.
    Another,
    Missing,
}

impl Follower {
    /// Follows `path` from where an earlier run stopped.
    pub fn new(path: PathBuf, config: &FileSourceConfig, stored: Option<Place>, context: &Context) -> Self {
        Self {
            path,
            follow: config.follow,
            start_at: config.start_at,
            max_line: config.max_line_bytes.0 as usize,
            stored,
            open: None,
            scratch: vec![0; CHUNK].into(),
            looked_at: None,
            told_missing: false,
            bytes_read: context.counter("file_bytes_read"),
            rotations: context.counter("file_rotations"),
        }
    }

    /// The next line, if one is there. Reads at most until `read_budget` is used up.
    ///
    /// # Errors
    /// `NotConnected` if the file cannot be read.
    pub fn next(&mut self, read_budget: &mut usize) -> Result<Next> {
        loop {
            let Some(open) = &mut self.open else {
                match self.open_first()? {
                    true => continue,
                    false => return Ok(Next::Nothing),
                }
            };
            if let Some(line) = open.lines.next() {
                let place = open.place(line.end);
                return Ok(Next::Line(line, place));
            }
            if *read_budget == 0 {
                return Ok(Next::Nothing);
            }
            let n_read = open.read(&mut self.scratch).map_err(|error| unreadable(&self.path, &error))?;
            *read_budget = read_budget.saturating_sub(n_read);
            self.bytes_read.add(n_read as u64);
            if n_read == 0
                && let Some(next) = self.at_end()?
            {
                return Ok(next);
            }
        }
    }

    /// Opens the file to begin with; `false` while it does not exist.
    fn open_first(&mut self) -> Result<bool> {
        if !self.may_look() {
            return Ok(false);
        }
        let opened = match self.stored {
            Some(place) => self.open_stored(&place),
            None => self.open_unknown(),
        };
        match opened.map_err(|error| unreadable(&self.path, &error))? {
            Some(open) => {
                self.replace_open(open);
                self.stored = None;
                Ok(true)
            }
            None => self.wait_for_file(),
        }
    }

    fn open_stored(&self, place: &Place) -> io::Result<Option<Open>> {
        if let Some(file) = siblings::locate(&self.path, place)? {
            return self.begin(file, place.offset).map(Some);
        }
        let Some(file) = siblings::open(&self.path)? else { return Ok(None) };
        warn!(path = %self.path.display(), "the file of the stored position is gone, what was unread in it is lost; starting at the current file");
        self.begin(file, 0).map(Some)
    }

    fn open_unknown(&self) -> io::Result<Option<Open>> {
        let Some(file) = siblings::open(&self.path)? else { return Ok(None) };
        // A file that was not there at the start is new, so all of it is.
        let from_end = self.start_at == StartAt::End && !self.told_missing;
        let offset = if from_end { behind_last_line(&file, self.max_line)? } else { 0 };
        self.begin(file, offset).map(Some)
    }

    fn begin(&self, file: File, offset: u64) -> io::Result<Open> {
        let id = FileId::from(&file.metadata()?);
        let was_current = fs::metadata(&self.path).is_ok_and(|current| FileId::from(&current) == id);
        let head = Head::read(&file)?;
        let lines = Lines::at(offset, self.max_line);
        Ok(Open { file, id, head, settled: None, lines, is_at_end: true, was_current, silent_since: None })
    }

    fn wait_for_file(&mut self) -> Result<bool> {
        if !self.follow {
            return Err(Error::not_connected(format!("`{}` does not exist", self.path.display())));
        }
        if !std::mem::replace(&mut self.told_missing, true) {
            info!(path = %self.path.display(), "waiting for the file to appear");
        }
        Ok(false)
    }

    fn replace_open(&mut self, open: Open) {
        self.open = Some(open);
        self.looked_at = None;
    }

    fn may_look(&mut self) -> bool {
        let may = self.looked_at.is_none_or(|at| at.elapsed() >= LOOK_EVERY) || !self.follow;
        if may {
            self.looked_at = Some(Instant::now());
        }
        may
    }

    /// What to do where nothing is left to read; `None` if there is something to read again.
    fn at_end(&mut self) -> Result<Option<Next>> {
        if !self.may_look() {
            return Ok(Some(Next::Nothing));
        }
        let Some(open) = &mut self.open else { return Ok(None) };
        match open.look(&self.path).map_err(|error| unreadable(&self.path, &error))? {
            PathState::Emptied => self.begin_anew(),
            PathState::Another if !self.follow || open.is_silent() => self.go_on(),
            PathState::Another => Ok(Some(Next::Nothing)),
            PathState::Same | PathState::Missing if self.follow => Ok(Some(Next::Nothing)),
            PathState::Same | PathState::Missing => Ok(Some(self.last_line().unwrap_or(Next::End))),
        }
    }

    /// The file was emptied in place: the rest of the old content may stand in a copy beside it.
    fn begin_anew(&mut self) -> Result<Option<Next>> {
        let Some(open) = &mut self.open else { return Ok(None) };
        let place = open.place(open.lines.given());
        let copy = siblings::locate(&self.path, &place).map_err(|error| unreadable(&self.path, &error))?;
        let next = match copy {
            Some(copy) => self.begin(copy, place.offset),
            None => match self.last_line() {
                Some(line) => return Ok(Some(line)),
                None => self
                    .open
                    .take()
                    .map_or_else(|| Err(io::Error::other("no file")), |open| self.begin(open.file, 0)),
            },
        };
        let next = next.map_err(|error| unreadable(&self.path, &error))?;
        info!(path = %self.path.display(), "the file was emptied, starting at its beginning");
        self.rotations.add(1);
        self.replace_open(next);
        Ok(None)
    }

    /// The file is read to its end and has lost its name: the one written after it comes next.
    fn go_on(&mut self) -> Result<Option<Next>> {
        if let Some(line) = self.last_line() {
            return Ok(Some(line));
        }
        let Some(open) = &self.open else { return Ok(None) };
        let next = siblings::open_next(&self.path, &open.file)
            .and_then(|file| file.map(|file| self.begin(file, 0)).transpose())
            .map_err(|error| unreadable(&self.path, &error))?;
        let Some(next) = next else { return Ok(Some(Next::Nothing)) };
        info!(path = %self.path.display(), "the file was rotated, going on with the next one");
        self.rotations.add(1);
        self.replace_open(next);
        Ok(None)
    }

    /// What stands behind the last newline, as a line: nobody will finish it.
    fn last_line(&mut self) -> Option<Next> {
        let open = self.open.as_mut()?;
        let line = open.lines.finish()?;
        let place = open.place(line.end);
        self.looked_at = None;
        Some(Next::Line(line, place))
    }
}

impl Open {
    fn read(&mut self, scratch: &mut [u8]) -> io::Result<usize> {
        let n_read = loop {
            match self.file.read_at(scratch, self.lines.fed()) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => break read?,
            }
        };
        if n_read == 0 {
            self.is_at_end = true;
            return Ok(0);
        }
        // While nothing came, the file may have been emptied and filled past this point: then these bytes begin anywhere.
        if self.is_at_end || self.head.is_short_of(self.lines.fed() + n_read as u64) {
            let head = Head::read(&self.file)?;
            if !head.continues(&self.head) {
                return Ok(0);
            }
            self.head = head;
        }
        self.is_at_end = false;
        self.silent_since = None;
        self.lines.feed(&scratch[..n_read]);
        Ok(n_read)
    }

    fn place(&mut self, offset: u64) -> Place {
        let fingerprint = match self.settled {
            Some(settled) => settled,
            None => {
                let fingerprint = self.head.fingerprint(offset);
                self.settled = (!self.head.is_short_of(u64::MAX) && offset >= 256).then_some(fingerprint);
                fingerprint
            }
        };
        Place { file: self.id, offset, fingerprint }
    }

    fn look(&mut self, path: &Path) -> io::Result<PathState> {
        let current = match fs::metadata(path) {
            Ok(current) => current,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(PathState::Missing),
            Err(error) => return Err(error),
        };
        if FileId::from(&current) != self.id {
            self.silent_since.get_or_insert_with(Instant::now);
            return Ok(PathState::Another);
        }
        self.silent_since = None;
        let known = self.head.fingerprint(self.lines.fed());
        let is_same = current.len() >= self.lines.fed() && known.matches(&self.file)?;
        Ok(if is_same { PathState::Same } else { PathState::Emptied })
    }

    fn is_silent(&self) -> bool {
        let is_old = || {
            let modified = self.file.metadata().and_then(|metadata| metadata.modified());
            modified.is_ok_and(|at| at.elapsed().is_ok_and(|age| age >= QUIET))
        };
        self.silent_since.is_some_and(|since| since.elapsed() >= QUIET) || (!self.was_current && is_old())
    }
}

/// The offset behind the last newline, so that a line which is being written is read when it is whole.
fn behind_last_line(file: &File, max_line: usize) -> io::Result<u64> {
    let length = file.metadata()?.len();
    let start = length.saturating_sub(max_line as u64 + 1);
    let mut tail = vec![0; (length - start) as usize];
    let mut n_read = 0;
    while n_read < tail.len() {
        match file.read_at(&mut tail[n_read..], start + n_read as u64)? {
            0 => break,
            n => n_read += n,
        }
    }
    Ok(match memchr::memrchr(b'\n', &tail[..n_read]) {
        Some(newline) => start + newline as u64 + 1,
        None if start == 0 => 0,
        None => length,
    })
}

fn unreadable(path: &Path, error: &io::Error) -> Error {
    Error::not_connected(format!("cannot read `{}`: {error}", path.display()))
}
