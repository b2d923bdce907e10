//! What a client says about its brokers: its log lines, on their way to the host's log, and what they mean.
//!
//! Invariant: nothing here repeats without a limit. A broker that is away makes a client say so many times a second.

use crate::config::Connection;
use rdkafka::{
    config::RDKafkaLogLevel,
    error::{KafkaError, RDKafkaErrorCode},
};
use std::{
    collections::HashMap,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};
use tracing::{Span, debug, error, info, info_span, warn};

/// How often a line of one kind is shown.
const LINE_INTERVAL: Duration = Duration::from_secs(10);

/// How long the reason that a broker gave stands for why none can be reached.
const REASON_LASTS: Duration = Duration::from_secs(60);

/// How long it stands that the group cannot be joined.
const DENIAL_LASTS: Duration = Duration::from_secs(10);

/// How many kinds of lines are told apart.
const MAX_KINDS: usize = 200;

/// What librdkafka calls its lines about connections that failed, and about offsets that were out of range.
const CONNECTION_FAILED: &str = "FAIL";
const OFFSET_RESET: &str = "OFFSET";

/// OpenSSL's words for a certificate that it does not take.
const DISTRUSTED: &str = "certificate verify failed";

/// What is known of a client's brokers.
pub(crate) struct Health {
    /// The component's own, so that lines from the client's threads name it.
    span: Span,
    servers: String,
    user: String,
    state: Mutex<State>,
    /// Whether there is a reason or trouble: looked at for every message.
    is_doubtful: AtomicBool,
    on_offset_reset: Box<dyn Fn() + Send + Sync>,
}

#[derive(Default)]
struct State {
    /// Why a connection failed last, in the client's words.
    reason: Option<(Instant, String)>,
    /// Since when, and why, nothing works.
    trouble: Option<(Instant, String)>,
    /// Why the group cannot be joined, although brokers answer.
    denied: Option<(Instant, String)>,
    fatal: Option<String>,
    lines: HashMap<String, Line>,
}

/// A kind of line that was shown, and how many were not since.
struct Line {
    shown: Instant,
    n_hidden: u64,
}

impl Health {
    pub(crate) fn new(connection: &Connection, role: &'static str) -> Self {
        Self {
            span: info_span!("kafka", role),
            servers: connection.bootstrap_servers.join(","),
            user: connection.user(),
            state: Mutex::default(),
            is_doubtful: AtomicBool::new(false),
            on_offset_reset: Box::new(|| {}),
        }
    }

    /// Calls this when the client begins elsewhere because a position was out of range.
    pub(crate) fn on_offset_reset(mut self, call: impl Fn() + Send + Sync + 'static) -> Self {
        self.on_offset_reset = Box::new(call);
        self
    }

    /// Runs something on a thread of the client as this component.
    pub(crate) fn within<R>(&self, run: impl FnOnce() -> R) -> R {
        self.span.in_scope(run)
    }

    /// A line of the client's log.
    pub(crate) fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        let text = without_thread(text);
        if facility == CONNECTION_FAILED {
            self.give_reason(text);
            if text.contains("uthentication") {
                self.fail(self.refused(text));
            }
            if text.contains(DISTRUSTED) {
                self.fail(self.insecure(text));
            }
        }
        if matches!(level, RDKafkaLogLevel::Debug) {
            return self.within(|| debug!(target: "librdkafka", facility, "{text}"));
        }
        if facility == OFFSET_RESET {
            (self.on_offset_reset)();
            return self.within(|| error!("a position was out of range, messages may be missed: {text}"));
        }
        let Some(n_hidden) = self.is_due(facility) else { return };
        self.within(|| match level {
            RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical => {
                error!(target: "librdkafka", facility, n_hidden, "{text}");
            }
            // A connection that failed is tried again.
            RDKafkaLogLevel::Error | RDKafkaLogLevel::Warning => {
                warn!(target: "librdkafka", facility, n_hidden, "{text}");
            }
            _ => info!(target: "librdkafka", facility, n_hidden, "{text}"),
        });
    }

    /// An error of the client as a whole.
    pub(crate) fn error(&self, error: &KafkaError, reason: &str) {
        use RDKafkaErrorCode as Code;
        match error.rdkafka_error_code() {
            Some(Code::AllBrokersDown) => self.fail(self.unreachable()),
            Some(Code::Authentication | Code::SaslAuthenticationFailed) => self.fail(self.refused(reason)),
            Some(Code::SSL) => self.fail(self.insecure(reason)),
            Some(Code::GroupAuthorizationFailed) => {
                let text = format!("the group does not let in {}: {reason}", self.user);
                self.state().denied = Some((Instant::now(), text));
            }
            Some(Code::Fatal) => self.state().fatal = Some(reason.to_owned()),
            Some(Code::BrokerTransportFailure | Code::Resolve | Code::OperationTimedOut) => {
                self.give_reason(reason);
            }
            _ => self.complain(error, reason),
        }
    }

    /// Something that concerns a topic or the group, such as that there is no such topic; it is said again and again.
    fn complain(&self, error: &KafkaError, reason: &str) {
        let kind = if self.state().lines.len() < MAX_KINDS { reason } else { "any other" };
        if let Some(n_hidden) = self.is_due(kind) {
            self.within(|| warn!(%error, n_hidden, "the Kafka client complains: {reason}"));
        }
    }

    fn give_reason(&self, reason: &str) {
        self.state().reason = Some((Instant::now(), reason.to_owned()));
        self.is_doubtful.store(true, Ordering::Relaxed);
    }

    /// Takes note that nothing works, unless it is known why already.
    fn fail(&self, text: String) {
        let mut state = self.state();
        let explained =
            state.trouble.take().map(|(_, text)| text).filter(|known| !known.starts_with("no broker"));
        state.trouble = Some((Instant::now(), explained.unwrap_or(text)));
        self.is_doubtful.store(true, Ordering::Relaxed);
    }

    fn unreachable(&self) -> String {
        let state = self.state();
        match &state.reason {
            Some((at, reason)) if at.elapsed() < REASON_LASTS => {
                format!("no broker of {} can be reached: {reason}", self.servers)
            }
            _ => format!("no broker of {} can be reached", self.servers),
        }
    }

    /// OpenSSL's words do not tell why a certificate is not trusted; librdkafka guesses at one reason.
    fn insecure(&self, reason: &str) -> String {
        let why = if reason.contains(DISTRUSTED) {
            "the broker's certificate has expired, is for another name, or is by nobody whom `ssl_context.cafile` names"
        } else {
            reason
        };
        format!("the TLS connection to {} failed: {why}", self.servers)
    }

    fn refused(&self, reason: &str) -> String {
        format!("the broker does not let in {}: {reason}", self.user)
    }

    /// Something worked.
    pub(crate) fn is_well(&self) {
        if !self.is_doubtful.swap(false, Ordering::Relaxed) {
            return;
        }
        let mut state = self.state();
        state.trouble = None;
        state.reason = None;
    }

    /// Why nothing works, if that was so at this time or later.
    pub(crate) fn trouble_since(&self, since: Option<Instant>) -> Option<String> {
        let state = self.state();
        let (at, text) = state.trouble.as_ref()?;
        since.is_none_or(|since| *at >= since).then(|| text.clone())
    }

    /// That nobody answers, and why if that is known.
    pub(crate) fn silence(&self) -> String {
        let state = self.state();
        match (&state.trouble, &state.reason) {
            (Some((_, text)), _) => text.clone(),
            (None, Some((at, reason))) if at.elapsed() < REASON_LASTS => {
                format!("no answer from {}: {reason}", self.servers)
            }
            _ => format!("no answer from {}", self.servers),
        }
    }

    /// Why the group cannot be joined, if the client complained of that lately; it does so again and again.
    pub(crate) fn denied(&self) -> Option<String> {
        let state = self.state();
        state.denied.as_ref().filter(|(at, _)| at.elapsed() < DENIAL_LASTS).map(|(_, text)| text.clone())
    }

    /// Why this client can do nothing any more and another one is needed.
    pub(crate) fn fatal(&self) -> Option<String> {
        self.state().fatal.clone()
    }

    /// Whether a line of this kind is shown now, and how many were not since the last one.
    pub(crate) fn is_due(&self, kind: &str) -> Option<u64> {
        let now = Instant::now();
        let mut state = self.state();
        match state.lines.get_mut(kind) {
            Some(line) if now.duration_since(line.shown) < LINE_INTERVAL => {
                line.n_hidden += 1;
                None
            }
            Some(line) => {
                line.shown = now;
                Some(std::mem::take(&mut line.n_hidden))
            }
            None => {
                state.lines.insert(kind.to_owned(), Line { shown: now, n_hidden: 0 });
                Some(0)
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A line without the name of the client's thread in front.
fn without_thread(text: &str) -> &str {
    let named = text.starts_with("[thrd:").then(|| text.split_once("]: ")).flatten();
    named.map_or(text, |(_, text)| text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn health() -> Health {
        Health::new(&Connection::default(), "test")
    }

    fn all_down() -> KafkaError {
        KafkaError::Global(RDKafkaErrorCode::AllBrokersDown)
    }

    #[test]
    fn that_no_broker_can_be_reached_is_told_with_the_reason_until_something_works() {
        let health = health();
        assert_eq!(health.trouble_since(None), None);
        health.log(RDKafkaLogLevel::Error, "FAIL", "[thrd:b:1/bootstrap]: b:1/bootstrap: Connection refused");
        health.error(&all_down(), "1/1 brokers are down");
        let told = health.trouble_since(None).expect("trouble");
        assert!(told.contains("127.0.0.1:9092") && told.ends_with("Connection refused"), "{told}");
        assert!(!told.contains("thrd"), "{told}");
        assert_eq!(health.trouble_since(Some(Instant::now())), None, "that is over, as far as is known");
        health.is_well();
        assert_eq!(health.trouble_since(None), None);
    }

    #[test]
    fn who_is_not_let_in_is_told_by_name_whatever_follows() {
        let connection = Connection {
            sasl_username: Some("app".to_owned()),
            sasl_password: Some("hunter2".into()),
            ..Connection::default()
        };
        let health = Health::new(&connection, "test");
        health.error(&KafkaError::Global(RDKafkaErrorCode::Authentication), "Invalid username or password");
        health.error(&all_down(), "1/1 brokers are down");
        let told = health.trouble_since(None).expect("trouble");
        assert_eq!(told, "the broker does not let in user `app` by PLAIN: Invalid username or password");
    }

    #[test]
    fn a_certificate_that_is_not_trusted_is_told_with_every_reason_there_can_be() {
        let health = health();
        let reason = "SSL handshake failed: certificate verify failed: verify that ssl.ca.location is correctly configured";
        health.error(&KafkaError::Global(RDKafkaErrorCode::SSL), reason);
        let told = health.trouble_since(None).expect("trouble");
        assert!(told.contains("has expired") && told.contains("`ssl_context.cafile`"), "{told}");
    }

    #[test]
    fn lines_of_one_kind_are_shown_once_in_a_while() {
        let health = health();
        assert_eq!(health.is_due("FAIL"), Some(0));
        assert_eq!(health.is_due("FAIL"), None);
        assert_eq!(health.is_due("OTHER"), Some(0));
    }
}
