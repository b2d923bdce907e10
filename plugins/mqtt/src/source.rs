//! The source: a task fills the inbox, `poll` reads what is in it.

use crate::{
    config::{SourceConfig, SourceSettings, Wanted},
    identity::{Side, client_id},
    inbox::{Arrival, Arrivals, Inbox, Place},
    metrics::SourceMetrics,
    reader::Reader,
    subscriber::Subscriber,
    tls::TlsFiles,
};
use lockstep_plugin_api::prelude::*;
use std::{sync::Arc, time::Duration};
use tracing::{Instrument, error, info_span};

/// How long the task may take to say goodbye.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// `plugin: mqtt` among the sources.
pub(crate) struct MqttSource {
    inbox: Arc<Inbox>,
    reader: Reader,
    metrics: Arc<SourceMetrics>,
    context: Context,
}

impl Source for MqttSource {
    type Config = SourceConfig;

    fn check(config: &SourceConfig) -> Result<()> {
        config.settings().map(drop)
    }

    fn advise(config: &SourceConfig, advice: &mut Advice) {
        match config.comes_again() {
            true => advice.at_least_once(),
            false => advice.at_most_once(),
        }
    }

    fn new(config: SourceConfig, context: &Context) -> Result<Self> {
        let mut settings = config.settings()?;
        let SourceSettings { broker, .. } = &settings;
        let tls = broker.tls.as_ref().map(|files| TlsFiles::new(files, context));
        if let Some(files) = &tls {
            files.connector()?;
        }
        let client_id = broker.client_id.clone().unwrap_or_else(|| client_id(Side::Subscriber, context));
        context.endpoint(&broker.endpoint());
        context.catching_up();
        let reader = Reader {
            tree: broker.tree.clone(),
            wanted: std::mem::replace(&mut settings.wanted, Wanted::Topics(Vec::new())),
            through_log: context.through_log(),
            pipeline: context.pipeline().to_owned(),
            node_id: context.node_id().to_owned(),
        };
        let (inbox, metrics) =
            (Arc::new(Inbox::new(Arrivals::default())), Arc::new(SourceMetrics::new(context)));
        let span = info_span!("mqtt", client_id);
        let subscriber = Subscriber::new(settings, tls, client_id, inbox.clone(), metrics.clone());
        context.spawn(subscriber.run().instrument(span));
        Ok(Self { inbox, reader, metrics, context: context.clone() })
    }

    fn poll(&mut self, max: usize, wait: Duration) -> Result<Vec<Record>> {
        let taken = self.inbox.take(max, wait)?;
        let mut records = Vec::with_capacity(taken.arrivals.len());
        let mut passed_over = Vec::new();
        for (place, arrival) in taken.arrivals {
            match self.read(arrival) {
                Some(record) => records.push(record.with_position(Position::new(0, place.to_string()))),
                None => passed_over.push(place),
            }
        }
        self.metrics.passed_over.add(passed_over.len() as u64);
        self.inbox.pass_over(&passed_over);
        if taken.has_caught_up {
            self.context.caught_up();
        }
        Ok(records)
    }

    fn replies(&mut self) -> Box<dyn Replies> {
        Box::new(Acknowledgements(self.inbox.clone()))
    }
}

impl MqttSource {
    fn read(&self, arrival: Arrival) -> Option<Record> {
        let record = match arrival {
            Arrival::Message(message) => self.reader.read(message)?,
            Arrival::TooLarge { topic, n_bytes } => {
                let error = Error::rejected("too_large", "the message is larger than `max_packet_size`");
                error!(topic, n_bytes, "Error processing MQTT message: {error}");
                Record::new("").with_key(topic).with_error(error.with_details(&n_bytes))
            }
        };
        self.metrics.bad.add(record.error().is_some().into());
        Some(record)
    }
}

impl Drop for MqttSource {
    fn drop(&mut self) {
        self.inbox.stop(LAST_WORDS);
    }
}

/// What is stored may be acknowledged.
struct Acknowledgements(Arc<Inbox>);

impl Replies for Acknowledgements {
    fn commit(&self, _lane: u32, position: &[u8]) -> Result<()> {
        let place = std::str::from_utf8(position).ok().and_then(|text| text.parse::<Place>().ok());
        if let Some(place) = place {
            self.0.commit(place);
        }
        Ok(())
    }
}
