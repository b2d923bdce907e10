mod accepted;
mod refused;
mod schemas;
mod layers;
mod encryption;
mod loading;

use std::path::Path;

use super::*;

const SECRET: &str = "canary-4711";

fn environment() -> Environment {
    Environment::from([("PORT", "8080"), ("PASSWORD", SECRET), ("DIGITS", "0815"), ("EMPTY", "")])
}

/// Reads `yaml` as the file `p.yaml`.
fn read_pipeline(yaml: &str) -> (Option<PipelineConfig>, Diagnostics) {
    let file = Path::new("p.yaml");
    let (pipeline, problems) = decode::pipeline(file, yaml.into(), &environment(), &SyncSettings::default());
    let mut problems: Diagnostics = problems.into_iter().collect();
    problems.sort();
    (pipeline, problems)
}

/// What a terminal shows for a file that is refused, word for word.
#[track_caller]
fn refused(yaml: &str, expect: &str) {
    let (_, problems) = read_pipeline(yaml);
    compare(&problems, expect);
}

/// The pipeline of a file that is accepted.
#[track_caller]
fn accepted(yaml: &str) -> PipelineConfig {
    let (pipeline, problems) = read_pipeline(yaml);
    compare(&problems, "");
    pipeline.expect("without a diagnostic there is a pipeline")
}

#[track_caller]
fn compare(problems: &Diagnostics, expect: &str) {
    let shown = problems.to_string();
    let unindented: Vec<_> =
        expect.lines().map(|line| line.strip_prefix("        ").unwrap_or(line)).collect();
    assert_eq!(shown.trim(), unindented.join("\n").trim(), "\n{shown}\n");
    assert!(!shown.contains(SECRET));
}
