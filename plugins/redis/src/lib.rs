//! Configuration changes to and from Redis.
#![forbid(unsafe_code)]
