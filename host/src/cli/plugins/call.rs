//! `lockstep plugins call`: an operation of a component that runs nowhere, for trying and checking what a plugin computes.

use super::alone::{Alone, ask};
use crate::cli::flags::PluginPlaces;
use crate::cli::live::CommandError;
use crate::cli::output::{print, print_some, refuse};
use crate::cli::{DONE, FAILED};
use crate::config::{ComponentKind, PluginRef};
use crate::host::open_registry;
use crate::registry::{Operation, Registry};
use clap::Args;
use lockstep_plugin_api::Error;
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;
use std::io::{self, BufRead};
use std::ops::ControlFlow;
use std::path::Path;

const AFTER_HELP: &str = "\
The component's plugin is loaded, and the component opened with an empty configuration, outside of any host: only what an \
operation makes of its arguments can be asked, nothing that needs state. What a running host offers is called by \
`lockstep call`.

With `--jsonl` every line of stdin that is not empty is the arguments of one call, and the lines on stdout are the answers in \
the same order; a call that did not reach the operation, such as one that is no JSON, is answered by \
{\"error\": {\"code\", \"message\"}}.

Exit codes:
  0  every call was answered
  1  a call was refused or failed, or its answer says that it is not \"ok\"
  2  there is no such component or operation, the arguments are not JSON, or the settings are refused

Examples:
  lockstep plugins call resolver merge '{\"base\":{\"a\":1},\"changes\":[{\"value\":{\"a\":2},\"hlc\":\"1-0\"}]}'
  lockstep plugins call resolver ot --jsonl < cases.jsonl
";

#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Call {
    /// The component: its name, `name@version`, or the plugin's file
    component: String,
    /// The operation, with or without the component's name before it
    operation: String,
    /// The arguments
    #[arg(value_name = "JSON", conflicts_with = "jsonl")]
    arguments: Option<String>,
    /// Read the arguments of many calls from stdin, one a line, and print an answer for each
    #[arg(long)]
    jsonl: bool,
    #[command(flatten)]
    plugins: PluginPlaces,
}

impl Call {
    pub(super) fn run(self) -> u8 {
        let config = match self.plugins.load() {
            Ok(config) => config,
            Err(problems) => return refuse(&problems),
        };
        let opened = open(&open_registry(&config.settings), &self.component);
        let called = opened.and_then(|alone| {
            let operation = find(&alone, &self.operation)?;
            match self.jsonl {
                true => call_each_line(operation),
                false => call_once(operation, self.arguments.as_deref().unwrap_or("{}")),
            }
        });
        called.unwrap_or_else(|error| error.tell())
    }
}

fn open(registry: &Registry, name: &str) -> Result<Alone, CommandError> {
    let refused = |error: &dyn std::fmt::Display| CommandError::BadArgument(error.to_string());
    let component =
        registry.component(ComponentKind::Transform, &reference(name)).map_err(|error| refused(&error))?;
    Alone::open(&component, Path::new(".")).map_err(|error| refused(&error))
}

/// As pipelines name plugins, with files relative to the current folder.
fn reference(name: &str) -> PluginRef {
    if name.contains('/') || name.ends_with(".so") {
        return PluginRef::Path(name.into());
    }
    match name.split_once('@') {
        Some((name, version)) => PluginRef::Named { name: name.into(), version: Some(version.into()) },
        None => PluginRef::Named { name: name.into(), version: None },
    }
}

fn find<'a>(alone: &'a Alone, name: &str) -> Result<&'a Operation, CommandError> {
    let is_meant = |offered: &&Operation| {
        offered.name() == name || offered.name().split_once('.').is_some_and(|(_, short)| short == name)
    };
    let names = || alone.operations().iter().map(Operation::name).collect::<Vec<_>>().join(", ");
    alone.operations().iter().find(is_meant).ok_or_else(|| {
        let offered = if alone.operations().is_empty() { "it offers none".to_owned() } else { names() };
        CommandError::BadArgument(format!("there is no operation `{name}`; there are: {offered}"))
    })
}

fn call_once(operation: &Operation, arguments: &str) -> Result<u8, CommandError> {
    if serde_json::from_str::<&RawValue>(arguments).is_err() {
        let error = "the arguments are not JSON; quote them for the shell: '{\"config_key\":\"app.x\"}'";
        return Err(CommandError::BadArgument(error.to_owned()));
    }
    let answer = ask(operation, arguments).map_err(|error| CommandError::Failed(error.to_string()))?;
    Ok(print(&format!("{answer}\n")).max(exit_of(&answer)))
}

/// What an answer is for a script: an operation that computes says by `ok` whether it could.
fn exit_of(answer: &str) -> u8 {
    #[derive(Deserialize)]
    struct Said {
        ok: bool,
    }
    let has_failed = serde_json::from_str(answer).is_ok_and(|Said { ok }| !ok);
    if has_failed { FAILED } else { DONE }
}

fn call_each_line(operation: &Operation) -> Result<u8, CommandError> {
    let mut exit = DONE;
    for line in io::stdin().lock().lines() {
        let line = line.map_err(|error| CommandError::Failed(format!("stdin cannot be read: {error}")))?;
        if line.trim().is_empty() {
            continue;
        }
        let answer = ask(operation, &line).unwrap_or_else(|error| {
            exit = FAILED;
            refusal(&error)
        });
        exit = exit.max(exit_of(&answer));
        if let ControlFlow::Break(exit) = print_some(&format!("{answer}\n")) {
            return Ok(exit);
        }
    }
    Ok(exit)
}

fn refusal(error: &Error) -> String {
    json!({ "error": { "code": error.code(), "message": error.message() } }).to_string()
}
