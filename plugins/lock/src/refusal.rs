//! Why a request was refused, with the codes of the wire contract.

use crate::{check::Holder, clock::Now, lease::Lease};
use lockstep_plugin_api::{prelude::*, time::format_us};
use serde_json::json;

/// Why a request about a lock was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The text is the guide's.
    #[error("Configuration is locked by another user")]
    Locked { locked_by: String, expires_at_us: Option<i64> },
    #[error("the lock is not held under this session and token")]
    NotHeld,
    #[error("the lock is not held")]
    NotFound,
    #[error("the lease that this request was granted has ended")]
    Over,
    #[error("the session was closed while it waited for the lock")]
    SessionClosed,
    #[error("the token is not the registered one")]
    StaleFence,
    #[error("the user holds or waits for as many locks of the tenant as one user may")]
    TooMany { most: u32 },
    #[error("a change under a token says what it is based on: `base`, or `base_revision`")]
    BaseRequired,
    #[error("the locks of every tenant are shown to operators only")]
    OperatorsOnly,
    #[error("the store takes no commits at present")]
    Unavailable,
    #[error("the server that keeps the locks cannot be reached at present")]
    Away,
    #[error("the server that keeps the locks refuses: {0}")]
    Denied(String),
    #[error(
        "what Redis holds at `{name}` is no part of a lock of hosts; see what it is, and delete it there"
    )]
    Malformed { name: String },
}

impl Refusal {
    /// Somebody else holds the lease.
    pub fn locked(lease: &Lease, now: Now) -> Self {
        Self::Locked { locked_by: lease.user_id.clone(), expires_at_us: Some(lease.shown_end_us(now)) }
    }

    /// Somebody else holds the lock of a change's key.
    pub fn locked_by(holder: &Holder) -> Self {
        Self::Locked { locked_by: holder.user_id.clone(), expires_at_us: holder.expires_at_us }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Locked { .. } => "locked",
            Self::NotHeld | Self::NotFound | Self::Over | Self::SessionClosed => "not_found",
            Self::StaleFence => "stale_fence",
            Self::TooMany { .. } => "too_large",
            Self::BaseRequired => "base_required",
            Self::OperatorsOnly => "forbidden",
            Self::Malformed { .. } => "bad_lock",
            Self::Unavailable | Self::Away | Self::Denied(_) => "unavailable",
        }
    }

    /// What the caller is told.
    pub fn to_error(&self) -> Error {
        let error = Error::rejected(self.code(), self);
        match self {
            Self::Locked { locked_by, expires_at_us } => error
                .with_details(&json!({ "locked_by": locked_by, "expires_at": expires_at_us.map(format_us) })),
            Self::TooMany { most } => error.with_details(&json!({ "max_locks_per_user": most })),
            _ => error,
        }
    }
}
