//! Results to stdout, complaints to stderr, colour for people who want it.

use super::{DONE, FAILED, REFUSED};
use crate::config::Diagnostics;
use serde::Serialize;
use std::error::Error;
use std::io::{self, ErrorKind, IsTerminal, Write};
use std::ops::ControlFlow;

/// Prints a result. A reader that has seen enough (`| head`) is no failure.
pub(super) fn print(text: &str) -> u8 {
    match print_some(text) {
        ControlFlow::Continue(()) => DONE,
        ControlFlow::Break(exit) => exit,
    }
}

/// Prints a part of a result at once; breaks, with how to exit, if nobody reads any more.
pub(super) fn print_some(text: &str) -> ControlFlow<u8> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Ok(()) => ControlFlow::Continue(()),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => ControlFlow::Break(DONE),
        Err(error) => {
            complain(&error);
            ControlFlow::Break(FAILED)
        }
    }
}

/// Prints a result for programs.
pub(super) fn print_json(value: &impl Serialize) -> u8 {
    let text = serde_json::to_string_pretty(value).expect("results are plain data");
    print(&format!("{text}\n"))
}

/// Whether stderr is read by a person who does not mind colours.
pub(super) fn colour() -> bool {
    let is_refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    io::stderr().is_terminal() && !is_refused
}

/// Says what went wrong, with its causes.
pub(super) fn complain(error: &dyn Error) {
    eprintln!("error: {error}");
    let mut cause = error.source();
    while let Some(error) = cause {
        eprintln!("  because: {error}");
        cause = error.source();
    }
}

/// Says what was refused and where.
pub(super) fn refuse(problems: &Diagnostics) -> u8 {
    tell(problems);
    REFUSED
}

/// Says what is wrong or odd.
pub(super) fn tell(problems: &Diagnostics) {
    if !problems.is_empty() {
        eprintln!("{}", problems.render(colour()));
    }
}

/// A record may hold what steers a terminal; it is shown, not obeyed. Lines of text stay lines.
pub(super) fn without_control(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' | '\t' => shown.push(c),
            c if c.is_control() => shown.extend(c.escape_default()),
            c => shown.push(c),
        }
    }
    shown
}
