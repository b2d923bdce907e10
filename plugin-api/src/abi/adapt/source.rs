//! A blocking [`Source`] as the host sees it: a `poll` that stamps ids, and a reply handle beside it.

use crate::{
    abi::{
        adapt::{
            checked_config,
            replies::{PendingReplies, replies_box},
        },
        guard::{Contained, answer},
        vtable::{Answer, ComponentParts, OpenedSource, SourceTask, SourceTask_TO},
    },
    context::Context,
    error::Result,
    record::Record,
    source::Source,
};
use abi_stable::{sabi_trait::prelude::TD_Opaque, std_types::RVec};
use std::{sync::Arc, time::Duration};

/// Makes a blocking source from its configuration.
pub fn source<T: Source>(config: &str, parts: ComponentParts) -> Result<OpenedSource> {
    let context = Context::new(parts);
    let component = T::new(checked_config(config, T::check)?, &context)?;
    let mut contained = Contained::new(component, context.component(), context.fault());
    let nobody_waits = Arc::<PendingReplies>::default();
    let replies = contained
        .enter("replies", |source| Ok(replies_box(source.replies(), nobody_waits, context.component())))?;
    Ok(OpenedSource { task: SourceTask_TO::from_value(Blocking(contained), TD_Opaque), replies })
}

struct Blocking<T>(Contained<T>);

impl<T: Source> SourceTask for Blocking<T> {
    fn poll(
        &mut self,
        first_id: u64,
        max_records: u32,
        _max_bytes: u64,
        max_wait_ms: u32,
    ) -> Answer<RVec<Record>> {
        let wait = Duration::from_millis(max_wait_ms.into());
        answer(self.0.enter("poll", |source| {
            let mut records = source.poll(max_records as usize, wait)?;
            stamp(&mut records, first_id);
            source.polled(first_id, records.len());
            Ok(RVec::from(records))
        }))
    }
}

fn stamp(records: &mut [Record], first_id: u64) {
    for (id, record) in (first_id..).zip(records) {
        record.set_id(id);
    }
}
