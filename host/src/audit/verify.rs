//! Whether entries are the chain that they were written as.
//!
//! Invariant: what passes is, entry for entry and in this order, what was written between anchor and head, unless somebody
//! has computed all hashes after the first difference anew; a head that was noted elsewhere then tells.

use std::fmt;

use crate::store::{AuditRecord, Link};

/// Follows a chain entry by entry.
#[derive(Debug)]
pub struct Verifier {
    anchor: Link,
    last: Link,
    /// Places that were noted, and that it has not come to yet.
    ahead: Vec<Link>,
    forgotten: Vec<Link>,
    n_entries: u64,
}

/// A chain without a break.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    pub n_entries: u64,
    pub anchor: Link,
    pub head: Link,
    /// Places that were noted and are before the anchor: what became of them cannot be told.
    pub forgotten: Vec<Link>,
    /// Places that were noted and would be after the head.
    pub ahead: Vec<Link>,
}

/// Where a chain breaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    pub number: u64,
    pub problem: Problem,
}

/// What is wrong at an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Problem {
    Unreadable,
    Missing,
    /// It has the number of one that was there.
    OutOfOrder,
    /// It does not hold the hash of the one before it.
    Unlinked,
    /// Its content does not give its hash.
    Altered,
    /// The head is said to be before it.
    BehindHead,
    /// The chain ends before it, and it is said to be the head.
    HeadMissing,
    /// It is the last one, and its hash is not the one that the head is said to have.
    OtherHead,
    /// It was noted, and the chain ends before it.
    CutOff {
        head: u64,
    },
    /// It was noted with another hash.
    Rewritten,
}

impl Verifier {
    /// Begins after an anchor; `noted` are places that the chain had once.
    ///
    /// # Errors
    /// If one of them is the anchor, and was another.
    pub fn new(anchor: Link, noted: Vec<Link>) -> Result<Self, Broken> {
        let mut verifier = Self { anchor, last: anchor, ahead: noted, forgotten: Vec::new(), n_entries: 0 };
        verifier.skip_to(anchor)?;
        Ok(verifier)
    }

    /// The last place that was verified.
    pub fn last(&self) -> Link {
        self.last
    }

    /// How many entries were verified.
    pub fn n_entries(&self) -> u64 {
        self.n_entries
    }

    /// What was not verified yet has been given up, through this place: the chain is followed from there. A noted place
    /// before it is one that nothing can be told of.
    ///
    /// # Errors
    /// If one of those that were noted is this one, and was another.
    pub fn skip_to(&mut self, anchor: Link) -> Result<(), Broken> {
        (self.anchor, self.last, self.n_entries) = (anchor, anchor, 0);
        self.forgotten.extend(self.ahead.extract_if(.., |noted| noted.number < anchor.number));
        self.pass()
    }

    /// Compares the last place with those that were noted.
    fn pass(&mut self) -> Result<(), Broken> {
        let last = self.last;
        let is_other = self.ahead.iter().any(|noted| noted.number == last.number && *noted != last);
        self.ahead.retain(|noted| noted.number > last.number);
        if is_other { Err(broken(last.number, Problem::Rewritten)) } else { Ok(()) }
    }

    /// The next entry; `head` is said to be the last one.
    pub fn take(&mut self, number: u64, record: Option<&AuditRecord>, head: Link) -> Result<(), Broken> {
        let expected = self.last.number + 1;
        if number > head.number {
            return Err(broken(number, Problem::BehindHead));
        }
        if number > expected {
            return Err(broken(expected, Problem::Missing));
        }
        if number < expected {
            return Err(broken(number, Problem::OutOfOrder));
        }
        let record = record.ok_or(broken(number, Problem::Unreadable))?;
        if record.previous != self.last.hash {
            return Err(broken(number, Problem::Unlinked));
        }
        if record.computed_hash() != record.hash {
            return Err(broken(number, Problem::Altered));
        }
        self.last = record.link();
        self.n_entries += 1;
        self.pass()
    }

    /// There are no more entries, and this is said to be the head.
    pub fn end(self, head: Link) -> Result<Verified, Broken> {
        let Self { anchor, last, ahead, forgotten, n_entries } = self;
        if last.number != head.number {
            return Err(broken(last.number + 1, Problem::HeadMissing));
        }
        if last.hash != head.hash {
            return Err(broken(last.number, Problem::OtherHead));
        }
        Ok(Verified { n_entries, anchor, head, forgotten, ahead })
    }
}

impl Verified {
    /// Refuses a chain that ends before a place that was noted.
    pub fn not_cut_off(self) -> Result<Self, Broken> {
        match self.ahead.iter().min_by_key(|noted| noted.number) {
            Some(noted) => Err(broken(noted.number, Problem::CutOff { head: self.head.number })),
            None => Ok(self),
        }
    }
}

fn broken(number: u64, problem: Problem) -> Broken {
    Broken { number, problem }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = self.number;
        match self.problem {
            Problem::Unreadable => write!(f, "entry {number} cannot be read"),
            Problem::Missing => write!(f, "entry {number} is missing"),
            Problem::OutOfOrder => write!(f, "entry {number} comes again, or too late"),
            Problem::Unlinked => {
                write!(
                    f,
                    "entry {number} does not follow the one before it: one of the two is not what was written"
                )
            }
            Problem::Altered => write!(f, "entry {number} is not what was written: its hash is another"),
            Problem::BehindHead => write!(f, "entry {number} lies behind the head"),
            Problem::HeadMissing => write!(f, "entry {number} is missing: the chain ends before its head"),
            Problem::OtherHead => {
                write!(f, "entry {number} is the last one, and is not the head that was written")
            }
            Problem::CutOff { head } => {
                write!(
                    f,
                    "entry {number} was noted and is not there: the chain ends at {head}, so its end was cut off"
                )
            }
            Problem::Rewritten => {
                write!(f, "entry {number} has another hash than was noted: the chain was written anew")
            }
        }
    }
}

impl std::error::Error for Broken {}
