//! `lockstep audit verify`.

use super::super::live::{CommandError, Live};
use super::super::output::{complain, print, print_json};
use super::super::{FAILED, REFUSED};
use super::entries::Entries;
use crate::admin::{AuditVerdict, verdict};
use crate::audit::{FileProblem, Verified, verify_file};
use crate::store::Link;
use clap::Args;
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

/// Progress is said after so many entries.
const TELL: u64 = 100_000;

#[derive(Debug, Args)]
pub(super) struct Verify {
    /// A file that `audit export` wrote, instead of a host; given more than once, in the order of their making, each must
    /// hold the head of the one before it
    #[arg(long, value_name = "FILE")]
    file: Vec<PathBuf>,
    /// A head that was noted earlier, NUMBER:HASH: it must still be in the chain
    #[arg(long, value_name = "NUMBER:HASH")]
    head: Option<Link>,
    /// Print `{ok, entries, anchor, head}`, or `{ok, number, problem}` where the chain breaks
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    live: Live,
}

impl Verify {
    pub(super) fn run(self) -> u8 {
        if self.file.is_empty() {
            return super::with_entries(&self.live, |entries| self.verify(entries));
        }
        self.verify_files()
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

    /// One after the other, each from the head of the one before it.
    fn verify_files(&self) -> u8 {
        let mut noted: Vec<Link> = self.head.into_iter().collect();
        let mut last = None;
        for file in &self.file {
            match verify_at(file, noted.clone()) {
                Ok(verified) => {
                    noted = vec![verified.head];
                    last = Some(verified);
                }
                Err(FileProblem::Io(error)) => {
                    complain(&CommandError::BadArgument(format!("{}: {error}", file.display())));
                    return REFUSED;
                }
                Err(problem) => return self.show(&broken(file, &problem)),
            }
        }
        last.map_or(REFUSED, |verified| self.show(&verdict(&verified)))
    }

    fn show(&self, verdict: &AuditVerdict) -> u8 {
        if self.json {
            let printed = print_json(verdict);
            return if is_whole(verdict) { printed } else { FAILED };
        }
        match verdict {
            AuditVerdict::Whole { entries, anchor, head, .. } => {
                print(&format!("the chain is whole: {entries} entries\nanchor {anchor}\nhead   {head}\n"))
            }
            AuditVerdict::Broken { problem, .. } => {
                eprintln!("error: the chain is broken: {problem}");
                FAILED
            }
            AuditVerdict::Progress { .. } => FAILED,
        }
    }
}

fn is_whole(verdict: &AuditVerdict) -> bool {
    matches!(verdict, AuditVerdict::Whole { ok: true, .. })
}

fn verify_at(file: &Path, noted: Vec<Link>) -> Result<Verified, FileProblem> {
    let mut told = 0;
    verify_file(BufReader::new(File::open(file)?), noted, |checked| tell_progress(checked, &mut told))
}

fn broken(file: &Path, problem: &FileProblem) -> AuditVerdict {
    let number = match problem {
        FileProblem::Broken { problem, .. } | FileProblem::End(problem) => Some(problem.number),
        FileProblem::Strange { last, .. } => Some(last + 1),
        FileProblem::Empty | FileProblem::Io(_) => None,
    };
    AuditVerdict::Broken { ok: false, number, problem: format!("{}: {problem}", file.display()) }
}

fn tell_progress(checked: u64, told: &mut u64) {
    if checked >= *told + TELL {
        *told = checked;
        eprintln!("{checked} entries checked");
    }
}
