//! A transform that leaves its version in the records, so that a test sees which of two libraries ran.
#![forbid(unsafe_code)]

use lockstep_plugin_api::prelude::*;

#[config]
struct VersionedConfig {}

struct Versioned;

impl Transform for Versioned {
    type Config = VersionedConfig;

    fn new(_: VersionedConfig, _: &Context) -> Result<Self> {
        Ok(Self)
    }

    fn apply(&mut self, mut record: Record, out: &mut Output) -> Result<()> {
        let key = format!("{}.by-{}", record.key_str().unwrap_or_default(), env!("CARGO_PKG_VERSION"));
        record.set_key(Some(Bytes::from(key)));
        out.push(record);
        Ok(())
    }
}

export_plugin! { transform "versioned" => Versioned }
