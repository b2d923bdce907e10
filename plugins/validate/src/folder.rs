//! What a `$ref` may reach: files in the schema's own folder and below, never the network.
//!
//! Invariant: every file that was read for a schema, or was to be, is remembered, so that it is seen to change; what is
//! wrong with one is said with its own name.

use crate::{files::Seen, schema};
use jsonschema::{Retrieve, Uri};
use serde_json::Value;
use std::{
    error::Error as StdError,
    fmt::Write,
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

const DRAFT: &str = "https://json-schema.org/draft/2020-12/schema";

/// Every file that was read, or was to be.
pub type Files = Arc<Mutex<Vec<Seen>>>;

/// The folder of one schema.
pub struct Folder {
    /// Without links.
    pub path: PathBuf,
    pub files: Files,
    pub reached: Reached,
}

/// What the references of one schema led to.
#[derive(Clone, Default)]
pub struct Reached(Arc<Mutex<Targets>>);

#[derive(Default)]
struct Targets {
    read: Vec<(PathBuf, Value)>,
    /// The first that cannot be used: its name, and why.
    refused: Option<(String, String)>,
}

impl Reached {
    fn lock(&self) -> MutexGuard<'_, Targets> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Why the schema cannot be used, if that is what it refers to.
    pub fn problem(&self) -> Option<String> {
        let targets = self.lock();
        let (target, why) = targets.refused.clone().or_else(|| {
            targets.read.iter().find_map(|(path, schema)| {
                let error = jsonschema::draft202012::meta::validate(schema).err()?;
                Some((path.display().to_string(), schema::reason(&error)))
            })
        })?;
        Some(format!("it refers to `{target}`: {why}"))
    }
}

impl Retrieve for Folder {
    fn retrieve(&self, uri: &Uri<String>) -> Result<Value, Box<dyn StdError + Send + Sync>> {
        let target = match uri.scheme().as_str() {
            "file" => decoded(uri.path().as_str()),
            _ => uri.to_string(),
        };
        self.target(uri).map_err(|why| {
            self.reached.lock().refused.get_or_insert((target, why.clone()));
            why.into()
        })
    }
}

impl Folder {
    fn target(&self, uri: &Uri<String>) -> Result<Value, String> {
        if uri.scheme().as_str() != "file" {
            return Err("a `$ref` may only name a file; remote schemas are never fetched".to_owned());
        }
        let path = PathBuf::from(decoded(uri.path().as_str()));
        // By the name that it has here, so that a link on the way is seen to be turned.
        let is_outside = path.canonicalize().is_ok_and(|led_to| !led_to.starts_with(&self.path));
        if is_outside {
            self.files.lock().unwrap_or_else(PoisonError::into_inner).push(Seen::unread(&path));
            return Err("a `$ref` may only name a file in the schema's own folder".to_owned());
        }
        let schema = read(&path, &self.files).map_err(|error| error.to_string())?;
        check_draft(&schema)?;
        self.reached.lock().read.push((path, schema.clone()));
        Ok(schema)
    }
}

/// Reads a file as JSON.
pub fn read(path: &Path, files: &Mutex<Vec<Seen>>) -> io::Result<Value> {
    let (seen, bytes) = Seen::read(path);
    files.lock().unwrap_or_else(PoisonError::into_inner).push(seen);
    serde_json::from_slice(&bytes?).map_err(io::Error::from)
}

/// Refuses a schema that says itself that it is of another draft.
pub fn check_draft(schema: &Value) -> Result<(), String> {
    match schema.get("$schema").map(|draft| draft.as_str().unwrap_or_default().trim_end_matches('#')) {
        None | Some(DRAFT) => Ok(()),
        Some(other) => Err(format!("it is written for `{other}`; only `{DRAFT}` is supported")),
    }
}

/// A path as a reference starts at it.
pub fn file_uri(path: &Path) -> String {
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
