//! The smallest complete plugin: a transform that gives changes under one key prefix another one.
//!
//! Build it with `cargo build -p lockstep-plugin-api --example rename_key`, put the library into a folder of
//! `plugin_path`, and name it in a pipeline: `plugin: rename_key`.
#![forbid(unsafe_code)]

use lockstep_plugin_api::prelude::*;

#[config]
struct RenameKeyConfig {
    /// The prefix to replace, for example `app.old.`.
    from: String,
    /// What to put in its place.
    to: String,
}

struct RenameKey {
    config: RenameKeyConfig,
    renamed: Counter,
}

impl Transform for RenameKey {
    type Config = RenameKeyConfig;

    fn check(config: &RenameKeyConfig) -> Result<()> {
        if config.from.is_empty() {
            return Err(Error::config("the prefix to replace must not be empty").at("from"));
        }
        Ok(())
    }

    fn new(config: RenameKeyConfig, context: &Context) -> Result<Self> {
        Ok(Self { config, renamed: context.counter("renamed_keys") })
    }

    fn apply(&mut self, mut record: Record, out: &mut Output) -> Result<()> {
        if let Some(rest) = record.change()?.config_key().strip_prefix(&self.config.from) {
            let key = format!("{}{rest}", self.config.to);
            record.set_key(Some(Bytes::from(key.as_str())));
            record.change_mut()?.set_config_key(key);
            self.renamed.add(1);
        }
        out.push(record);
        Ok(())
    }
}

export_plugin! { transform "rename_key" => RenameKey }
