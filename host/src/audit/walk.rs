//! A store's audit from its anchor to its head, verified page by page while others go on writing.
//!
//! Invariant: each page and the chain it is compared with are of one moment, so nothing that happens between two pages is
//! taken for a break.

use super::verify::{Broken, Verified, Verifier};
use crate::store::{Chain, Link, Store, StoreError};

/// How many entries are read at once.
const PAGE: usize = 2000;

/// The way through a store's audit.
pub struct Walk {
    store: Store,
    verifier: Verifier,
}

/// What one page came to.
#[derive(Debug)]
pub enum Step {
    /// It goes on.
    On,
    /// That was all.
    End(Verified),
}

/// Why it does not go on.
#[derive(Debug, thiserror::Error)]
pub enum WalkError {
    #[error(transparent)]
    Broken(#[from] Broken),
    #[error("the audit cannot be read: {0}")]
    Store(#[from] StoreError),
    #[error("entries were given up while they were read; try again")]
    GivenUp,
}

impl Walk {
    /// Begins at the anchor; `noted` are places that the chain must have.
    ///
    /// # Errors
    /// If one of them has been given up, or was another at the anchor.
    pub fn begin(store: Store, noted: Vec<Link>) -> Result<Self, Broken> {
        let Chain { anchor, .. } = store.audit_chain();
        Ok(Self { verifier: Verifier::new(anchor, noted)?, store })
    }

    /// How many entries were verified.
    pub fn n_entries(&self) -> u64 {
        self.verifier.n_entries()
    }

    /// The next page.
    ///
    /// # Errors
    /// Where the chain breaks, or if the store cannot be read.
    pub fn step(&mut self) -> Result<Step, WalkError> {
        let page = self.store.audit_page(self.verifier.last().number, PAGE)?;
        if page.chain.anchor.number > self.verifier.last().number {
            self.verifier.skip_to(page.chain.anchor);
        }
        for (number, record) in &page.records {
            self.verifier.take(*number, record.as_ref(), page.chain.head)?;
        }
        match page.records.len() < PAGE {
            true => Ok(Step::End(self.verifier.end(page.chain.head)?)),
            false => Ok(Step::On),
        }
    }
}
