//! Where a key that wraps is found: in a variable, in a file, or in what a program writes.
//!
//! Nothing of what is read is shown, and what held it is overwritten.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use zeroize::Zeroizing;

/// 256 bits, in one place of the memory: who moves them leaves no copy behind.
pub type Secret = Box<Zeroizing<[u8; 32]>>;

/// No key is longer, however it is written.
const MAX_BYTES: usize = 4096;

/// How long a program may take to write a key.
const PROGRAM_LIMIT: Duration = Duration::from_secs(10);

/// How often to look whether it has ended.
const LOOK: Duration = Duration::from_millis(5);

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
    #[error("{} cannot be read: {reason}", path.display())]
    Unreadable { path: PathBuf, reason: String },
    #[error("`{program}` cannot be run: {reason}")]
    NotRun { program: String, reason: String },
    #[error("`{program}` has failed: {status}")]
    Failed { program: String, status: ExitStatus },
    #[error("`{program}` has not ended within {} s", PROGRAM_LIMIT.as_secs())]
    Late { program: String },
    #[error("{place} holds no key: {what}; make one with `openssl rand -base64 32`")]
    NoKey { place: String, what: &'static str },
}

impl SealingKey {
    pub fn read(&self) -> Result<Secret, KeyProblem> {
        let source = &self.source;
        let place = source.to_string();
        let found = match source {
            KeySource::Env(name) => text(&of_variable(name)?),
            KeySource::File(path) => {
                let read = of_file(path).map_err(|error| KeyProblem::Unreadable {
                    path: path.clone(),
                    reason: error.to_string(),
                });
                text_or_raw(&read?)
            }
            KeySource::Exec(command) => text(&of_program(command, PROGRAM_LIMIT)?),
        };
        found.map_err(|what| KeyProblem::NoKey { place, what })
    }
}

fn of_variable(name: &str) -> Result<Zeroizing<Vec<u8>>, KeyProblem> {
    let value = std::env::var_os(name).ok_or_else(|| KeyProblem::NotSet(name.to_owned()))?;
    Ok(Zeroizing::new(value.as_bytes().to_vec()))
}

fn of_file(path: &PathBuf) -> io::Result<Zeroizing<Vec<u8>>> {
    read_some(File::open(path)?)
}

/// At most one byte more than any key has, into memory that is not moved meanwhile.
fn read_some(from: impl Read) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(2 * MAX_BYTES));
    from.take(MAX_BYTES as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// What it says beside the key goes to the host's own stderr, where its operator looks.
fn of_program(command: &[String], limit: Duration) -> Result<Zeroizing<Vec<u8>>, KeyProblem> {
    let Some((program, arguments)) = command.split_first() else {
        return Err(KeyProblem::NotRun { program: String::new(), reason: "there is none".to_owned() });
    };
    let not_run =
        |error: io::Error| KeyProblem::NotRun { program: program.clone(), reason: error.to_string() };
    let until = Instant::now() + limit;
    // A group of its own, so that whatever it starts can be ended with it.
    let mut running = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .process_group(0)
        .spawn()
        .map_err(not_run)?;
    let ended = output_of(&mut running, until);
    end_group(&mut running);
    let (output, status) =
        ended.map_err(not_run)?.ok_or_else(|| KeyProblem::Late { program: program.clone() })?;
    match status.success() {
        true => Ok(output),
        false => Err(KeyProblem::Failed { program: program.clone(), status }),
    }
}

type Ended = (Zeroizing<Vec<u8>>, ExitStatus);

/// `None` if it takes too long.
fn output_of(running: &mut Child, until: Instant) -> io::Result<Option<Ended>> {
    let output = running.stdout.take().expect("its output is piped");
    let (tell, told) = mpsc::sync_channel(1);
    // Ends with the program's output: at the latest when its group is ended.
    thread::Builder::new().name("key-program".to_owned()).spawn(move || tell.send(read_some(output)))?;
    let Ok(output) = told.recv_timeout(until.saturating_duration_since(Instant::now())) else {
        return Ok(None);
    };
    let output = output?;
    while Instant::now() < until {
        if let Some(status) = running.try_wait()? {
            return Ok(Some((output, status)));
        }
        thread::sleep(LOOK);
    }
    Ok(None)
}

fn end_group(running: &mut Child) {
    if let Ok(group) = i32::try_from(running.id()) {
        // SAFETY: a system call; the group was made for this child, and ends with what the child has started.
        unsafe { libc::kill(-group, libc::SIGKILL) };
    }
    let _ = running.wait();
}

/// 32 bytes that are all text are somebody's password, not a key.
fn text_or_raw(bytes: &[u8]) -> Result<Secret, &'static str> {
    let is_text = || bytes.iter().all(|byte| byte.is_ascii_graphic() || *byte == b' ');
    match bytes.len() {
        32 if is_text() => Err("these are 32 characters of text, not 32 random bytes"),
        32 => Ok(secret(bytes)),
        _ => text(bytes),
    }
}

fn secret(bytes: &[u8]) -> Secret {
    let mut secret = Secret::default();
    secret.copy_from_slice(bytes);
    secret
}

fn text(bytes: &[u8]) -> Result<Secret, &'static str> {
    let text = bytes.trim_ascii();
    let mut key = Secret::default();
    match text.len() {
        0 => Err("it is empty"),
        64 if text.iter().all(u8::is_ascii_hexdigit) => {
            let digit = |c: u8| char::from(c).to_digit(16).unwrap_or_default() as u8;
            let (pairs, _) = text.as_chunks();
            for (byte, [high, low]) in key.iter_mut().zip(pairs) {
                *byte = digit(*high) << 4 | digit(*low);
            }
            Ok(key)
        }
        _ => of_base64(text),
    }
}

fn of_base64(text: &[u8]) -> Result<Secret, &'static str> {
    let config = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let is_for_urls = text.iter().any(|c| matches!(c, b'-' | b'_'));
    let alphabet = if is_for_urls { alphabet::URL_SAFE } else { alphabet::STANDARD };
    let mut decoded = Zeroizing::new([0; MAX_BYTES]);
    let n_bytes = match GeneralPurpose::new(&alphabet, config).decode_slice(text, &mut *decoded) {
        Ok(n_bytes) => n_bytes,
        Err(_) => return Err("it is neither base64 nor 64 hexadecimal digits"),
    };
    match n_bytes {
        32 => Ok(secret(&decoded[..n_bytes])),
        _ => Err("decoded it has another length than 32 bytes"),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191A1B1C1D1E1F";
    const BASE64: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

    fn key() -> [u8; 32] {
        std::array::from_fn(|n| n as u8)
    }

    fn exec(script: &str, limit: Duration) -> Result<Zeroizing<Vec<u8>>, KeyProblem> {
        of_program(&["sh", "-c", script].map(str::to_owned), limit)
    }

    #[test]
    fn a_key_is_hexadecimal_or_base64_of_either_alphabet_with_space_around_it() {
        for written in [HEX, BASE64, BASE64.trim_end_matches('='), &format!("  {BASE64}\n")] {
            assert_eq!(text(written.as_bytes()).map(|key| **key), Ok(key()), "{written}");
        }
        assert_eq!(text(format!("{}_-8", "_".repeat(40)).as_bytes()).map(|key| key[0]), Ok(255));
        for (written, expected) in [
            ("", "it is empty"),
            ("\n", "it is empty"),
            (&HEX[1..], "it is neither base64 nor 64 hexadecimal digits"),
            (&HEX[4..], "decoded it has another length than 32 bytes"),
            ("no key!", "it is neither base64 nor 64 hexadecimal digits"),
            ("AAEC", "decoded it has another length than 32 bytes"),
        ] {
            assert_eq!(text(written.as_bytes()).map(|_| ()), Err(expected), "{written}");
        }
    }

    #[test]
    fn a_file_may_hold_the_bytes_themselves_but_no_password() {
        assert_eq!(text_or_raw(&key()).map(|key| **key), Ok(key()));
        assert_eq!(text_or_raw(BASE64.as_bytes()).map(|key| **key), Ok(key()));
        let password = text_or_raw(b"correct horse battery staple 123");
        assert_eq!(password.map(|_| ()), Err("these are 32 characters of text, not 32 random bytes"));
    }

    #[test]
    fn a_program_writes_a_key_or_it_is_said_why_not() {
        let output = exec(&format!("echo {BASE64}"), PROGRAM_LIMIT).expect("it writes a key");
        assert_eq!(text(&output).map(|key| **key), Ok(key()));
        assert!(
            matches!(exec("exit 3", PROGRAM_LIMIT), Err(KeyProblem::Failed { status, .. }) if status.code() == Some(3))
        );
        let missing = of_program(&["/no/such/program".to_owned()], PROGRAM_LIMIT);
        assert!(matches!(missing, Err(KeyProblem::NotRun { .. })));
        let endless = SealingKey { id: "k".to_owned(), source: KeySource::Exec(vec!["yes".to_owned()]) };
        assert!(matches!(endless.read(), Err(KeyProblem::Failed { .. } | KeyProblem::NoKey { .. })));
    }

    #[test]
    fn a_program_that_does_not_end_is_ended_with_what_it_has_started() {
        let started = Instant::now();
        let late = exec("sleep 60 & echo $!; sleep 60", Duration::from_millis(200));
        assert!(matches!(late, Err(KeyProblem::Late { .. })));
        assert!(started.elapsed() < Duration::from_secs(5));
    }

    #[test]
    fn nothing_that_is_shown_holds_an_argument() {
        let key = KeySource::Exec(vec!["vault".to_owned(), "-token=canary".to_owned()]);
        assert_eq!(format!("{key:?} {key}"), "the output of `vault` the output of `vault`");
    }
}
