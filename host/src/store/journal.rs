//! A power cut can leave the journal's last batch in pieces: its end on disk, a page before it not.
//!
//! The engine takes a batch without an end for unfinished and drops it, but one with an end and a wrong checksum for
//! damage, and refuses to open. Nothing of a batch that was still being synced was ever acknowledged, so if it is the
//! very last one it is cut off. If the engine refuses even then, an earlier batch is damaged: what was cut off is put
//! back, and the refusal stands.
//!
//! Where syncs are left for later, many batches may wait for one sync, and the first that is not whole ends the journal:
//! a later one that is whole must not outlive it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::xxh3_64;

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

/// The end of a journal, taken out of it.
pub(super) struct CutEnd {
    journal: PathBuf,
    start: u64,
    bytes: Vec<u8>,
}

/// Cuts the newest journal in `dir` off before its first batch that is not whole; `None` if there is none.
pub(super) fn cut_unsynced_batches(dir: &Path) -> io::Result<Option<CutEnd>> {
    let Some(journal) = newest_journal(dir)? else { return Ok(None) };
    let bytes = fs::read(&journal)?;
    let start = whole_bytes(&bytes);
    let n_lost = n_ends(&bytes[start..]);
    let file = OpenOptions::new().write(true).open(&journal)?;
    file.set_len(start as u64)?;
    file.sync_all()?;
    tracing::warn!(commits = n_lost, "a power cut took what had not reached the disk");
    Ok(Some(CutEnd { journal, start: start as u64, bytes: bytes[start..].to_vec() }))
}

fn n_ends(bytes: &[u8]) -> usize {
    bytes.windows(TRAILER.len()).filter(|window| *window == TRAILER).count()
}

/// How far the batches are whole: as many items as their start says, and their checksum at the end.
fn whole_bytes(bytes: &[u8]) -> usize {
    let mut whole = 0;
    while let Some(n_bytes) = whole_batch_bytes(&bytes[whole..]) {
        whole += n_bytes;
    }
    whole
}

fn whole_batch_bytes(bytes: &[u8]) -> Option<usize> {
    let n_items = u32::from_le_bytes(*bytes.strip_prefix(&[START])?.first_chunk()?);
    let items = 1 + START_BYTES as usize;
    let mut end = items;
    for _ in 0..n_items {
        end += match *bytes.get(end)? {
            ITEM => 1 + usize::try_from(item_bytes(&mut &bytes[end + 1..]).ok()??).ok()?,
            CLEAR => 1 + CLEAR_BYTES as usize,
            _ => return None,
        };
    }
    let (checksum, rest) = bytes.get(end..)?.strip_prefix(&[END])?.split_first_chunk()?;
    let is_whole = u64::from_le_bytes(*checksum) == xxh3_64(&bytes[items..end]) && rest.starts_with(TRAILER);
    is_whole.then_some(end + 1 + END_BYTES as usize)
}

/// Cuts the last batch off the newest journal in `dir`; `None` if there is none, or if what would be cut off holds the
/// end of more than one: then the damage is not in the last batch, and what follows it was acknowledged.
pub(super) fn cut_last_batch(dir: &Path) -> io::Result<Option<CutEnd>> {
    let Some(journal) = newest_journal(dir)? else { return Ok(None) };
    let file = OpenOptions::new().read(true).write(true).open(&journal)?;
    let Some(start) = last_batch_start(&file)? else { return Ok(None) };
    let mut bytes = Vec::new();
    (&file).seek(SeekFrom::Start(start))?;
    (&file).read_to_end(&mut bytes)?;
    if n_ends(&bytes) > 1 {
        return Ok(None);
    }
    file.set_len(start)?;
    file.sync_all()?;
    Ok(Some(CutEnd { journal, start, bytes }))
}

impl CutEnd {
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
    /// The checksum is of the item with its true length.
    fn batch(value: &[u8], on_disk_bytes: u32) -> Vec<u8> {
        let mut bytes = vec![START];
        bytes.extend(1_u32.to_le_bytes());
        bytes.extend(7_u64.to_le_bytes());
        let start = bytes.len();
        bytes.extend([ITEM, 0, 0]);
        bytes.extend(1_u64.to_le_bytes());
        bytes.extend(1_u16.to_le_bytes());
        bytes.extend((value.len() as u32).to_le_bytes());
        let mut whole = bytes[start..].to_vec();
        whole.extend([&(value.len() as u32).to_le_bytes()[..], b"k", value].concat());
        bytes.extend(on_disk_bytes.to_le_bytes());
        bytes.push(b'k');
        bytes.extend(value);
        bytes.push(END);
        bytes.extend(xxh3_64(&whole).to_le_bytes());
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
    fn with_syncs_left_for_later_the_first_batch_that_is_not_whole_ends_the_journal() {
        let whole = || batch(b"whole", 5);
        let mut torn = batch(b"torn here", 9);
        torn[40] ^= 1;
        for (batches, n_stay) in [
            (vec![whole(), whole(), torn.clone(), whole(), torn.clone()], 2),
            (vec![torn.clone(), whole()], 0),
            (vec![whole(), batch(b"lengths", 0), whole()], 1),
            (vec![whole(), whole()[..30].to_vec()], 1),
            (vec![whole(), vec![0; 4096]], 1),
        ] {
            let dir = tempfile::tempdir().expect("a folder");
            let journal = dir.path().join("0.jnl");
            fs::write(&journal, batches.concat()).expect("written");
            let cut = cut_unsynced_batches(dir.path()).expect("readable").expect("a journal");
            assert_eq!(fs::read(&journal).expect("there"), batches[..n_stay].concat());
            cut.put_back().expect("written");
            assert_eq!(fs::read(&journal).expect("there"), batches.concat(), "put back as it was");
        }
    }

    #[test]
    fn nothing_is_cut_off_when_whole_batches_follow_the_damage() {
        check(&[batch(b"one", 3), batch(b"torn here", 0), batch(b"three", 5)], None);
    }
}
