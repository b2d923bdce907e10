//! What the host should do when the system refuses a write.

use lockstep_plugin_api::prelude::*;
use std::{io, path::Path, time::Duration};

/// Every refusal is about the endpoint: the batch stays with the host and comes again, nothing is dead-lettered.
pub fn refused(doing: &str, path: &Path, error: &io::Error) -> Error {
    let path = path.display();
    match error.kind() {
        io::ErrorKind::StorageFull => later(format!("no space left on the device of `{path}`")),
        io::ErrorKind::QuotaExceeded => later(format!("the disk quota for `{path}` is used up")),
        io::ErrorKind::FileTooLarge => {
            later(format!("`{path}` has reached the largest size a file may have here"))
        }
        _ if error.raw_os_error() == Some(EIO) => {
            later(format!("the device of `{path}` reports an I/O error"))
        }
        _ => Error::not_connected(format!("cannot {doing} `{path}`: {error}")),
    }
}

/// The same number on every Linux; `std` has no name for it.
const EIO: i32 = 5;

fn later(message: String) -> Error {
    Error::retry(Duration::from_secs(1), message)
}
