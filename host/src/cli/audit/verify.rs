//! `lockstep audit verify`.

use super::super::live::{CommandError, Live};
use super::super::output::{print, print_json};
use super::super::{DONE, FAILED};
use super::entries::Entries;
use crate::admin::{AuditVerdict, broken_at, verdict};
use crate::audit::{FileProblem, Files};
use crate::store::Link;
use clap::Args;
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

/// Progress is said after so many entries.
const TELL: u64 = 100_000;

/// Neither whole nor broken: nobody knows.
const UNKNOWN: u8 = 3;

#[derive(Debug, Args)]
pub(super) struct Verify {
    /// A file that `audit export` wrote, instead of a host; given more than once, in the order of their making, each must
    /// hold the head of the one before it, and all of them are verified as one chain
    #[arg(long, value_name = "FILE")]
    file: Vec<PathBuf>,
    /// A head that was noted earlier, NUMBER:HASH: it must still be in the chain, or in one of the files
    #[arg(long, value_name = "NUMBER:HASH")]
    head: Option<Link>,
    /// Print `{ok: true, entries, anchor, head}`, `{ok: false, number, problem}` where the chain breaks, or `{ok: null,
    /// problem}` if that cannot be told
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    live: Live,
}

impl Verify {
    pub(super) fn run(self) -> u8 {
        match self.file.is_empty() {
            true => super::with_entries(&self.live, UNKNOWN, |entries| self.verify(entries)),
            false => self.verify_files().unwrap_or_else(|error| error.tell()),
        }
    }

    fn verify(&self, entries: &Entries) -> Result<u8, CommandError> {
        let mut told = 0;
        for line in entries.verify(self.head)? {
            let broke_off = |error| CommandError::Failed(format!("the verification broke off: {error}"));
            match serde_json::from_str(&line.map_err(broke_off)?) {
                Ok(AuditVerdict::Progress { checked }) => tell_progress(checked, &mut told),
                Ok(verdict) => return Ok(self.show(&verdict)),
                Err(error) => {
                    return Err(CommandError::Failed(format!("the host answers strangely: {error}")));
                }
            }
        }
        Err(CommandError::Failed("the host did not come to an end".to_owned()))
    }

    fn verify_files(&self) -> Result<u8, CommandError> {
        let mut files = Files::new(self.head.into_iter().collect());
        // A break is graver: it is looked for in what comes after a gap, too.
        let mut first_gap = None;
        for path in &self.file {
            let file = File::open(path)
                .map_err(|error| CommandError::BadArgument(format!("{}: {error}", path.display())))?;
            let mut told = 0;
            let added = files.add(BufReader::new(file), |checked| tell_progress(checked, &mut told));
            match added {
                Ok(()) => {}
                Err(gap @ FileProblem::Gap { .. }) => {
                    first_gap.get_or_insert(verdict_of(path, &gap));
                }
                Err(problem) => return Ok(self.show(&verdict_of(path, &problem))),
            }
        }
        let verdict = match files.end() {
            Ok(verified) => first_gap.or(verified.as_ref().map(verdict)),
            Err(broken) => Some(broken_at(&broken)),
        };
        Ok(verdict.map_or(DONE, |verdict| self.show(&verdict)))
    }

    fn show(&self, verdict: &AuditVerdict) -> u8 {
        let exit = match verdict {
            AuditVerdict::Whole { .. } => DONE,
            AuditVerdict::Broken { .. } => FAILED,
            AuditVerdict::Unknown { .. } | AuditVerdict::Progress { .. } => UNKNOWN,
        };
        let printed = match verdict {
            verdict if self.json => print_json(verdict),
            AuditVerdict::Whole { entries, anchor, head, .. } => {
                print(&format!("the chain is whole: {entries} entries\nanchor {anchor}\nhead   {head}\n"))
            }
            AuditVerdict::Broken { problem, .. } => complain(&format!("the chain is broken: {problem}")),
            AuditVerdict::Unknown { problem, .. } => {
                complain(&format!("whether the chain is what it was cannot be told: {problem}"))
            }
            AuditVerdict::Progress { .. } => DONE,
        };
        if exit == DONE { printed } else { exit }
    }
}

fn complain(problem: &str) -> u8 {
    eprintln!("error: {problem}");
    DONE
}

fn verdict_of(file: &Path, problem: &FileProblem) -> AuditVerdict {
    let number = match problem {
        FileProblem::Broken { problem, .. } | FileProblem::End(problem) => Some(problem.number),
        FileProblem::Strange { last, .. } => Some(last + 1),
        FileProblem::Behind { before, .. } => Some(*before),
        FileProblem::Empty | FileProblem::Gap { .. } | FileProblem::Io(_) => None,
    };
    let shown = format!("{}: {problem}", file.display());
    match problem {
        FileProblem::Gap { .. } | FileProblem::Io(_) => AuditVerdict::Unknown { ok: (), problem: shown },
        _ => AuditVerdict::Broken { ok: false, number, problem: shown },
    }
}

fn tell_progress(checked: u64, told: &mut u64) {
    if checked >= *told + TELL {
        *told = checked;
        eprintln!("{checked} entries checked");
    }
}
