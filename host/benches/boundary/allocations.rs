//! Counts every allocation, also those of libraries that are loaded later: the executable's `malloc` wins over libc's
//! for the whole process, where a global allocator would see only what is linked into the executable.

use libc::{c_int, c_void, size_t};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

static IS_COUNTING: AtomicBool = AtomicBool::new(false);
static N_ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

/// How many allocations all threads make while `run` runs. Counting costs time, so nothing is timed meanwhile.
pub fn count(run: impl FnOnce()) -> u64 {
    N_ALLOCATIONS.store(0, Relaxed);
    IS_COUNTING.store(true, Relaxed);
    run();
    IS_COUNTING.store(false, Relaxed);
    N_ALLOCATIONS.load(Relaxed)
}

fn note() {
    if IS_COUNTING.load(Relaxed) {
        N_ALLOCATIONS.fetch_add(1, Relaxed);
    }
}

unsafe extern "C" {
    fn __libc_malloc(size: size_t) -> *mut c_void;
    fn __libc_calloc(n: size_t, size: size_t) -> *mut c_void;
    fn __libc_realloc(old: *mut c_void, size: size_t) -> *mut c_void;
    fn __libc_memalign(alignment: size_t, size: size_t) -> *mut c_void;
    fn __libc_free(old: *mut c_void);
}

// SAFETY of these symbols: same names, signatures and effects as libc's, whose own functions do the work.

#[unsafe(no_mangle)]
unsafe extern "C" fn malloc(size: size_t) -> *mut c_void {
    note();
    unsafe { __libc_malloc(size) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn calloc(n: size_t, size: size_t) -> *mut c_void {
    note();
    unsafe { __libc_calloc(n, size) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn realloc(old: *mut c_void, size: size_t) -> *mut c_void {
    note();
    unsafe { __libc_realloc(old, size) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn posix_memalign(to: *mut *mut c_void, alignment: size_t, size: size_t) -> c_int {
    note();
    let memory = unsafe { __libc_memalign(alignment, size) };
    if memory.is_null() {
        return libc::ENOMEM;
    }
    unsafe { to.write(memory) };
    0
}

#[unsafe(no_mangle)]
unsafe extern "C" fn aligned_alloc(alignment: size_t, size: size_t) -> *mut c_void {
    note();
    unsafe { __libc_memalign(alignment, size) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn free(old: *mut c_void) {
    unsafe { __libc_free(old) }
}
