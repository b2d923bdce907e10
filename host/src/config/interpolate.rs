//! `${env:NAME}`, `${env:NAME:-default}` and `${file:path}` in the scalars of `config`.
//!
//! What was put in is never shown; `$${` stands for a plain `${`.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use serde_json::Value;

use super::diagnostic::Diagnostic;
use super::nearest::{nearest, suggest};
use super::source_text::{SourceText, path};
use super::yaml::{self, Style};

/// The most that `${file:...}` reads.
const MAX_FILE: u64 = 1 << 20;

/// Environment variables, as the process or a test gives them.
#[derive(Debug, Clone, Default)]
pub struct Environment(BTreeMap<String, String>);

impl Environment {
    /// The variables of this process; those that are not UTF-8 are left out.
    pub fn of_process() -> Self {
        Self(
            std::env::vars_os()
                .filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)))
                .collect(),
        )
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

impl<const N: usize> From<[(&str, &str); N]> for Environment {
    fn from(variables: [(&str, &str); N]) -> Self {
        Self(variables.into_iter().map(|(name, value)| (name.into(), value.into())).collect())
    }
}

/// Why one `${...}` could not be replaced; `start` and `length` are bytes of the scalar's value.
#[derive(Debug)]
struct Unresolved {
    start: usize,
    length: usize,
    code: &'static str,
    message: String,
    help: Option<String>,
}

/// Replaces every `${...}` in the value at `at`, and gives the paths that were touched.
pub(super) fn interpolate(
    source: &Arc<SourceText>,
    at: &str,
    value: &mut Value,
    environment: &Environment,
    problems: &mut Vec<Diagnostic>,
) -> BTreeSet<String> {
    let mut walk = Walk { source, environment, problems, touched: BTreeSet::new() };
    walk.value(at, value);
    walk.touched
}

struct Walk<'a> {
    source: &'a Arc<SourceText>,
    environment: &'a Environment,
    problems: &'a mut Vec<Diagnostic>,
    touched: BTreeSet<String>,
}

impl Walk<'_> {
    fn value(&mut self, at: &str, value: &mut Value) {
        match value {
            Value::String(text) if text.contains("${") => {
                if let Some(replaced) = self.scalar(at, text) {
                    *value = replaced;
                }
            }
            Value::Array(items) => {
                for (n, item) in items.iter_mut().enumerate() {
                    self.value(&path::join(at, &n.to_string()), item);
                }
            }
            Value::Object(fields) => {
                for (name, field) in fields {
                    self.value(&path::join(at, name), field);
                }
            }
            _ => {}
        }
    }

    fn scalar(&mut self, at: &str, text: &str) -> Option<Value> {
        let (resolved, errors, n_replaced) = replace(text, self.environment, self.source.dir());
        if n_replaced > 0 {
            self.touched.insert(at.into());
        }
        for error in errors {
            let Unresolved { start, length, code, message, help } = error;
            self.problems.push(self.source.diagnostic_inside(at, start, length, message, help).code(code));
            self.touched.insert(at.into());
        }
        let plain = self.source.place(at).is_some_and(|place| place.style == Style::Plain);
        let whole = text.starts_with("${") && text.find('}') == Some(text.len() - 1);
        Some(if plain && whole && n_replaced == 1 {
            yaml::plain_scalar(&resolved)
        } else {
            Value::from(resolved)
        })
    }
}

/// The text with everything replaced, what could not be, and how many were.
fn replace(text: &str, environment: &Environment, dir: &Path) -> (String, Vec<Unresolved>, usize) {
    let (mut resolved, mut errors, mut n_replaced) = (String::new(), Vec::new(), 0);
    let mut at = 0;
    while let Some(found) = text[at..].find("${") {
        let start = at + found;
        if text[..start].ends_with('$') && start > at {
            resolved.push_str(&text[at..start - 1]);
            resolved.push_str("${");
            at = start + 2;
            continue;
        }
        resolved.push_str(&text[at..start]);
        let Some(length) = text[start..].find('}').map(|end| end + 1) else {
            errors.push(unclosed(start, text.len() - start));
            return (resolved, errors, n_replaced);
        };
        match one(&text[start + 2..start + length - 1], environment, dir) {
            Ok(value) => {
                resolved.push_str(&value);
                n_replaced += 1;
            }
            Err(error) => errors.push(Unresolved { start, length, ..error }),
        }
        at = start + length;
    }
    resolved.push_str(&text[at..]);
    (resolved, errors, n_replaced)
}

/// What `env:NAME` or `file:path` stands for.
fn one(reference: &str, environment: &Environment, dir: &Path) -> Result<String, Unresolved> {
    let error = |code, message: String, help| Unresolved { start: 0, length: 0, code, message, help };
    match reference.split_once(':') {
        Some(("env", variable)) => {
            let (name, default) = variable.split_once(":-").map_or((variable, None), |(n, d)| (n, Some(d)));
            let value = environment.get(name).filter(|value| default.is_none() || !value.is_empty());
            value.or(default).map(str::to_owned).ok_or_else(|| {
                let near = nearest(name, environment.iter().map(|(name, _)| name));
                let help = near.map_or_else(
                    || format!("set it, or give a default: ${{env:{name}:-value}}"),
                    |near| format!("did you mean `{near}`?"),
                );
                error("unset-variable", format!("the environment variable `{name}` is not set"), Some(help))
            })
        }
        Some(("file", name)) => read(&dir.join(name))
            .map_err(|reason| error("unreadable-file", format!("cannot read `{name}`: {reason}"), None)),
        Some(("exec", _)) => Err(error(
            "exec",
            "`${exec:...}` is planned; this version runs no programs for a value".into(),
            Some("use `${file:...}` or `${env:...}`".into()),
        )),
        Some((scheme, _)) => {
            let help = suggest(scheme, &["env", "file"]);
            Err(error("interpolation", format!("`${{{scheme}:...}}` is not known"), help))
        }
        None => Err(error(
            "interpolation",
            format!("`${{{reference}}}` does not say where the value comes from"),
            Some(format!("write `${{env:{reference}}}`, or `$${{` for a plain `${{`")),
        )),
    }
}

fn unclosed(start: usize, length: usize) -> Unresolved {
    let help = Some("close it with `}`, or write `$${` for a plain `${`".into());
    Unresolved { start, length, code: "interpolation", message: "this `${` is not closed".into(), help }
}

/// The file without the line break at its end.
fn read(file: &Path) -> Result<String, String> {
    let file = std::fs::File::open(file).map_err(|error| error.to_string())?;
    let mut text = String::new();
    file.take(MAX_FILE + 1).read_to_string(&mut text).map_err(|error| error.to_string())?;
    if text.len() as u64 > MAX_FILE {
        return Err("it is larger than 1 MiB".into());
    }
    let end = text.trim_end_matches(['\n', '\r']).len();
    text.truncate(end);
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expect: &str) {
        let environment = Environment::from([("HOST", "localhost"), ("EMPTY", "")]);
        let (resolved, errors, _) = replace(text, &environment, Path::new("."));
        let messages: Vec<_> = errors.into_iter().map(|error| error.message).collect();
        let shown = if messages.is_empty() { resolved } else { messages.join("; ") };
        assert_eq!(shown, expect, "{text}");
    }

    #[test]
    fn references_are_replaced_wherever_they_stand_in_a_string() {
        check("${env:HOST}", "localhost");
        check("a ${env:HOST}:1 ${env:HOST} b", "a localhost:1 localhost b");
        check("${env:NOPE:-x}${env:EMPTY:-y}", "xy");
        check("[${env:EMPTY}]", "[]");
        check("no reference $HOST {}", "no reference $HOST {}");
    }

    #[test]
    fn a_doubled_dollar_keeps_the_text() {
        check("$${env:HOST}", "${env:HOST}");
        check("$${a} ${env:HOST}", "${a} localhost");
        check("cost: $$5", "cost: $$5");
    }

    #[test]
    fn what_cannot_be_replaced_says_why() {
        check("${env:NOPE}", "the environment variable `NOPE` is not set");
        check(
            "${env:A} ${env:B}",
            "the environment variable `A` is not set; the environment variable `B` is not set",
        );
        check("${exec:pass}", "`${exec:...}` is planned; this version runs no programs for a value");
        check("${vault:x}", "`${vault:...}` is not known");
        check("${HOST}", "`${HOST}` does not say where the value comes from");
        check("${env:HOST", "this `${` is not closed");
        check(
            "${file:/nonexistent/f}",
            "cannot read `/nonexistent/f`: No such file or directory (os error 2)",
        );
    }

    #[test]
    fn a_file_is_read_without_its_last_line_break() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("key"), "line 1\nline 2\n").unwrap();
        let (resolved, errors, _) = replace("${file:key}", &Environment::default(), folder.path());
        assert!(errors.is_empty());
        assert_eq!(resolved, "line 1\nline 2");
    }
}
