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

/// What the engine writes behind every batch's end.
const TRAILER: &[u8] = b"FJL\x03";

/// The last batch of a journal, taken out of it.
pub(super) struct CutBatch {
    journal: PathBuf,
    start: u64,
    bytes: Vec<u8>,
}

/// Cuts the last batch off the newest journal in `dir`; `None` if there is none, or if what would be cut off holds the
/// end of more than one: then the damage is not in the last batch, and what follows it was acknowledged.
pub(super) fn cut_last_batch(dir: &Path) -> io::Result<Option<CutBatch>> {
    let Some(journal) = newest_journal(dir)? else { return Ok(None) };
    let file = OpenOptions::new().read(true).write(true).open(&journal)?;
    let Some(start) = last_batch_start(&file)? else { return Ok(None) };
    let mut bytes = Vec::new();
    (&file).seek(SeekFrom::Start(start))?;
    (&file).read_to_end(&mut bytes)?;
    let n_ends = bytes.windows(TRAILER.len()).filter(|window| *window == TRAILER).count();
    if n_ends > 1 {
        return Ok(None);
    }
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

/// Walks the marks until something is none: zeros that were allocated ahead, the end of the file, or the middle of a
/// batch whose lengths are torn. The batch it stops in is the last one; if it stops between two, the one before is.
fn last_batch_start(file: &File) -> io::Result<Option<u64>> {
    let mut reader = BufReader::with_capacity(1 << 20, file);
    reader.rewind()?;
    let (mut position, mut open, mut last) = (0, None, None);
    loop {
        let mut mark = [0];
        if reader.read(&mut mark)? == 0 {
            return Ok(open.or(last));
        }
        let n_bytes = match mark[0] {
            START => START_BYTES,
            ITEM => match item_bytes(&mut reader)? {
                Some(n_bytes) => n_bytes,
                None => return Ok(open.or(last)),
            },
            END => END_BYTES,
            CLEAR => CLEAR_BYTES,
            _ => return Ok(open.or(last)),
        };
        match mark[0] {
            START => open = Some(position),
            END => last = open.take().or(last),
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A batch of one item, as the engine writes it; `on_disk_bytes` is what its head says of the value's length.
    fn batch(value: &[u8], on_disk_bytes: u32) -> Vec<u8> {
        let mut bytes = vec![START];
        bytes.extend(1_u32.to_le_bytes());
        bytes.extend(7_u64.to_le_bytes());
        bytes.extend([ITEM, 0, 0]);
        bytes.extend(1_u64.to_le_bytes());
        bytes.extend(1_u16.to_le_bytes());
        bytes.extend((value.len() as u32).to_le_bytes());
        bytes.extend(on_disk_bytes.to_le_bytes());
        bytes.push(b'k');
        bytes.extend(value);
        bytes.push(END);
        bytes.extend(9_u64.to_le_bytes());
        bytes.extend(TRAILER);
        bytes
    }

    fn check(batches: &[Vec<u8>], expected_to_stay: Option<usize>) {
        let dir = tempfile::tempdir().expect("a folder");
        let journal = dir.path().join("0.jnl");
        fs::write(&journal, batches.concat()).expect("written");
        let cut = cut_last_batch(dir.path()).expect("readable");
        assert_eq!(cut.is_some(), expected_to_stay.is_some());
        let stays = expected_to_stay.unwrap_or(batches.len());
        assert_eq!(fs::read(&journal).expect("there"), batches[..stays].concat());
        if let Some(cut) = cut {
            cut.put_back().expect("written");
            assert_eq!(fs::read(&journal).expect("there"), batches.concat(), "put back as it was");
        }
    }

    #[test]
    fn the_last_batch_is_cut_off_and_no_other() {
        check(&[batch(b"one", 3), batch(b"two", 3)], Some(1));
        check(&[], None);
    }

    #[test]
    fn a_batch_whose_lengths_are_torn_is_the_last_one_and_not_the_whole_one_before_it() {
        for torn in [0, 1, 1000] {
            check(&[batch(b"one", 3), batch(b"two", 3), batch(b"three and more", torn)], Some(2));
        }
    }

    #[test]
    fn nothing_is_cut_off_when_whole_batches_follow_the_damage() {
        check(&[batch(b"one", 3), batch(b"torn here", 0), batch(b"three", 5)], None);
    }
}
