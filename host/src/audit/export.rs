//! The audit as a file: JSON lines that can be verified without the host.
//!
//! Invariant: a line is written in one way only, and a file with a line written otherwise is no export. So every byte of it
//! counts, though the hash is over the entry alone.
//!
//! ```text
//! {"audit":1,"anchor":"NUMBER:HASH","head":"NUMBER:HASH"}
//! {"number":1,"time":"...Z","previous":"HASH","hash":"HASH","entry":{...}}
//! ```

use std::io::{self, BufRead};

use lockstep_plugin_api::time;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::verify::{Broken, Problem, Verified, Verifier};
use super::walk::WalkError;
use crate::store::{AuditLimit, AuditRecord, Link, Store, hex, unhex};

/// How much is read at once.
const PAGE: AuditLimit = AuditLimit { records: 500, bytes: 1 << 20 };

/// Of the file's own form.
const FORM: u32 = 1;

/// A store's audit on its way into a file, through the head that it had at the beginning.
pub struct Export {
    store: Store,
    after: u64,
    head: Link,
    header: Option<String>,
}

/// Why a file is not a whole export.
#[derive(Debug, thiserror::Error)]
pub enum FileProblem {
    #[error("line {line}: {problem}")]
    Broken { line: usize, problem: Broken },
    #[error("line {line} is not as an export has it{}", after(*.last))]
    Strange { line: usize, last: u64 },
    #[error("{0}")]
    End(Broken),
    #[error("there is nothing in it")]
    Empty,
    #[error(
        "entry {before}, the newest of the file before it, is not there: this one ends at {head}. Name files in the order \
         of their making; if this is their order, its end was cut off"
    )]
    Behind { before: u64, head: u64 },
    #[error(
        "it begins after entry {anchor}, and the file before it ends at {before}: nothing can be told of those between"
    )]
    Gap { before: u64, anchor: u64 },
    #[error("it cannot be read: {0}")]
    Io(#[from] io::Error),
}

fn after(number: u64) -> String {
    if number == 0 { String::new() } else { format!(": what follows entry {number} was altered") }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    audit: u32,
    anchor: String,
    head: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line<'a> {
    number: u64,
    time: &'a str,
    previous: &'a str,
    hash: &'a str,
    #[serde(borrow)]
    entry: &'a RawValue,
}

impl Export {
    /// Of everything that is there now.
    pub fn begin(store: Store) -> Self {
        let chain = store.audit_chain();
        let header = Some(header_line(chain.anchor, chain.head));
        Self { store, after: chain.anchor.number, head: chain.head, header }
    }

    /// The next lines; none at the end.
    ///
    /// # Errors
    /// If the store or an entry cannot be read, or entries were given up before they were exported.
    pub fn next_lines(&mut self) -> Result<Option<String>, WalkError> {
        if let Some(header) = self.header.take() {
            return Ok(Some(header));
        }
        if self.after >= self.head.number {
            return Ok(None);
        }
        let page = self.store.audit_page(self.after, PAGE)?;
        if page.chain.anchor.number > self.after {
            return Err(WalkError::GivenUp);
        }
        let mut lines = String::new();
        for (number, record) in page.records.iter().filter(|(number, _)| *number <= self.head.number) {
            self.after = *number;
            let unreadable = || Broken { number: *number, problem: Problem::Unreadable };
            lines += &line(record.as_ref().ok_or_else(unreadable)?);
        }
        if lines.is_empty() {
            // The file ends before its head, and says so when it is verified.
            return Ok(None);
        }
        Ok(Some(lines))
    }
}

fn header_line(anchor: Link, head: Link) -> String {
    format!("{{\"audit\":{FORM},\"anchor\":\"{anchor}\",\"head\":\"{head}\"}}\n")
}

fn line(record: &AuditRecord) -> String {
    let AuditRecord { number, at_us, previous, hash, entry } = record;
    let (time, previous, hash) = (time::format_us(*at_us), hex(previous), hex(hash));
    format!(
        "{{\"number\":{number},\"time\":\"{time}\",\"previous\":\"{previous}\",\"hash\":\"{hash}\",\"entry\":{entry}}}\n"
    )
}

/// Anchor and head of a file, if this is how one begins.
fn read_header(text: &str) -> Option<(Link, Link)> {
    let header: Header = serde_json::from_str(text).ok().filter(|header: &Header| header.audit == FORM)?;
    let (anchor, head) = (header.anchor.parse().ok()?, header.head.parse().ok()?);
    (header_line(anchor, head) == text).then_some((anchor, head))
}

fn read_line(text: &str) -> Option<AuditRecord> {
    let parts: Line<'_> = serde_json::from_str(text).ok()?;
    let at_us = time::parse_us(parts.time).ok()?;
    let (previous, hash) = (unhex(parts.previous)?, unhex(parts.hash)?);
    let record =
        AuditRecord { number: parts.number, at_us, previous, hash, entry: parts.entry.get().to_owned() };
    (line(&record) == text).then_some(record)
}

/// Whether a file is an export of a whole chain, and which of these places it has; `progress` hears how many entries it was
/// so far.
///
/// # Errors
/// What is wrong with it, and where.
pub(super) fn verify_file(
    mut file: impl BufRead,
    noted: Vec<Link>,
    mut progress: impl FnMut(u64),
) -> Result<Verified, FileProblem> {
    let mut text = String::new();
    if !read_text(&mut file, &mut text)? {
        return Err(FileProblem::Empty);
    }
    let (anchor, head) = read_header(&text).ok_or(FileProblem::Strange { line: 1, last: 0 })?;
    let mut verifier = Verifier::new(anchor, noted).map_err(FileProblem::End)?;
    for at in 2.. {
        if !read_text(&mut file, &mut text)? {
            break;
        }
        let last = verifier.last().number;
        let record = read_line(&text).ok_or(FileProblem::Strange { line: at, last })?;
        let taken = verifier.take(record.number, Some(&record), head);
        taken.map_err(|problem| FileProblem::Broken { line: at, problem })?;
        progress(verifier.n_entries());
    }
    verifier.end(head).map_err(FileProblem::End)
}

/// The next line; false at the end. What is no text is none that an export has.
fn read_text(file: &mut impl BufRead, text: &mut String) -> io::Result<bool> {
    text.clear();
    match file.read_line(text) {
        Ok(n_bytes) => Ok(n_bytes > 0),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => Ok(true),
        Err(error) => Err(error),
    }
}
