//! A program that prints a key: run for a bounded time, with a bounded output, and ended with what it has started.
//!
//! Invariant: whatever it does, the caller has an answer in time, and nothing is left of it here: no thread, no open file.

use std::{
    io::{self, Read},
    os::unix::process::CommandExt,
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::io::ioctl_fionbio;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use zeroize::Zeroizing;

/// How often to look whether it has ended.
const LOOK: Duration = Duration::from_millis(5);

/// Why a program gave no key.
#[derive(Debug)]
pub enum ProgramProblem {
    /// It cannot be started, or what it prints cannot be read.
    NotRun(io::Error),
    /// It has not ended in time.
    Late,
    /// It prints more than it may.
    TooMuch,
    /// It says itself that it has failed.
    Failed(ExitStatus),
}

/// What a program prints, at most `most_bytes`, if it ends well within `limit`. What it does with stderr is for the caller
/// to say; stdin is empty.
///
/// Whatever it has started in its process group is ended with it, in any case. What has left the group (`setsid`) goes on, as
/// what a daemon starts does; if it keeps the program's output open, the program is [`Late`](ProgramProblem::Late).
///
/// # Errors
/// Why it gave nothing, without what it printed.
pub fn printed(
    command: &mut Command,
    limit: Duration,
    most_bytes: usize,
) -> Result<Zeroizing<Vec<u8>>, ProgramProblem> {
    let until = Instant::now() + limit;
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .process_group(0)
        .spawn()
        .map_err(ProgramProblem::NotRun)?;
    let read = output_of(&mut child, until, most_bytes);
    let read = read.and_then(|output| wait_for(&child, until).map(|()| output));
    let status = end(&mut child);
    let output = read?;
    match status.map_err(ProgramProblem::NotRun)? {
        status if status.success() => Ok(output),
        status => Err(ProgramProblem::Failed(status)),
    }
}

/// Never waits in a read: a program may keep its output open and say nothing, and so may what has left its group. One byte
/// more is read than it may print, into memory that is not moved meanwhile.
fn output_of(
    child: &mut Child,
    until: Instant,
    most_bytes: usize,
) -> Result<Zeroizing<Vec<u8>>, ProgramProblem> {
    let mut output = child.stdout.take().expect("its output is piped");
    ioctl_fionbio(&output, true).map_err(|error| ProgramProblem::NotRun(error.into()))?;
    let mut bytes = Zeroizing::new(vec![0; most_bytes + 1]);
    let mut n_bytes = 0;
    while n_bytes <= most_bytes {
        match output.read(&mut bytes[n_bytes..]) {
            Ok(0) => {
                bytes.truncate(n_bytes);
                return Ok(bytes);
            }
            Ok(n) => n_bytes += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => look_again(until)?,
            Err(error) => return Err(ProgramProblem::NotRun(error)),
        }
    }
    Err(ProgramProblem::TooMuch)
}

/// Leaves it there as ended: until it is waited for, its group's number is given to nobody else.
fn wait_for(child: &Child, until: Instant) -> Result<(), ProgramProblem> {
    let ended = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    while waitid(WaitId::Pid(pid(child)), ended)
        .map_err(|error| ProgramProblem::NotRun(error.into()))?
        .is_none()
    {
        look_again(until)?;
    }
    Ok(())
}

fn look_again(until: Instant) -> Result<(), ProgramProblem> {
    if Instant::now() >= until {
        return Err(ProgramProblem::Late);
    }
    thread::sleep(LOOK);
    Ok(())
}

fn end(child: &mut Child) -> io::Result<ExitStatus> {
    // There is nobody to be told if it is gone.
    let _ = kill_process_group(pid(child), Signal::KILL);
    child.wait()
}

fn pid(child: &Child) -> Pid {
    Pid::from_child(child)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, path::Path};

    /// As long as the machine needs.
    const LONG: Duration = Duration::from_secs(600);

    fn run(script: &str, limit: Duration) -> Result<Vec<u8>, ProgramProblem> {
        let mut command = Command::new("sh");
        command.args(["-c", script]).stderr(Stdio::null());
        printed(&mut command, limit, 1000).map(|bytes| bytes.to_vec())
    }

    #[test]
    fn a_program_prints_a_key_or_it_is_said_why_not() {
        assert_eq!(run("echo 'a  b'", LONG).expect("printed"), b"a  b\n");
        assert!(run("head -c 1000 /dev/zero", LONG).is_ok());
        assert!(
            matches!(run("echo key; exit 3", LONG), Err(ProgramProblem::Failed(status)) if status.code() == Some(3))
        );
        assert!(matches!(run("head -c 1001 /dev/zero; sleep 60", LONG), Err(ProgramProblem::TooMuch)));
        assert!(matches!(run("yes", LONG), Err(ProgramProblem::TooMuch)));
        let missing = printed(&mut Command::new("/no/such/program"), LONG, 1000);
        assert!(matches!(missing, Err(ProgramProblem::NotRun(_))));
    }

    #[test]
    fn a_program_that_does_not_end_is_ended_with_what_it_has_started() {
        let folder = std::env::temp_dir().join(format!("key-program-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder");
        // One keeps the output open and hangs; one closes it; one is done and leaves somebody behind.
        for (n, script) in [
            "sleep 900 & echo $! > PID.new; mv PID.new PID; sleep 900",
            "sleep 900 & echo $! > PID.new; mv PID.new PID; exec >&-; sleep 900",
            "sleep 900 > /dev/null & echo $! > PID.new; mv PID.new PID",
        ]
        .into_iter()
        .enumerate()
        {
            let file = folder.join(n.to_string());
            let script = script.replace("PID", file.to_str().expect("text"));
            // On a busy machine it may be late before it has started anything.
            let limits = if n < 2 { [1, 10, 100].map(Duration::from_secs) } else { [LONG; 3] };
            for limit in limits.into_iter().take_while(|_| !file.exists()) {
                let began = Instant::now();
                let said = run(&script, limit);
                assert_eq!(matches!(said, Err(ProgramProblem::Late)), n < 2, "{script}: {said:?}");
                assert!(began.elapsed() < limit + Duration::from_secs(300), "{:?}", began.elapsed());
            }
            let pid = fs::read_to_string(file).expect("its number");
            let is_running = || {
                let stat = fs::read_to_string(Path::new("/proc").join(pid.trim()).join("stat"));
                stat.is_ok_and(|stat| !stat.contains(") Z "))
            };
            let began = Instant::now();
            while is_running() {
                assert!(began.elapsed() < Duration::from_secs(300), "{script}: what it started goes on");
                thread::sleep(LOOK);
            }
        }
        fs::remove_dir_all(folder).expect("removed");
    }

    #[test]
    fn what_has_left_the_programs_group_holds_up_nobody() {
        let began = Instant::now();
        let said = run("setsid sleep 60 & echo key", Duration::from_millis(500));
        assert!(matches!(said, Err(ProgramProblem::Late)), "{said:?}");
        assert!(began.elapsed() < Duration::from_secs(50), "{:?}", began.elapsed());
        let threads = fs::read_dir("/proc/self/task").expect("its threads").flatten();
        let names = threads.map(|thread| fs::read_to_string(thread.path().join("comm")).unwrap_or_default());
        assert!(names.into_iter().all(|name| !name.starts_with("key-program")), "a thread waits for it");
        assert_eq!(run("setsid sleep 1 > /dev/null & echo key", LONG).expect("printed"), b"key\n");
    }
}
