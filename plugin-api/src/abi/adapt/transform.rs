//! A [`Transform`] as the host sees it: whole batches in, every id accounted for.

use crate::{
    abi::{
        adapt::{checked_config, keep::Keeper, operation},
        guard::{Contained, answer},
        vtable::{
            Answer, Applied, ComponentParts, FailedRecord, OperationParts, TransformBox, TransformTask,
            TransformTask_TO,
        },
    },
    context::Context,
    error::Result,
    record::Record,
    transform::{Output, Transform},
};
use abi_stable::{
    sabi_trait::prelude::TD_Opaque,
    std_types::{RNone, RSome, RVec},
};

/// Makes the transform from its configuration.
pub fn transform<T: Transform>(config: &str, parts: ComponentParts) -> Result<TransformBox> {
    let context = Context::new(parts);
    let component = T::new(checked_config(config, T::check)?, &context)?;
    let contained = Contained::new(component, context.component(), context.fault());
    let adapter = Adapter { contained, keep_failed: context.keeps_failed() };
    Ok(TransformTask_TO::from_value(adapter, TD_Opaque))
}

struct Adapter<T> {
    contained: Contained<T>,
    keep_failed: bool,
}

impl<T: Transform> TransformTask for Adapter<T> {
    fn apply(&mut self, batch: RVec<Record>) -> Answer<Applied> {
        let keep_failed = self.keep_failed;
        answer(self.contained.enter("apply", |transform| apply(transform, batch, keep_failed)))
    }

    fn operations(&mut self) -> Answer<RVec<OperationParts>> {
        let operations = self.contained.enter("operations", |transform| Ok(transform.operations()));
        answer(operations.map(operation::parts))
    }
}

fn apply<T: Transform>(transform: &mut T, mut batch: RVec<Record>, keep_failed: bool) -> Result<Applied> {
    let mut output = Output { records: Vec::with_capacity(batch.len()), told: Vec::new(), id: 0 };
    let (mut failed, mut dropped, mut unapplied) = (RVec::new(), RVec::new(), RVec::new());
    let mut stopped_by = RNone;
    match transform.prepare(batch.as_mut_slice()) {
        Ok(()) => {}
        Err(error) if error.kind().is_about_endpoint() => {
            unapplied = std::mem::take(&mut batch);
            stopped_by = RSome(error);
        }
        Err(error) => return Err(error),
    }
    // Only what has somewhere to go when it fails is kept.
    let mut keeper = Keeper::default();
    let mut records = batch.into_iter();
    while let Some(next) = records.as_slice().first() {
        let id = next.id();
        // Before it is moved: reading what was moved a moment ago waits for the move.
        if keep_failed {
            keeper.keep(next);
        }
        let Some(record) = records.next() else { break };
        let before = output.records.len();
        output.id = id;
        let Err(error) = transform.apply(record, &mut output) else {
            if output.records.len() == before {
                dropped.push(id);
            }
            continue;
        };
        output.records.truncate(before);
        output.told.retain(|told| told.id != id);
        match keeper.take() {
            kept if error.kind().is_about_records() => {
                failed.push(FailedRecord { id, error, record: kept.into() })
            }
            Some(kept) if error.kind().is_about_endpoint() => {
                unapplied.push(kept);
                stopped_by = RSome(error);
                break;
            }
            _ => return Err(error),
        }
    }
    unapplied.extend(records);
    let (out, told) = (RVec::from(output.records), RVec::from(output.told));
    Ok(Applied { out, failed, dropped, unapplied, stopped_by, told })
}
