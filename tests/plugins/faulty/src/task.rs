//! An async source that goes wrong in its task.

use crate::{
    fault::{At, Fault},
    source::{FaultySourceConfig, key, record, stored},
};
use lockstep_plugin_api::prelude::*;

pub struct FaultyTask {
    fault: Fault,
    last: u64,
    count: u64,
    context: Context,
}

impl AsyncSource for FaultyTask {
    type Config = FaultySourceConfig;

    fn new(config: FaultySourceConfig, context: &Context) -> Result<Self> {
        let FaultySourceConfig { fault, count } = config;
        Ok(Self { fault, last: stored(context)?, count, context: context.clone() })
    }

    async fn run(mut self, emitter: Emitter) -> Result<()> {
        while self.last < self.count {
            self.fault.happen(At::Task, [key(self.last + 1).as_str()])?;
            self.last += 1;
            emitter.emit(record(self.last)).await?;
        }
        // Silent, but not at its end: the host says when.
        while !self.context.stopping() {
            emitter_pause().await;
        }
        Ok(())
    }
}

async fn emitter_pause() {
    let mut yielded = false;
    std::future::poll_fn(|context| {
        if std::mem::replace(&mut yielded, true) {
            return std::task::Poll::Ready(());
        }
        std::thread::sleep(std::time::Duration::from_millis(2));
        context.waker().wake_by_ref();
        std::task::Poll::Pending
    })
    .await;
}
