//! Exported files as one chain: each goes on from the one before it, and a place that was noted may be in any of them.
//!
//! Invariant: what passes is a chain from the first anchor to the last head, every entry of which is in one of the files.

use std::io::BufRead;

use super::export::{FileProblem, verify_file};
use super::verify::{Broken, Verified};
use crate::store::Link;

/// Files in the order of their making.
#[derive(Debug, Default)]
pub struct Files {
    /// What those so far are together; its noted places are the ones that are in none of them.
    chain: Option<Verified>,
    noted: Vec<Link>,
}

impl Files {
    /// `noted` are places that the chain had once.
    pub fn new(noted: Vec<Link>) -> Self {
        Self { chain: None, noted }
    }

    /// The next file; `progress` hears how many of its entries it was so far.
    ///
    /// # Errors
    /// What is wrong with it, and where, also if it does not go on from the one before it. After a gap between the two, and
    /// only then, more files may be added: what follows is a chain from this file's anchor.
    pub fn add(&mut self, file: impl BufRead, progress: impl FnMut(u64)) -> Result<(), FileProblem> {
        let before = self.chain.as_ref().map(|chain| chain.head);
        let noted = self.noted.iter().copied().chain(before).collect();
        let found = verify_file(file, noted, progress)?;
        let gap = match before {
            Some(before) => gap_after(&found, before)?,
            None => None,
        };
        self.noted.retain(|noted| found.forgotten.contains(noted) || found.ahead.contains(noted));
        let anchors = self.chain.iter().filter(|_| gap.is_none()).map(|chain| chain.anchor);
        let anchor = anchors.chain([found.anchor]).min_by_key(|anchor| anchor.number);
        self.chain = Some(Verified { anchor: anchor.expect("there is this file's"), ..found });
        gap.map_or(Ok(()), Err)
    }

    /// What they are together; none if there was no file.
    ///
    /// # Errors
    /// If they end before a place that was noted.
    pub fn end(self) -> Result<Option<Verified>, Broken> {
        let Self { chain: Some(Verified { anchor, head, .. }), noted } = self else { return Ok(None) };
        let (ahead, forgotten) = noted.into_iter().partition(|noted| noted.number > head.number);
        let n_entries = head.number - anchor.number;
        Verified { n_entries, anchor, head, forgotten, ahead }.not_cut_off().map(Some)
    }
}

/// What cannot be told of entries between a file and the one before it, if the two do not meet.
fn gap_after(found: &Verified, before: Link) -> Result<Option<FileProblem>, FileProblem> {
    if found.ahead.contains(&before) {
        return Err(FileProblem::Behind { before: before.number, head: found.head.number });
    }
    let has_gap = found.forgotten.contains(&before);
    Ok(has_gap.then_some(FileProblem::Gap { before: before.number, anchor: found.anchor.number }))
}
