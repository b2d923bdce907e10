//! From a rule to a compiled schema.
//!
//! Draft 2020-12 and nothing else, formats asserted, patterns in linear time.

use crate::{
    config::SchemaSource,
    files::Seen,
    folder::{self, Files, Folder, Reached},
};
use jsonschema::{Draft, PatternOptions, Validator};
use lockstep_plugin_api::prelude::*;
use serde_json::Value;
use std::{
    error::Error as _,
    fmt::Write,
    mem,
    path::{Path, PathBuf},
    sync::PoisonError,
};

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
    /// What it says of every value, if it is `true` or `false`: then there is nothing to look into.
    pub verdict: Option<bool>,
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
    /// What a rule names; `resolve` knows where relative paths start.
    pub fn new(source: &SchemaSource, resolve: impl Fn(&str) -> PathBuf) -> Self {
        let inline = |schema| Self::Inline(schema, resolve("inline-schema"));
        match source {
            SchemaSource::File(path) => Self::File(resolve(path)),
            SchemaSource::Inline(schema) => inline(Value::Object(schema.clone())),
            SchemaSource::Always(allowed) => inline(Value::Bool(*allowed)),
        }
    }

    fn path(&self) -> &Path {
        match self {
            Self::File(path) | Self::Inline(_, path) => path,
        }
    }

    /// As a sentence about it begins.
    fn called(&self) -> String {
        match self {
            Self::File(path) => format!("the schema `{}`", path.display()),
            Self::Inline(..) => "the schema".to_owned(),
        }
    }

    /// The file, as messages name it.
    pub fn shown(&self) -> String {
        match self {
            Self::File(path) => path.display().to_string(),
            Self::Inline(..) => format!("files beside the pipeline in {}", self.folder().display()),
        }
    }

    /// Where it lies, or would lie.
    fn folder(&self) -> &Path {
        // The parent of a name alone is nothing, and no folder is called that.
        self.path().parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
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
    let folder = source.folder().to_owned();
    let led_to = folder.canonicalize();
    let folder = (folder, led_to.as_ref().ok().cloned());
    let files = Files::default();
    let result = led_to
        .map_err(|error| {
            let folder = folder.0.display();
            Error::config(format!("{} cannot be used: its folder `{folder}`: {error}", source.called()))
        })
        .and_then(|led_to| compile_in(source, led_to, &files));
    let files = mem::take(&mut *files.lock().unwrap_or_else(PoisonError::into_inner));
    Compiled { result, files, folder }
}

fn compile_in(source: &Source, folder: PathBuf, files: &Files) -> Result<Schema> {
    let read_schema;
    let schema = match source {
        Source::Inline(schema, _) => schema,
        Source::File(path) => {
            read_schema = folder::read(path, files).map_err(|error| {
                Error::config(format!("cannot read the schema `{}`: {error}", path.display()))
            })?;
            &read_schema
        }
    };
    let refused = |why: String| Error::config(format!("{} cannot be used: {why}", source.called()));
    folder::check_draft(schema).map_err(refused)?;
    let base = folder::file_uri(&folder.join(source.path().file_name().unwrap_or_default()));
    let reached = Reached::default();
    let validator = jsonschema::options()
        .with_draft(Draft::Draft202012)
        .with_base_uri(base)
        .with_retriever(Folder { path: folder, files: files.clone(), reached: reached.clone() })
        .with_pattern_options(PatternOptions::regex())
        .should_validate_formats(true)
        .should_ignore_unknown_formats(false)
        .build(schema)
        .map_err(|error| refused(reached.problem().unwrap_or_else(|| reason(&error))))?;
    Ok(Schema { validator, verdict: schema.as_bool() })
}

/// Why a schema is none, with its place in it.
pub fn reason(error: &jsonschema::ValidationError<'_>) -> String {
    let mut message = format!("it is no JSON Schema: {error}");
    let mut cause = error.source();
    while let Some(error) = cause {
        let _ = write!(message, ": {error}");
        cause = error.source();
    }
    let at = error.instance_path().as_str();
    if !at.is_empty() {
        let _ = write!(message, " (at {at})");
    }
    message
}
