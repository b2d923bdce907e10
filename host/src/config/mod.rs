//! Text -> [`Config`]: host settings in layers, pipeline files checked down to each value's place.
//!
//! Pure but for reading the files it is given and the variables they name: nothing is bound, connected or started.

pub mod quantity;
mod settings;
mod encryption;
mod layers;
mod pipeline;
mod format;
mod decode;
mod interpolate;
mod yaml;
mod source_text;
mod scalar_offset;
mod diagnostic;
pub(crate) mod nearest;
mod schema;
mod editor;
mod reference;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

pub use diagnostic::{Diagnostic, Diagnostics, Severity};
pub use editor::{editor_schema, pipeline_schema, settings_schema};
pub use encryption::{EncryptionSettings, KeySettings};
pub use interpolate::Environment;
pub use layers::{Flag, Origin, ShownSetting};
pub use pipeline::{
    BatchLimits, ComponentConfig, ComponentKind, Delivery, InFlightLimits, OnError, PipelineConfig,
    PluginRef, Retry, Then, When,
};
pub use reference::{format_reference, settings_example, settings_reference};
pub use schema::check_against_schema;
pub use settings::{
    AdminSettings, AuditSettings, CrashLoop, DeadLetterSettings, DurabilityMode, HistorySettings,
    HostSettings, LogFormat, LogSettings, RestartBackoff, RestartSettings, StateSettings, SyncSettings,
};
pub use source_text::{Anchor, SourceText, path};

/// Larger files are refused: no pipeline is, and parsing must stay cheap.
const MAX_FILE: u64 = 1 << 20;

/// Everything the host was told before it starts.
#[derive(Debug, Clone)]
pub struct Config {
    pub settings: HostSettings,
    /// In the order of the files they were read from.
    pub pipelines: Vec<PipelineConfig>,
    /// Every host setting with the place its value comes from.
    pub shown: Vec<ShownSetting>,
    /// What is odd and does not keep the host from starting.
    pub warnings: Diagnostics,
}

/// Where [`load`] finds things.
#[derive(Debug, Clone)]
pub struct LoadOptions {
    pub settings: SettingsFile,
    /// Pipeline files, and folders whose `*.yaml` and `*.yml` are pipelines.
    pub pipelines: Vec<PathBuf>,
    pub environment: Environment,
    pub flags: Vec<Flag>,
}

/// The file with the host's settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SettingsFile {
    None,
    /// Read if it is there.
    IfPresent(PathBuf),
    /// Named by the operator: it must be there.
    Named(PathBuf),
}

impl Default for LoadOptions {
    /// `lockstep.yaml` of the current folder if present, this process's environment, no pipelines.
    fn default() -> Self {
        Self {
            settings: SettingsFile::IfPresent("lockstep.yaml".into()),
            pipelines: Vec::new(),
            environment: Environment::of_process(),
            flags: Vec::new(),
        }
    }
}

/// What can be used of what was read, and everything that is wrong with the rest.
#[derive(Debug)]
pub struct Checked {
    /// None if the settings are refused.
    pub settings: Option<HostSettings>,
    pub shown: Vec<ShownSetting>,
    /// Those with nothing wrong.
    pub pipelines: Vec<PipelineConfig>,
    /// Errors and warnings.
    pub problems: Diagnostics,
}

/// Reads settings and pipelines; refuses with everything that is wrong in all the files.
pub fn load(options: &LoadOptions) -> Result<Config, Diagnostics> {
    let Checked { settings, shown, pipelines, problems } = check(options);
    match settings {
        Some(settings) if !problems.has_errors() => {
            Ok(Config { settings, pipelines, shown, warnings: problems })
        }
        _ => Err(problems),
    }
}

/// Reads settings and pipelines as far as that goes: what is wrong with one file hides nothing about another.
pub fn check(options: &LoadOptions) -> Checked {
    let mut problems = Diagnostics::new();
    let merged = settings(options).unwrap_or_else(|refused| {
        problems.extend(refused);
        None
    });
    // Pipelines are checked even if the settings are refused, against the defaults.
    let defaults = merged.as_ref().map(|merged| merged.settings.sync_settings.clone()).unwrap_or_default();
    let mut pipelines = Vec::new();
    for file in pipeline_files(&options.pipelines, &mut problems) {
        let text = match read(&file) {
            Ok(text) => text,
            Err(refused) => {
                problems.extend(refused);
                continue;
            }
        };
        let (pipeline, refused) = decode::pipeline(&file, text, &options.environment, &defaults);
        pipelines.extend(pipeline);
        problems.extend(refused);
    }
    problems.extend(shared_names(&pipelines));
    let is_sound = |pipeline: &PipelineConfig| {
        let file = Some(pipeline.source_text.file());
        !problems.iter().any(|problem| problem.severity() == Severity::Error && problem.file() == file)
    };
    pipelines.retain(is_sound);
    let (settings, shown) = match merged {
        Some(merged) => {
            problems.extend(merged.warnings);
            (Some(merged.settings), merged.shown)
        }
        None => (None, Vec::new()),
    };
    problems.sort();
    Checked { settings, shown, pipelines, problems }
}

fn settings(options: &LoadOptions) -> Result<Option<layers::Merged>, Diagnostics> {
    let file = match &options.settings {
        SettingsFile::Named(file) => Some(file),
        SettingsFile::IfPresent(file) => Some(file).filter(|file| file.exists()),
        SettingsFile::None => None,
    };
    let mut source = None;
    if let Some(file) = file {
        let (parsed, problems) = SourceText::parse(file, read(file)?);
        // Nothing but comments is what a file of defaults looks like.
        match problems.iter().all(|problem| problem.code_name() == "empty") {
            true if problems.is_empty() => source = Some(parsed),
            true => {}
            false => return Err(problems.into_iter().collect()),
        }
    }
    layers::settings(source, &options.environment, &options.flags).map(Some)
}

/// The files in the order given, those of a folder by name.
fn pipeline_files(given: &[PathBuf], problems: &mut Diagnostics) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for path in given {
        match path.is_dir() {
            false => files.push(path.clone()),
            true => match pipelines_in(path) {
                Ok(found) if found.is_empty() => {
                    let message = "no pipeline here: expected files that end in `.yaml` or `.yml`";
                    problems.push(
                        Diagnostic::outside(path.display().to_string(), message).code("unreadable-file"),
                    );
                }
                Ok(found) => files.extend(found),
                Err(error) => problems.push(unreadable(path, &error)),
            },
        }
    }
    files
}

fn pipelines_in(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut files = std::fs::read_dir(folder)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<std::io::Result<Vec<_>>>()?;
    files.retain(|file| {
        let is_hidden = file.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        !is_hidden
            && file.is_file()
            && file.extension().is_some_and(|ending| ending == "yaml" || ending == "yml")
    });
    files.sort();
    Ok(files)
}

fn read(file: &Path) -> Result<String, Diagnostics> {
    let mut bytes = Vec::new();
    let open = File::open(file).map_err(|error| unreadable(file, &error))?;
    open.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(|error| unreadable(file, &error))?;
    if bytes.len() as u64 > MAX_FILE {
        let message = "the file is larger than 1 MiB";
        return Err(Diagnostic::outside(file.display().to_string(), message).code("too-large").into());
    }
    let text = String::from_utf8(bytes).map_err(|error| not_utf8(file, &error))?;
    // A byte order mark would shift every column of the first line.
    Ok(text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text))
}

fn unreadable(file: &Path, error: &std::io::Error) -> Diagnostic {
    Diagnostic::outside(file.display().to_string(), format!("cannot be read: {error}"))
        .code("unreadable-file")
}

/// Points at the first byte that is no UTF-8.
fn not_utf8(file: &Path, error: &std::string::FromUtf8Error) -> Diagnostic {
    let at = error.utf8_error().valid_up_to();
    let source = SourceText::unparsed(file, String::from_utf8_lossy(error.as_bytes()).into_owned());
    let message = format!("the file is not UTF-8: the byte 0x{:02x} is here", error.as_bytes()[at]);
    Diagnostic::in_text(source, at..at + '\u{fffd}'.len_utf8(), String::new(), message)
        .code("encoding")
        .help("save the file as UTF-8")
}

fn shared_names(pipelines: &[PipelineConfig]) -> Vec<Diagnostic> {
    let mut first: HashMap<&str, &PipelineConfig> = HashMap::new();
    let mut problems = Vec::new();
    for pipeline in pipelines {
        let Some(other) = first.get(pipeline.name.as_str()) else {
            first.insert(&pipeline.name, pipeline);
            continue;
        };
        let message = format!("two pipelines are called `{}`", pipeline.name);
        let help = format!(
            "the other is in {}; give one of them another `name`",
            other.source_text.file().display()
        );
        let at = if pipeline.source_text.place("name").is_some() { "name" } else { "" };
        problems.push(
            pipeline.source_text.diagnostic(at, Anchor::Value, message, Some(help)).code("duplicate-name"),
        );
    }
    problems
}
