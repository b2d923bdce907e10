//! Configuration changes to and from an MQTT broker.
#![forbid(unsafe_code)]
