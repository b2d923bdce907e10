//! Files that were read, and whether what is there now may be something else.
//!
//! A path is looked at as it was written, through whatever links are on the way: a file that is replaced by renaming, a
//! link that is turned, and a whole folder that is swapped are all seen.

use std::{
    fs::{self, File},
    io::{self, Read},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

/// The largest schema file.
const LARGEST: u64 = 16 << 20;

/// For how many looks after a change the content is compared, whatever the file's times say: a second change within the
/// grain of the clock leaves them alike.
const LOOKS_INTO: u8 = 3;

/// One path that something was read from.
#[derive(Debug)]
pub struct Seen {
    path: PathBuf,
    /// `None` if nothing was there.
    stat: Option<Stat>,
    /// `None` if nothing could be read.
    content: Option<blake3::Hash>,
    looks: u8,
}

/// What a file system says about a file without opening it. The last change of its state (`ctime`) cannot be set back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stat {
    device: u64,
    inode: u64,
    len: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stat {
    fn of(metadata: &fs::Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            len: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

impl Seen {
    /// Reads a file; what is remembered is of the very file that was read, also if another one has its name by now.
    pub fn read(path: &Path) -> (Self, io::Result<Vec<u8>>) {
        let (stat, bytes) = read(path);
        let content = bytes.as_ref().ok().map(|bytes| blake3::hash(bytes));
        (Self { path: path.to_owned(), stat, content, looks: 0 }, bytes)
    }

    /// Remembers a file that must not be read.
    pub fn unread(path: &Path) -> Self {
        Self { path: path.to_owned(), stat: stat(path), content: None, looks: LOOKS_INTO }
    }

    /// Where something was read, and what; `None` if nothing was.
    pub fn content(&self) -> Option<(&Path, blake3::Hash)> {
        self.content.map(|content| (self.path.as_path(), content))
    }

    /// Whether something else may be there now.
    pub fn may_differ(&mut self) -> bool {
        if stat(&self.path) != self.stat {
            return true;
        }
        if self.stat.is_none() || self.looks >= LOOKS_INTO {
            return false;
        }
        self.looks += 1;
        read(&self.path).1.ok().map(|bytes| blake3::hash(&bytes)) != self.content
    }
}

fn stat(path: &Path) -> Option<Stat> {
    fs::metadata(path).ok().map(|metadata| Stat::of(&metadata))
}

/// What was there, also if it could not be read. What is no file is not opened: a pipe would wait for somebody.
fn read(path: &Path) -> (Option<Stat>, io::Result<Vec<u8>>) {
    let opened = fs::metadata(path).and_then(|metadata| match metadata.is_file() {
        true => File::open(path).and_then(|file| Ok((file.metadata()?, file))),
        false => Err(io::Error::other("it is no file")),
    });
    match opened {
        Ok((metadata, file)) => (Some(Stat::of(&metadata)), read_opened(&file, &metadata)),
        Err(error) => (stat(path), Err(error)),
    }
}

fn read_opened(file: &File, metadata: &fs::Metadata) -> io::Result<Vec<u8>> {
    if metadata.len() > LARGEST {
        return Err(io::Error::other("it is larger than 16 MiB"));
    }
    let mut bytes = Vec::with_capacity(metadata.len() as usize);
    file.take(LARGEST).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn seen(path: &Path) -> Seen {
        Seen::read(path).0
    }

    #[test]
    fn every_way_to_replace_a_file_is_seen() {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name);
        let path = at("a.json");
        fs::write(&path, "1").expect("written");
        let mut before = seen(&path);
        assert!((0..9).all(|_| !before.may_differ()), "nothing has happened");

        fs::write(&path, "2").expect("written in place, with the same length");
        assert!(before.may_differ());
        let mut before = seen(&path);
        fs::write(at("new"), "2").expect("written");
        fs::rename(at("new"), &path).expect("renamed");
        assert!(before.may_differ(), "it is another file");
        let mut before = seen(&path);
        fs::remove_file(&path).expect("removed");
        assert!(before.may_differ());
        let mut before = seen(&path);
        assert!(!before.may_differ(), "it is away still");
        fs::write(&path, "3").expect("written");
        assert!(before.may_differ());
    }

    #[test]
    fn a_link_that_is_turned_is_seen_behind_any_number_of_links() {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name);
        for version in ["..1", "..2"] {
            fs::create_dir(at(version)).expect("made");
            fs::write(at(version).join("a.json"), "1").expect("written");
        }
        symlink("..1", at("..data")).expect("linked");
        symlink("..data/a.json", at("a.json")).expect("linked");
        let mut before = seen(&at("a.json"));
        assert!(!before.may_differ());
        symlink("..2", at("..data_tmp")).expect("linked");
        fs::rename(at("..data_tmp"), at("..data")).expect("renamed");
        assert!(before.may_differ());
    }

    #[test]
    fn a_change_that_leaves_the_times_alike_is_seen_by_its_content() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.json");
        fs::write(&path, "1").expect("written");
        let mut before = seen(&path);
        before.content = Some(blake3::hash(b"2"));
        assert!(before.may_differ());
    }

    #[test]
    fn what_is_no_file_of_a_schemas_size_is_not_read() {
        let folder = tempfile::tempdir().expect("a folder");
        assert!(Seen::read(folder.path()).1.is_err());
        let large = folder.path().join("large");
        File::create(&large).and_then(|file| file.set_len(LARGEST + 1)).expect("a sparse file");
        assert!(Seen::read(&large).1.is_err());
    }
}
