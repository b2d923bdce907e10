//! A source that numbers its records as it likes, or gives more of them than it was asked for.

use crate::lie::{How, LieConfig};
use abi_stable::{
    sabi_trait::prelude::TD_Opaque,
    std_types::{RArc, ROk, RVec},
};
use lockstep_plugin_api::{
    __private::{Answer, ComponentParts, OpenedSource},
    Bytes, Position, Record, Result,
    abi::vtable::{OutcomeParts, SourceReplies, SourceReplies_TO, SourceTask, SourceTask_TO},
};
use std::time::Duration;

struct Liar {
    config: LieConfig,
    last: u64,
}

struct Deaf;

pub fn open(config: LieConfig, parts: ComponentParts) -> Result<OpenedSource> {
    let stored =
        parts.positions.first().map(|position| position.bytes()[..].try_into().map(u64::from_be_bytes));
    let last = stored.transpose()?.unwrap_or(0);
    let task = SourceTask_TO::from_value(Liar { config, last }, TD_Opaque);
    Ok(OpenedSource { task, replies: SourceReplies_TO::from_ptr(RArc::new(Deaf), TD_Opaque) })
}

impl SourceTask for Liar {
    fn poll(
        &mut self,
        first_id: u64,
        max_records: u32,
        _max_bytes: u64,
        _max_wait_ms: u32,
    ) -> Answer<RVec<Record>> {
        if self.last == self.config.count {
            std::thread::sleep(Duration::from_millis(2));
            return ROk(RVec::new());
        }
        let next = key(self.last + 1);
        let due = self.config.is_due([next.as_str()].into_iter());
        let (first_id, n_now) = match self.config.how {
            How::UnknownIds if due => (first_id + 1_000_000, 1),
            How::TooMany if due => (first_id, u64::from(max_records) + 1),
            _ => (first_id, 1),
        };
        let n_now = n_now.min(self.config.count - self.last);
        let records = (first_id..first_id + n_now).map(|id| {
            self.last += 1;
            let mut record = record(self.last);
            record.set_id(id);
            record
        });
        ROk(records.collect())
    }
}

fn key(number: u64) -> String {
    format!("app.probe.{number}")
}

fn record(number: u64) -> Record {
    let key = key(number);
    let change = format!(r#"{{"event_type":"config_updated","config_key":"{key}","new_value":{number}}}"#);
    Record::new(change).with_key(key.as_str()).with_position(Position::new(0, number.to_be_bytes().to_vec()))
}

impl SourceReplies for Deaf {
    fn outcomes(&self, _outcomes: RVec<OutcomeParts>) -> Answer<()> {
        ROk(())
    }

    fn commit(&self, _lane: u32, _position: Bytes) -> Answer<()> {
        ROk(())
    }
}
