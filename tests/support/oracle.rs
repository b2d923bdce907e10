//! Programs that answer every line of their input by a line of their output: npm's implementations of operational
//! transform, and the operations of a plugin by themselves.

use crate::{
    artifacts::{target_dir, workspace_dir},
    site::{Finished, Site, finish},
};
use serde_json::Value;
use std::{
    io::{Seek, Write},
    process::{Command, Stdio},
    time::Duration,
};

/// How long a program may take for all of its lines.
const LIMIT: Duration = Duration::from_secs(600);

/// What the implementations of npm make of the cases.
///
/// # Panics
/// If they are not there, or do not answer each.
pub fn npm_answers(cases: &[Value]) -> Vec<Value> {
    let modules = target_dir().join("oracles/node_modules");
    assert!(modules.exists(), "{} is missing: `make oracles` prepares it", modules.display());
    let mut node = Command::new("node");
    node.arg(workspace_dir().join("tests/support/peers/operational_transform.js"));
    node.env("NODE_PATH", modules);
    answers(node, cases)
}

/// What an operation of a plugin makes of the cases, through `lockstep plugins call`.
///
/// # Panics
/// If it does not answer each.
pub fn plugin_answers(site: &Site, component: &str, operation: &str, cases: &[Value]) -> Vec<Value> {
    answers(site.command(["plugins", "call", component, operation, "--jsonl"]), cases)
}

fn answers(mut command: Command, cases: &[Value]) -> Vec<Value> {
    let mut input = tempfile::tempfile().expect("a file");
    let lines: String = cases.iter().map(|case| format!("{case}\n")).collect();
    input.write_all(lines.as_bytes()).expect("written");
    input.rewind().expect("at its beginning");
    command.stdin(Stdio::from(input));
    let Finished { stdout, .. } = finish(command, LIMIT).expect_code(0);
    let read = |line: &str| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    let answers: Vec<Value> = stdout.lines().map(read).collect();
    assert_eq!(answers.len(), cases.len(), "an answer for each case");
    answers
}
