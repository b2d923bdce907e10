//! Preloaded into a process, it moves the time of day by the nanoseconds that stand in a file, as an `i64`.
//!
//! The file is named by `CLOCK_SHIM_OFFSET` and mapped once, so that whoever writes into it steps the clock at once.

use std::{
    ffi::CStr,
    ptr,
    sync::{
        OnceLock,
        atomic::{AtomicI64, Ordering},
    },
};

const FILE: &CStr = c"CLOCK_SHIM_OFFSET";
const NANOSECONDS: i64 = 1_000_000_000;

/// Takes the place of the C library's function of this name, for the host, its plugins and their libraries.
///
/// # Safety
/// As the C library's: `time` is null or can be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn clock_gettime(clock: libc::clockid_t, time: *mut libc::timespec) -> libc::c_int {
    // SAFETY: the system call that the replaced function makes, with the caller's arguments.
    let result = unsafe { libc::syscall(libc::SYS_clock_gettime, clock, time) };
    let is_time_of_day = clock == libc::CLOCK_REALTIME || clock == libc::CLOCK_REALTIME_COARSE;
    if result == 0 && is_time_of_day && !time.is_null() {
        // SAFETY: the system just wrote it.
        let time = unsafe { &mut *time };
        let moved = time.tv_sec * NANOSECONDS + time.tv_nsec + offset();
        (time.tv_sec, time.tv_nsec) = (moved.div_euclid(NANOSECONDS), moved.rem_euclid(NANOSECONDS));
    }
    result as libc::c_int
}

fn offset() -> i64 {
    static MAPPED: OnceLock<Option<&'static AtomicI64>> = OnceLock::new();
    MAPPED.get_or_init(map).map_or(0, |offset| offset.load(Ordering::Relaxed))
}

/// Nothing here allocates or asks for the time: the allocator itself may be the caller.
fn map() -> Option<&'static AtomicI64> {
    // SAFETY: nothing changes the environment of a process that is being tested; the name ends with a zero.
    let name = unsafe { libc::getenv(FILE.as_ptr()) };
    if name.is_null() {
        return None;
    }
    // SAFETY: a name from the environment ends with a zero; the mapping is never undone, and pages are aligned.
    unsafe {
        let file = libc::open(name, libc::O_RDONLY | libc::O_CLOEXEC);
        let length = size_of::<AtomicI64>();
        let place = libc::mmap(ptr::null_mut(), length, libc::PROT_READ, libc::MAP_SHARED, file, 0);
        (place != libc::MAP_FAILED).then(|| &*place.cast::<AtomicI64>())
    }
}
