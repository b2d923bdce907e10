//! `lockstep run`: from pipeline files to a host that runs until it is told to stop.

use super::{DONE, FAILED, HostFlags, REFUSED, refuse};
use crate::host::{Host, StartError};
use crate::telemetry;
use clap::Args;
use std::path::PathBuf;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tracing::{error, info, warn};

/// How often the host looks whether its pipelines have come to their end.
const LOOK: Duration = Duration::from_millis(20);

#[derive(Debug, Args)]
pub(super) struct Run {
    /// Pipeline files, or folders of them.
    #[arg(required = true, value_name = "PIPELINE")]
    pipelines: Vec<PathBuf>,
    #[command(flatten)]
    host: HostFlags,
}

impl Run {
    pub(super) fn run(self) -> u8 {
        let config = match self.host.load(&self.pipelines) {
            Ok(config) => config,
            Err(problems) => return refuse(&problems),
        };
        let _telemetry = match telemetry::start(&config.settings.log) {
            Ok(telemetry) => telemetry,
            Err(error) => {
                eprintln!("error: {error}");
                return REFUSED;
            }
        };
        for warning in config.warnings.iter() {
            warn!("{}", warning.message());
        }
        let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()
        {
            Ok(runtime) => runtime,
            Err(error) => {
                eprintln!("error: the runtime cannot be started: {error}");
                return FAILED;
            }
        };
        match Host::start(config) {
            Ok(host) => runtime.block_on(until_the_end(&host)),
            Err(StartError::Refused(problems)) => refuse(&problems),
            Err(error) => {
                error!(%error, "not started");
                eprintln!("error: {error}");
                REFUSED
            }
        }
    }
}

/// Waits for a signal or for every pipeline's own end, then drains.
async fn until_the_end(host: &Host) -> u8 {
    let (mut terminate, mut interrupt) =
        match (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) {
            (Ok(terminate), Ok(interrupt)) => (terminate, interrupt),
            (Err(error), _) | (_, Err(error)) => {
                error!(%error, "signals cannot be received");
                return FAILED;
            }
        };
    loop {
        tokio::select! {
            _ = terminate.recv() => break info!("SIGTERM received"),
            _ = interrupt.recv() => break info!("SIGINT received"),
            () = tokio::time::sleep(LOOK) => {
                if host.is_finished() {
                    return DONE;
                }
            }
        }
    }
    let draining = host.clone();
    let mut drained = tokio::task::spawn_blocking(move || draining.drain());
    tokio::select! {
        drained = &mut drained => match drained {
            Ok(true) if !host.has_failed() => DONE,
            _ => FAILED,
        },
        // A second signal is somebody's impatience: nothing committed is lost by going now.
        _ = terminate.recv() => FAILED,
        _ = interrupt.recv() => FAILED,
    }
}
