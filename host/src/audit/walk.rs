//! A store's audit from its anchor to its head, verified page by page while others go on writing.
//!
//! Invariant: each page and the chain it is compared with are of one moment, so nothing that happens between two pages is
//! taken for a break.

use std::error::Error;

use super::verify::{Broken, Verified, Verifier};
use crate::store::{AuditLimit, Link, Store, StoreError};

/// How much is read at once.
const PAGE: AuditLimit = AuditLimit { records: 2000, bytes: 4 << 20 };

/// The way through a store's audit.
pub struct Walk {
    store: Store,
    verifier: Verifier,
}

/// What one page came to.
pub enum Step {
    /// It goes on.
    On(Walk),
    /// That was all. Noted places that were given up are not compared, and named.
    End(Verified),
}

/// Why it does not go on. Only the first says something about the chain.
#[derive(Debug, thiserror::Error)]
pub enum WalkError {
    #[error(transparent)]
    Broken(#[from] Broken),
    #[error("the audit cannot be read: {}", with_causes(.0))]
    Store(StoreError),
    #[error("entries were given up before they were read; try again")]
    GivenUp,
}

impl From<StoreError> for WalkError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// Whoever is told of it is told one text.
fn with_causes(error: &dyn Error) -> String {
    let causes = std::iter::successors(error.source(), |cause: &&dyn Error| (*cause).source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

impl Walk {
    /// Begins at the anchor; `noted` are places that the chain had once.
    ///
    /// # Errors
    /// If one of them was another at the anchor.
    pub fn begin(store: Store, noted: Vec<Link>) -> Result<Self, Broken> {
        Ok(Self { verifier: Verifier::new(store.audit_chain().anchor, noted)?, store })
    }

    /// How many entries were verified.
    pub fn n_entries(&self) -> u64 {
        self.verifier.n_entries()
    }

    /// The next page.
    ///
    /// # Errors
    /// Where the chain breaks, or if the store cannot be read.
    pub fn step(mut self) -> Result<Step, WalkError> {
        let page = self.store.audit_page(self.verifier.last().number, PAGE)?;
        if page.chain.anchor.number > self.verifier.last().number {
            self.verifier.skip_to(page.chain.anchor)?;
        }
        for (number, record) in &page.records {
            self.verifier.take(*number, record.as_ref(), page.chain.head)?;
        }
        match page.is_last {
            true => Ok(Step::End(self.verifier.end(page.chain.head)?.not_cut_off()?)),
            false => Ok(Step::On(self)),
        }
    }
}
