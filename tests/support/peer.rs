//! The WebSocket client of `peers/websocket.py`.

use crate::{python::Python, wait::LIMIT};
use serde_json::Value;

/// A client in another process and another language. Killed when it is dropped.
#[derive(Debug)]
pub struct PythonPeer {
    program: Python,
    welcome: Value,
}

impl PythonPeer {
    /// Connects to a loopback port and takes the welcome.
    ///
    /// # Panics
    /// If Python or its package is missing, or there is no server.
    pub fn connect(port: u16) -> Self {
        let mut program = Python::start(include_str!("peers/websocket.py"), &[]);
        let welcome = program.ask(&format!("connect ws://127.0.0.1:{port}/any/path"));
        Self { program, welcome }
    }

    /// The first message.
    pub fn welcome(&self) -> &Value {
        &self.welcome
    }

    /// Sends JSON as one text frame.
    pub fn send(&mut self, message: &Value) {
        self.program.tell(&format!("send {message}"));
    }

    /// The next message.
    pub fn next_message(&mut self) -> Value {
        self.program.ask(&format!("next {}", LIMIT.as_secs()))
    }
}
