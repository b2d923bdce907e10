//! The source: lets the sessions of its server put changes into the pipeline.

use crate::{
    config::Settings,
    endpoint::{self, Hold, Role},
    server::Intake,
};
use lockstep_plugin_api::prelude::*;
use std::{sync::Arc, time::Duration};
use tokio::time::sleep;

/// How often the source looks whether the host wants it to stop.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Takes changes from clients. Every change is answered when the host tells what became of it.
pub(crate) struct WebSocketSource {
    hold: Arc<Hold>,
    context: Context,
}

impl AsyncSource for WebSocketSource {
    type Config = Settings;

    fn advise(settings: &Settings, advice: &mut Advice) {
        settings.advise(advice);
    }

    fn new(settings: Settings, context: &Context) -> Result<Self> {
        let hold = Arc::new(endpoint::open(&settings, Role::Source, context)?);
        Ok(Self { hold, context: context.clone() })
    }

    async fn run(self, emitter: Emitter) -> Result<()> {
        // The sessions emit, each in its own task; this one only opens the way and closes it.
        self.hold.server().set_intake(Intake::Open(emitter.clone()));
        while !self.context.stopping() {
            sleep(LOOK_EVERY).await;
        }
        self.hold.server().set_intake(Intake::Closed);
        // The changes on their way are still to be answered, so the end is for the host to make; the emitter stays, for
        // without one the host would take this for the end of input.
        let _kept = emitter;
        std::future::pending().await
    }

    fn replies(&mut self) -> Box<dyn Replies> {
        Box::new(KeepOpen { _hold: self.hold.clone() })
    }
}

/// Holds the endpoint until the host has let go of both parts of the source: it drops this one on a thread of its own,
/// where the connections can be waited for.
struct KeepOpen {
    _hold: Arc<Hold>,
}

impl Replies for KeepOpen {}
