//! Topics before they are used: whether they exist, and how they are made if they do not.

use crate::{config::Connection, health::Health};
use lockstep_plugin_api::prelude::*;
use rdkafka::{
    ClientConfig, ClientContext,
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    client::Client,
    config::RDKafkaLogLevel,
    error::{KafkaError, RDKafkaErrorCode},
};
use std::{
    pin::pin,
    sync::Arc,
    task::{Context as TaskContext, Poll, Wake, Waker},
    thread::{self, Thread},
    time::{Duration, Instant},
};
use tracing::{info, warn};

/// How long brokers may take to say what a topic is, and to make one.
const ASK_WAIT: Duration = Duration::from_secs(3);
const CREATE_WAIT: Duration = Duration::from_secs(5);

/// How long an answer that there is no such topic, or no right to it, stands.
const REFUSAL_LASTS: Duration = Duration::from_secs(5);

/// A topic that was made just now, by whomever, is not known everywhere at once.
const ASK_AGAIN: Duration = Duration::from_millis(250);

/// What a compacted topic of changes has: no reader that was away for less may miss what stood before.
const COMPACTED: [(&str, &str); 2] = [("cleanup.policy", "compact"), ("min.compaction.lag.ms", "60000")];

/// Topics by their place, as far as they are known.
pub(crate) struct Topics {
    entries: Vec<Entry>,
    creation: Option<Creation>,
}

struct Entry {
    name: String,
    state: State,
}

enum State {
    Unknown,
    Exists,
    Refused { at: Instant, error: Error },
}

/// How topics are made.
pub(crate) struct Creation {
    config: ClientConfig,
    health: Arc<Health>,
    partitions: i32,
    replication: i32,
    is_compacted: bool,
}

impl Creation {
    /// None, if topics are not to be made.
    pub(crate) fn new(connection: &Connection, config: &ClientConfig) -> Option<Self> {
        connection.create_topics.then(|| Self {
            config: config.clone(),
            health: Arc::new(Health::new(connection, "admin")),
            partitions: connection.partitions.map_or(-1, |partitions| partitions as i32),
            replication: connection.replication_factor.map_or(-1, i32::from),
            is_compacted: true,
        })
    }

    /// The same for topics whose messages replace nothing.
    pub(crate) fn plain(self) -> Self {
        Self { is_compacted: false, ..self }
    }

    /// Makes a topic; a topic that is there already is as good.
    pub(crate) fn create(&self, topic: &str) -> Result<(), KafkaError> {
        let admin: AdminClient<Admin> = self.config.create_with_context(Admin(self.health.clone()))?;
        let plain = NewTopic::new(topic, self.partitions, TopicReplication::Fixed(self.replication));
        let new = if self.is_compacted {
            COMPACTED.into_iter().fold(plain, |topic, (name, value)| topic.set(name, value))
        } else {
            plain
        };
        let options =
            AdminOptions::new().request_timeout(Some(CREATE_WAIT)).operation_timeout(Some(CREATE_WAIT));
        let timed_out = Err(KafkaError::AdminOp(RDKafkaErrorCode::OperationTimedOut));
        let made = wait_for(admin.create_topics([&new], &options), CREATE_WAIT * 2).unwrap_or(timed_out)?;
        match made.into_iter().next() {
            Some(Err((_, RDKafkaErrorCode::TopicAlreadyExists))) => Ok(()),
            Some(Err((_, code))) => Err(KafkaError::AdminOp(code)),
            _ => {
                self.health.within(|| info!(topic, "topic created"));
                Ok(())
            }
        }
    }
}

impl Topics {
    pub(crate) fn new(names: Vec<String>, creation: Option<Creation>) -> Self {
        let entry = |name| Entry { name, state: State::Unknown };
        Self { entries: names.into_iter().map(entry).collect(), creation }
    }

    pub(crate) fn name(&self, place: usize) -> &str {
        &self.entries[place].name
    }

    /// A topic is not there any more.
    pub(crate) fn look_again(&mut self) {
        let known = self.entries.iter_mut().filter(|entry| matches!(entry.state, State::Exists));
        known.for_each(|entry| entry.state = State::Unknown);
    }

    /// Makes sure that a topic is there.
    ///
    /// # Errors
    /// Outside, that the brokers cannot be asked; inside, that there is no such topic.
    pub(crate) fn ensure<C: ClientContext>(
        &mut self,
        place: usize,
        client: &Client<C>,
        away: impl Fn() -> Error,
    ) -> Result<Result<(), Error>> {
        let entry = &mut self.entries[place];
        match &entry.state {
            State::Exists => return Ok(Ok(())),
            State::Refused { at, error } if at.elapsed() < REFUSAL_LASTS => return Ok(Err(error.clone())),
            _ => {}
        }
        let found = match look(client, &entry.name).map_err(|_| away())? {
            Found::Exists => Ok(()),
            Found::Refused(error) => Err(error),
            Found::Missing => match &self.creation {
                Some(creation) => created(creation, &entry.name)?,
                None => Err(missing(&entry.name)),
            },
        };
        entry.state = match &found {
            Ok(()) => State::Exists,
            Err(error) => State::Refused { at: Instant::now(), error: error.clone() },
        };
        Ok(found)
    }
}

fn created(creation: &Creation, topic: &str) -> Result<Result<(), Error>> {
    match creation.create(topic) {
        Ok(()) => Ok(Ok(())),
        Err(KafkaError::AdminOp(code)) if !is_transient(code) => {
            warn!(topic, ?code, "topic could not be created");
            let text = "the topic does not exist and could not be created";
            Ok(Err(Error::rejected("not_found", text)
                .with_details(&serde_json::json!({ "topic": topic, "kafka": format!("{code:?}") }))))
        }
        Err(error) => Err(Error::not_connected(format!("topic `{topic}` could not be created yet: {error}"))),
    }
}

fn is_transient(code: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode as Code;
    matches!(
        code,
        Code::OperationTimedOut
            | Code::RequestTimedOut
            | Code::NotController
            | Code::BrokerTransportFailure
            | Code::CoordinatorNotAvailable
            | Code::AllBrokersDown
            | Code::ThrottlingQuotaExceeded
    )
}

fn missing(topic: &str) -> Error {
    let text = "the topic does not exist: create it, or write `create_topics: true`";
    Error::rejected("not_found", text).with_details(&serde_json::json!({ "topic": topic }))
}

/// What the brokers say of a topic.
pub(crate) enum Found {
    Exists,
    Missing,
    Refused(Error),
}

/// Asks the brokers for a topic, twice if there is none.
///
/// # Errors
/// If nobody answers.
pub(crate) fn look<C: ClientContext>(client: &Client<C>, topic: &str) -> Result<Found, KafkaError> {
    let found = look_once(client, topic)?;
    if !matches!(found, Found::Missing) {
        return Ok(found);
    }
    thread::sleep(ASK_AGAIN);
    look_once(client, topic)
}

/// Asks the brokers for a topic.
///
/// # Errors
/// If nobody answers.
pub(crate) fn look_once<C: ClientContext>(client: &Client<C>, topic: &str) -> Result<Found, KafkaError> {
    use RDKafkaErrorCode as Code;
    let metadata = client.fetch_metadata(Some(topic), ASK_WAIT)?;
    let code = metadata.topics().first().and_then(|topic| topic.error()).map(Code::from);
    Ok(match code {
        None | Some(Code::NoError | Code::LeaderNotAvailable) => Found::Exists,
        Some(Code::UnknownTopicOrPartition | Code::UnknownTopic) => Found::Missing,
        Some(Code::TopicAuthorizationFailed) => Found::Refused(
            Error::rejected("forbidden", "this client may not use the topic")
                .with_details(&serde_json::json!({ "topic": topic })),
        ),
        Some(code) => return Err(KafkaError::MetadataFetch(code)),
    })
}

/// The admin client's log.
struct Admin(Arc<Health>);

impl ClientContext for Admin {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        self.0.log(level, facility, text);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.0.error(&error, reason);
    }
}

/// Waits for a future that a thread of the client completes.
fn wait_for<F: Future>(future: F, limit: Duration) -> Option<F::Output> {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut future = pin!(future);
    let until = Instant::now() + limit;
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut TaskContext::from_waker(&waker)) {
            return Some(output);
        }
        let left = until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())?;
        thread::park_timeout(left);
    }
}
