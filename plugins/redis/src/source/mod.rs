//! The source: entries of streams, and cells of caches where entries are missing, become records.
//!
//! `keeper` finds the streams and acknowledges, `reader` and `stream` read them through `group`, `cache` reads cells,
//! `inbox` is where the host's thread takes what was read, `records` makes records of it, `handed` and `lanes` know what the
//! host was given and how its positions are called, and `owed` sees to the cells of what other programs wrote.

mod cache;
mod group;
mod handed;
pub(crate) mod inbox;
mod keeper;
mod lanes;
mod owed;
mod portion;
mod reader;
mod records;
mod scan;
pub(crate) mod stream;

use crate::{
    config::{From, RedisSourceConfig, Settings},
    connection::Server,
    meeting::Meeting,
    metrics::{SourceMetrics, operations},
    names::tenant_of_text,
    sink::client_name,
};
use group::Group;
use handed::{CELLS, Handed};
use inbox::{Cell, Inbox, Item};
use keeper::{Keeper, Which};
use lanes::{Lanes, cell_position, entry_position};
use lockstep_plugin_api::{prelude::*, source::Replies};
use reader::Common;
use records::Records;
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tracing::{Instrument, error, info_span};

/// The `redis` source.
pub(crate) struct RedisSource {
    context: Context,
    common: Arc<Common>,
    records: Records,
    /// Where the sink is found that writes cells; until the first poll, when every component is there.
    meeting: Option<Meeting>,
}

impl Source for RedisSource {
    type Config = RedisSourceConfig;

    fn check(config: &RedisSourceConfig) -> Result<()> {
        config.check()
    }

    fn advise(config: &RedisSourceConfig, advice: &mut Advice) {
        if config.streams.is_some() {
            advice.refuse_in(Way::ThroughLog, streams_through_log());
        }
    }

    fn new(config: RedisSourceConfig, context: &Context) -> Result<Self> {
        if config.streams.is_some() && context.through_log() {
            return Err(streams_through_log());
        }
        let settings = config.settings()?;
        let endpoint = settings.endpoint();
        context.endpoint(&endpoint);
        let which = which(&config)?;
        let common = Arc::new(common(&config, settings, context)?);
        let meeting = Meeting { pipeline: context.pipeline().to_owned(), endpoint };
        let meeting = Some(meeting).filter(|_| context.through_log());
        if let Some(meeting) = &meeting {
            context.catching_up();
            meeting.open(&common.inbox);
        }
        let keeper = Keeper::new(common.clone(), context.clone(), Lanes::stored(context));
        context.spawn(keeper.run(which).instrument(common.span.clone()));
        let records = Records { node_id: context.node_id().to_owned(), through_log: context.through_log() };
        Ok(Self { context: context.clone(), common, records, meeting })
    }

    fn poll(&mut self, max: usize, wait: Duration) -> Result<Vec<Record>> {
        if let Some(meeting) = self.meeting.take() {
            let settling = owed::settle(self.common.clone(), meeting);
            self.context.spawn(settling.instrument(self.common.span.clone()));
        }
        let items = self.common.inbox.take(max, wait)?;
        Ok(items.into_iter().filter_map(|item| self.record(item)).collect())
    }

    fn replies(&mut self) -> Box<dyn Replies> {
        Box::new(Commits(self.common.handed.clone()))
    }
}

fn streams_through_log() -> Error {
    let why = "through the log everything is a change and comes from its tenant's stream; `streams` is for direct \
               pipelines";
    Error::config(why).at("streams")
}

impl RedisSource {
    fn record(&self, item: Item) -> Option<Record> {
        let record = match item {
            Item::CaughtUp => {
                self.context.caught_up();
                return None;
            }
            Item::Entry { stream, entry } => {
                let id = entry.id;
                let Some(record) = self.records.entry(&stream, entry) else {
                    self.common.metrics.own.add(1);
                    self.common.handed.dropped(&stream, id);
                    return None;
                };
                let plain = record.known_change().filter(|change| change.dot().is_none());
                if let Some(change) = plain.filter(|_| self.records.through_log && record.error().is_none()) {
                    self.common.handed.is_plain(&stream, id, change.config_key_text().clone());
                }
                record.with_position(entry_position(stream.lane, &stream.name, id))
            }
            Item::Cell(cell) => self.cell(cell)?,
        };
        if let Some(error) = record.error() {
            self.common.metrics.bad.add(1);
            error!(key = record.key_str(), "Error processing Redis entry: {error}");
        }
        Some(record)
    }

    fn cell(&self, cell: Cell) -> Option<Record> {
        let Cell { tenant, key, value, position, committed } = cell;
        let stream = self.common.names.stream(tenant.as_deref());
        let Some(record) = self.records.cell(&stream, tenant.as_deref(), &key, value) else {
            self.common.metrics.own.add(1);
            // Who waits for it finds its own word in the cell, which nobody has to take in.
            let _ = committed.map(|committed| committed.send(()));
            return None;
        };
        let position = position.unwrap_or_else(|| cell_position(self.common.handed.cell(committed)));
        Some(record.with_position(position))
    }
}

impl Drop for RedisSource {
    fn drop(&mut self) {
        self.common.inbox.close();
    }
}

/// What the host has stored may be acknowledged.
struct Commits(Arc<Handed>);

impl Replies for Commits {
    fn commit(&self, lane: u32, position: &[u8]) -> Result<()> {
        if lane == CELLS {
            lanes::read_cell(position).into_iter().for_each(|number| self.0.cells_stored(number));
        } else if let Some((_, id)) = lanes::read(position) {
            self.0.stored(lane, id);
        }
        Ok(())
    }
}

fn common(config: &RedisSourceConfig, settings: Settings, context: &Context) -> Result<Common> {
    let (node_id, through_log) = (context.node_id(), context.through_log());
    let own = match through_log {
        true => format!("apg-config-{node_id}"),
        // Two pipelines of one host would share the group, and get a part of the entries each.
        false => format!("apg-config-{node_id}-{}-{}", context.pipeline(), context.component()),
    };
    let group = Group {
        is_shared: config.group.is_some() && !through_log,
        name: config.group.clone().unwrap_or(own),
        consumer: format!("{node_id}/{}/{}", context.pipeline(), context.component()),
        begin: match config.from {
            From::Beginning => "0",
            From::Latest => "$",
        },
        claim_idle: config.claim_idle.0,
    };
    Ok(Common {
        server: Server::open(settings.server, operations(context), context)?,
        client_name: client_name(context.component()),
        names: settings.names,
        group,
        through_log,
        inbox: Arc::default(),
        handed: Arc::default(),
        catch_up: CatchUp::default(),
        try_again: config.discover_interval.0,
        metrics: SourceMetrics::new(context),
        span: info_span!("redis"),
    })
}

fn which(config: &RedisSourceConfig) -> Result<Which> {
    if let Some(streams) = &config.streams {
        return Ok(Which::Named(streams.clone()));
    }
    let Some(tenants) = &config.tenants else { return Ok(Which::Everybody(config.discover_interval.0)) };
    let tenant = |text: &String| tenant_of_text(text).map_err(|why| Error::config(why).at("tenants"));
    tenants.iter().map(tenant).collect::<Result<_>>().map(Which::Tenants)
}

/// How much has to be read until everything is that was there at the start: each stream of then, and the finding of them.
struct CatchUp(AtomicUsize);

impl Default for CatchUp {
    fn default() -> Self {
        Self(AtomicUsize::new(1))
    }
}

impl CatchUp {
    fn one_more(&self) {
        self.0.fetch_add(1, Ordering::AcqRel);
    }

    fn one_less(&self, inbox: &Inbox) {
        if self.0.fetch_sub(1, Ordering::AcqRel) == 1 {
            inbox.push([Item::CaughtUp]);
        }
    }
}
