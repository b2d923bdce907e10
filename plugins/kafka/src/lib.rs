//! Configuration changes to and from Apache Kafka.
#![forbid(unsafe_code)]
