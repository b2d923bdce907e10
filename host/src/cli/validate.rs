//! `lockstep validate`: everything that can be known without starting anything.

use super::flags::PluginPlaces;
use super::output::{print, print_json, tell};
use super::{DONE, REFUSED};
use crate::config::{Checked, Diagnostics};
use crate::host::{check_keys, open_registry};
use crate::pipeline::{self, Pipeline};
use clap::Args;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::path::PathBuf;

const AFTER_HELP: &str = "\
Reads the files, loads the plugins they name and lets them check their configuration. No port is bound, nothing is \
connected, no state is opened. All problems of all files are shown, each at its place. For each pipeline that is good, \
it says what is guaranteed between each source and each sink.

Exit codes:
  0  every pipeline can be started, unless a warning says otherwise
  2  something is wrong; with --json it is in `diagnostics`

Examples:
  lockstep validate pipelines/
  lockstep validate --json pipelines/ | jq '.diagnostics[] | .file, .line, .message'
";

#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Validate {
    /// Pipeline files, or folders of them
    #[arg(required = true, value_name = "PIPELINE")]
    pipelines: Vec<PathBuf>,
    /// Print `{ok, pipelines: [{name, file, guarantees}], diagnostics}`
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    plugins: PluginPlaces,
}

impl Validate {
    pub(super) fn run(self) -> u8 {
        let (accepted, problems) = examine(self.plugins.check(&self.pipelines));
        let is_good = !problems.has_errors();
        if self.json {
            let pipelines: Vec<_> = accepted.iter().map(shown).collect();
            print_json(&json!({ "ok": is_good, "pipelines": pipelines, "diagnostics": problems.to_json() }));
        } else {
            let text: String = accepted.iter().map(told).collect();
            print(&text);
            tell(&problems);
        }
        if is_good { DONE } else { REFUSED }
    }
}

/// Builds what could be read, and gives what is good and everything that is not.
fn examine(checked: Checked) -> (Vec<Pipeline>, Diagnostics) {
    let Checked { settings, shown, pipelines, mut problems } = checked;
    let mut accepted = Vec::new();
    if let Some(settings) = settings {
        let refused;
        (accepted, refused) = pipeline::build_all(&pipelines, &open_registry(&settings), &settings.state);
        problems.extend(refused);
        problems.extend(check_keys(&settings, &shown));
    }
    problems.sort();
    (accepted, problems)
}

fn shown(pipeline: &Pipeline) -> Value {
    json!({ "name": pipeline.name, "file": pipeline.file, "guarantees": pipeline.guarantees() })
}

fn told(pipeline: &Pipeline) -> String {
    let mut text = format!("ok  {}  ({})\n", pipeline.name, pipeline.file.display());
    for guarantee in pipeline.guarantees() {
        let _ = writeln!(text, "    {guarantee}");
    }
    text
}
