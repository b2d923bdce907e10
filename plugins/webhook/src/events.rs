//! Which events are told.

use lockstep_plugin_api::glob::{Glob, GlobError};

/// What is told unless the configuration says otherwise.
pub(crate) const DEFAULT: [&str; 2] = [CONFLICT_DETECTED, CONFLICT_RESOLVED];

/// Changes of a key stand against each other.
pub(crate) const CONFLICT_DETECTED: &str = "conflict_detected";
/// Somebody is to decide it, or nobody any more.
const CONFLICT_ASSIGNED: &str = "conflict_assigned";
/// A later change covers all of them.
pub(crate) const CONFLICT_RESOLVED: &str = "conflict_resolved";

/// The event types of the wire contract; others pass through, so they are possible.
const KNOWN: [&str; 9] = [
    "config_created",
    "config_updated",
    "config_deleted",
    "config_locked",
    "config_unlocked",
    CONFLICT_DETECTED,
    CONFLICT_ASSIGNED,
    CONFLICT_RESOLVED,
    "heartbeat",
];

/// Those that only the log has.
const NOTICES: [&str; 6] = [
    "config_locked",
    "config_unlocked",
    CONFLICT_DETECTED,
    CONFLICT_ASSIGNED,
    CONFLICT_RESOLVED,
    "heartbeat",
];

/// Globs over event types.
#[derive(Debug, Clone)]
pub(crate) struct Events(Vec<Glob>);

impl Events {
    /// Compiles the globs.
    ///
    /// # Errors
    /// Which of them is none, and why.
    pub(crate) fn new(patterns: &[String]) -> Result<Self, (usize, GlobError)> {
        let globs = patterns.iter().enumerate().map(|(i, text)| Glob::new(text).map_err(|error| (i, error)));
        globs.collect::<Result<_, _>>().map(Self)
    }

    /// Whether events of this type are told.
    pub(crate) fn contain(&self, event_type: &str) -> bool {
        self.0.iter().any(|glob| glob.matches(event_type))
    }

    /// Whether nothing is told that a direct pipeline could have.
    pub(crate) fn are_notices_alone(&self) -> bool {
        self.0.iter().all(|glob| NOTICES.contains(&glob.as_str()))
    }
}

/// Why a pattern is probably a mistake, if it is.
pub(crate) fn doubt(pattern: &str) -> Option<String> {
    let glob = Glob::new(pattern).ok()?;
    if KNOWN.iter().any(|known| glob.matches(known)) {
        return None;
    }
    Some(format!("Lockstep itself has no event type `{pattern}`; its own are {}", KNOWN.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(patterns: &[&str]) -> Events {
        Events::new(&patterns.iter().map(|&pattern| pattern.to_owned()).collect::<Vec<_>>()).expect("globs")
    }

    #[test]
    fn types_are_matched_by_globs() {
        assert!(events(&["*"]).contain("anything"));
        assert!(events(&["config_locked", "conflict_*"]).contain(CONFLICT_DETECTED));
        assert!(!events(&DEFAULT).contain("config_updated"));
    }

    #[test]
    fn only_what_no_event_has_is_doubted() {
        assert_eq!(doubt("*"), None);
        assert_eq!(doubt("config_*"), None);
        assert!(doubt("conflict_detect").is_some_and(|doubt| doubt.contains("conflict_detected")));
    }

    #[test]
    fn a_direct_pipeline_has_no_notices() {
        assert!(events(&DEFAULT).are_notices_alone());
        assert!(!events(&["conflict_detected", "config_*"]).are_notices_alone());
    }
}
