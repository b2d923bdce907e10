//! The `decrypt` transform: every sealed value of the chosen keys is opened, or its change is refused.
//!
//! Invariant: before the log, a value that was sealed for the log stays sealed if its change has its place among all
//! changes: it is the value of that change on every host.

use crate::{
    binding::{Field, Layer, Owner},
    config::{DecryptConfig, OnClear, OnUnknownKey, selected},
    envelope::{Closed, Envelopes},
    keeper::Keeper,
    metrics::Metrics,
    operations::{self, Member},
    refusal, ring,
    standing::Standing,
    values::{Place, Rewrite, rewrite},
};
use lockstep_plugin_api::{prelude::*, sealed::is_sealed};
use std::{sync::Arc, time::Duration};

/// The `decrypt` transform.
pub struct Decrypt {
    keys: Keys,
    envelopes: Envelopes,
    on_unknown_key: OnUnknownKey,
    on_clear: OnClear,
    member: Arc<Member>,
}

impl Transform for Decrypt {
    type Config = DecryptConfig;

    fn check(config: &DecryptConfig) -> Result<()> {
        config.check()
    }

    fn advise(config: &DecryptConfig, advice: &mut Advice) {
        let keys = selected(&config.keys, &config.except).unwrap_or_default();
        match config.on_unknown_key {
            OnUnknownKey::Reject => advice.opens(keys),
            OnUnknownKey::Pass => advice.may_open(keys),
        }
        ring::advise(&config.ring, None, advice);
    }

    fn new(config: DecryptConfig, context: &Context) -> Result<Self> {
        let keys = selected(&config.keys, &config.except)?;
        let keeper = Keeper::start(context, config.ring, None, config.exec_timeout.0)?;
        let member = Arc::new(Member {
            pipeline: context.pipeline().to_owned(),
            component: context.component().to_owned(),
            what: "decrypt",
            standing: Standing::of(context),
            keeper: keeper.clone(),
            metrics: Metrics::new(context, "decrypt"),
        });
        operations::join(&member);
        // It seals nothing, so no data key gets old.
        let envelopes = Envelopes::new(keeper, Duration::MAX);
        let DecryptConfig { on_unknown_key, on_clear, .. } = config;
        Ok(Self { keys, envelopes, on_unknown_key, on_clear, member })
    }

    fn apply(&mut self, mut record: Record, out: &mut Output) -> Result<()> {
        self.envelopes.keep_up();
        let change = record.change()?;
        if !self.keys.contains(change.config_key()) {
            out.push(record);
            return Ok(());
        }
        // What has nothing to open keeps its bytes.
        let mut opened = change.clone();
        let (owner, has_place) = (Owner::of(change), change.dot().is_some());
        let done = rewrite(&mut opened, &mut Opening { of: self, owner: &owner, has_place });
        if done.is_err() {
            self.member.metrics.refused.add(1);
        }
        if done? {
            *record.change_mut()? = opened;
        }
        out.push(record);
        Ok(())
    }

    fn operations(&mut self) -> Operations {
        operations::offered()
    }
}

/// The values of one change on their way out of envelopes.
struct Opening<'a> {
    of: &'a mut Decrypt,
    owner: &'a Owner,
    has_place: bool,
}

impl Rewrite for Opening<'_> {
    fn rewrite(&mut self, place: Place, field: Field, text: &str) -> Result<Option<String>> {
        if !is_sealed(text) {
            return match self.of.on_clear {
                OnClear::Reject if !place.is_in_conflict() => Err(refusal::clear(&place)),
                _ => Ok(None),
            };
        }
        let opened = match self.of.envelopes.open(self.owner, &[Layer::Wire, Layer::Log], field, text) {
            Ok(opened) => opened,
            Err(Closed::UnknownKey(_)) if self.of.on_unknown_key == OnUnknownKey::Pass => {
                return Ok(self.passed());
            }
            Err(closed) => return Err(refusal::closed(&closed, &place)),
        };
        let is_its_value = opened.layer == Layer::Log && self.of.member.standing == Standing::BeforeLog;
        if is_its_value && self.has_place {
            return Ok(self.passed());
        }
        self.of.member.metrics.opened.add(1);
        Ok(Some(opened.text))
    }

    fn looks_into_conflicts(&self) -> bool {
        true
    }
}

impl Opening<'_> {
    fn passed(&self) -> Option<String> {
        self.of.member.metrics.passed.add(1);
        None
    }
}
