//! Programs in another language that share no code with the host: the Python of `make peer`, spoken to line by line.
//!
//! A program reads one command per line from standard input and answers with one JSON object per line; it ends when its
//! input does.

use crate::{artifacts::python, servers::spawn};
use serde_json::Value;
use std::{
    io::{BufRead, BufReader, Write},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

/// A running program. Killed when it is dropped.
#[derive(Debug)]
pub struct Python {
    child: Child,
    commands: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Python {
    /// Starts a program with these arguments.
    ///
    /// # Panics
    /// If Python is missing.
    pub fn start(program: &str, arguments: &[&str]) -> Self {
        let mut command = command(program, arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = spawn(command);
        let commands = child.stdin.take().expect("piped");
        let answers = BufReader::new(child.stdout.take().expect("piped"));
        Self { child, commands, answers }
    }

    /// Gives the program a command that has no answer.
    ///
    /// # Panics
    /// If the program has ended.
    pub fn tell(&mut self, command: &str) {
        writeln!(self.commands, "{command}").expect("the program lives");
    }

    /// Gives the program a command and waits for its answer.
    ///
    /// # Panics
    /// If the program ends instead.
    pub fn ask(&mut self, command: &str) -> Value {
        self.tell(command);
        self.answer()
    }

    /// The next answer.
    ///
    /// # Panics
    /// If the program ends instead.
    pub fn answer(&mut self) -> Value {
        let mut line = String::new();
        self.answers.read_line(&mut line).expect("the program lives");
        serde_json::from_str(&line)
            .unwrap_or_else(|error| panic!("the program ended or failed ({error}): {line:?}"))
    }
}

impl Drop for Python {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a program to its end.
///
/// # Panics
/// If it fails.
pub fn run(program: &str, arguments: &[&str]) {
    let mut child = spawn(command(program, arguments));
    let status = child.wait().expect("a child can be waited for");
    assert!(status.success(), "python with {arguments:?}: {status}");
}

fn command(program: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(python());
    command.args(["-c", program]).args(arguments);
    command
}
