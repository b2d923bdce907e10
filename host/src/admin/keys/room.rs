//! How large the answer about a key may become.
//!
//! Who made a part, the path to it and the escapes in that are written once for each part: an answer can be a hundred times
//! as large as the value that it is about.

use crate::history::{MAX_TOLD, TooLarge};
use serde::Serialize;
use serde_json::value::RawValue;
use std::io::{self, Write};

/// What is left of the bytes of one answer.
pub(super) struct Room {
    left: usize,
}

impl Default for Room {
    fn default() -> Self {
        Self { left: MAX_TOLD }
    }
}

impl Room {
    /// A part of the answer as JSON; refused as soon as it is longer than there is room for.
    pub fn write(&mut self, part: &impl Serialize) -> Result<Box<RawValue>, TooLarge> {
        let mut written = Written { json: Vec::new(), left: self.left };
        serde_json::to_writer(&mut written, part).map_err(|_| TooLarge)?;
        self.left = written.left;
        let json = String::from_utf8(written.json).expect("JSON is text");
        Ok(RawValue::from_string(json).expect("it was written as JSON"))
    }
}

struct Written {
    json: Vec<u8>,
    left: usize,
}

impl Write for Written {
    fn write(&mut self, some: &[u8]) -> io::Result<usize> {
        self.left = self.left.checked_sub(some.len()).ok_or(io::ErrorKind::FileTooLarge)?;
        self.json.extend_from_slice(some);
        Ok(some.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
