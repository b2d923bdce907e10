//! As whom a command acts: who it is told, then who it runs for under a lock (`LOCKSTEP_USER`), then the user of the machine.

/// The variable that says it to what `locks run` runs.
pub(super) const VARIABLE: &str = "LOCKSTEP_USER";

/// Who acts; nobody by name, if that is what was said.
pub(super) fn user(given: Option<&str>) -> Option<String> {
    let user = given.map(str::to_owned).or_else(|| std::env::var("USER").ok());
    user.filter(|user| !user.is_empty())
}
