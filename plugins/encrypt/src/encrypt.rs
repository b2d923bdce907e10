//! The `encrypt` transform: every value of the chosen keys is sealed, or its change is refused.
//!
//! Invariant: a change that has its place among all changes already (a dot) never gets another value here. Before the log
//! it is taken as it is sealed; behind it, a layer is put around every value, which `decrypt` at the other end takes off.

use crate::{
    binding::{Field, Layer, Owner},
    config::{ClearFromElsewhere, EncryptConfig, selected},
    envelope::{Envelopes, Opened},
    keeper::Keeper,
    metrics::Metrics,
    operations::{self, Member},
    refusal, ring,
    standing::Standing,
    values::{Place, Rewrite, rewrite},
};
use lockstep_plugin_api::{prelude::*, sealed::is_sealed};
use std::sync::Arc;

/// The `encrypt` transform.
pub struct Encrypt {
    keys: Keys,
    envelopes: Envelopes,
    clear_from_elsewhere: ClearFromElsewhere,
    member: Arc<Member>,
}

impl Transform for Encrypt {
    type Config = EncryptConfig;

    fn check(config: &EncryptConfig) -> Result<()> {
        config.check()
    }

    fn advise(config: &EncryptConfig, advice: &mut Advice) {
        advice.seals(selected(&config.keys, &config.except).unwrap_or_else(|_| Keys::all()));
        ring::advise(&config.ring, config.current.as_deref(), advice);
    }

    fn new(config: EncryptConfig, context: &Context) -> Result<Self> {
        let keys = selected(&config.keys, &config.except)?;
        let keeper = Keeper::start(context, config.ring, config.current, config.exec_timeout.0)?;
        let member = Arc::new(Member {
            pipeline: context.pipeline().to_owned(),
            component: context.component().to_owned(),
            what: "encrypt",
            standing: Standing::of(context),
            keeper: keeper.clone(),
            metrics: Metrics::new(context, "encrypt"),
        });
        operations::join(&member);
        let envelopes = Envelopes::new(keeper, config.data_key_lifetime.0);
        Ok(Self { keys, envelopes, clear_from_elsewhere: config.clear_from_elsewhere, member })
    }

    fn apply(&mut self, mut record: Record, out: &mut Output) -> Result<()> {
        self.envelopes.keep_up();
        if !self.keys.contains(record.change()?.config_key()) {
            out.push(record);
            return Ok(());
        }
        // Written anew in any case: a field that no change has is sealed by nobody.
        let change = record.change_mut()?;
        let (owner, has_place) = (Owner::of(change), change.dot().is_some());
        let done = rewrite(change, &mut Sealing { of: self, owner: &owner, has_place });
        if done.is_err() {
            self.member.metrics.refused.add(1);
        }
        done?;
        self.member.metrics.data_keys.set(self.envelopes.n_data_keys() as i64);
        out.push(record);
        Ok(())
    }

    fn operations(&mut self) -> Operations {
        operations::offered()
    }
}

/// The values of one change on their way into envelopes.
struct Sealing<'a> {
    of: &'a mut Encrypt,
    owner: &'a Owner,
    has_place: bool,
}

impl Rewrite for Sealing<'_> {
    fn rewrite(&mut self, place: Place, field: Field, text: &str) -> Result<Option<String>> {
        match self.of.member.standing {
            Standing::BeforeLog if self.has_place => self.taken(place, field, text),
            Standing::BeforeLog => self.authored(place, field, text),
            Standing::BehindLog => self.wrapped(&[Layer::Log], field, text),
            Standing::Direct => self.wrapped(&[Layer::Log, Layer::Wire], field, text),
        }
    }
}

impl Sealing<'_> {
    /// A value that another host has sealed, or should have.
    fn taken(&mut self, place: Place, field: Field, text: &str) -> Result<Option<String>> {
        if !is_sealed(text) {
            return match self.of.clear_from_elsewhere {
                ClearFromElsewhere::Reject => Err(refusal::clear_from_elsewhere(&place)),
                ClearFromElsewhere::Pass => Ok(self.passed()),
            };
        }
        let opened = self.of.envelopes.open(self.owner, &[Layer::Log, Layer::Wire], field, text);
        match opened.map_err(|closed| refusal::closed(&closed, &place))?.layer {
            Layer::Log => Ok(self.passed()),
            Layer::Wire => Err(refusal::sealed_for_the_way(&place)),
        }
    }

    /// A value that its author gives, in clear or in an envelope that opens here: sealed under the keys in use.
    fn authored(&mut self, place: Place, field: Field, text: &str) -> Result<Option<String>> {
        if !is_sealed(text) {
            return self.sealed(Layer::Log, field, text).map(Some);
        }
        let opened = self.of.envelopes.open(self.owner, &[Layer::Log, Layer::Wire], field, text);
        let Opened { text, .. } = opened.map_err(|closed| refusal::closed(&closed, &place))?;
        self.sealed(Layer::Log, field, &text).map(Some)
    }

    /// A value on its way out. What was sealed before with one of these layers is not sealed twice; what only looks so is
    /// a value like any other, and comes out at the other end as it is.
    fn wrapped(&mut self, before: &[Layer], field: Field, text: &str) -> Result<Option<String>> {
        if is_sealed(text) && self.of.envelopes.open(self.owner, before, field, text).is_ok() {
            return Ok(self.passed());
        }
        self.sealed(Layer::Wire, field, text).map(Some)
    }

    fn sealed(&mut self, layer: Layer, field: Field, text: &str) -> Result<String> {
        self.of.member.metrics.sealed.add(1);
        self.of.envelopes.seal(self.owner, layer, field, text)
    }

    fn passed(&self) -> Option<String> {
        self.of.member.metrics.passed.add(1);
        None
    }
}
