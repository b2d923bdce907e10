//! The dead letters of one host: asked from the host if it runs, read from its data folder if not.

use super::super::live::{CommandError, Live, at_folder};
use super::super::problem::{self, Problem};
use crate::admin::{self, Client, ClientError, Filter, Page};
use crate::audit::{Audit, AuditOptions};
use crate::config::HostSettings;
use crate::host::store_options;
use crate::runtime::DeadLetters;
use crate::store::{Store, StoreError};
use serde_json::Value;
use std::cell::OnceCell;
use std::num::NonZeroUsize;
use std::path::PathBuf;

pub(super) enum Queue {
    /// Of a running host.
    Running(Client),
    /// Of a data folder that no host runs on; it is locked meanwhile.
    Stored(Stored),
}

/// A data folder's own.
pub(super) struct Stored {
    letters: DeadLetters,
    store: Store,
    audit_options: AuditOptions,
    /// Opened by the first act: who only looks leaves the audit as it is.
    audit: OnceCell<Audit>,
}

/// Why a command on dead letters failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum QueueError {
    #[error(
        "no host runs on the data folder {}, and it holds no state; name the folder with `--data-dir`, or a host with \
         `--admin http://HOST:PORT`", .0.display()
    )]
    NoHost(PathBuf),
    #[error(transparent)]
    Host(CommandError),
    #[error(
        "no host runs on the data folder; a retry needs one: start it with `lockstep run`, then try again"
    )]
    NeedsHost,
    #[error("there is no dead letter {0}")]
    NotFound(u64),
    #[error("the host answered with something else than dead letters: {0}")]
    Strange(#[from] serde_json::Error),
    #[error(transparent)]
    Client(ClientError),
    #[error(transparent)]
    Store(StoreError),
}

impl QueueError {
    /// Whether nothing was begun.
    pub fn is_refusal(&self) -> bool {
        match self {
            Self::NoHost(_) | Self::NeedsHost => true,
            Self::Host(error) => error.is_refusal(),
            Self::Client(error) => !matches!(error, ClientError::Refused { .. }),
            Self::Store(error) => problem::is_left_alone(error),
            Self::NotFound(_) | Self::Strange(_) => false,
        }
    }

    /// The same for programs.
    pub fn problem(&self) -> Problem<'_> {
        match self {
            Self::NoHost(_) | Self::NeedsHost => Problem::of("no_host", self),
            Self::NotFound(_) => Problem::of("not_found", self),
            Self::Strange(_) => Problem::of("strange_answer", self),
            Self::Host(error) => error.problem(),
            Self::Client(error) => Problem::of_client(error),
            Self::Store(error) => Problem::of_store(error),
        }
    }
}

impl From<CommandError> for QueueError {
    fn from(error: CommandError) -> Self {
        Self::Host(error)
    }
}

impl From<ClientError> for QueueError {
    fn from(error: ClientError) -> Self {
        Self::Client(error)
    }
}

impl From<StoreError> for QueueError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl Queue {
    /// The host that is named, or the one of the data folder, or the folder itself.
    pub fn open(live: &Live, settings: &HostSettings) -> Result<Self, QueueError> {
        let data_dir = &settings.data_dir;
        if live.address().is_some() {
            return Ok(Self::Running(live.connect(settings)?));
        }
        if let Some(client) = at_folder(data_dir)? {
            return Ok(Self::Running(client));
        }
        if !Store::exists(data_dir) {
            return Err(QueueError::NoHost(data_dir.clone()));
        }
        let store = Store::open(data_dir, store_options(settings).as_it_is())?;
        let letters = DeadLetters::open(store.clone(), settings.state.dead_letters.clone())?;
        let (audit_options, audit) = (AuditOptions::new(settings), OnceCell::new());
        Ok(Self::Stored(Stored { letters, store, audit_options, audit }))
    }

    /// Dead letters after a number, at most so many, and where to go on.
    pub fn list(
        &self,
        pipeline: Option<&str>,
        after: u64,
        limit: usize,
    ) -> Result<(Vec<Value>, Option<u64>), QueueError> {
        let mut found = Vec::new();
        let mut next = Some(after);
        while let Some(after) = next.filter(|_| found.len() < limit) {
            let limit = NonZeroUsize::new(limit - found.len());
            let filter = Filter { pipeline: pipeline.map(str::to_owned), after, limit };
            let page = self.page(&filter)?;
            found.extend(page.dead_letters);
            next = page.next;
        }
        Ok((found, next))
    }

    fn page(&self, filter: &Filter) -> Result<Page, QueueError> {
        match self {
            Self::Running(client) => Ok(serde_json::from_value(client.get(&path_of(filter))?)?),
            Self::Stored(stored) => Ok(admin::page(&stored.letters, filter)?),
        }
    }

    /// Everything about one dead letter; none if there is none.
    pub fn get(&self, number: u64) -> Result<Option<Value>, QueueError> {
        match self {
            Self::Running(client) => match client.get(&format!("/v1/dead-letters/{number}")) {
                Ok(letter) => Ok(Some(letter)),
                Err(ClientError::Refused { status: 404, .. }) => Ok(None),
                Err(error) => Err(error.into()),
            },
            Self::Stored(stored) => Ok(stored.letters.get(number)?.as_ref().map(admin::detail)),
        }
    }

    /// Lets one enter again; gives how many attempts it had.
    pub fn retry(&self, number: u64) -> Result<u64, QueueError> {
        match self {
            Self::Running(client) => {
                let begun = client.post(&format!("/v1/dead-letters/{number}/retry"))?;
                Ok(begun["attempts"].as_u64().unwrap_or_default())
            }
            Self::Stored(..) => Err(QueueError::NeedsHost),
        }
    }

    /// Forgets one.
    pub fn drop(&self, number: u64) -> Result<(), QueueError> {
        match self {
            Self::Running(client) => {
                client.delete(&format!("/v1/dead-letters/{number}"))?;
            }
            Self::Stored(stored) => {
                let entry = stored.letters.get(number)?.ok_or(QueueError::NotFound(number))?;
                admin::drop_dead_letter(&stored.letters, stored.audit()?, &entry)?;
            }
        }
        Ok(())
    }
}

impl Stored {
    fn audit(&self) -> Result<&Audit, StoreError> {
        if let Some(audit) = self.audit.get() {
            return Ok(audit);
        }
        let audit = Audit::open(self.store.clone(), self.audit_options.clone())?;
        Ok(self.audit.get_or_init(|| audit))
    }
}

fn path_of(filter: &Filter) -> String {
    let mut path = format!("/v1/dead-letters?after={}", filter.after);
    if let Some(limit) = filter.limit {
        path += &format!("&limit={limit}");
    }
    if let Some(pipeline) = &filter.pipeline {
        path += &format!("&pipeline={}", admin::escaped(pipeline));
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::flags::Place;
    use crate::store::{Chain, Commit, Namespace};

    fn live() -> Live {
        Live { admin: None, place: Place::default() }
    }

    #[test]
    fn a_folder_without_state_is_refused_and_left_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let settings = HostSettings { data_dir: folder.path().join("data"), ..HostSettings::default() };
        let Err(refused) = Queue::open(&live(), &settings) else { panic!("opened") };
        assert!(refused.is_refusal() && refused.to_string().contains("--data-dir"), "{refused}");
        assert!(!settings.data_dir.exists());
    }

    #[test]
    fn a_stored_queue_is_read_and_says_that_a_retry_needs_the_host() {
        let folder = tempfile::tempdir().expect("a folder");
        let settings = HostSettings { data_dir: folder.path().to_owned(), ..HostSettings::default() };
        drop(Store::open(folder.path(), store_options(&settings)).expect("a store"));
        let queue = Queue::open(&live(), &settings).expect("opened");
        assert!(matches!(queue, Queue::Stored(..)));
        assert_eq!(queue.list(None, 0, 10).expect("readable"), (vec![], None));
        assert!(matches!(queue.retry(1), Err(QueueError::NeedsHost)));
        assert!(matches!(queue.drop(1), Err(QueueError::NotFound(1))));
        let Err(locked) = Queue::open(&live(), &settings) else { panic!("opened twice") };
        assert!(matches!(locked, QueueError::Host(CommandError::Unreachable(_))), "{locked}");
    }

    #[test]
    fn only_what_drops_a_letter_writes_into_the_audit() {
        let folder = tempfile::tempdir().expect("a folder");
        let settings = HostSettings { data_dir: folder.path().to_owned(), ..HostSettings::default() };
        let store = || Store::open(folder.path(), store_options(&settings)).expect("a store");
        let old = Commit::default().put(Namespace::Audit, 2_u64.to_be_bytes(), "{}");
        store().commit(old.put(Namespace::Meta, "audit", 2_u64.to_be_bytes())).expect("committed");
        let queue = Queue::open(&live(), &settings).expect("opened");
        queue.list(None, 0, 10).expect("readable");
        queue.get(1).expect("readable");
        assert!(matches!(queue.drop(1), Err(QueueError::NotFound(1))));
        drop(queue);
        assert_eq!(store().audit_chain(), Chain::default(), "nothing was chained");
    }

    #[test]
    fn a_name_in_a_query_is_escaped() {
        let filter = Filter { pipeline: Some("a&b=ä".into()), after: 3, limit: None };
        assert_eq!(path_of(&filter), "/v1/dead-letters?after=3&pipeline=a%26b%3D%C3%A4");
    }
}
