//! Sinks as the host sees them: `put` starts a batch, `acked` tells how far the sink has come.

use crate::{
    abi::{
        adapt::checked_config,
        guard::{Contained, answer},
        vtable::{AckedParts, Answer, ComponentParts, FailedId, SinkBox, SinkTask, SinkTask_TO},
    },
    context::Context,
    error::Result,
    record::Batch,
    sink::{Acked, Failures, PipelinedSink, Sink},
};
use abi_stable::sabi_trait::prelude::TD_Opaque;
use std::{mem, time::Duration};

/// Makes a pipelined sink from its configuration.
pub fn pipelined_sink<T: PipelinedSink>(config: &str, parts: ComponentParts) -> Result<SinkBox> {
    let context = Context::new(parts);
    let component = T::new(checked_config(config, T::check)?, &context)?;
    Ok(sink_box(Pipelined(component), &context))
}

/// Makes a sink that writes one batch at a time from its configuration.
pub fn sink<T: Sink>(config: &str, parts: ComponentParts) -> Result<SinkBox> {
    let context = Context::new(parts);
    let sink = T::new(checked_config(config, T::check)?, &context)?;
    Ok(sink_box(OneByOne { sink, acked: Acked::default() }, &context))
}

/// The three calls, whatever kind of sink the author wrote.
pub(super) trait AnySink: Send + 'static {
    fn put(&mut self, seq: u64, batch: Batch) -> Result<()>;
    fn acked(&mut self, wait: Duration) -> Result<Acked>;
    fn flush(&mut self, deadline: Duration) -> Result<()>;
}

pub(super) fn sink_box<T: AnySink>(sink: T, context: &Context) -> SinkBox {
    SinkTask_TO::from_value(Adapter(Contained::new(sink, context.component(), context.fault())), TD_Opaque)
}

struct Adapter<T>(Contained<T>);

impl<T: AnySink> SinkTask for Adapter<T> {
    fn put(&mut self, seq: u64, batch: Batch) -> Answer<()> {
        answer(self.0.enter("put", |sink| sink.put(seq, batch)))
    }

    fn acked(&mut self, max_wait_ms: u32) -> Answer<AckedParts> {
        let wait = Duration::from_millis(max_wait_ms.into());
        answer(self.0.enter("acked", |sink| sink.acked(wait).map(AckedParts::from)))
    }

    fn flush(&mut self, deadline_ms: u32) -> Answer<()> {
        let deadline = Duration::from_millis(deadline_ms.into());
        answer(self.0.enter("flush", |sink| sink.flush(deadline)))
    }
}

impl From<Acked> for AckedParts {
    fn from(acked: Acked) -> Self {
        let failed = acked.failed.into_iter().map(|(id, error)| FailedId { id, error }).collect();
        Self { through_seq: acked.through_seq, failed }
    }
}

/// A [`PipelinedSink`]: its own calls are the boundary's.
struct Pipelined<T>(T);

impl<T: PipelinedSink> AnySink for Pipelined<T> {
    fn put(&mut self, seq: u64, batch: Batch) -> Result<()> {
        self.0.put(seq, batch)
    }

    fn acked(&mut self, wait: Duration) -> Result<Acked> {
        self.0.acked(wait)
    }

    fn flush(&mut self, deadline: Duration) -> Result<()> {
        self.0.flush(deadline)
    }
}

impl Acked {
    /// Takes the batch's result in; an error about the component or its endpoint is given back.
    pub(super) fn finish(
        &mut self,
        seq: u64,
        batch: &Batch,
        written: Result<()>,
        failures: Failures,
    ) -> Result<()> {
        match written {
            Ok(()) => self.failed.extend(failures.failed),
            Err(error) if error.kind().is_about_records() => {
                self.failed.extend(batch.iter().map(|record| (record.id(), error.clone())));
            }
            Err(error) => return Err(error),
        }
        self.through_seq = seq;
        Ok(())
    }

    /// The news since the last call: how far, and which failed since.
    pub(super) fn take(&mut self) -> Self {
        Self { through_seq: self.through_seq, failed: mem::take(&mut self.failed) }
    }
}

/// A [`Sink`]: a batch is acked when `put` returns.
struct OneByOne<T> {
    sink: T,
    acked: Acked,
}

impl<T: Sink> AnySink for OneByOne<T> {
    fn put(&mut self, seq: u64, batch: Batch) -> Result<()> {
        let mut failures = Failures::default();
        let written = self.sink.write(&batch, &mut failures);
        self.acked.finish(seq, &batch, written, failures)
    }

    fn acked(&mut self, _wait: Duration) -> Result<Acked> {
        Ok(self.acked.take())
    }

    fn flush(&mut self, deadline: Duration) -> Result<()> {
        self.sink.flush(deadline)
    }
}
