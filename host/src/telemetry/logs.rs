//! Log lines and spans of plugins, as if the host had written them.
//!
//! Every callsite of a plugin becomes a callsite of the host, made at run time, so that targets, levels, fields, filters
//! and formats work as they do for the host's own lines. Nothing here may panic: it is called from a plugin's code.

use lockstep_plugin_api::abi::{
    types::{RArc, RSlice, RStr, TD_Opaque},
    vtable::{CallsiteAnswer, CallsiteParts, LogField, LogHost, LogHost_TO, LogHostBox, LogValue},
};
use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc, OnceLock, PoisonError, RwLock,
        atomic::{AtomicU8, Ordering},
    },
};
use tracing_core::{
    Callsite, Event, Interest, Kind, Level, LevelFilter, Metadata,
    callsite::Identifier,
    dispatcher::get_default,
    field::{DebugValue, FieldSet, Value, ValueSet, debug},
    span,
};

/// Where plugins send their log lines: to the subscriber of the thread, which is the process's own.
pub fn log_host() -> LogHostBox {
    LogHost_TO::from_ptr(RArc::new(PluginLogs::default()), TD_Opaque)
}

/// Callsites by their number, and the spans that are open.
#[derive(Clone, Default)]
struct PluginLogs(Arc<Tables>);

#[derive(Default)]
struct Tables {
    callsites: RwLock<Vec<&'static PluginCallsite>>,
    spans: RwLock<HashMap<u64, &'static PluginCallsite>>,
}

/// A callsite made at run time; leaked, as `tracing` keeps callsites for ever.
struct PluginCallsite {
    metadata: OnceLock<Metadata<'static>>,
    interest: AtomicU8,
}

const NEVER: u8 = 0;
const SOMETIMES: u8 = 1;
const ALWAYS: u8 = 2;

impl Callsite for PluginCallsite {
    fn set_interest(&self, interest: Interest) {
        let interest = match interest {
            interest if interest.is_never() => NEVER,
            interest if interest.is_always() => ALWAYS,
            _ => SOMETIMES,
        };
        self.interest.store(interest, Ordering::Relaxed);
    }

    fn metadata(&self) -> &Metadata<'_> {
        self.metadata.get().expect("`leak` sets it before anybody has the callsite")
    }
}

impl PluginCallsite {
    fn leak(parts: &CallsiteParts<'_>) -> &'static Self {
        let text = |text: &RStr<'_>| -> &'static str { Box::leak(Box::<str>::from(text.as_str())) };
        let fields: &'static [&'static str] = Box::leak(parts.fields.iter().map(text).collect());
        let callsite: &'static Self =
            Box::leak(Box::new(Self { metadata: OnceLock::new(), interest: AtomicU8::new(SOMETIMES) }));
        let target = text(&parts.target);
        let file = Some(text(&parts.file)).filter(|file| !file.is_empty());
        let kind = if parts.is_span { Kind::SPAN } else { Kind::EVENT };
        callsite.metadata.get_or_init(|| {
            Metadata::new(
                text(&parts.name),
                target,
                level(parts.level),
                file,
                file.map(|_| parts.line),
                Some(target),
                FieldSet::new(fields, Identifier(callsite)),
                kind,
            )
        });
        callsite
    }

    fn metadata(&'static self) -> &'static Metadata<'static> {
        self.metadata.get().expect("`leak` sets it before anybody has the callsite")
    }

    fn interest(&self) -> u8 {
        self.interest.load(Ordering::Relaxed)
    }
}

fn level(number: u8) -> Level {
    match number {
        1 => Level::ERROR,
        2 => Level::WARN,
        3 => Level::INFO,
        4 => Level::DEBUG,
        _ => Level::TRACE,
    }
}

impl PluginLogs {
    fn callsite(&self, number: u64) -> Option<&'static PluginCallsite> {
        let callsites = self.0.callsites.read().unwrap_or_else(PoisonError::into_inner);
        callsites.get(usize::try_from(number).ok()?).copied()
    }

    fn span(&self, number: u64) -> Option<(span::Id, &'static PluginCallsite)> {
        let spans = self.0.spans.read().unwrap_or_else(PoisonError::into_inner);
        spans.get(&number).map(|callsite| (span::Id::from_u64(number), *callsite))
    }

    fn parent(&self, number: u64) -> Option<span::Id> {
        self.span(number).map(|(id, _)| id)
    }
}

impl LogHost for PluginLogs {
    fn register_callsite(&self, parts: CallsiteParts<'_>) -> CallsiteAnswer {
        let callsite = PluginCallsite::leak(&parts);
        // Asks every subscriber, which sets the interest.
        tracing_core::callsite::register(callsite);
        let mut callsites = self.0.callsites.write().unwrap_or_else(PoisonError::into_inner);
        callsites.push(callsite);
        CallsiteAnswer { id: callsites.len() as u64 - 1, interest: callsite.interest() }
    }

    fn interest(&self, callsite: u64) -> u8 {
        self.callsite(callsite).map_or(NEVER, PluginCallsite::interest)
    }

    fn enabled(&self, callsite: u64) -> bool {
        self.callsite(callsite).is_some_and(|callsite| match callsite.interest() {
            NEVER => false,
            ALWAYS => true,
            _ => get_default(|dispatch| dispatch.enabled(callsite.metadata())),
        })
    }

    fn event(&self, callsite: u64, parent: u64, fields: RSlice<'_, LogField<'_>>) {
        let Some(callsite) = self.callsite(callsite) else { return };
        let metadata = callsite.metadata();
        with_values(metadata, fields, |values| match self.parent(parent) {
            Some(parent) => Event::child_of(parent, metadata, values),
            None => Event::dispatch(metadata, values),
        });
    }

    fn new_span(&self, callsite: u64, parent: u64, fields: RSlice<'_, LogField<'_>>) -> u64 {
        let Some(callsite) = self.callsite(callsite) else { return 0 };
        let metadata = callsite.metadata();
        let number = with_values(metadata, fields, |values| {
            let attributes = match self.parent(parent) {
                Some(parent) => span::Attributes::child_of(parent, metadata, values),
                None => span::Attributes::new(metadata, values),
            };
            get_default(|dispatch| dispatch.new_span(&attributes)).into_u64()
        });
        self.0.spans.write().unwrap_or_else(PoisonError::into_inner).insert(number, callsite);
        number
    }

    fn record_span(&self, span: u64, fields: RSlice<'_, LogField<'_>>) {
        let Some((id, callsite)) = self.span(span) else { return };
        with_values(callsite.metadata(), fields, |values| {
            get_default(|dispatch| dispatch.record(&id, &span::Record::new(values)));
        });
    }

    fn enter_span(&self, span: u64) {
        if let Some((id, _)) = self.span(span) {
            get_default(|dispatch| dispatch.enter(&id));
        }
    }

    fn exit_span(&self, span: u64) {
        if let Some((id, _)) = self.span(span) {
            get_default(|dispatch| dispatch.exit(&id));
        }
    }

    fn close_span(&self, span: u64) {
        let closed = self.0.spans.write().unwrap_or_else(PoisonError::into_inner).remove(&span);
        if closed.is_some() {
            get_default(|dispatch| dispatch.try_close(span::Id::from_u64(span)));
        }
    }

    fn max_level(&self) -> u8 {
        match LevelFilter::current() {
            LevelFilter::OFF => 0,
            LevelFilter::ERROR => 1,
            LevelFilter::WARN => 2,
            LevelFilter::INFO => 3,
            LevelFilter::DEBUG => 4,
            _ => 5,
        }
    }
}

/// A field's value as `tracing` wants to borrow it.
enum Held<'a> {
    I64(i64),
    U64(u64),
    F64(f64),
    Bool(bool),
    Str(&'a str),
    Debug(DebugValue<Plain<'a>>),
}

/// Text that a plugin has formatted already.
struct Plain<'a>(&'a str);

impl fmt::Debug for Plain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl<'a> Held<'a> {
    fn new(value: &'a LogValue<'a>) -> Self {
        match value {
            LogValue::I64(value) => Self::I64(*value),
            LogValue::U64(value) => Self::U64(*value),
            LogValue::F64(value) => Self::F64(*value),
            LogValue::Bool(value) => Self::Bool(*value),
            LogValue::Str(text) => Self::Str(text.as_str()),
            LogValue::Debug(text) => Self::Debug(debug(Plain(text.as_str()))),
        }
    }

    fn borrowed(&self) -> &dyn Value {
        match self {
            Self::I64(value) => value,
            Self::U64(value) => value,
            Self::F64(value) => value,
            Self::Bool(value) => value,
            Self::Str(text) => text,
            Self::Debug(text) => text,
        }
    }
}

fn with_values<R>(
    metadata: &'static Metadata<'static>,
    fields: RSlice<'_, LogField<'_>>,
    call: impl FnOnce(&ValueSet<'_>) -> R,
) -> R {
    let mut held: Vec<Option<Held<'_>>> = metadata.fields().iter().map(|_| None).collect();
    for field in fields.as_slice() {
        if let Some(place) = held.get_mut(field.index as usize) {
            *place = Some(Held::new(&field.value));
        }
    }
    let values: Vec<Option<&dyn Value>> = held.iter().map(|held| held.as_ref().map(Held::borrowed)).collect();
    call(&metadata.fields().value_set_all(&values))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{config::LogFormat, telemetry::subscriber::captured::log};

    fn callsite(
        host: &LogHostBox,
        target: &str,
        level: u8,
        is_span: bool,
        fields: &[&str],
    ) -> CallsiteAnswer {
        let fields: Vec<RStr<'_>> = fields.iter().map(|field| RStr::from_str(field)).collect();
        host.register_callsite(CallsiteParts {
            name: RStr::from_str("enrich"),
            target: RStr::from_str(target),
            file: RStr::from_str("src/lib.rs"),
            line: 37,
            level,
            is_span,
            fields: RSlice::from_slice(&fields),
        })
    }

    fn text(index: u32, text: &str) -> LogField<'_> {
        LogField { index, value: LogValue::Debug(RStr::from_str(text)) }
    }

    #[test]
    fn a_plugins_line_has_its_own_target_and_fields_within_the_hosts_span_and_its_own() {
        let written = log(LogFormat::Text, "info", |_| {
            let host = log_host();
            let span = callsite(&host, "mask", 3, true, &["attempt"]).id;
            let event = callsite(&host, "mask", 2, false, &["message", "bytes", "rest"]).id;
            let task = tracing::info_span!("task", component = "t1").entered();
            let attempt = [LogField { index: 0, value: LogValue::I64(2) }];
            let number = host.new_span(span, 0, RSlice::from_slice(&attempt));
            host.enter_span(number);
            let fields = [text(0, "a warning"), LogField { index: 1, value: LogValue::U64(4) }];
            host.event(event, number, RSlice::from_slice(&fields));
            host.exit_span(number);
            host.close_span(number);
            host.event(event, 0, RSlice::from_slice(&fields[..1]));
            drop(task);
        });
        let lines: Vec<&str> = written.lines().collect();
        assert!(
            lines[0].ends_with(r#"WARN task{component="t1"}:enrich{attempt=2}: mask: a warning bytes=4"#),
            "{written}"
        );
        assert!(lines[1].ends_with(r#"WARN task{component="t1"}: mask: a warning"#), "{written}");
    }

    #[test]
    fn the_hosts_filter_decides_by_the_plugins_target_and_may_change() {
        log(LogFormat::Text, "info,mask=debug", |telemetry| {
            let host = log_host();
            let loud = callsite(&host, "mask", 4, false, &[]);
            let quiet = callsite(&host, "file", 4, false, &[]);
            assert!(host.enabled(loud.id) && !host.enabled(quiet.id));
            telemetry.set_filter("info,file=debug").expect("a valid filter");
            assert!(!host.enabled(loud.id) && host.enabled(quiet.id));
        });
    }

    #[test]
    fn numbers_nobody_gave_out_are_harmless() {
        let written = log(LogFormat::Text, "trace", |_| {
            let host = log_host();
            host.event(99, 7, RSlice::from_slice(&[]));
            host.enter_span(7);
            host.exit_span(7);
            host.close_span(7);
            let event = callsite(&host, "mask", 3, false, &["message"]).id;
            host.event(event, 7, RSlice::from_slice(&[text(5, "no such field"), text(0, "fine")]));
        });
        assert_eq!(written.lines().count(), 1, "{written}");
        assert!(written.contains("mask: fine"), "{written}");
    }
}
