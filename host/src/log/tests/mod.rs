//! What the log promises, seen through its own calls.
