//! What went wrong, as commands say it: in words on stderr and, to a program that asked for JSON, as a document on stdout.
//!
//! Invariant: with `--json`, whatever a command ends with before it has a result is one line of JSON on stdout, of one form
//! for all commands; the exit code is what it is without.

use super::output::{complain, print};
use crate::admin::ClientError;
use crate::config::Diagnostics;
use crate::store::{SealingError, StoreError};
use clap::ArgMatches;
use serde::Serialize;
use serde_json::Value;
use std::borrow::Cow;
use std::error::Error;
use std::ffi::OsString;
use std::sync::atomic::{AtomicBool, Ordering};

/// What was given cannot be meant.
pub(super) const BAD_ARGUMENT: &str = "bad_argument";

/// Whether a program reads what is printed. The command line says so once, before anything is done.
static IS_FOR_PROGRAM: AtomicBool = AtomicBool::new(false);

/// What went wrong, for programs.
#[derive(Debug, Serialize)]
pub(super) struct Problem<'a> {
    /// One of the host's, or of [`own codes`](super::live::CommandError::problem).
    pub code: &'a str,
    pub message: Cow<'a, str>,
    /// What varies.
    #[serde(skip_serializing_if = "Value::is_null")]
    pub details: Cow<'a, Value>,
}

#[derive(Serialize)]
struct Document<'a> {
    error: &'a Problem<'a>,
}

/// Says from now on what goes wrong to a program, too.
pub(super) fn tell_a_program() {
    IS_FOR_PROGRAM.store(true, Ordering::Relaxed);
}

/// Whether a command is to print JSON.
pub(super) fn asks_for_json(matches: &ArgMatches) -> bool {
    let is_given = matches.try_get_one::<bool>("json").ok().flatten().copied().unwrap_or_default();
    is_given || matches.subcommand().is_some_and(|(_, matches)| asks_for_json(matches))
}

/// Ends a command whose arguments are not taken, or whose help was asked for.
pub(super) fn refuse_arguments(error: &clap::Error, arguments: impl Iterator<Item = OsString>) -> ! {
    // What is not taken has no flags: the words say what was meant.
    let is_json = arguments.take_while(|word| word != "--").any(|word| word == "--json");
    if is_json && error.use_stderr() {
        let text = error.render().to_string();
        let first = text.split("\n\n").next().unwrap_or_default().trim();
        print(&document(&Problem::plain(BAD_ARGUMENT, first.strip_prefix("error: ").unwrap_or(first))));
    }
    error.exit()
}

impl<'a> Problem<'a> {
    /// Without details.
    pub fn plain(code: &'a str, message: impl Into<Cow<'a, str>>) -> Self {
        Self { code, message: message.into(), details: Cow::Owned(Value::Null) }
    }

    /// An error and its causes.
    pub fn of(code: &'a str, error: &dyn Error) -> Self {
        let (mut message, mut cause) = (error.to_string(), error.source());
        while let Some(error) = cause {
            message = format!("{message}: {error}");
            cause = error.source();
        }
        Self::plain(code, message)
    }

    /// What a host answered, or did not.
    pub fn of_client(error: &'a ClientError) -> Self {
        let code = match error {
            ClientError::Refused { code, message, details, .. } => {
                return Self { code, message: message.into(), details: Cow::Borrowed(details) };
            }
            ClientError::Unreachable { .. } => "unreachable",
            ClientError::Unanswered { .. } => "unanswered",
            ClientError::Strange { .. } => "strange_answer",
            ClientError::BadAddress(_) => BAD_ARGUMENT,
        };
        Self::of(code, error)
    }

    /// Why the store of a data folder cannot be read.
    pub fn of_store(error: &StoreError) -> Self {
        Self::of(if is_locked_up(error) { "no_key" } else { "unreadable" }, error)
    }

    /// Tells a program.
    pub fn tell(&self) {
        if IS_FOR_PROGRAM.load(Ordering::Relaxed) {
            print(&document(self));
        }
    }
}

fn document(problem: &Problem<'_>) -> String {
    serde_json::to_string(&Document { error: problem }).expect("a problem is plain data") + "\n"
}

/// Says what went wrong, with its causes.
pub(super) fn tell(error: &dyn Error, problem: &Problem<'_>) {
    complain(error);
    problem.tell();
}

/// Tells a program what is wrong with files and settings.
pub(super) fn tell_refused(problems: &Diagnostics) {
    let message = "the settings are refused";
    Problem { details: Cow::Owned(problems.to_json()), ..Problem::plain("bad_settings", message) }.tell();
}

/// Whether a store was left alone because the settings do not open it: nothing is known of what lies in it. Another value
/// in the place of a sealed one is no such thing.
pub(super) fn is_locked_up(error: &StoreError) -> bool {
    matches!(error, StoreError::Sealing(problem) if !matches!(problem, SealingError::NotAuthentic { .. }))
}

/// Whether a store was left alone: nothing is known of what lies in it.
pub(super) fn is_left_alone(error: &StoreError) -> bool {
    is_locked_up(error) || matches!(error, StoreError::InUse { .. } | StoreError::NewerFormat { .. })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::path::PathBuf;

    fn read(problem: &Problem<'_>) -> Value {
        let document = document(problem);
        assert_eq!(document.lines().count(), 1, "{document}");
        serde_json::from_str(&document).expect("JSON")
    }

    #[test]
    fn a_program_is_told_what_the_host_said() {
        let details = json!([{ "path": "/config_key", "reason": "is empty" }]);
        let (code, message) = ("bad_key".to_owned(), "no key".to_owned());
        let refused = ClientError::Refused { status: 400, code, message, details: details.clone() };
        let expected = json!({ "error": { "code": "bad_key", "message": "no key", "details": details } });
        assert_eq!(read(&Problem::of_client(&refused)), expected);
        let nobody = ClientError::Unreachable { target: "x".into(), cause: std::io::Error::other("gone") };
        let expected = json!({ "error": { "code": "unreachable", "message": "no host answers at x: gone" } });
        assert_eq!(read(&Problem::of_client(&nobody)), expected);
    }

    #[test]
    fn a_store_without_its_key_is_told_from_one_that_was_changed() {
        let path = PathBuf::from("store.keys");
        let no_key = StoreError::from(SealingError::NoKeys { path: path.clone(), id: "k1".into() });
        assert!(is_left_alone(&no_key));
        assert_eq!(Problem::of_store(&no_key).code, "no_key");
        let changed = StoreError::from(SealingError::NotAuthentic { path, key: Vec::new() });
        assert!(!is_left_alone(&changed));
        assert_eq!(Problem::of_store(&changed).code, "unreadable");
    }
}
