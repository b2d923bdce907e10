//! What is different between two values, part by part.

use super::align::runs;
use super::paths::{Paths, TooLarge};
use super::tree::{Shape, Tree};
use std::fmt::Write as _;

/// A part that one value has and the other one has not, or has otherwise. One of `old` and `new` is there at least.
#[derive(Debug, Clone)]
pub struct Difference<'t> {
    /// A JSON pointer to it (RFC 6901): in the new value, or in the old one if it was removed.
    pub path: String,
    /// The same in a value in which every difference before this one has been made.
    pub(super) place: String,
    pub old: Option<&'t Tree<'t>>,
    pub new: Option<&'t Tree<'t>>,
}

/// Every difference from one value to another, in the order of the new one; `None` is no value at all.
///
/// # Errors
/// If the paths to them are too long.
pub fn differences<'t>(
    old: Option<&'t Tree<'t>>,
    new: Option<&'t Tree<'t>>,
) -> Result<Vec<Difference<'t>>, TooLarge> {
    let mut finder = Finder::default();
    match (old, new) {
        (Some(old), Some(new)) => finder.compare(old, new)?,
        (None, None) => {}
        (old, new) => finder.found(old, new)?,
    }
    Ok(finder.found)
}

#[derive(Default)]
struct Finder<'t> {
    /// Where it is, as the old value and as the new one have it.
    old_path: String,
    new_path: String,
    paths: Paths,
    found: Vec<Difference<'t>>,
}

impl<'t> Finder<'t> {
    fn found(&mut self, old: Option<&'t Tree<'t>>, new: Option<&'t Tree<'t>>) -> Result<(), TooLarge> {
        let path = if new.is_some() { &self.new_path } else { &self.old_path };
        let (path, place) = (self.paths.copy(path)?, self.paths.copy(&self.new_path)?);
        self.found.push(Difference { path, place, old, new });
        Ok(())
    }

    fn compare(&mut self, old: &'t Tree<'t>, new: &'t Tree<'t>) -> Result<(), TooLarge> {
        if old == new {
            return Ok(());
        }
        match (old.shape(), new.shape()) {
            (Shape::Object(before), Shape::Object(after)) => {
                for (name, old) in before {
                    let steps = (name.as_str(), name.as_str());
                    match after.get(name) {
                        Some(new) => self.within(steps, |finder| finder.compare(old, new))?,
                        None => self.within(steps, |finder| finder.found(Some(old), None))?,
                    }
                }
                for (name, new) in after.iter().filter(|(name, _)| !before.contains_key(*name)) {
                    self.within((name.as_str(), name.as_str()), |finder| finder.found(None, Some(new)))?;
                }
            }
            (Shape::List(before), Shape::List(after)) => self.compare_lists(before, after)?,
            _ => self.found(Some(old), Some(new))?,
        }
        Ok(())
    }

    /// Items that stand where others stood are compared with them, one for one.
    fn compare_lists(&mut self, before: &'t [Tree<'t>], after: &'t [Tree<'t>]) -> Result<(), TooLarge> {
        for run in runs(before, after).into_iter().filter(|run| !run.is_same) {
            let (mut olds, mut news) = (run.old, run.new);
            while !olds.is_empty() || !news.is_empty() {
                // Where an item is removed, the next one takes its place.
                let place = news.start;
                match (olds.next(), news.next()) {
                    (Some(old), Some(new)) => {
                        self.within((old, new), |finder| finder.compare(&before[old], &after[new]))?;
                    }
                    (Some(old), None) => {
                        self.within((old, place), |finder| finder.found(Some(&before[old]), None))?;
                    }
                    (None, Some(new)) => {
                        self.within((new, new), |finder| finder.found(None, Some(&after[new])))?;
                    }
                    (None, None) => {}
                }
            }
        }
        Ok(())
    }

    fn within<S: Step>(
        &mut self,
        (old, new): (S, S),
        look: impl FnOnce(&mut Self) -> Result<(), TooLarge>,
    ) -> Result<(), TooLarge> {
        let lengths = (self.old_path.len(), self.new_path.len());
        old.take(&mut self.old_path);
        new.take(&mut self.new_path);
        let looked = look(self);
        self.old_path.truncate(lengths.0);
        self.new_path.truncate(lengths.1);
        looked
    }
}

/// A step into a value, as a JSON pointer writes it.
pub(super) trait Step {
    fn take(self, path: &mut String);
}

impl Step for &str {
    fn take(self, path: &mut String) {
        path.push('/');
        for c in self.chars() {
            match c {
                '~' => path.push_str("~0"),
                '/' => path.push_str("~1"),
                c => path.push(c),
            }
        }
    }
}

impl Step for usize {
    fn take(self, path: &mut String) {
        let _ = write!(path, "/{self}");
    }
}
