//! `lockstep run`: from pipeline files to a host that runs until it is told to stop.

use super::flags::HostFlags;
use super::output::{complain, refuse, tell};
use super::{DONE, FAILED, REFUSED};
use crate::config::{Config, LogFormat};
use crate::host::{self, Host, StartError};
use crate::telemetry::{self, Telemetry};
use clap::Args;
use std::path::PathBuf;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tracing::{error, info};

/// How often the host looks whether its pipelines have come to their end.
const LOOK: Duration = Duration::from_millis(20);

const AFTER_HELP: &str = "\
The host ends when every pipeline has come to the end of its input, or on SIGTERM or SIGINT: then it stops reading, \
finishes what is in flight within `grace_period`, and ends. A second signal ends it at once; what was not written \
everywhere is read again at the next start. A pipeline that fails for good does not end the host: it stays visible in \
`/readyz?verbose` and `/v1/pipelines` of the admin server.

Exit codes:
  0  every pipeline ended, or was drained in time
  1  a pipeline failed for good, or draining took too long
  2  refused before anything was started: a file, a plugin, a setting, the data folder or the admin address

Examples:
  lockstep run pipelines/quickstart.yaml
  lockstep run --admin-listen 127.0.0.1:0 --data-dir /var/lib/lockstep pipelines/
";

#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Run {
    /// Pipeline files, or folders of them
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
        let telemetry = match telemetry::start(&config.settings.log) {
            Ok(telemetry) => telemetry,
            Err(error) => {
                complain(&error);
                return REFUSED;
            }
        };
        warn_about(&config);
        let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()
        {
            Ok(runtime) => runtime,
            Err(error) => {
                complain(&error);
                return FAILED;
            }
        };
        let exit = match Host::start(config) {
            Ok(host) => {
                follow_filter(&telemetry, &host);
                runtime.block_on(until_the_end(&host))
            }
            Err(StartError::Refused(problems)) => refuse(&problems),
            Err(error) => {
                complain(&error);
                REFUSED
            }
        };
        // A drain that somebody did not want to wait for must not be waited for here.
        runtime.shutdown_background();
        exit
    }
}

/// As a compiler shows it for people, as a log line for collectors.
fn warn_about(config: &Config) {
    if config.settings.log.format == LogFormat::Text {
        return tell(&config.warnings);
    }
    config.warnings.iter().for_each(host::warn_about);
}

/// Plugins have their own copy of what the log's filter decided.
fn follow_filter(telemetry: &Telemetry, host: &Host) {
    let registry = host.registry.clone();
    telemetry.on_filter_change(move || registry.refresh_log_filter());
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
    let mut is_told = false;
    loop {
        tokio::select! {
            _ = terminate.recv() => break info!("SIGTERM received"),
            _ = interrupt.recv() => break info!("SIGINT received"),
            () = tokio::time::sleep(LOOK) => {
                if host.is_finished() {
                    return DONE;
                }
                if host.is_left_with_failures() && !is_told {
                    error!("no pipeline runs any more, because of failures; the host stays up to show them");
                    is_told = true;
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
