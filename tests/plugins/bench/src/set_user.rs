//! A transform that sets one field of every change, as plugins do that add something.

use lockstep_plugin_api::prelude::*;

#[config]
pub struct SetUserConfig {
    /// Who made every change.
    user: String,
}

pub struct SetUser {
    user: Text,
}

impl Transform for SetUser {
    type Config = SetUserConfig;

    fn new(config: SetUserConfig, _: &Context) -> Result<Self> {
        Ok(Self { user: config.user.into() })
    }

    fn apply(&mut self, mut record: Record, out: &mut Output) -> Result<()> {
        record.change_mut()?.set_user_id(Some(self.user.clone()));
        out.push(record);
        Ok(())
    }
}
