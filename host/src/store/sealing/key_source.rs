//! Where a key that wraps is found: in a variable, in a file, or in what a program writes.
//!
//! Nothing of what is read is shown, and what held it is overwritten.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Duration;

use lockstep_plugin_api::key_material::{self, FileProblem, FoundFile, ProgramProblem, Secret};
use zeroize::Zeroizing;

/// No key is longer, however it is written.
const MAX_BYTES: usize = 4096;

/// How long a program may take to write a key. A test has as long as its machine needs.
const PROGRAM_LIMIT: Duration = Duration::from_secs(if cfg!(test) { 600 } else { 10 });

/// A key of the settings.
#[derive(Debug, Clone)]
pub struct SealingKey {
    pub id: String,
    pub source: KeySource,
}

/// Where the 32 bytes of a key are found.
#[derive(Clone)]
pub enum KeySource {
    Env(String),
    File(PathBuf),
    /// A program and its arguments.
    Exec(Vec<String>),
}

/// Why a key cannot be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyProblem {
    #[error("the environment variable {0} is not set")]
    NotSet(String),
    #[error("{}: {reason}", path.display())]
    Unreadable {
        path: PathBuf,
        reason: String,
        /// It is not there for whoever asks, which may be well elsewhere.
        is_absence: bool,
    },
    #[error("`{program}` cannot be run: {reason}")]
    NotRun { program: String, reason: String },
    #[error("`{program}` has failed: {status}")]
    Failed { program: String, status: ExitStatus },
    #[error("`{program}` has not ended within {} s", PROGRAM_LIMIT.as_secs())]
    Late { program: String },
    #[error("{place} holds no key: {what}; make one with `openssl rand -base64 32`")]
    NoKey { place: String, what: &'static str },
}

impl KeyProblem {
    /// Whether there is nothing at its place: a secret is not everywhere where settings are checked.
    pub fn is_absence(&self) -> bool {
        matches!(self, Self::NotSet(_) | Self::Unreadable { is_absence: true, .. })
    }
}

impl SealingKey {
    /// What its operator should know before it is needed; runs no program.
    ///
    /// # Errors
    /// As [`SealingKey::read`].
    pub fn look(&self) -> Result<Option<String>, KeyProblem> {
        match &self.source {
            KeySource::Exec(_) => Ok(None),
            KeySource::Env(_) => self.read().map(|_| None),
            KeySource::File(path) => {
                let warning = of_file(path)?.warning();
                let warning = warning.map(|what| format!("{}: {what}", path.display()));
                self.read().map(|_| warning)
            }
        }
    }

    pub fn read(&self) -> Result<Secret, KeyProblem> {
        let source = &self.source;
        let place = source.to_string();
        let found = match source {
            KeySource::Env(name) => key_material::of_text(&of_variable(name)?),
            KeySource::File(path) => key_material::of_file(&of_file(path)?.bytes),
            KeySource::Exec(command) => key_material::of_text(&of_program(command)?),
        };
        found.map_err(|what| KeyProblem::NoKey { place, what })
    }
}

fn of_variable(name: &str) -> Result<Zeroizing<Vec<u8>>, KeyProblem> {
    let value = std::env::var_os(name).ok_or_else(|| KeyProblem::NotSet(name.to_owned()))?;
    Ok(Zeroizing::new(value.as_bytes().to_vec()))
}

fn of_file(path: &Path) -> Result<FoundFile, KeyProblem> {
    let unreadable = |problem: FileProblem| KeyProblem::Unreadable {
        path: path.to_path_buf(),
        reason: problem.to_string(),
        is_absence: problem.is_absence(),
    };
    key_material::read_file(path, MAX_BYTES).map_err(unreadable)
}

/// What it says beside the key goes to the host's own stderr, where its operator looks.
fn of_program(command: &[String]) -> Result<Zeroizing<Vec<u8>>, KeyProblem> {
    let Some((program, arguments)) = command.split_first() else {
        return Err(KeyProblem::NotRun { program: String::new(), reason: "there is none".to_owned() });
    };
    let program = program.clone();
    let printed = key_material::printed(Command::new(&program).args(arguments), PROGRAM_LIMIT, MAX_BYTES);
    printed.map_err(|problem| match problem {
        ProgramProblem::Failed(status) => KeyProblem::Failed { program, status },
        ProgramProblem::Late => KeyProblem::Late { program },
        ProgramProblem::TooMuch => {
            KeyProblem::NotRun { program, reason: format!("it prints more than {MAX_BYTES} bytes") }
        }
        ProgramProblem::NotRun(error) => KeyProblem::NotRun { program, reason: error.to_string() },
    })
}

impl std::fmt::Display for KeySource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Env(name) => write!(f, "the environment variable {name}"),
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Exec(command) => {
                write!(f, "the output of `{}`", command.first().map_or("", String::as_str))
            }
        }
    }
}

/// Arguments of a program may be secrets.
impl std::fmt::Debug for KeySource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

/// A file with a key as its owner makes it, whatever the mask of the process: nobody else may write it.
#[cfg(test)]
pub(crate) fn write_key(file: &Path, key: [u8; 32]) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::write(file, key).expect("written");
    std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o600)).expect("set");
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE64: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

    fn read(source: KeySource) -> Result<[u8; 32], KeyProblem> {
        SealingKey { id: "k".to_owned(), source }.read().map(|key| **key)
    }

    fn exec(script: &str) -> Result<[u8; 32], KeyProblem> {
        read(KeySource::Exec(["sh", "-c", script].map(str::to_owned).to_vec()))
    }

    #[test]
    fn only_a_file_may_hold_the_bytes_themselves() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("key");
        write_key(&path, [200; 32]);
        assert_eq!(read(KeySource::File(path.clone())), Ok([200; 32]));
        assert!(matches!(exec(&format!("cat {}", path.display())), Err(KeyProblem::NoKey { .. })));
        let missing = read(KeySource::File(folder.path().join("none")));
        assert!(matches!(missing, Err(KeyProblem::Unreadable { .. })));
    }

    #[test]
    fn a_program_writes_a_key_or_it_is_said_why_not() {
        assert_eq!(exec(&format!("echo {BASE64}")).map(|key| key[31]), Ok(31));
        assert!(matches!(exec("exit 3"), Err(KeyProblem::Failed { status, .. }) if status.code() == Some(3)));
        let missing = read(KeySource::Exec(vec!["/no/such/program".to_owned()]));
        assert!(matches!(missing, Err(KeyProblem::NotRun { .. })));
        let endless = read(KeySource::Exec(vec!["yes".to_owned()])).expect_err("too much");
        assert!(endless.to_string().contains("prints more than 4096 bytes"), "{endless}");
    }

    #[test]
    fn nothing_that_is_shown_holds_an_argument() {
        let key = KeySource::Exec(vec!["vault".to_owned(), "-token=canary".to_owned()]);
        assert_eq!(format!("{key:?} {key}"), "the output of `vault` the output of `vault`");
    }
}
