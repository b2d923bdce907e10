//! Brokers that go away, hosts that are killed beside them, and brokers that say no: one question per file.
//!
//! Real servers, judged from outside: by what authors were answered, and by what programs that know nothing of Lockstep
//! find at the brokers.

mod everywhere;
mod outage;
mod outages;
mod host_killed;
mod direct;
mod group;
mod refused;
mod denied;
mod too_large;
mod hostile;
