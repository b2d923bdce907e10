//! Why a change was refused, in fixed sentences: what failed and where, never what was found there.

use crate::{config::id_problem, envelope::Closed, values::Place};
use lockstep_plugin_api::prelude::*;
use serde::Serialize;

/// One reason, as the wire contract has it: a pointer into the change, and what is wrong there.
#[derive(Serialize)]
struct Detail {
    path: String,
    reason: String,
}

/// A sealed value that does not open here.
pub fn closed(closed: &Closed, place: &Place) -> Error {
    let (message, reason) = match closed {
        Closed::Damaged => (
            "the sealed value is damaged",
            "is no envelope of version 1 with `alg` A256GCM: it was cut off or altered".to_owned(),
        ),
        Closed::UnknownKey(kid) => (
            "the value was sealed under an unknown key",
            format!("was sealed under the key `{}`, which is not in the ring here", shown(kid)),
        ),
        Closed::DoesNotOpen => (
            "the sealed value does not open",
            "was altered, or sealed for another tenant, key or field, or under another key of the same name"
                .to_owned(),
        ),
    };
    refused(message, place, reason)
}

/// A change of another host whose value is not sealed, where it would have to be.
pub fn clear_from_elsewhere(place: &Place) -> Error {
    let reason = "is not sealed, though another host has made the change: values of this key are sealed before the log \
                  on every host, or `clear_from_elsewhere: pass` is said here";
    refused("another host sent the value of this key in clear", place, reason.to_owned())
}

/// A change of another host that was sealed for its way, and not opened at its end.
pub fn sealed_for_the_way(place: &Place) -> Error {
    let reason =
        "was sealed behind the log of another host: open it with `decrypt` in the source's own transforms";
    refused("the value was sealed for its way only", place, reason.to_owned())
}

/// A value that is not sealed where only sealed ones are taken.
pub fn clear(place: &Place) -> Error {
    refused("the value is not sealed", place, "is not sealed, and `on_clear` is `reject`".to_owned())
}

fn refused(message: &'static str, place: &Place, reason: String) -> Error {
    Error::rejected("invalid_value", message).with_details(&[Detail { path: place.to_string(), reason }])
}

/// The name of a key as somebody else wrote it.
fn shown(kid: &str) -> &str {
    if id_problem(kid).is_none() { kid } else { "?" }
}
