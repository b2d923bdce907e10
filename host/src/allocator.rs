//! The system allocator's thresholds, which plugins share with the host.

use libc::{M_MMAP_THRESHOLD, M_TOP_PAD, M_TRIM_THRESHOLD, c_int, mallopt};

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
