//! Which config keys something is said about, as a list of globs of which the first that fits decides.
//!
//! Two such lists can be asked exactly whether they meet, before there is any key: so a configuration is refused when it
//! is read, and not when the first change is lost.

mod search;
mod walk;

pub use search::Search;

use crate::{abi::vtable::KeyRule, glob::Glob};
use abi_stable::std_types::RVec;

/// A set of config keys: the first rule whose glob fits says whether a key belongs to it; one that none fits does not.
///
/// ```
/// # use lockstep_plugin_api::{glob::Glob, keys::Keys};
/// let glob = |text| Glob::new(text).unwrap();
/// let sealed = Keys::new([(glob("app.public.*"), false), (glob("app.*"), true)]);
/// let merged = Keys::new([(glob("*.text"), true)]);
/// assert!(sealed.contains("app.pin") && !sealed.contains("app.public.x"));
/// assert_eq!(sealed.meet(&merged).as_deref(), Some("app.text"));
/// assert_eq!(sealed.meet(&Keys::new([(glob("app.public.+"), true)])), None);
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Keys {
    rules: Vec<(Glob, bool)>,
}

impl Keys {
    /// The keys that these rules say yes to.
    pub fn new(rules: impl IntoIterator<Item = (Glob, bool)>) -> Self {
        Self { rules: rules.into_iter().collect() }
    }

    /// Every key.
    pub fn all() -> Self {
        Self::new([(everything(), true)])
    }

    /// Whether the key belongs to them.
    pub fn contains(&self, key: &str) -> bool {
        self.rules.iter().find(|(glob, _)| glob.matches(key)).is_some_and(|(_, says)| *says)
    }

    /// The keys that do not belong to them.
    #[must_use]
    pub fn inverted(&self) -> Self {
        let inverted = self.rules.iter().map(|(glob, says)| (glob.clone(), !says));
        Self::new(inverted.chain([(everything(), true)]))
    }

    /// The shortest valid key that belongs to both, if there is one.
    ///
    /// The work is bounded: lists of hundreds of globs with many runs in each may meet without being found out.
    /// [`Search`] bounds it over many questions, and tells whether it gave up.
    pub fn meet(&self, other: &Self) -> Option<String> {
        Search::default().common(&[self, other])
    }
}

fn everything() -> Glob {
    Glob::new("*").expect("a glob")
}

impl From<Keys> for RVec<KeyRule> {
    fn from(keys: Keys) -> Self {
        keys.rules.iter().map(|(glob, says)| KeyRule { glob: glob.as_str().into(), says: *says }).collect()
    }
}

impl From<RVec<KeyRule>> for Keys {
    /// A glob that is none cannot come out of a `Keys`; it stands for every key, so that nothing is overlooked.
    fn from(rules: RVec<KeyRule>) -> Self {
        Self::new(
            rules.iter().map(|rule| (Glob::new(&rule.glob).unwrap_or_else(|_| everything()), rule.says)),
        )
    }
}

#[cfg(test)]
mod tests;
