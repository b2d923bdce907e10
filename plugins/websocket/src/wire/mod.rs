//! The JSON messages of the wire contract: text of a frame to [`Request`], and replies to text.
//!
//! Field names and fixed texts are the contract's; nothing here quotes a value or an internal error.

mod request;
mod fields;
mod refusal;
mod reply;
mod shown;

pub(crate) use fields::read;
pub(crate) use refusal::*;
pub(crate) use reply::{
    About, Granted, Welcome, bookmark, connection_established, error, lock_failed, lock_granted,
    lock_refused, lock_released, outcome, pong, refused, resync, subscribed,
};
pub(crate) use request::{
    AnsweredBy, ChangeRequest, LockKind, LockRequest, Refused, Request, SeenAt, SubscribeRequest,
};
pub(crate) use shown::{Form, publication};
