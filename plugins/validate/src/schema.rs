//! From a rule to a compiled schema.
//!
//! Draft 2020-12 and nothing else, formats asserted, patterns in linear time. A `$ref` reaches files in the schema's own
//! folder and below, never the network.

use crate::{config::SchemaSource, files::Seen};
use jsonschema::{Draft, PatternOptions, Retrieve, Uri, Validator};
use lockstep_plugin_api::prelude::*;
use serde_json::Value;
use std::{
    error::Error as StdError,
    fmt::Write,
    io, mem,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

const DRAFT: &str = "https://json-schema.org/draft/2020-12/schema";

/// Where a schema is, or what it is, with the place at which its relative references start.
#[derive(Debug, PartialEq, Eq)]
pub enum Source {
    File(PathBuf),
    Inline(Value, PathBuf),
}

/// A schema in force.
#[derive(Debug)]
pub struct Schema {
    pub validator: Validator,
    /// Whether it is `false`: then there is nothing to look into.
    pub allows_nothing: bool,
}

/// An attempt to compile a schema.
#[derive(Debug)]
pub struct Compiled {
    result: Result<Schema>,
    /// Every file that was read for it, or was to be.
    files: Vec<Seen>,
    /// The folder as it is named, and what that led to.
    folder: (PathBuf, Option<PathBuf>),
}

impl Source {
    pub fn new(source: SchemaSource, context: &Context) -> Self {
        let inline = |schema| Self::Inline(schema, context.resolve("inline-schema"));
        match source {
            SchemaSource::File(path) => Self::File(context.resolve(path)),
            SchemaSource::Inline(schema) => inline(Value::Object(schema)),
            SchemaSource::Always(allowed) => inline(Value::Bool(allowed)),
        }
    }

    fn path(&self) -> &Path {
        match self {
            Self::File(path) | Self::Inline(_, path) => path,
        }
    }

    /// The file, as messages name it.
    pub fn shown(&self) -> String {
        match self {
            Self::File(path) => path.display().to_string(),
            Self::Inline(_, path) => {
                format!("files beside the pipeline in {}", path.parent().unwrap_or(path).display())
            }
        }
    }
}

impl Compiled {
    /// The schema, once; afterwards only what was read for it is left.
    ///
    /// # Errors
    /// `Config` if it cannot be read, is no schema of this draft, or refers to something it must not.
    pub fn take(&mut self) -> Result<Schema> {
        mem::replace(&mut self.result, Err(Error::fatal("the schema was taken")))
    }

    /// Whether another attempt may come to something else.
    pub fn may_differ(&mut self) -> bool {
        let (folder, led_to) = &self.folder;
        folder.canonicalize().ok() != *led_to || self.files.iter_mut().any(Seen::may_differ)
    }

    /// Stands for everything that was read, and for the place of each in the schema's folder: what a file refers to depends
    /// on where it lies. Where the folder itself lies means nothing.
    pub fn content(&self) -> blake3::Hash {
        let files = self.files.iter().filter_map(Seen::content);
        let mut files: Vec<_> =
            files.map(|(path, content)| (self.within(path), *content.as_bytes())).collect();
        files.sort_unstable();
        files.dedup();
        let mut all = blake3::Hasher::new();
        for (path, content) in &files {
            let path = path.as_os_str().as_encoded_bytes();
            all.update(&(path.len() as u64).to_le_bytes()).update(path).update(content);
        }
        all.finalize()
    }

    /// The place of a file in the folder, by either name of that.
    fn within<'a>(&self, path: &'a Path) -> &'a Path {
        let (named, led_to) = &self.folder;
        let folders = led_to.iter().chain([named]);
        folders.filter_map(|folder| path.strip_prefix(folder).ok()).next().unwrap_or(path)
    }
}

/// Reads and compiles a schema.
pub fn compile(source: &Source) -> Compiled {
    let folder = source.path().parent().unwrap_or(Path::new(".")).to_owned();
    let led_to = folder.canonicalize();
    let folder = (folder, led_to.as_ref().ok().cloned());
    let files = Arc::<Mutex<Vec<Seen>>>::default();
    let result = led_to
        .map_err(|error| {
            let folder = folder.0.display();
            Error::config(format!("cannot find the schema's folder `{folder}`: {error}"))
        })
        .and_then(|led_to| compile_in(source, led_to, &files));
    let files = mem::take(&mut *files.lock().unwrap_or_else(PoisonError::into_inner));
    Compiled { result, files, folder }
}

fn compile_in(source: &Source, folder: PathBuf, files: &Arc<Mutex<Vec<Seen>>>) -> Result<Schema> {
    let read_schema;
    let schema = match source {
        Source::Inline(schema, _) => schema,
        Source::File(path) => {
            read_schema = read(path, files).map_err(|error| {
                Error::config(format!("cannot read the schema `{}`: {error}", path.display()))
            })?;
            &read_schema
        }
    };
    check_draft(schema).map_err(Error::config)?;
    let base = file_uri(&folder.join(source.path().file_name().unwrap_or_default()));
    let validator = jsonschema::options()
        .with_draft(Draft::Draft202012)
        .with_base_uri(base)
        .with_retriever(Folder { path: folder, files: files.clone() })
        .with_pattern_options(PatternOptions::regex())
        .should_validate_formats(true)
        .should_ignore_unknown_formats(false)
        .build(schema)
        .map_err(|error| refused(&error))?;
    Ok(Schema { validator, allows_nothing: *schema == Value::Bool(false) })
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

fn read(path: &Path, files: &Mutex<Vec<Seen>>) -> io::Result<Value> {
    let (seen, bytes) = Seen::read(path);
    files.lock().unwrap_or_else(PoisonError::into_inner).push(seen);
    serde_json::from_slice(&bytes?).map_err(io::Error::from)
}

fn check_draft(schema: &Value) -> Result<(), String> {
    match schema.get("$schema").map(|draft| draft.as_str().unwrap_or_default().trim_end_matches('#')) {
        None | Some(DRAFT) => Ok(()),
        Some(other) => Err(format!("the schema is written for `{other}`; only `{DRAFT}` is supported")),
    }
}

/// What a `$ref` may reach: files in this folder.
struct Folder {
    path: PathBuf,
    files: Arc<Mutex<Vec<Seen>>>,
}

impl Retrieve for Folder {
    fn retrieve(&self, uri: &Uri<String>) -> Result<Value, Box<dyn StdError + Send + Sync>> {
        if uri.scheme().as_str() != "file" {
            return Err("a `$ref` may only name a file; remote schemas are never fetched".into());
        }
        let path = PathBuf::from(decoded(uri.path().as_str()));
        // By the name that it has here, so that a link on the way is seen to be turned.
        let is_outside = path.canonicalize().is_ok_and(|led_to| !led_to.starts_with(&self.path));
        if is_outside {
            self.files.lock().unwrap_or_else(PoisonError::into_inner).push(Seen::unread(&path));
            return Err("a `$ref` may only name a file in the schema's own folder".into());
        }
        let schema = read(&path, &self.files)?;
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
