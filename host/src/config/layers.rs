//! Host settings in layers: defaults < `lockstep.yaml` < `LOCKSTEP_...` variables < flags.
//!
//! Every value keeps the layer it came from, for `config show` and for messages that name it.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use figment::providers::{Format, Serialized, Yaml};
use figment::value::{Dict, Map, Value as Layered};
use figment::{Figment, Metadata, Profile, Provider};
use lockstep_plugin_api::glob::Glob;
use serde::{Serialize, Serializer};
use serde_json::Value;

use super::diagnostic::{Diagnostic, Diagnostics};
use super::encryption::EncryptionSettings;
use super::format::settings_schema;
use super::interpolate::Environment;
use super::nearest::nearest;
use super::schema::{self, Violation, violations};
use super::settings::HostSettings;
use super::source_text::{Anchor, SourceText, path};

const PREFIX: &str = "LOCKSTEP_";

/// One setting given on the command line.
#[derive(Debug, Clone)]
pub struct Flag {
    /// As the operator wrote it, `--admin-listen`.
    pub name: String,
    /// Which setting, `admin.listen`.
    pub path: String,
    pub value: Value,
}

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    Default,
    File { file: PathBuf, line: usize },
    Environment(String),
    Flag(String),
}

/// One setting as `config show` prints it.
#[derive(Debug, Clone, Serialize)]
pub struct ShownSetting {
    pub path: String,
    pub value: Value,
    pub origin: Origin,
}

/// The settings, where each came from, and what is odd about them.
pub(super) struct Merged {
    pub settings: HostSettings,
    pub shown: Vec<ShownSetting>,
    pub warnings: Diagnostics,
}

/// Merges the layers and checks the result.
pub(super) fn settings(
    file: Option<Arc<SourceText>>,
    environment: &Environment,
    flags: &[Flag],
) -> Result<Merged, Diagnostics> {
    let (variables, warnings) = variables(environment);
    let mut figment = Figment::from(Serialized::defaults(HostSettings::default()));
    if let Some(file) = &file {
        figment =
            figment.merge(Layer { name: FILE, dict: Yaml::string(file.text()).data().map_err(outside)? });
    }
    figment = figment.merge(Layer::of(ENVIRONMENT, variables)).merge(Layer::of(FLAGS, given(flags)));
    let value: Value = figment.extract().map_err(outside)?;
    let layers = Layers { figment, file, flags };
    let mut problems: Diagnostics = violations(&value, settings_schema(), &|_| false)
        .into_iter()
        .map(|violation| layers.refuse(violation))
        .collect();
    if problems.is_empty() {
        match serde_json::from_value::<HostSettings>(value.clone()) {
            Ok(settings) => {
                let settings = layers.with_paths(settings);
                problems.extend(layers.check(&settings));
                if problems.is_empty() {
                    let shown = layers.shown(&settings);
                    return Ok(Merged { settings, shown, warnings });
                }
            }
            Err(error) => problems.push(Diagnostic::outside("host settings", error.to_string())),
        }
    }
    problems.extend(warnings);
    problems.sort();
    Err(problems)
}

const FILE: &str = "file";
const ENVIRONMENT: &str = "environment";
const FLAGS: &str = "flags";

/// Values of one layer; figment tags each of them with the layer's name.
struct Layer {
    name: &'static str,
    dict: Map<Profile, Dict>,
}

impl Layer {
    fn of(name: &'static str, values: Vec<(String, Layered)>) -> Self {
        let dict = values.into_iter().fold(Dict::new(), |dict, (at, value)| {
            let nested = figment::util::nest(&at, value).into_dict().expect("a nested value is a map");
            merge(dict, nested)
        });
        Self { name, dict: Profile::Default.collect(dict) }
    }
}

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.name)
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        Ok(self.dict.clone())
    }
}

fn merge(mut into: Dict, from: Dict) -> Dict {
    for (name, value) in from {
        let merged = match (into.remove(&name), value) {
            (Some(Layered::Dict(tag, old)), Layered::Dict(_, new)) => Layered::Dict(tag, merge(old, new)),
            (_, value) => value,
        };
        into.insert(name, merged);
    }
    into
}

/// The variables that name a setting. Others with the prefix belong to somebody else
/// (Kubernetes sets `LOCKSTEP_PORT` for a service of that name); only a near miss is worth a warning.
fn variables(environment: &Environment) -> (Vec<(String, Layered)>, Diagnostics) {
    let (mut values, mut warnings) = (Vec::new(), Diagnostics::new());
    let groups: Vec<_> =
        settings_schema()["properties"].as_object().into_iter().flat_map(|p| p.keys()).collect();
    for (name, text) in environment.iter().filter(|(_, text)| !text.is_empty()) {
        let Some(rest) = name.strip_prefix(PREFIX) else { continue };
        let at = rest.to_ascii_lowercase().replace("__", ".");
        let group = at.split('.').next().unwrap_or_default();
        if groups.iter().any(|known| *known == group) {
            values.push((at.clone(), typed(&at, text)));
        } else if let Some(near) = nearest(group, groups.iter().map(|known| known.as_str())) {
            let near = format!("{PREFIX}{}", near.to_ascii_uppercase());
            let warning =
                Diagnostic::outside(in_environment(name), "this variable names no setting and is ignored");
            warnings.push(warning.code("unknown-variable").help(format!("did you mean `{near}`?")).warning());
        }
    }
    (values, warnings)
}

/// Text stays text where the setting is text: `LOCKSTEP_NODE_ID=7` is the name `7`.
fn typed(at: &str, text: &str) -> Layered {
    let types = schema::field(settings_schema(), at).and_then(|field| field.get("type"));
    let only_text = match types {
        Some(Value::String(only)) => only == "string",
        Some(Value::Array(types)) => types.iter().all(|each| each == "string" || each == "null"),
        _ => false,
    };
    if only_text { Layered::from(text) } else { text.parse().unwrap_or_else(|_| Layered::from(text)) }
}

fn given(flags: &[Flag]) -> Vec<(String, Layered)> {
    let value = |flag: &Flag| Layered::serialize(&flag.value).expect("every JSON value is a figment value");
    flags.iter().map(|flag| (flag.path.clone(), value(flag))).collect()
}

fn in_environment(name: &str) -> String {
    format!("environment variable {name}")
}

fn outside(error: figment::Error) -> Diagnostics {
    Diagnostic::outside("host settings", error.kind.to_string()).into()
}

struct Layers<'a> {
    figment: Figment,
    file: Option<Arc<SourceText>>,
    flags: &'a [Flag],
}

impl Layers<'_> {
    fn origin(&self, at: &str) -> Origin {
        let setting = outside_of_lists(at);
        let layer = self.figment.find_metadata(setting).map(|metadata| metadata.name.as_ref());
        match (layer, &self.file) {
            (Some(FILE), Some(file)) => {
                Origin::File { file: file.file().into(), line: file.line_column(at, Anchor::Key).0 }
            }
            (Some(ENVIRONMENT), _) => {
                Origin::Environment(format!("{PREFIX}{}", setting.replace('.', "__").to_ascii_uppercase()))
            }
            (Some(FLAGS), _) => {
                let flag = self
                    .flags
                    .iter()
                    .find(|flag| at == flag.path || at.starts_with(&format!("{}.", flag.path)));
                Origin::Flag(flag.map_or_else(|| at.to_owned(), |flag| flag.name.clone()))
            }
            _ => Origin::Default,
        }
    }

    fn refuse(&self, violation: Violation) -> Diagnostic {
        let Violation { path, anchor, code, message, help } = violation;
        self.diagnostic(&path, anchor, message, help).code(code)
    }

    fn diagnostic(&self, at: &str, anchor: Anchor, message: String, help: Option<String>) -> Diagnostic {
        match (self.origin(at), &self.file) {
            (Origin::File { .. }, Some(file)) => file.diagnostic(at, anchor, message, help),
            (Origin::Environment(name), _) => {
                Diagnostic::outside(in_environment(&name), message).maybe_help(help).at_path(at)
            }
            (Origin::Flag(name), _) => {
                Diagnostic::outside(format!("flag {name}"), message).maybe_help(help).at_path(at)
            }
            _ => Diagnostic::outside(format!("setting {at}"), message).maybe_help(help).at_path(at),
        }
    }

    /// What the schema cannot say.
    fn check(&self, settings: &HostSettings) -> Vec<Diagnostic> {
        let mut problems = Vec::new();
        let mut refuse = |at: &str, message: &str| {
            problems.push(self.diagnostic(at, Anchor::Value, message.into(), None).code("out-of-range"));
        };
        if settings.call_timeout >= settings.watchdog {
            // Blamed on the one that was given.
            let at = if self.origin("call_timeout") == Origin::Default { "watchdog" } else { "call_timeout" };
            refuse(at, "`call_timeout` must be shorter than `watchdog`");
        }
        if settings.call_timeout.is_zero() {
            refuse("call_timeout", "must be longer than 0s");
        }
        if settings.restart.backoff.max < settings.restart.backoff.min {
            refuse("restart.backoff.max", "the longest wait `max` is shorter than the first wait `min`");
        }
        let listen = settings.admin.listen.as_str();
        let is_address = listen
            .rsplit_once(':')
            .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok());
        if !is_address && listen != "off" {
            refuse("admin.listen", "expected `host:port`, for example `127.0.0.1:8780`, or `off`");
        }
        for (at, pattern) in settings.audit.redact.iter().enumerate() {
            if let Err(error) = Glob::new(pattern) {
                let at = path::join("audit.redact", &at.to_string());
                refuse(&at, &format!("`{pattern}` is not a pattern: {error}"));
            }
        }
        if settings
            .node_id
            .as_deref()
            .is_some_and(|id| id.is_empty() || id.len() > 64 || id.contains(char::is_whitespace))
        {
            refuse("node_id", "a node id has 1 to 64 characters and no space");
        }
        problems.extend(settings.state.encryption.problems().into_iter().map(|problem| {
            self.diagnostic(&problem.at, Anchor::Value, problem.message, problem.help).code("encryption")
        }));
        problems
    }

    /// Paths in the file are relative to the file; others to where the host was started.
    fn with_paths(&self, mut settings: HostSettings) -> HostSettings {
        let resolve = |at: &str, path: &mut PathBuf| {
            if let (Origin::File { .. }, Some(file), true) = (self.origin(at), &self.file, path.is_relative())
            {
                *path = file.dir().join(path.strip_prefix(".").unwrap_or(path));
            }
        };
        resolve("data_dir", &mut settings.data_dir);
        if let Some(cache) = &mut settings.plugin_cache_dir {
            resolve("plugin_cache_dir", cache);
        }
        settings.plugin_path.iter_mut().for_each(|folder| resolve("plugin_path", folder));
        let keys = settings.state.encryption.keys.iter_mut();
        keys.filter_map(|key| key.file.as_mut()).for_each(|file| resolve("state.encryption.keys", file));
        if settings.plugin_path.is_empty() {
            settings.plugin_path = plugin_path_of_executable();
        }
        settings
    }

    fn shown(&self, settings: &HostSettings) -> Vec<ShownSetting> {
        let mut shown = Vec::new();
        let mut value = serde_json::to_value(settings).expect("settings are plain data");
        EncryptionSettings::hide_arguments(&mut value);
        self.leaves("", &value, &mut shown);
        shown
    }

    fn leaves(&self, at: &str, value: &Value, shown: &mut Vec<ShownSetting>) {
        match value {
            Value::Object(fields) => {
                fields.iter().for_each(|(name, value)| self.leaves(&path::join(at, name), value, shown));
            }
            Value::Array(items) if items.iter().any(Value::is_object) => {
                let named = items.iter().enumerate();
                named.for_each(|(n, item)| self.leaves(&path::join(at, &n.to_string()), item, shown));
            }
            _ => shown.push(ShownSetting { path: at.into(), value: value.clone(), origin: self.origin(at) }),
        }
    }
}

/// Layers replace a list whole: what stands in it comes from where the list does.
fn outside_of_lists(at: &str) -> &str {
    let is_item = |segment: &str| segment.bytes().all(|byte| byte.is_ascii_digit());
    let list = at.split('.').take_while(|segment| !is_item(segment)).map(|segment| segment.len() + 1);
    &at[..list.sum::<usize>().saturating_sub(1)]
}

/// The folder of the executable, then `../lib/lockstep` beside it.
fn plugin_path_of_executable() -> Vec<PathBuf> {
    let executable = std::env::current_exe().and_then(std::fs::canonicalize);
    let folder = executable.as_deref().ok().and_then(Path::parent).unwrap_or(Path::new("."));
    let library = folder.parent().unwrap_or(folder).join("lib/lockstep");
    vec![folder.to_owned(), library]
}

impl fmt::Display for ShownSetting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.value {
            Value::String(text) => write!(f, "{}: {text}  # {}", self.path, self.origin),
            value => write!(f, "{}: {value}  # {}", self.path, self.origin),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { file, line } => write!(f, "{}:{line}", file.display()),
            Self::Environment(name) | Self::Flag(name) => f.write_str(name),
        }
    }
}

impl Serialize for Origin {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
