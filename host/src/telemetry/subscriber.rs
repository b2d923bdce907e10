//! The log: one subscriber for host and plugins, to stderr, with a filter that can be changed while it runs.

use crate::config::{LogFormat, LogSettings};
use std::{
    env, fmt,
    io::{self, IsTerminal},
    sync::{Arc, Mutex, PoisonError},
};
use tracing_core::Dispatch;
use tracing_subscriber::{
    EnvFilter, Layer, Registry,
    filter::ParseError,
    fmt::MakeWriter,
    layer::SubscriberExt,
    reload::{self, Handle},
};

/// Why the log could not be started or changed.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    #[error(
        "log filter `{filter}` is not valid; write a level, or levels by target: `info,lockstep::runtime=debug`"
    )]
    Filter {
        filter: String,
        #[source]
        cause: ParseError,
    },

    #[error("the log was started before; start it once per process")]
    AlreadyStarted,

    #[error("the log is gone, so its filter cannot be changed")]
    Gone,
}

/// Changes the running log. Cheap to clone.
#[derive(Clone)]
pub struct Telemetry {
    filter: Handle<EnvFilter, Registry>,
    listeners: Arc<Mutex<Vec<Listener>>>,
}

type Listener = Box<dyn Fn() + Send + Sync>;

impl fmt::Debug for Telemetry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Telemetry")
    }
}

/// Starts logging to stderr, for the whole process. Plugins are loaded after this.
///
/// # Errors
/// If the filter is not valid, or a log was started before.
pub fn start(settings: &LogSettings) -> Result<Telemetry, TelemetryError> {
    let colour = io::stderr().is_terminal() && env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let (dispatch, telemetry) = subscriber(settings, colour, io::stderr)?;
    tracing_core::dispatcher::set_global_default(dispatch).map_err(|_| TelemetryError::AlreadyStarted)?;
    Ok(telemetry)
}

impl Telemetry {
    /// Replaces the filter and tells the listeners.
    ///
    /// # Errors
    /// If it is not valid; the old one stays then.
    pub fn set_filter(&self, filter: &str) -> Result<(), TelemetryError> {
        self.filter.reload(parse(filter)?).map_err(|_| TelemetryError::Gone)?;
        let listeners = self.listeners.lock().unwrap_or_else(PoisonError::into_inner);
        listeners.iter().for_each(|listener| listener());
        Ok(())
    }

    /// Calls `listener` after every change of the filter. Plugins have their own copy of what the filter decided, so
    /// the registry's `refresh_log_filter` belongs here.
    pub fn on_filter_change(&self, listener: impl Fn() + Send + Sync + 'static) {
        self.listeners.lock().unwrap_or_else(PoisonError::into_inner).push(Box::new(listener));
    }
}

fn parse(filter: &str) -> Result<EnvFilter, TelemetryError> {
    let refused = |cause| TelemetryError::Filter { filter: filter.to_owned(), cause };
    EnvFilter::builder().parse(filter).map_err(refused)
}

fn subscriber<W>(
    settings: &LogSettings,
    colour: bool,
    writer: W,
) -> Result<(Dispatch, Telemetry), TelemetryError>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let (filter, handle) = reload::Layer::new(parse(&settings.filter)?);
    let lines = tracing_subscriber::fmt::layer().with_writer(writer).with_ansi(colour);
    let lines = match settings.format {
        LogFormat::Text => lines.boxed(),
        LogFormat::Json => {
            lines.json().flatten_event(true).with_current_span(false).with_span_list(true).boxed()
        }
    };
    let subscriber = tracing_subscriber::registry().with(filter).with(lines);
    Ok((Dispatch::new(subscriber), Telemetry { filter: handle, listeners: Arc::default() }))
}

/// A log that a test reads.
#[cfg(test)]
pub(super) mod captured {
    use super::*;

    #[derive(Clone, Default)]
    pub(in crate::telemetry) struct Captured(Arc<Mutex<Vec<u8>>>);

    impl Captured {
        pub(in crate::telemetry) fn text(&self) -> String {
            String::from_utf8(self.0.lock().expect("a test panicked").clone()).expect("a log is text")
        }
    }

    impl io::Write for Captured {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("a test panicked").extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Runs `test` with its own log and gives what was written.
    pub(in crate::telemetry) fn log(
        format: LogFormat,
        filter: &str,
        test: impl FnOnce(&Telemetry),
    ) -> String {
        // What a filter says of a line is kept for all of the process, and two changes at once may keep the older.
        static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
        let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        let captured = Captured::default();
        let writer = captured.clone();
        let settings = LogSettings { format, filter: filter.to_owned() };
        let (dispatch, telemetry) =
            subscriber(&settings, false, move || writer.clone()).expect("a valid filter");
        tracing_core::dispatcher::with_default(&dispatch, || test(&telemetry));
        captured.text()
    }
}

#[cfg(test)]
mod tests {
    use super::{captured::log, *};
    use std::sync::atomic::{AtomicU32, Ordering};

    #[test]
    fn a_json_line_has_target_level_fields_and_the_spans_around_it() {
        let text = log(LogFormat::Json, "info", |_| {
            let span = tracing::info_span!("task", pipeline = "orders", component = "t1");
            span.in_scope(|| tracing::warn!(attempt = 2, "reconnecting"));
        });
        let line: serde_json::Value = serde_json::from_str(&text).expect("one JSON line");
        assert_eq!(line["level"], "WARN");
        assert_eq!(line["message"], "reconnecting");
        assert_eq!(line["attempt"], 2);
        assert_eq!(line["spans"][0]["pipeline"], "orders");
        assert_eq!(line["target"], module_path!());
        assert!(line.get("filename").is_none(), "{text}");
    }

    #[test]
    fn a_changed_filter_counts_at_once_and_is_told() {
        static TOLD: AtomicU32 = AtomicU32::new(0);
        let text = log(LogFormat::Text, "info", |telemetry| {
            telemetry.on_filter_change(|| {
                TOLD.fetch_add(1, Ordering::Relaxed);
            });
            for n in 0..2 {
                tracing::debug!(n, "a detail");
                telemetry.set_filter("debug").expect("a valid filter");
            }
        });
        assert!(text.contains("n=1") && !text.contains("n=0"), "{text}");
        assert_eq!(TOLD.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn a_wrong_filter_is_refused_and_the_old_one_stays() {
        let text = log(LogFormat::Text, "info", |telemetry| {
            let refused = telemetry.set_filter("lockstep=loud").expect_err("`loud` is no level");
            assert!(refused.to_string().contains("`lockstep=loud`"), "{refused}");
            tracing::info!("still here");
        });
        assert!(text.contains("still here"));
    }
}
