//! Somebody else who writes the same state: a commit outside a batch, ordered by the file `bump`, or one after the other
//! for as long as there is the file `bumping`.

use lockstep_plugin_api::{prelude::*, state::StateCommit};
use std::{fs, path::Path, thread, time::Duration};

/// How long a component that was told to wait sleeps between two looks at its orders.
pub const BETWEEN_LOOKS: Duration = Duration::from_millis(2);

/// Looks for orders until the component is to stop.
pub fn serve(context: &Context, dir: &Path) {
    while !context.stopping() {
        if let Some(key) = fs::read_to_string(dir.join("bump")).ok().filter(|key| !key.is_empty()) {
            let done = bump(context, key.trim());
            fs::write(dir.join("bumped"), format!("{done:?}")).unwrap_or_default();
            fs::remove_file(dir.join("bump")).unwrap_or_default();
        }
        while let Some(key) = fs::read_to_string(dir.join("bumping")).ok().filter(|_| !context.stopping()) {
            let _ = bump(context, key.trim());
        }
        thread::sleep(BETWEEN_LOOKS);
    }
}

/// Adds a hundred to a key's count, with a notice and an entry in the audit.
fn bump(context: &Context, key: &str) -> Result<Committed> {
    let state = context.state(crate::transform::NAMESPACE);
    let before = state.get(key.as_bytes())?;
    let count = crate::transform::count(before.as_ref()) + 100;
    let mut notice = Change::new(key, Json::write(&count)?);
    notice.set_event_type("count_bumped");
    let commit = StateCommit::new()
        .expect(key.as_bytes(), before)
        .put(key.as_bytes(), count.to_string())
        .notice(Record::notice(notice))
        .audit(&format!("bumped {key}"));
    state.commit(commit)
}
