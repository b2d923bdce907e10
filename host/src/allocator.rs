//! How the two allocators of this process keep memory: the system's, which plugins use, and the host's own.

use libc::{M_MMAP_THRESHOLD, M_TOP_PAD, M_TRIM_THRESHOLD, PR_SET_THP_DISABLE, c_int, mallopt, prctl};
use libmimalloc_sys::{mi_option_set, mi_option_t};

const MIB: c_int = 1 << 20;

/// Keeps a batch's memory from going back to the system and coming from it again, batch after batch.
///
/// glibc gives memory back as soon as 128 KiB at the top of a heap are free, which a batch of a thousand records frees
/// every time. The host itself uses another allocator; plugins use this one, and it is one for all of them. Call it
/// before any thread is started: the thresholds apply to heaps as they are used.
pub fn tune_libc() {
    for (parameter, bytes) in [(M_TRIM_THRESHOLD, 8 * MIB), (M_TOP_PAD, MIB / 4), (M_MMAP_THRESHOLD, 4 * MIB)]
    {
        // SAFETY: `mallopt` takes two integers and touches the allocator's own settings only. A refused value leaves
        // the default in place, which is slower and not wrong.
        unsafe { mallopt(parameter, bytes) };
    }
}

/// mimalloc's number of the option; its binding names others.
const PURGE_DELAY: mi_option_t = 15;

/// Keeps the host's own memory to what it uses: an idle host took twice as much.
///
/// Memory that became free goes back at once: mimalloc would do so at some later call, and an idle thread makes none.
/// And no pages of 2 MiB, of which small uses take one each. Call it before any thread is started.
pub fn keep_little() {
    // SAFETY: both calls take integers and change settings of this process's memory only. Where one is refused, more
    // memory is kept and nothing else.
    unsafe {
        mi_option_set(PURGE_DELAY, 0);
        prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);
    }
}
