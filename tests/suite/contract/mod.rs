//! The wire contract, from outside: programs that know nothing but the guide's message formats exchange changes with a
//! host over every transport, and what the guide's own code gets wrong does not come back.
//!
//! The programs are Python's (`support/peers`). Where each known mistake of the guide (`D-n` of the contract) is shown to
//! be gone:
//!
//! | | here, `..._regressions.rs` | with its plugin |
//! |---|---|---|
//! | D-13 a send is reported when the broker has it | `d_13_...` | `plugins/kafka` |

mod bridge;
mod kafka;
mod kafka_regressions;
mod mqtt;
mod mqtt_regressions;
mod redis;
mod websocket;
mod metrics;
