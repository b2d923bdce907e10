//! The command line: what each command reads, prints and exits with.

mod run;

use crate::config::{self, Config, Diagnostics, Flag, LoadOptions, SettingsFile};
use clap::{Args, Parser, Subcommand};
use serde_json::Value;
use std::path::PathBuf;
use std::process::ExitCode;

/// Everything was done.
const DONE: u8 = 0;
/// It failed while running.
const FAILED: u8 = 1;
/// It was refused before anything was started.
const REFUSED: u8 = 2;

/// Moves configuration changes between transports, through plugins, according to pipeline files.
#[derive(Debug, Parser)]
#[command(name = "lockstep", version, about, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run pipelines until they end or a signal comes.
    Run(run::Run),
}

/// Where a command finds settings and plugins; each flag overrides the environment and `lockstep.yaml`.
#[derive(Debug, Clone, Args)]
struct HostFlags {
    /// File with the host's settings; without it, `lockstep.yaml` in the current folder is read if it is there.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where the host keeps its state [default: ./lockstep-data]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// A folder with plugins; may be given more than once [default: the executable's folder]
    #[arg(long, value_name = "DIR")]
    plugin_path: Vec<PathBuf>,
    /// Address of the admin server [default: 127.0.0.1:8780]
    #[arg(long, value_name = "ADDRESS")]
    admin_listen: Option<String>,
}

impl HostFlags {
    fn load(&self, pipelines: &[PathBuf]) -> Result<Config, Diagnostics> {
        let settings = match &self.config {
            Some(file) => SettingsFile::Named(file.clone()),
            None => SettingsFile::IfPresent("lockstep.yaml".into()),
        };
        config::load(&LoadOptions {
            settings,
            pipelines: pipelines.to_vec(),
            flags: self.flags(),
            ..LoadOptions::default()
        })
    }

    fn flags(&self) -> Vec<Flag> {
        let flag =
            |name: &str, path: &str, value: Value| Flag { name: name.into(), path: path.into(), value };
        let text = |path: &PathBuf| Value::from(path.to_string_lossy().into_owned());
        let mut flags = Vec::new();
        flags.extend(self.data_dir.as_ref().map(|dir| flag("--data-dir", "data_dir", text(dir))));
        if !self.plugin_path.is_empty() {
            let folders = self.plugin_path.iter().map(text).collect();
            flags.push(flag("--plugin-path", "plugin_path", Value::Array(folders)));
        }
        let listen = self.admin_listen.as_ref();
        flags.extend(listen.map(|listen| flag("--admin-listen", "admin.listen", listen.as_str().into())));
        flags
    }
}

/// Runs the command that the process was started with.
pub fn main() -> ExitCode {
    let exit = match Cli::parse().command {
        Command::Run(run) => run.run(),
    };
    ExitCode::from(exit)
}

/// Prints what was refused, in colour for a person.
fn refuse(problems: &Diagnostics) -> u8 {
    use std::io::IsTerminal;
    eprintln!("{}", problems.render(std::io::stderr().is_terminal()));
    REFUSED
}
