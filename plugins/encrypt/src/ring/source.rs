//! Where keys come from: an environment variable, a file, or a program.
//!
//! What is wrong names the place, never what was found there.

use crate::{
    cipher::KeyBytes,
    config::RingEntry,
    key_text::{self, Line},
};
use lockstep_plugin_api::{
    Error,
    key_material::{self, ProgramProblem},
};
use std::{
    env,
    fmt::Display,
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};
use zeroize::Zeroizing;

/// The largest file with keys, and the most that a program may print.
const MOST_BYTES: usize = 64 << 10;

/// One entry of the ring.
#[derive(Debug)]
pub struct Source {
    id: Option<String>,
    place: Place,
}

#[derive(Debug)]
enum Place {
    Env(String),
    File(PathBuf),
    Exec { program: Vec<String>, base_dir: PathBuf, timeout: Duration },
}

/// What a source held when it was read.
pub struct Read {
    pub lines: Vec<Line>,
    /// What its operator should know of the place, as a sentence that names it.
    pub warning: Option<String>,
    /// Of a file: what tells whether it has changed since.
    seen: Option<Seen>,
}

/// Why a source has no keys now, as a sentence that names the place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoKeys {
    pub why: String,
    /// Nothing is there, which may be well elsewhere or later; otherwise what is there is wrong.
    pub is_absence: bool,
}

/// What was found at a place, and what its operator should know of that.
struct Raw {
    bytes: Zeroizing<Vec<u8>>,
    warning: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Seen {
    device: u64,
    inode: u64,
    n_bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Source {
    /// The source that an entry names; relative files and programs start at `base_dir`.
    pub fn new(entry: RingEntry, base_dir: &Path, timeout: Duration) -> Self {
        let RingEntry { id, env, file, exec } = entry;
        let place = match (env, file) {
            (Some(name), _) => Place::Env(name),
            // Without what goes nowhere: it is shown.
            (_, Some(file)) => Place::File(base_dir.join(file).components().collect()),
            _ => Place::Exec { program: exec.unwrap_or_default(), base_dir: base_dir.to_owned(), timeout },
        };
        Self { id, place }
    }

    /// Reads what it holds now.
    ///
    /// # Errors
    /// What is wrong there.
    pub fn read(&self) -> Result<Read, NoKeys> {
        let seen = self.seen();
        let Raw { bytes, warning } = self.raw()?;
        let lines = match &self.id {
            Some(id) => key_text::one_key(&bytes, self.written()).map(|key| vec![(id.clone(), key)]),
            None => key_text::lines(&bytes),
        };
        let warning = warning.map(|what| format!("{}: {what}", self.name()));
        Ok(Read { lines: lines.map_err(|why| self.no_keys(why, false))?, warning, seen })
    }

    /// Whether that can be done without running anything.
    pub fn is_plain(&self) -> bool {
        !matches!(self.place, Place::Exec { .. })
    }

    /// The field of the `n`th entry that names it.
    pub fn field(&self, n: usize) -> String {
        let field = match self.place {
            Place::Env(_) => "env",
            Place::File(_) => "file",
            Place::Exec { .. } => "exec",
        };
        format!("ring.{n}.{field}")
    }

    /// What a component says that cannot begin because of this: a program may do its work later, the rest is for the
    /// operator.
    pub fn error(&self, n: usize, problem: NoKeys) -> Error {
        match self.place {
            Place::Exec { .. } => Error::not_connected(problem.why),
            _ => Error::config(problem.why).at(self.field(n)),
        }
    }

    fn no_keys(&self, why: impl Display, is_absence: bool) -> NoKeys {
        NoKeys { why: format!("{}: {why}", self.name()), is_absence }
    }

    /// Whether a file is another one than it was; other sources are read when somebody says so.
    pub fn has_changed(&self, read: &Read) -> bool {
        matches!(self.place, Place::File(_)) && self.seen() != read.seen
    }

    /// As it is called in messages.
    fn name(&self) -> String {
        match &self.place {
            Place::Env(name) => format!("environment variable `{name}`"),
            Place::File(path) => format!("file `{}`", path.display()),
            Place::Exec { program, .. } => {
                format!("program `{}`", program.first().map_or("", String::as_str))
            }
        }
    }

    /// How one key is written there: only a file may hold the bytes themselves.
    fn written(&self) -> fn(&[u8]) -> Result<KeyBytes, &'static str> {
        match self.place {
            Place::File(_) => key_material::of_file,
            _ => key_material::of_text,
        }
    }

    fn raw(&self) -> Result<Raw, NoKeys> {
        let bytes = match &self.place {
            Place::Env(name) => match env::var_os(name) {
                Some(value) => Zeroizing::new(value.into_encoded_bytes()),
                None => return Err(self.no_keys("it is not set", true)),
            },
            Place::File(path) => {
                let found = key_material::read_file(path, MOST_BYTES)
                    .map_err(|problem| self.no_keys(&problem, problem.is_absence()))?;
                return Ok(Raw { warning: found.warning(), bytes: found.bytes });
            }
            Place::Exec { program, base_dir, timeout } => {
                printed(program, base_dir, *timeout).map_err(|why| self.no_keys(why, true))?
            }
        };
        Ok(Raw { bytes, warning: None })
    }

    fn seen(&self) -> Option<Seen> {
        let Place::File(path) = &self.place else { return None };
        let at = fs::metadata(path).ok()?;
        Some(Seen {
            device: at.dev(),
            inode: at.ino(),
            n_bytes: at.size(),
            modified: (at.mtime(), at.mtime_nsec()),
            changed: (at.ctime(), at.ctime_nsec()),
        })
    }
}

/// What the program prints. It is found as every program is; a path with a `/` starts at `base_dir`. What it prints on
/// stderr may be a secret, too, and is thrown away.
fn printed(program: &[String], base_dir: &Path, timeout: Duration) -> Result<Zeroizing<Vec<u8>>, String> {
    let (name, arguments) = program.split_first().ok_or("it has no name")?;
    let path = if name.contains('/') { base_dir.join(name) } else { PathBuf::from(name) };
    let mut command = Command::new(path);
    command.args(arguments).current_dir(base_dir).stderr(Stdio::null());
    key_material::printed(&mut command, timeout, MOST_BYTES).map_err(|problem| match problem {
        ProgramProblem::NotRun(error) => format!("cannot be run: {error}"),
        ProgramProblem::Late => {
            format!("it did not answer and end within {} s (`exec_timeout`)", timeout.as_secs_f32())
        }
        ProgramProblem::TooMuch => "it prints more than 64 KiB".to_owned(),
        ProgramProblem::Failed(status) => format!("it ended with {status}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    fn run(program: &[&str], timeout: Duration) -> Result<Vec<u8>, String> {
        let program: Vec<String> = program.iter().map(|&part| part.to_owned()).collect();
        printed(&program, Path::new("/"), timeout).map(|bytes| bytes.to_vec())
    }

    #[test]
    fn a_program_is_run_as_it_is_written() {
        assert_eq!(run(&["echo", "a  b", "$HOME"], LONG).expect("printed"), b"a  b $HOME\n");
        assert_eq!(run(&["bin/echo", "x"], LONG).expect("a path from the folder"), b"x\n");
    }

    #[test]
    fn a_program_that_does_not_do_its_work_is_told_without_what_it_said() {
        for (program, says) in [
            (&["lockstep-no-such-program"][..], "cannot be run"),
            (&["sh", "-c", "echo hunter2; echo hunter2 >&2; exit 3"], "exit status: 3"),
            (&["head", "-c", "70000", "/dev/zero"], "more than 64 KiB"),
        ] {
            let error = run(program, LONG).expect_err(says);
            assert!(error.contains(says) && !error.contains("hunter2"), "{error}");
        }
        let error = run(&["sleep", "60"], Duration::from_millis(200)).expect_err("it hangs");
        assert!(error.contains("exec_timeout"), "{error}");
    }

    #[test]
    fn no_other_place_than_a_file_holds_the_bytes_themselves() {
        let dir = tempfile::tempdir().expect("a folder");
        crate::tests::write_keys(&dir.path().join("raw"), [200; 32]);
        let entry = |file: Option<&str>, exec: Option<[&str; 2]>| RingEntry {
            id: Some("k".to_owned()),
            env: None,
            file: file.map(str::to_owned),
            exec: exec.map(|program| program.map(str::to_owned).to_vec()),
        };
        let read = |entry| Source::new(entry, dir.path(), LONG).read().map(|read| read.lines.len());
        assert_eq!(read(entry(Some("raw"), None)), Ok(1));
        for program in [["cat", "raw"], ["echo", "correct horse battery staple 123"]] {
            let error = read(entry(None, Some(program))).expect_err("no key").why;
            assert!(error.contains("a key is 32 bytes") && !error.contains("horse"), "{error}");
        }
    }
}
