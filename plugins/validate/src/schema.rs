//! From a rule to a compiled schema.
//!
//! Draft 2020-12 and nothing else, formats asserted, patterns in linear time. A `$ref` reaches files in the schema's own
//! folder and below, never the network.

use crate::config::SchemaSource;
use jsonschema::{Draft, PatternOptions, Retrieve, Uri, Validator};
use lockstep_plugin_api::prelude::*;
use serde_json::Value;
use std::{
    error::Error as StdError,
    fmt::Write,
    fs, io,
    path::{Path, PathBuf},
};

const DRAFT: &str = "https://json-schema.org/draft/2020-12/schema";

/// The largest schema file.
const LARGEST_FILE: u64 = 16 << 20;

/// Reads and compiles a schema.
///
/// # Errors
/// `Config` if it cannot be read, is no schema of this draft, or refers to something it must not.
pub fn compile(source: SchemaSource, context: &Context) -> Result<Validator> {
    match source {
        SchemaSource::File(path) => {
            let path = context.resolve(path);
            let schema = read(&path).map_err(|error| {
                Error::config(format!("cannot read the schema `{}`: {error}", path.display()))
            })?;
            compile_at(&schema, &path)
        }
        SchemaSource::Inline(schema) => compile_at(&Value::Object(schema), &context.resolve("inline-schema")),
        SchemaSource::Always(allowed) => compile_at(&Value::Bool(allowed), &context.resolve("inline-schema")),
    }
}

/// Compiles a schema whose relative references start at `path`.
fn compile_at(schema: &Value, path: &Path) -> Result<Validator> {
    check_draft(schema).map_err(Error::config)?;
    let folder = path.parent().unwrap_or(Path::new("."));
    let folder = folder.canonicalize().map_err(|error| {
        Error::config(format!("cannot find the schema's folder `{}`: {error}", folder.display()))
    })?;
    let base = file_uri(&folder.join(path.file_name().unwrap_or_default()));
    jsonschema::options()
        .with_draft(Draft::Draft202012)
        .with_base_uri(base)
        .with_retriever(Folder(folder))
        .with_pattern_options(PatternOptions::regex())
        .should_validate_formats(true)
        .should_ignore_unknown_formats(false)
        .build(schema)
        .map_err(|error| refused(&error))
}

fn refused(error: &jsonschema::ValidationError<'_>) -> Error {
    let mut message = format!("not a usable JSON Schema: {error}");
    let mut cause = error.source();
    while let Some(error) = cause {
        let _ = write!(message, ": {error}");
        cause = error.source();
    }
    let at = error.instance_path().as_str();
    if !at.is_empty() {
        let _ = write!(message, " (at {at})");
    }
    Error::config(message)
}

fn read(path: &Path) -> io::Result<Value> {
    if fs::metadata(path)?.len() > LARGEST_FILE {
        return Err(io::Error::other("it is larger than 16 MiB"));
    }
    serde_json::from_slice(&fs::read(path)?).map_err(io::Error::from)
}

fn check_draft(schema: &Value) -> Result<(), String> {
    match schema.get("$schema").map(|draft| draft.as_str().unwrap_or_default().trim_end_matches('#')) {
        None | Some(DRAFT) => Ok(()),
        Some(other) => Err(format!("the schema is written for `{other}`; only `{DRAFT}` is supported")),
    }
}

/// What a `$ref` may reach: files in this folder.
struct Folder(PathBuf);

impl Retrieve for Folder {
    fn retrieve(&self, uri: &Uri<String>) -> Result<Value, Box<dyn StdError + Send + Sync>> {
        if uri.scheme().as_str() != "file" {
            return Err("a `$ref` may only name a file; remote schemas are never fetched".into());
        }
        let path = PathBuf::from(decoded(uri.path().as_str())).canonicalize()?;
        if !path.starts_with(&self.0) {
            return Err("a `$ref` may only name a file in the schema's own folder".into());
        }
        let schema = read(&path)?;
        check_draft(&schema)?;
        Ok(schema)
    }
}

fn file_uri(path: &Path) -> String {
    let mut uri = "file://".to_owned();
    for byte in path.as_os_str().as_encoded_bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' | b'~' => {
                uri.push(char::from(*byte))
            }
            other => {
                let _ = write!(uri, "%{other:02X}");
            }
        }
    }
    uri
}

fn decoded(path: &str) -> String {
    let (mut bytes, mut rest) = (Vec::with_capacity(path.len()), path.as_bytes());
    while let Some((&first, after)) = rest.split_first() {
        let escaped = after.get(..2).filter(|_| first == b'%').and_then(|hex| std::str::from_utf8(hex).ok());
        match escaped.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => {
                bytes.push(first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_survives_its_uri() {
        let path = "/a b/ü%41/#x.json";
        let uri = file_uri(Path::new(path));
        assert!(uri.is_ascii() && !uri.contains(['#', ' ']), "{uri}");
        assert_eq!(decoded(uri.strip_prefix("file://").expect("a file")), path);
    }
}
