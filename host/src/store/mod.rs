//! The embedded store of one host.
