//! Counts what reaches the disk: fsyncs by standing in front of libc's own, bytes by what the kernel says.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

static N_FSYNCS: AtomicU64 = AtomicU64::new(0);

/// What had been done up to one moment; the difference of two is what lies between them.
#[derive(Clone, Copy)]
pub struct Writes {
    pub n_fsyncs: u64,
    pub bytes: u64,
}

pub fn writes() -> Writes {
    let io = std::fs::read_to_string("/proc/self/io").unwrap_or_default();
    let bytes = io.lines().find_map(|line| line.strip_prefix("write_bytes: ")?.parse().ok()).unwrap_or(0);
    Writes { n_fsyncs: N_FSYNCS.load(Relaxed), bytes }
}

/// The executable's own symbol wins over the one of libc, for everything linked into it.
// SAFETY: same name, signature and effect as libc's `fsync`.
#[unsafe(no_mangle)]
extern "C" fn fsync(descriptor: libc::c_int) -> libc::c_int {
    N_FSYNCS.fetch_add(1, Relaxed);
    // SAFETY: a system call on a descriptor number; a wrong number is an error code.
    unsafe { libc::syscall(libc::SYS_fsync, descriptor) as libc::c_int }
}

// SAFETY: same name, signature and effect as libc's `fdatasync`.
#[unsafe(no_mangle)]
extern "C" fn fdatasync(descriptor: libc::c_int) -> libc::c_int {
    N_FSYNCS.fetch_add(1, Relaxed);
    // SAFETY: a system call on a descriptor number; a wrong number is an error code.
    unsafe { libc::syscall(libc::SYS_fdatasync, descriptor) as libc::c_int }
}
