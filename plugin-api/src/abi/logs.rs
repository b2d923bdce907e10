//! A plugin's log lines and spans on their way to the host.
//!
//! A library has its own copy of `tracing` with its own statics, so without help nothing it logs arrives anywhere. This
//! installs a subscriber in that copy; every callsite becomes a real callsite of the host, and the host's filter decides.

use crate::abi::vtable::{CallsiteAnswer, CallsiteParts, LogField, LogHostBox, LogValue};
use abi_stable::std_types::{RSlice, RStr};
use std::{
    collections::HashMap,
    fmt,
    sync::{OnceLock, RwLock},
};
use tracing_core::{
    Event, Field, Interest, Level, LevelFilter, Metadata, callsite::Identifier, field::Visit, span,
    subscriber,
};
use tracing_log::NormalizeEvent;
use tracing_subscriber::{
    Layer,
    layer::{Context, SubscriberExt},
    registry::LookupSpan,
};

/// Sends everything this library logs to the host, the lines of the `log` crate too. The first call counts.
pub fn install(host: LogHostBox) {
    static INSTALLED: OnceLock<()> = OnceLock::new();
    INSTALLED.get_or_init(|| {
        let forward = Forward::new(host);
        let installed = tracing_core::dispatcher::set_global_default(tracing_core::Dispatch::new(
            tracing_subscriber::registry().with(forward),
        ));
        // Fails only if the plugin set a subscriber of its own before its `init`; its lines then go there.
        if installed.is_ok() {
            // Not their trace lines: there, protocol libraries print whole frames, and a value must never be logged.
            let _ =
                tracing_log::LogTracer::builder().with_max_level(tracing_log::log::LevelFilter::Debug).init();
        }
    });
}

/// Asks the host anew who listens, after it changed its filter.
pub extern "C" fn refresh_filter() {
    let _ = std::panic::catch_unwind(tracing_core::callsite::rebuild_interest_cache);
}

struct Forward {
    host: LogHostBox,
    callsites: RwLock<HashMap<Identifier, u64>>,
    /// Lines of the `log` crate share one callsite per level; their target and level tell them apart.
    log_callsites: RwLock<HashMap<String, [Option<u64>; 5]>>,
}

/// More targets than any library's modules; the host keeps a callsite for ever.
const MAX_LOG_TARGETS: usize = 1000;

/// What `tracing_log` calls the metadata with which it asks whether a line of the `log` crate is wanted.
const LOG_RECORD: &str = "log record";

/// The host's number of a span, kept with the span on this side.
struct HostSpan(u64);

impl Forward {
    fn new(host: LogHostBox) -> Self {
        Self { host, callsites: RwLock::default(), log_callsites: RwLock::default() }
    }

    fn register(&self, metadata: &'static Metadata<'static>) -> CallsiteAnswer {
        if let Some(id) = self.known(metadata) {
            return CallsiteAnswer { id, interest: self.host.interest(id) };
        }
        let fields: Vec<RStr<'_>> =
            metadata.fields().iter().map(|field| RStr::from_str(field.name())).collect();
        let answer = self.host.register_callsite(CallsiteParts {
            name: RStr::from_str(metadata.name()),
            target: RStr::from_str(metadata.target()),
            file: RStr::from_str(metadata.file().unwrap_or_default()),
            line: metadata.line().unwrap_or_default(),
            level: level_number(*metadata.level()),
            is_span: metadata.is_span(),
            fields: RSlice::from_slice(&fields),
        });
        let mut callsites = self.callsites.write().unwrap_or_else(|poisoned| poisoned.into_inner());
        callsites.insert(metadata.callsite(), answer.id);
        answer
    }

    fn known(&self, metadata: &Metadata<'_>) -> Option<u64> {
        self.callsites
            .read()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
            .get(&metadata.callsite())
            .copied()
    }

    /// The host's callsite for lines of the `log` crate with this target and level.
    fn log_callsite(&self, target: &str, level: Level) -> u64 {
        let place = usize::from(level_number(level)) - 1;
        let known = self.log_callsites.read().unwrap_or_else(|poisoned| poisoned.into_inner());
        let has_room = known.len() < MAX_LOG_TARGETS || known.contains_key(target);
        let target = if has_room { target } else { "log" };
        if let Some(id) = known.get(target).and_then(|by_level| by_level[place]) {
            return id;
        }
        drop(known);
        let answer = self.host.register_callsite(CallsiteParts {
            name: RStr::from_str("log event"),
            target: RStr::from_str(target),
            file: RStr::from_str(""),
            line: 0,
            level: level_number(level),
            is_span: false,
            fields: RSlice::from_slice(&[RStr::from_str("message")]),
        });
        let mut known = self.log_callsites.write().unwrap_or_else(|poisoned| poisoned.into_inner());
        known.entry(target.to_owned()).or_default()[place] = Some(answer.id);
        answer.id
    }

    fn callsite(&self, metadata: &'static Metadata<'static>) -> u64 {
        self.known(metadata).unwrap_or_else(|| self.register(metadata).id)
    }
}

impl<S: subscriber::Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Forward {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        match self.register(metadata).interest {
            0 => Interest::never(),
            2 => Interest::always(),
            _ => Interest::sometimes(),
        }
    }

    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        if metadata.name() == LOG_RECORD {
            return self.host.enabled(self.log_callsite(metadata.target(), *metadata.level()));
        }
        self.known(metadata).is_none_or(|callsite| self.host.enabled(callsite))
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(match self.host.max_level() {
            0 => LevelFilter::OFF,
            1 => LevelFilter::ERROR,
            2 => LevelFilter::WARN,
            3 => LevelFilter::INFO,
            4 => LevelFilter::DEBUG,
            _ => LevelFilter::TRACE,
        })
    }

    fn on_new_span(&self, attributes: &span::Attributes<'_>, id: &span::Id, context: Context<'_, S>) {
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        let Some(span) = context.span(id) else { return };
        let parent =
            span.parent().and_then(|parent| parent.extensions().get::<HostSpan>().map(|host| host.0));
        let callsite = self.callsite(attributes.metadata());
        let number = fields.with(|fields| self.host.new_span(callsite, parent.unwrap_or(0), fields));
        span.extensions_mut().insert(HostSpan(number));
    }

    fn on_record(&self, id: &span::Id, values: &span::Record<'_>, context: Context<'_, S>) {
        let mut fields = Fields::default();
        values.record(&mut fields);
        if let Some(span) = host_span(id, &context) {
            fields.with(|fields| self.host.record_span(span, fields));
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let parent =
            context.event_span(event).and_then(|span| span.extensions().get::<HostSpan>().map(|host| host.0));
        let callsite = match event.normalized_metadata() {
            Some(log) => {
                fields.keep_message();
                self.log_callsite(log.target(), *log.level())
            }
            None => self.callsite(event.metadata()),
        };
        fields.with(|fields| self.host.event(callsite, parent.unwrap_or(0), fields));
    }

    fn on_enter(&self, id: &span::Id, context: Context<'_, S>) {
        if let Some(span) = host_span(id, &context) {
            self.host.enter_span(span);
        }
    }

    fn on_exit(&self, id: &span::Id, context: Context<'_, S>) {
        if let Some(span) = host_span(id, &context) {
            self.host.exit_span(span);
        }
    }

    fn on_close(&self, id: span::Id, context: Context<'_, S>) {
        if let Some(span) = host_span(&id, &context) {
            self.host.close_span(span);
        }
    }
}

fn host_span<S: subscriber::Subscriber + for<'a> LookupSpan<'a>>(
    id: &span::Id,
    context: &Context<'_, S>,
) -> Option<u64> {
    context.span(id)?.extensions().get::<HostSpan>().map(|host| host.0)
}

fn level_number(level: Level) -> u8 {
    match level {
        Level::ERROR => 1,
        Level::WARN => 2,
        Level::INFO => 3,
        Level::DEBUG => 4,
        Level::TRACE => 5,
    }
}

/// The fields of one event or span, copied because `tracing` lends them one at a time.
#[derive(Default)]
struct Fields(Vec<(u32, Owned)>);

enum Owned {
    I64(i64),
    U64(u64),
    F64(f64),
    Bool(bool),
    Str(String),
    Debug(String),
}

impl Fields {
    fn push(&mut self, field: &Field, value: Owned) {
        self.0.push((field.index() as u32, value));
    }

    /// Of a line of the `log` crate: the rest of its fields say where it comes from, which the callsite knows.
    fn keep_message(&mut self) {
        self.0.retain(|(index, _)| *index == 0);
    }

    fn with<R>(&self, call: impl FnOnce(RSlice<'_, LogField<'_>>) -> R) -> R {
        let fields: Vec<LogField<'_>> =
            self.0.iter().map(|(index, value)| LogField { index: *index, value: value.borrowed() }).collect();
        call(RSlice::from_slice(&fields))
    }
}

impl Owned {
    fn borrowed(&self) -> LogValue<'_> {
        match self {
            Self::I64(value) => LogValue::I64(*value),
            Self::U64(value) => LogValue::U64(*value),
            Self::F64(value) => LogValue::F64(*value),
            Self::Bool(value) => LogValue::Bool(*value),
            Self::Str(text) => LogValue::Str(RStr::from_str(text)),
            Self::Debug(text) => LogValue::Debug(RStr::from_str(text)),
        }
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.push(field, Owned::Debug(format!("{value:?}")));
    }
    fn record_str(&mut self, field: &Field, value: &str) {
        self.push(field, Owned::Str(value.to_owned()));
    }
    fn record_i64(&mut self, field: &Field, value: i64) {
        self.push(field, Owned::I64(value));
    }
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.push(field, Owned::U64(value));
    }
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.push(field, Owned::F64(value));
    }
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.push(field, Owned::Bool(value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::abi::vtable::{LogHost, LogHost_TO};
    use abi_stable::{sabi_trait::prelude::TD_Opaque, std_types::RArc};
    use std::sync::{Arc, Mutex};
    use tracing_log::log;

    /// Writes lines down as `target: text` and wants nothing of the target `quiet`.
    #[derive(Clone, Default)]
    struct Recording(Arc<Mutex<(Vec<String>, Vec<String>)>>);

    impl LogHost for Recording {
        fn register_callsite(&self, callsite: CallsiteParts<'_>) -> CallsiteAnswer {
            let (targets, _) = &mut *self.0.lock().expect("no panic");
            targets.push(callsite.target.to_string());
            CallsiteAnswer { id: targets.len() as u64 - 1, interest: 1 }
        }
        fn interest(&self, _: u64) -> u8 {
            1
        }
        fn enabled(&self, callsite: u64) -> bool {
            self.0.lock().expect("no panic").0[callsite as usize] != "quiet"
        }
        fn event(&self, callsite: u64, _: u64, fields: RSlice<'_, LogField<'_>>) {
            let (targets, lines) = &mut *self.0.lock().expect("no panic");
            let [LogField { value: LogValue::Debug(text), .. }] = fields.as_slice() else {
                panic!("a message and nothing else")
            };
            lines.push(format!("{}: {text}", targets[callsite as usize]));
        }
        fn new_span(&self, _: u64, _: u64, _: RSlice<'_, LogField<'_>>) -> u64 {
            1
        }
        fn record_span(&self, _: u64, _: RSlice<'_, LogField<'_>>) {}
        fn enter_span(&self, _: u64) {}
        fn exit_span(&self, _: u64) {}
        fn close_span(&self, _: u64) {}
        fn max_level(&self) -> u8 {
            5
        }
    }

    #[test]
    fn lines_of_the_log_crate_are_filtered_and_sent_under_their_own_target() {
        let recording = Recording::default();
        let host = LogHost_TO::from_ptr(RArc::new(recording.clone()), TD_Opaque);
        let subscriber = tracing_subscriber::registry().with(Forward::new(host));
        tracing_core::dispatcher::with_default(&tracing_core::Dispatch::new(subscriber), || {
            for target in ["rdkafka", "quiet", "rdkafka"] {
                let record = log::Record::builder()
                    .args(format_args!("broker down"))
                    .level(log::Level::Warn)
                    .target(target)
                    .build();
                tracing_log::format_trace(&record).expect("it cannot fail");
            }
            tracing::warn!(target: "own", "traced");
        });
        let (targets, lines) = &*recording.0.lock().expect("no panic");
        assert_eq!(*lines, ["rdkafka: broker down", "rdkafka: broker down", "own: traced"]);
        assert_eq!(targets.iter().filter(|target| *target == "rdkafka").count(), 1);
    }
}
