//! Results to stdout, complaints to stderr, colour for people who want it.

use super::{DONE, FAILED, REFUSED, problem};
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
    let json = serde_json::to_string(value).expect("results are plain data");
    print(&format!("{}\n", indented(&json)))
}

/// JSON, each part of it on a line of its own. Numbers and texts stay as they are written.
fn indented(json: &str) -> String {
    let mut out = Indented { text: String::with_capacity(2 * json.len()), depth: 0 };
    let (mut in_text, mut is_escaped, mut is_empty) = (false, false, false);
    for c in json.chars() {
        if in_text {
            in_text = is_escaped || c != '"';
            is_escaped = !is_escaped && c == '\\';
            out.text.push(c);
            continue;
        }
        if c.is_ascii_whitespace() {
            continue;
        }
        let closes = matches!(c, '}' | ']');
        match (is_empty, closes) {
            (true, true) => out.depth -= 1,
            (true, false) => out.line(),
            (false, true) => {
                out.depth -= 1;
                out.line();
            }
            (false, false) => {}
        }
        is_empty = matches!(c, '{' | '[');
        in_text = c == '"';
        out.text.push(c);
        match c {
            '{' | '[' => out.depth += 1,
            ',' => out.line(),
            ':' => out.text.push(' '),
            _ => {}
        }
    }
    out.text
}

struct Indented {
    text: String,
    depth: usize,
}

impl Indented {
    fn line(&mut self) {
        self.text.push('\n');
        self.text.extend(std::iter::repeat_n("  ", self.depth));
    }
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
    problem::tell_refused(problems);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_indented_and_its_parts_stay_as_they_are_written() {
        for json in [
            r#"{"a":[1,{"b":{}},[],[[ ]],"x\\",null],"q":"\"{[,:]}\" \\\"","e":{ },"t":true}"#,
            "[]",
            "{}",
            "7",
            r#""te xt""#,
        ] {
            let value: serde_json::Value = serde_json::from_str(json).expect("JSON");
            let json = serde_json::to_string(&value).expect("JSON");
            assert_eq!(indented(&json), serde_json::to_string_pretty(&value).expect("JSON"));
        }
        assert_eq!(indented("{ \"n\" :1e400,\n\t\"m\":1.10 }"), "{\n  \"n\": 1e400,\n  \"m\": 1.10\n}");
    }
}
