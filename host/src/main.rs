//! The `lockstep` command.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    lockstep::allocator::tune_libc();
    lockstep::allocator::keep_little();
    lockstep::cli::main()
}
