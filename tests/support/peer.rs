//! The Python client of `peer.py`, driven over its standard input and output.

use crate::{artifacts::python, wait::LIMIT};
use serde_json::Value;
use std::{
    io::{BufRead, BufReader, Write},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

/// A client in another process and another language. Killed when it is dropped.
#[derive(Debug)]
pub struct PythonPeer {
    child: Child,
    commands: ChildStdin,
    answers: BufReader<ChildStdout>,
    welcome: Value,
}

impl PythonPeer {
    /// Connects to a loopback port and takes the welcome.
    ///
    /// # Panics
    /// If Python or its package is missing, or there is no server.
    pub fn connect(port: u16) -> Self {
        let mut child = Command::new(python())
            .args(["-c", include_str!("peer.py")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3 can be started");
        let commands = child.stdin.take().expect("piped");
        let answers = BufReader::new(child.stdout.take().expect("piped"));
        let mut peer = Self { child, commands, answers, welcome: Value::Null };
        peer.tell(&format!("connect ws://127.0.0.1:{port}/any/path"));
        peer.welcome = peer.answer();
        peer
    }

    /// The first message.
    pub fn welcome(&self) -> &Value {
        &self.welcome
    }

    /// Sends JSON as one text frame.
    pub fn send(&mut self, message: &Value) {
        self.tell(&format!("send {message}"));
    }

    /// The next message.
    pub fn next_message(&mut self) -> Value {
        self.tell(&format!("next {}", LIMIT.as_secs()));
        self.answer()
    }

    fn tell(&mut self, command: &str) {
        writeln!(self.commands, "{command}").expect("the peer lives");
    }

    fn answer(&mut self) -> Value {
        let mut line = String::new();
        self.answers.read_line(&mut line).expect("the peer lives");
        serde_json::from_str(&line)
            .unwrap_or_else(|error| panic!("the peer ended or failed ({error}): {line:?}"))
    }
}

impl Drop for PythonPeer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
