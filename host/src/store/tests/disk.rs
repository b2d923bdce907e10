//! A disk that keeps only what was synced, and that can be full: for every file under one folder of a test.
//!
//! It stands in front of libc's `fsync`, `fdatasync` and `write` in the test's executable, so that the engine is
//! tested with the system calls it really makes. A file's bytes are safe once the file was synced, its name once its
//! folder was. Everywhere else the calls go through.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString, c_int, c_void};
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::SystemTime;

const SECTOR_BYTES: usize = 512;

static DISKS: Mutex<Vec<Arc<Disk>>> = Mutex::new(Vec::new());
static N_DISKS: AtomicUsize = AtomicUsize::new(0);

/// Watches one folder until it is dropped.
pub struct Watched {
    pub disk: Arc<Disk>,
}

pub struct Disk {
    root: PathBuf,
    has_memory: bool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    safe: Image,
    cuts: Vec<Cut>,
    is_paused: bool,
    n_acknowledged: usize,
    full: Option<Full>,
    n_refused: usize,
}

/// Which files find no space, how many bytes they may still write, and what they are told then.
struct Full {
    applies: fn(&Path) -> bool,
    bytes_left: usize,
    error: c_int,
}

/// What a power cut at one moment leaves, and what had been acknowledged by then.
#[derive(Clone)]
pub struct Cut {
    pub n_acknowledged: usize,
    safe: Image,
    /// The file that was just being synced: any of its sectors may have reached the disk.
    syncing: Option<(FileId, Arc<Vec<u8>>)>,
}

#[derive(Clone, Default)]
struct Image {
    contents: BTreeMap<FileId, Arc<Vec<u8>>>,
    folders: BTreeMap<PathBuf, BTreeMap<OsString, FileId>>,
}

/// An inode number is used again after its file is gone; with the time of birth it is one file's.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct FileId {
    inode: u64,
    born: SystemTime,
    is_folder: bool,
}

impl Watched {
    pub fn new(root: &Path) -> Self {
        Self::watch(root, true)
    }

    /// For a folder whose power never fails: syncs do nothing, and so cost nothing.
    pub fn without_memory(root: &Path) -> Self {
        Self::watch(root, false)
    }

    fn watch(root: &Path, has_memory: bool) -> Self {
        let root = root.canonicalize().expect("the folder is there");
        let disk = Arc::new(Disk { root, has_memory, state: Mutex::default() });
        DISKS.lock().expect("no panic").push(Arc::clone(&disk));
        N_DISKS.fetch_add(1, SeqCst);
        Self { disk }
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        DISKS.lock().expect("no panic").retain(|disk| !Arc::ptr_eq(disk, &self.disk));
        N_DISKS.fetch_sub(1, SeqCst);
    }
}

impl Disk {
    pub fn acknowledge(&self) {
        self.lock().n_acknowledged += 1;
    }

    /// The power may fail now, with nothing being synced.
    pub fn may_be_cut_here(&self) {
        let mut state = self.lock();
        state.remember(None);
    }

    /// Until told otherwise, what is synced is kept, but no moment is remembered.
    pub fn pause_cuts(&self, is_paused: bool) {
        self.lock().is_paused = is_paused;
    }

    pub fn cuts(&self) -> Vec<Cut> {
        self.lock().cuts.clone()
    }

    /// The same, and forgets them.
    pub fn take_cuts(&self) -> Vec<Cut> {
        std::mem::take(&mut self.lock().cuts)
    }

    /// From now on `applies` files take `bytes_left` more bytes.
    pub fn fill(&self, bytes_left: usize, applies: fn(&Path) -> bool) {
        self.lock().full = Some(Full { applies, bytes_left, error: libc::ENOSPC });
    }

    /// From now on writes fail as on a disk that is broken.
    pub fn break_down(&self) {
        self.lock().full = Some(Full { applies: |_| true, bytes_left: 0, error: libc::EIO });
    }

    /// The same, but only those to some files.
    pub fn break_some(&self, applies: fn(&Path) -> bool) {
        self.lock().full = Some(Full { applies, bytes_left: 0, error: libc::EIO });
    }

    pub fn free(&self) {
        self.lock().full = None;
    }

    /// Writes that found no space.
    pub fn n_refused(&self) -> usize {
        self.lock().n_refused
    }

    /// The power may fail while this is being synced; if it does not, it is safe from here on.
    fn sync(&self, path: &Path, file: &File) -> io::Result<()> {
        if !self.has_memory {
            return Ok(());
        }
        let id = FileId::of(&file.metadata()?)?;
        let mut state = self.lock();
        if id.is_folder {
            state.remember(None);
            state.safe.folders.insert(path.to_path_buf(), names_in(path)?);
        } else {
            // By its descriptor, which opens it also when its name has been taken away.
            let content = Arc::new(content(&descriptor_path(file.as_raw_fd()))?);
            state.remember(Some((id, Arc::clone(&content))));
            state.safe.contents.insert(id, content);
        }
        Ok(())
    }

    /// How many of `n_bytes` may be written, or the error number if not even one.
    fn admit(&self, path: &Path, n_bytes: usize) -> Result<usize, c_int> {
        let state = &mut *self.lock();
        let Some(full) = state.full.as_mut().filter(|full| (full.applies)(path)) else {
            return Ok(n_bytes);
        };
        let admitted = n_bytes.min(full.bytes_left);
        full.bytes_left -= admitted;
        if admitted == 0 && n_bytes > 0 {
            state.n_refused += 1;
            return Err(full.error);
        }
        Ok(admitted)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder panics")
    }
}

/// Another thread may take files of the folder away meanwhile, and the folder too.
fn names_in(folder: &Path) -> io::Result<BTreeMap<OsString, FileId>> {
    let mut names = BTreeMap::new();
    let Some(items) = unless_gone(fs::read_dir(folder))? else { return Ok(names) };
    for item in items {
        let item = item?;
        if let Some(metadata) = unless_gone(item.metadata())? {
            names.insert(item.file_name(), FileId::of(&metadata)?);
        }
    }
    Ok(names)
}

fn unless_gone<T>(found: io::Result<T>) -> io::Result<Option<T>> {
    match found {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        found => found.map(Some),
    }
}

impl State {
    fn remember(&mut self, syncing: Option<(FileId, Arc<Vec<u8>>)>) {
        if !self.is_paused {
            let (n_acknowledged, safe) = (self.n_acknowledged, self.safe.clone());
            self.cuts.push(Cut { n_acknowledged, safe, syncing });
        }
    }
}

impl Cut {
    /// Whether something was being synced, so that it can be torn.
    pub fn can_tear(&self) -> bool {
        self.syncing.is_some()
    }

    /// Whether something of this name is left at the top of `disk`.
    pub fn has(&self, disk: &Disk, name: &str) -> bool {
        self.safe.folders.get(&disk.root).is_some_and(|names| names.contains_key(OsStr::new(name)))
    }

    /// Writes what is left of `disk` into `to`; `torn` chooses which sectors of an unfinished sync arrived.
    pub fn restore(&self, disk: &Disk, to: &Path, torn: Option<&mut fastrand::Rng>) {
        let mut image = self.safe.clone();
        if let (Some(random), Some((id, newer))) = (torn, &self.syncing) {
            let older = image.contents.get(id).cloned().unwrap_or_default();
            image.contents.insert(*id, Arc::new(tear(&older, newer, random)));
        }
        image.restore(&disk.root, to).expect("the image can be written");
    }
}

impl Image {
    fn restore(&self, folder: &Path, to: &Path) -> io::Result<()> {
        fs::create_dir_all(to)?;
        for (name, id) in self.folders.get(folder).into_iter().flatten() {
            let (from, to) = (folder.join(name), to.join(name));
            match id.is_folder {
                true => self.restore(&from, &to)?,
                false => File::create(to)?.write_all(self.contents.get(id).map_or(&[], |bytes| bytes))?,
            }
        }
        Ok(())
    }
}

impl FileId {
    fn of(metadata: &fs::Metadata) -> io::Result<Self> {
        // Not every file system knows it; one in memory uses no number twice.
        let born = metadata.created().unwrap_or(SystemTime::UNIX_EPOCH);
        Ok(Self { inode: metadata.ino(), born, is_folder: metadata.is_dir() })
    }
}

/// Sector by sector either the newer or the older bytes, with a length between.
fn tear(older: &[u8], newer: &[u8], random: &mut fastrand::Rng) -> Vec<u8> {
    let share = random.f64();
    let mut torn = older.to_vec();
    torn.resize(newer.len().max(older.len()), 0);
    let changed = (0..newer.len()).step_by(SECTOR_BYTES).filter(|_| random.f64() < share).collect::<Vec<_>>();
    for start in changed {
        let end = (start + SECTOR_BYTES).min(newer.len());
        torn[start..end].copy_from_slice(&newer[start..end]);
    }
    torn
}

/// The bytes up to the last that was written: a journal is allocated ahead, and the rest of it is a hole.
pub fn content(path: &Path) -> io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    let n_written = end_of_data(&file)?;
    let mut bytes = Vec::with_capacity(n_written);
    file.seek(SeekFrom::Start(0))?;
    file.take(n_written as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn end_of_data(file: &File) -> io::Result<usize> {
    let mut end = 0;
    loop {
        // SAFETY: a system call on an open descriptor that we own.
        let data = unsafe { libc::lseek(file.as_raw_fd(), end, libc::SEEK_DATA) };
        if data < 0 {
            return Ok(usize::try_from(end).expect("a length"));
        }
        // SAFETY: as above.
        end = unsafe { libc::lseek(file.as_raw_fd(), data, libc::SEEK_HOLE) };
    }
}

fn descriptor_path(descriptor: RawFd) -> PathBuf {
    format!("/proc/self/fd/{descriptor}").into()
}

/// The watched disk that the file of `descriptor` lies on.
fn watched(descriptor: RawFd) -> Option<(Arc<Disk>, PathBuf)> {
    if N_DISKS.load(SeqCst) == 0 {
        return None;
    }
    let path = fs::read_link(descriptor_path(descriptor)).ok()?;
    let disks = DISKS.lock().expect("no panic");
    let disk = disks.iter().find(|disk| path.starts_with(&disk.root))?;
    Some((Arc::clone(disk), path))
}

fn sync(descriptor: c_int, number: libc::c_long) -> c_int {
    let Some((disk, path)) = watched(descriptor) else {
        // SAFETY: the very call that was asked for.
        return unsafe { libc::syscall(number, descriptor) as c_int };
    };
    // SAFETY: the caller of fsync keeps its descriptor open while it waits for us.
    let file = unsafe { BorrowedFd::borrow_raw(descriptor) }.try_clone_to_owned().map(File::from);
    file.and_then(|file| disk.sync(&path, &file)).expect("a synced file can be read");
    0
}

// SAFETY: same name and signature as libc's, which it stands in front of.
#[unsafe(no_mangle)]
extern "C" fn fsync(descriptor: c_int) -> c_int {
    sync(descriptor, libc::SYS_fsync)
}

// SAFETY: same name and signature as libc's, which it stands in front of.
#[unsafe(no_mangle)]
extern "C" fn fdatasync(descriptor: c_int) -> c_int {
    sync(descriptor, libc::SYS_fdatasync)
}

// SAFETY: same name and signature as libc's, which it stands in front of; writes at most what was asked for.
#[unsafe(no_mangle)]
unsafe extern "C" fn write(descriptor: c_int, bytes: *const c_void, n_bytes: usize) -> isize {
    let n_bytes = match watched(descriptor).map_or(Ok(n_bytes), |(disk, path)| disk.admit(&path, n_bytes)) {
        Ok(n_bytes) => n_bytes,
        Err(error) => {
            // SAFETY: the calling thread's own errno.
            unsafe { *libc::__errno_location() = error };
            return -1;
        }
    };
    // SAFETY: the very call that was asked for, with no more bytes.
    unsafe { libc::syscall(libc::SYS_write, descriptor, bytes, n_bytes) as isize }
}
