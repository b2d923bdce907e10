//! Where a component of this plugin stands, which decides for whom values are sealed.

use lockstep_plugin_api::prelude::*;
use serde::Serialize;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// What passes goes into the log.
    BeforeLog,
    /// What passes comes from the log, on its way to a sink.
    BehindLog,
    /// There is no log.
    Direct,
}

impl Standing {
    pub fn of(context: &Context) -> Self {
        match (context.through_log(), context.before_log()) {
            (false, _) => Self::Direct,
            (true, true) => Self::BeforeLog,
            (true, false) => Self::BehindLog,
        }
    }
}
