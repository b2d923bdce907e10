//! What is said about a ring before its component is made: keys that are not there, and keys that are there and cannot be
//! used.
//!
//! No program is run for it: what one prints is known when the component is made.

use super::{Ring, Source};
use crate::{config::RingEntry, key_text::Line};
use lockstep_plugin_api::{Advice, Error};
use std::time::Duration;

/// Reads every variable and every file of a ring. What is absent is a warning, for a configuration is checked where no
/// secrets are, too.
pub fn advise(ring: &[RingEntry], current: Option<&str>, advice: &mut Advice) {
    let mut lines: Option<Vec<Line>> = Some(Vec::new());
    for (n, entry) in ring.iter().enumerate() {
        // No program is run, so none has to be waited for.
        let source = Source::new(entry.clone(), &advice.resolve("."), Duration::ZERO);
        match of_source(&source, n, advice) {
            Some(read) => lines.iter_mut().for_each(|lines| lines.extend(read.iter().cloned())),
            None => lines = None,
        }
    }
    if let Some(problem) = lines.and_then(|lines| Ring::new(lines.iter(), current).err()) {
        advice.refuse(Error::config(problem).at("ring"));
    }
}

/// Its keys, if they can be known now.
fn of_source(source: &Source, n: usize, advice: &mut Advice) -> Option<Vec<Line>> {
    if !source.is_plain() {
        return None;
    }
    match source.read() {
        Ok(read) => {
            read.warning.iter().for_each(|warning| advice.warn(&source.field(n), warning));
            Some(read.lines)
        }
        Err(absent) if absent.is_absence => {
            let message = format!("{}; without it the pipeline does not start", absent.why);
            advice.warn(&source.field(n), &message);
            None
        }
        Err(wrong) => {
            advice.refuse(source.error(n, wrong));
            None
        }
    }
}
