//! `lockstep audit export`.

use super::super::live::{CommandError, Live};
use super::super::output::print_some;
use super::super::{DONE, FAILED};
use super::entries::Entries;
use clap::Args;
use std::ops::ControlFlow;

/// Lines that are written at once.
const PAGE_BYTES: usize = 64 << 10;

#[derive(Debug, Args)]
pub(super) struct Export {
    #[command(flatten)]
    live: Live,
}

impl Export {
    pub(super) fn run(self) -> u8 {
        super::with_entries(&self.live, FAILED, write)
    }
}

fn write(entries: &Entries) -> Result<u8, CommandError> {
    let mut page = String::new();
    for line in entries.export()? {
        let line = line.map_err(|error| CommandError::Failed(format!("the export broke off: {error}")));
        let is_last = line.is_err();
        if let Ok(line) = &line {
            page += line;
            page.push('\n');
        }
        if page.len() >= PAGE_BYTES || is_last {
            if let ControlFlow::Break(exit) = print_some(&page) {
                // Whoever reads an export needs all of it.
                return Ok(exit.max(FAILED));
            }
            page.clear();
        }
        line?;
    }
    match print_some(&page) {
        ControlFlow::Continue(()) => Ok(DONE),
        ControlFlow::Break(exit) => Ok(exit.max(FAILED)),
    }
}
