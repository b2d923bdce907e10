//! What the kernel says about this process.

use std::fs;

/// Memory, files and threads of this process now; 0 where the kernel does not say.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Process {
    pub resident_bytes: i64,
    pub open_files: i64,
    pub threads: i64,
}

impl Process {
    pub fn now() -> Self {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        // One of them is the folder that is being read.
        let open_files = fs::read_dir("/proc/self/fd").map_or(0, |files| files.count() - 1);
        Self {
            resident_bytes: number(&status, "VmRSS:") * 1024,
            open_files: open_files as i64,
            threads: number(&status, "Threads:"),
        }
    }
}

fn number(status: &str, name: &str) -> i64 {
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_memory_files_and_threads() {
        let process = Process::now();
        assert!(
            process.resident_bytes > 1 << 20 && process.open_files > 2 && process.threads > 0,
            "{process:?}"
        );
    }
}
