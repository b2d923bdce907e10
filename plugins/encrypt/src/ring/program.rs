//! A program that prints keys: run without a shell, for a bounded time, with a bounded output.
//!
//! What it prints on stderr may be a secret, too, and is thrown away.

use super::source::MOST_BYTES;
use std::{
    io::Read,
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::Duration,
};
use zeroize::Zeroizing;

/// What the program printed. It is found as every program is; a path with a `/` starts at `base_dir`.
///
/// # Errors
/// A sentence: it cannot be started, takes too long, prints too much, or does not end well.
pub fn output(program: &[String], base_dir: &Path, timeout: Duration) -> Result<Zeroizing<Vec<u8>>, String> {
    let (name, arguments) = program.split_first().ok_or("it has no name")?;
    let path = if name.contains('/') { base_dir.join(name) } else { PathBuf::from(name) };
    let mut command = Command::new(path);
    command.args(arguments).current_dir(base_dir);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().map_err(|error| format!("cannot be started: {error}"))?;
    let stdout = child.stdout.take().ok_or("it has no output")?;
    let printed = printed(stdout, timeout);
    end(&mut child, printed.is_ok())?;
    printed
}

/// Reads on a thread of its own: a program may keep its output open and say nothing.
fn printed(stdout: ChildStdout, timeout: Duration) -> Result<Zeroizing<Vec<u8>>, String> {
    let (said, hears) = mpsc::sync_channel(1);
    let read = move || {
        let mut bytes = Zeroizing::new(Vec::with_capacity(MOST_BYTES as usize + 1));
        let done = stdout.take(MOST_BYTES + 1).read_to_end(&mut bytes);
        let _ = said.send(done.map(|_| bytes));
    };
    thread::Builder::new().name("key program".to_owned()).spawn(read).map_err(|error| error.to_string())?;
    match hears.recv_timeout(timeout) {
        Ok(Ok(bytes)) if bytes.len() as u64 > MOST_BYTES => Err("it prints more than 64 KiB".to_owned()),
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(error)) => Err(format!("its output cannot be read: {error}")),
        Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
            Err(format!("it did not answer within {} s (`exec_timeout`)", timeout.as_secs_f32()))
        }
    }
}

/// Whoever closed its output has nothing more to do; it is given a moment, and then ended.
fn end(child: &mut Child, has_answered: bool) -> Result<(), String> {
    for _ in 0..if has_answered { 100 } else { 0 } {
        match child.try_wait() {
            Ok(Some(status)) if status.success() => return Ok(()),
            Ok(Some(status)) => return Err(format!("it ended with {status}")),
            Ok(None) => thread::sleep(Duration::from_millis(10)),
            Err(error) => return Err(error.to_string()),
        }
    }
    let _ = child.kill();
    let _ = child.wait();
    if has_answered { Err("it does not end".to_owned()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    fn run(program: &[&str], timeout: Duration) -> Result<Vec<u8>, String> {
        let program: Vec<String> = program.iter().map(|&part| part.to_owned()).collect();
        output(&program, Path::new("/"), timeout).map(|bytes| bytes.to_vec())
    }

    const LONG: Duration = Duration::from_secs(10);

    #[test]
    fn a_program_is_run_as_it_is_written() {
        assert_eq!(run(&["echo", "a  b", "$HOME"], LONG).expect("printed"), b"a  b $HOME\n");
        assert_eq!(run(&["bin/echo", "x"], LONG).expect("a path from the folder"), b"x\n");
    }

    #[test]
    fn a_program_that_does_not_do_its_work_is_told_without_what_it_said() {
        for (program, says) in [
            (&["lockstep-no-such-program"][..], "cannot be started"),
            (&["sh", "-c", "echo hunter2; echo hunter2 >&2; exit 3"], "exit status: 3"),
            (&["head", "-c", "70000", "/dev/zero"], "more than 64 KiB"),
        ] {
            let error = run(program, LONG).expect_err(says);
            assert!(error.contains(says) && !error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn a_program_that_hangs_is_ended() {
        let began = Instant::now();
        let error = run(&["sleep", "60"], Duration::from_millis(200)).expect_err("it hangs");
        assert!(error.contains("exec_timeout"), "{error}");
        assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    }
}
