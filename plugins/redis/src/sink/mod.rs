//! The sink: records become cells, entries and messages.
//!
//! `job` says what is to be written for a record (`conflict` what for a notice), `lane` writes it over one connection, group by group (`exchange`),
//! `commands` is how that looks to the server, `reception` is what happens when a cell knows more than we do, and
//! `renewal` writes a cell alone.

mod commands;
mod conflict;
mod exchange;
mod job;
mod lane;
pub(crate) mod once;
mod queue;
mod reception;
pub(crate) mod renewal;

use crate::{
    cell::KeyNumbers,
    config::RedisSinkConfig,
    connection::Server,
    meeting::{Meeting, Met},
    metrics::{SinkMetrics, operations},
};
use commands::Commands;
use job::{Job, JobMaker};
use lane::{Lane, Shared};
use lockstep_plugin_api::{
    prelude::*,
    tally::{Tally, Ticket},
    wire::Form,
};
use queue::Queue;
use reception::Receptions;
use renewal::{Newest, Renewals};
use std::{
    sync::{Arc, Once, mpsc},
    time::Duration,
};
use tracing::{Instrument, info, info_span};

/// How long an ending sink waits for what was sent and not answered, so that nothing of it comes after a successor's.
const LAST_ANSWERS: Duration = Duration::from_secs(1);

/// The `redis` sink.
pub(crate) struct RedisSink {
    shared: Arc<Shared>,
    queues: Vec<Arc<Queue>>,
    maker: JobMaker,
    /// The source of this place finds it while the sink is there.
    _renewals: Arc<Renewals>,
    /// Closed when every connection has ended.
    ended: mpsc::Receiver<()>,
    through_log: bool,
    told: Once,
}

impl PipelinedSink for RedisSink {
    type Config = RedisSinkConfig;

    fn check(config: &RedisSinkConfig) -> Result<()> {
        config.check()
    }

    fn advise(config: &RedisSinkConfig, advice: &mut Advice) {
        if let Some(refused) = refused_through_log(config) {
            advice.refuse_in(Way::ThroughLog, refused);
        }
    }

    fn new(config: RedisSinkConfig, context: &Context) -> Result<Self> {
        if context.through_log()
            && let Some(refused) = refused_through_log(&config)
        {
            return Err(refused);
        }
        let settings = config.settings()?;
        let meeting = Meeting { pipeline: context.pipeline().to_owned(), endpoint: settings.endpoint() };
        context.endpoint(&meeting.endpoint);
        let server = Server::open(settings.server, operations(context), context)?;
        let maker = JobMaker {
            form: Form { naive_timestamps: settings.naive_timestamps, replicate: config.replicate },
            is_raw: config.stream.is_some(),
            is_once: config.once.is_some(),
            keys: KeyNumbers::default(),
            conflict_prefix: config.conflict_prefix.as_str().into(),
        };
        let shared = Arc::new(Shared {
            needs_script: config.stream.is_none() || config.once.is_some(),
            commands: Commands::new(config.stream_max_len, config.once.map(|once| once.remembered.0)),
            node: context.node_id().to_owned(),
            client_name: client_name(context.component()),
            server,
            pool_size: settings.pool_size,
            names: settings.names,
            raw_stream: config.stream,
            tally: Tally::new(settings.pool_size),
            metrics: SinkMetrics::new(context),
            meeting,
        });
        let queues: Vec<Arc<Queue>> = (0..settings.pool_size).map(|_| Arc::default()).collect();
        let newest = Newest::new(context.clone(), maker.clone());
        let renewals = Arc::new(Renewals::new(newest.clone(), queues.clone()));
        shared.meeting.enter(&renewals);
        let (ending, ended) = mpsc::sync_channel::<()>(1);
        let span = info_span!("redis");
        for (index, queue) in queues.iter().enumerate() {
            let lane = Lane::new(index, shared.clone(), queue.clone(), Receptions::new(newest.clone()));
            let ending = ending.clone();
            let running = async move {
                lane.run().await;
                drop(ending);
            };
            context.spawn(running.instrument(span.clone()));
        }
        let (through_log, told) = (context.through_log(), Once::new());
        Ok(Self { shared, queues, maker, _renewals: renewals, ended, through_log, told })
    }

    fn put(&mut self, seq: u64, batch: Batch) -> Result<()> {
        self.tell_once();
        if self.shared.tally.knows(seq) {
            return Ok(());
        }
        self.shared.tally.take(seq, batch.len(), Vec::new());
        let mut lanes: Vec<Vec<Job>> = self.queues.iter().map(|_| Vec::new()).collect();
        for record in batch.iter() {
            let ticket = Ticket { seq, id: record.id() };
            let mut enter = |job: Job| lanes[Queue::place(self.queues.len(), job.key)].push(job);
            let entered = match record.is_notice() {
                false => self.maker.job(ticket, record).map(enter),
                true => self.maker.conflict_jobs(ticket, record).map(|jobs| match jobs.is_empty() {
                    true => self.shared.tally.done([ticket]),
                    false => jobs.into_iter().for_each(&mut enter),
                }),
            };
            entered.unwrap_or_else(|error| self.shared.tally.failed(ticket, error));
        }
        let filled = self.queues.iter().zip(lanes).filter(|(_, jobs)| !jobs.is_empty());
        filled.for_each(|(queue, jobs)| queue.push(jobs));
        Ok(())
    }

    fn acked(&mut self, wait: Duration) -> Result<Acked> {
        self.shared.tally.acked(wait)
    }

    fn flush(&mut self, deadline: Duration) -> Result<()> {
        self.shared.tally.wait_finished(deadline)
    }
}

/// What is for direct pipelines alone.
fn refused_through_log(config: &RedisSinkConfig) -> Option<Error> {
    let (why, field) = if config.stream.is_some() {
        (
            "through the log everything is a change and goes to its tenant's stream; `stream` is for direct pipelines",
            "stream",
        )
    } else if config.once.is_some() {
        (
            "through the log a change is known by its `event_id` and its dot; `once` is for direct pipelines",
            "once",
        )
    } else {
        return None;
    };
    Some(Error::config(why).at(field))
}

impl RedisSink {
    /// At the first batch every component of the pipeline is open.
    fn tell_once(&self) {
        self.told.call_once(|| {
            let has_source = !matches!(self.shared.meeting.source(), Met::Nobody);
            if self.through_log && self.maker.form.replicate && !has_source {
                info!(
                    endpoint = self.shared.meeting.endpoint,
                    "no source reads where this sink writes: what stands in a cell of the cache and is not known here is \
                     overwritten"
                );
            }
        });
    }
}

impl Drop for RedisSink {
    fn drop(&mut self) {
        self.queues.iter().for_each(|queue| queue.close());
        // Nothing is ever sent: an error says that the last of the others is gone.
        let _ = self.ended.recv_timeout(LAST_ANSWERS);
    }
}

/// A name that the server takes: without spaces and control characters.
pub(crate) fn client_name(component: &str) -> String {
    let plain = |c: char| if c.is_ascii_graphic() { c } else { '_' };
    format!("lockstep:{}", component.chars().map(plain).collect::<String>())
}
