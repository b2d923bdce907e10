//! A power cut can leave the journal's last batch in pieces: its end on disk, a page before it not.
//!
//! The engine takes a batch without an end for unfinished and drops it, but one with an end and a wrong checksum for
//! damage, and refuses to open. Nothing of a batch that was still being synced was ever acknowledged, so if it is the
//! very last one it is cut off. If the engine refuses even then, an earlier batch is damaged: what was cut off is put
//! back, and the refusal stands.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// Marks in the engine's journal (its format 3), and the bytes that follow each.
const START: u8 = 1;
const START_BYTES: u64 = 4 + 8;
const ITEM: u8 = 2;
const ITEM_HEAD_BYTES: usize = 1 + 1 + 8 + 2 + 4 + 4;
const END: u8 = 3;
const END_BYTES: u64 = 8 + 4;
const CLEAR: u8 = 4;
const CLEAR_BYTES: u64 = 8;

/// The last batch of a journal, taken out of it.
pub(super) struct CutBatch {
    journal: PathBuf,
    start: u64,
    bytes: Vec<u8>,
}

/// Cuts the last whole batch off the newest journal in `dir`; `None` if there is no such batch.
pub(super) fn cut_last_batch(dir: &Path) -> io::Result<Option<CutBatch>> {
    let Some(journal) = newest_journal(dir)? else { return Ok(None) };
    let file = OpenOptions::new().read(true).write(true).open(&journal)?;
    let Some(start) = last_batch_start(&file)? else { return Ok(None) };
    let mut bytes = Vec::new();
    (&file).seek(SeekFrom::Start(start))?;
    (&file).read_to_end(&mut bytes)?;
    file.set_len(start)?;
    file.sync_all()?;
    Ok(Some(CutBatch { journal, start, bytes }))
}

impl CutBatch {
    pub fn put_back(self) -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).open(&self.journal)?;
        file.seek(SeekFrom::Start(self.start))?;
        file.write_all(&self.bytes)?;
        file.sync_all()
    }
}

fn newest_journal(dir: &Path) -> io::Result<Option<PathBuf>> {
    let number = |path: &PathBuf| path.file_stem()?.to_str()?.parse::<u64>().ok();
    let files: Result<Vec<PathBuf>, _> =
        fs::read_dir(dir)?.map(|item| item.map(|item| item.path())).collect();
    let journals = files?.into_iter().filter(|path| path.extension().is_some_and(|it| it == "jnl"));
    Ok(journals.filter(|path| number(path).is_some()).max_by_key(number))
}

/// Walks the marks until something is none: zeros that were allocated ahead, or the end of the file.
fn last_batch_start(file: &File) -> io::Result<Option<u64>> {
    let mut reader = BufReader::with_capacity(1 << 20, file);
    reader.rewind()?;
    let (mut position, mut start, mut last) = (0, None, None);
    loop {
        let mut mark = [0];
        if reader.read(&mut mark)? == 0 {
            return Ok(last);
        }
        let n_bytes = match mark[0] {
            START => START_BYTES,
            ITEM => match item_bytes(&mut reader)? {
                Some(n_bytes) => n_bytes,
                None => return Ok(last),
            },
            END => END_BYTES,
            CLEAR => CLEAR_BYTES,
            _ => return Ok(last),
        };
        match mark[0] {
            START => start = Some(position),
            END => last = start.or(last),
            _ => {}
        }
        let rest = if mark[0] == ITEM { n_bytes - ITEM_HEAD_BYTES as u64 } else { n_bytes };
        reader.seek_relative(rest as i64)?;
        position += 1 + n_bytes;
    }
}

/// Reads an item's head, and says how long the whole item is.
fn item_bytes(reader: &mut impl Read) -> io::Result<Option<u64>> {
    let mut head = [0; ITEM_HEAD_BYTES];
    match reader.read_exact(&mut head) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    }
    let key_bytes = u16::from_le_bytes([head[10], head[11]]);
    let value_bytes = u32::from_le_bytes([head[16], head[17], head[18], head[19]]);
    Ok(Some(ITEM_HEAD_BYTES as u64 + u64::from(key_bytes) + u64::from(value_bytes)))
}
