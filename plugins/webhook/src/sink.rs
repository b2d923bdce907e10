//! The sink: records become messages, and each message goes to every receiver.

use crate::{
    body::Body,
    client::Client,
    config::{Settings, WebhookConfig},
    events::Events,
    facts::Facts,
    lane::{Job, Lane, Shared},
    message::{KeyNumbers, Message, id_of},
    metrics::Metrics,
    receiver::Receiver,
    tls::TlsFiles,
};
use lockstep_plugin_api::{
    prelude::*,
    tally::{Tally, Ticket},
};
use std::{
    sync::{Arc, mpsc},
    time::Duration,
};
use tracing::{Instrument, info_span, warn};

/// How long an ending sink waits for requests that are under way, so that none of them arrives after a successor's.
const LAST_ANSWERS: Duration = Duration::from_secs(1);

/// The `webhook` sink.
pub(crate) struct WebhookSink {
    shared: Arc<Shared>,
    lanes: Vec<Arc<Lane>>,
    events: Events,
    body: Body,
    keys: KeyNumbers,
    node: String,
    /// Closed when every strand has ended.
    ended: mpsc::Receiver<()>,
}

impl PipelinedSink for WebhookSink {
    type Config = WebhookConfig;

    fn check(config: &WebhookConfig) -> Result<()> {
        config.settings().map(drop)
    }

    fn advise(config: &WebhookConfig, advice: &mut Advice) {
        config.advise(advice);
    }

    fn new(config: WebhookConfig, context: &Context) -> Result<Self> {
        let settings = config.settings()?;
        if !context.through_log() && settings.events.are_notices_alone() {
            warn!("a direct pipeline has no notices, so nothing of what `on` names will ever be told");
        }
        let is_tls = settings.receivers.iter().any(Receiver::is_tls);
        let files = TlsFiles::new(settings.ssl_context.as_ref(), is_tls, context);
        let shared = Arc::new(Shared {
            client: Client::open(&settings, files)?,
            tally: Tally::new(settings.receivers.len()),
            metrics: Metrics::new(context),
            retry_for: settings.retry_for,
        });
        let Settings { receivers, events, body, concurrency, .. } = settings;
        let numbered = receivers.into_iter().enumerate();
        let lane =
            |(index, receiver)| Arc::new(Lane::new(index, receiver, concurrency.into(), shared.clone()));
        let lanes: Vec<Arc<Lane>> = numbered.map(lane).collect();
        let ended = start(&lanes, concurrency.into(), context);
        let node = context.node_id().to_owned();
        Ok(Self { shared, lanes, events, body, keys: KeyNumbers::default(), node, ended })
    }

    fn put(&mut self, seq: u64, batch: Batch) -> Result<()> {
        if self.shared.tally.knows(seq) {
            return Ok(());
        }
        let (mut jobs, mut failed, mut n_skipped) = (Vec::new(), Vec::new(), 0);
        for record in batch.iter() {
            let ticket = Ticket { seq, id: record.id() };
            match self.messages(record) {
                Ok(messages) if messages.is_empty() => n_skipped += 1,
                Ok(messages) => jobs.extend(messages.into_iter().map(|message| Job { ticket, message })),
                Err(error) => failed.push((record.id(), error)),
            }
        }
        self.shared.metrics.skipped.add(n_skipped);
        self.shared.tally.take(seq, jobs.len() * self.lanes.len(), failed);
        for lane in &self.lanes {
            jobs.iter().for_each(|job| lane.push(job.clone()));
        }
        Ok(())
    }

    fn acked(&mut self, wait: Duration) -> Result<Acked> {
        self.shared.tally.acked(wait)
    }

    fn flush(&mut self, deadline: Duration) -> Result<()> {
        self.shared.tally.wait_finished(deadline)
    }
}

impl WebhookSink {
    /// What is to be told of a record.
    fn messages(&self, record: &Record) -> Result<Vec<Message>> {
        let read;
        let change = match record.known_change() {
            Some(change) => change,
            None => {
                read = record.to_change()?;
                &read
            }
        };
        if !self.events.contain(change.event_type()) {
            return Ok(Vec::new());
        }
        let id = id_of(record, change);
        let (rendered, key) = (self.body.render(&Facts::new(change, &id), &self.node)?, self.keys.of(change));
        Ok(rendered.into_iter().map(|one| Message { id: one.id, body: one.bytes.into(), key }).collect())
    }
}

/// Starts the strands; the receiver is closed when all of them have ended.
fn start(lanes: &[Arc<Lane>], n_strands: usize, context: &Context) -> mpsc::Receiver<()> {
    let (ending, ended) = mpsc::sync_channel::<()>(1);
    let span = info_span!("webhook");
    for lane in lanes {
        for strand in 0..n_strands {
            let (lane, ending) = (lane.clone(), ending.clone());
            let running = async move {
                lane.run(strand).await;
                drop(ending);
            };
            context.spawn(running.instrument(span.clone()));
        }
    }
    ended
}

impl Drop for WebhookSink {
    fn drop(&mut self) {
        self.lanes.iter().for_each(|lane| lane.close());
        // Nothing is ever sent: an error says that the last of the others is gone.
        let _ = self.ended.recv_timeout(LAST_ANSWERS);
    }
}
