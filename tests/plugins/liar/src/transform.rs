//! A transform that loses, invents or doubles a record of a batch.

use crate::lie::{How, LieConfig};
use abi_stable::{
    sabi_trait::prelude::TD_Opaque,
    std_types::{RNone, ROk, RVec},
};
use lockstep_plugin_api::{
    __private::{Answer, TransformBox},
    Record,
    abi::vtable::{Applied, TransformTask, TransformTask_TO},
};

struct Liar(LieConfig);

pub fn open(config: LieConfig) -> TransformBox {
    TransformTask_TO::from_value(Liar(config), TD_Opaque)
}

impl TransformTask for Liar {
    fn apply(&mut self, batch: RVec<Record>) -> Answer<Applied> {
        let due = self.0.is_due(batch.iter().filter_map(Record::key_str));
        let mut out = batch;
        let mut dropped = RVec::new();
        match self.0.how {
            _ if !due => {}
            How::TooFew => drop(out.pop()),
            How::UnknownIds => out.iter_mut().take(1).for_each(|record| record.set_id(u64::MAX - 1)),
            How::TooMany => dropped.extend(out.iter().take(1).map(Record::id)),
        }
        ROk(Applied {
            out,
            failed: RVec::new(),
            dropped,
            unapplied: RVec::new(),
            stopped_by: RNone,
            told: RVec::new(),
        })
    }
}
