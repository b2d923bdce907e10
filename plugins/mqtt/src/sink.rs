//! The sink: the host's batches go into the outbox, a task publishes them.

use crate::{
    composer::Composer,
    config::{SinkConfig, SinkSettings},
    identity::{Side, client_id, register_publisher},
    metrics::SinkMetrics,
    outbox::{Batches, Outbox},
    publisher::Publisher,
    suspicion::Suspicion,
    tls::TlsFiles,
};
use lockstep_plugin_api::prelude::*;
use std::{sync::Arc, time::Duration};
use tracing::{Instrument, info_span};

/// How long the task may take to say goodbye.
const LAST_WORDS: Duration = Duration::from_secs(3);

/// `plugin: mqtt` among the sinks.
pub(crate) struct MqttSink {
    outbox: Arc<Outbox>,
}

impl PipelinedSink for MqttSink {
    type Config = SinkConfig;

    fn check(config: &SinkConfig) -> Result<()> {
        config.settings().map(drop)
    }

    fn advise(config: &SinkConfig, advice: &mut Advice) {
        if !config.is_answered() {
            advice.at_most_once();
        }
    }

    fn new(config: SinkConfig, context: &Context) -> Result<Self> {
        let settings = config.settings()?;
        let SinkSettings { broker, in_flight, status, .. } = &settings;
        let tls = broker.tls.as_ref().map(|files| TlsFiles::new(files, context));
        if let Some(files) = &tls {
            files.connector()?;
        }
        let client_id = broker.client_id.clone().unwrap_or_else(|| client_id(Side::Publisher, context));
        register_publisher(context.pipeline(), &client_id);
        context.endpoint(&broker.endpoint());
        let span = info_span!("mqtt", client_id);
        let outbox = Arc::new(Outbox::new(Batches::default()));
        let publisher = Publisher {
            composer: Composer::new(&settings, &client_id),
            broker: broker.clone(),
            tls,
            client_id,
            outbox: outbox.clone(),
            metrics: SinkMetrics::new(context),
            in_flight: *in_flight,
            heartbeat: status.then(|| context.sync().heartbeat_interval),
            suspicion: Suspicion::default(),
        };
        context.spawn(publisher.run().instrument(span));
        Ok(Self { outbox })
    }

    fn put(&mut self, seq: u64, batch: Batch) -> Result<()> {
        self.outbox.put(seq, batch);
        Ok(())
    }

    fn acked(&mut self, wait: Duration) -> Result<Acked> {
        self.outbox.acked(wait)
    }

    fn flush(&mut self, deadline: Duration) -> Result<()> {
        self.outbox.flush(deadline)
    }
}

impl Drop for MqttSink {
    fn drop(&mut self) {
        self.outbox.stop(LAST_WORDS);
    }
}
