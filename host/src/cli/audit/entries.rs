//! The audit of one host: asked from the host if it runs, read from its data folder if not.

use super::super::keys::query;
use super::super::live::{CommandError, Live, at_folder};
use crate::admin::{AuditLines, AuditList, Client, audit_list};
use crate::audit::{Filter, is_chained};
use crate::config::HostSettings;
use crate::host::store_options;
use crate::store::{Link, Store};
use lockstep_plugin_api::glob::Glob;
use lockstep_plugin_api::time;
use std::io;

pub(super) enum Entries {
    /// Of a running host.
    Running(Client),
    /// Of a data folder that no host runs on; it is locked meanwhile.
    Stored(Store),
}

/// Which entries are listed, as checked arguments say it.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    pub key: Option<Glob>,
    pub tenant: Option<String>,
    pub event_type: Option<Glob>,
    pub since_us: Option<i64>,
}

/// Lines of an answer, as they come.
pub(super) type Lines = Box<dyn Iterator<Item = io::Result<String>>>;

impl Entries {
    pub fn open(live: &Live, settings: &HostSettings) -> Result<Self, CommandError> {
        if live.address().is_some() {
            return Ok(Self::Running(live.connect(settings)?));
        }
        if let Some(client) = at_folder(&settings.data_dir)? {
            return Ok(Self::Running(client));
        }
        if !Store::exists(&settings.data_dir) {
            return Err(CommandError::NoHost(settings.data_dir.clone()));
        }
        let options = store_options(settings).as_it_is();
        let store = Store::open(&settings.data_dir, options).map_err(CommandError::Store)?;
        match is_chained(&store).map_err(CommandError::Store)? {
            true => Ok(Self::Stored(store)),
            false => Err(CommandError::NotChained(settings.data_dir.clone())),
        }
    }

    /// At most `limit` of them with a smaller number than `before`.
    pub fn page(
        &self,
        wanted: &Wanted,
        before: Option<u64>,
        limit: usize,
    ) -> Result<AuditList, CommandError> {
        match self {
            Self::Running(client) => Ok(client.get_as(&wanted.path(before, limit))?),
            Self::Stored(store) => {
                let Wanted { key, tenant, event_type, since_us } = wanted;
                let (key, event_type) = (key.clone(), event_type.clone());
                let (tenant, since_us) = (tenant.clone(), *since_us);
                let filter = Filter { key, tenant, event_type, since_us, before };
                audit_list(store, &filter, limit).map_err(CommandError::Store)
            }
        }
    }

    /// What a verification says; the chain must have `noted`.
    pub fn verify(&self, noted: Option<Link>) -> Result<Lines, CommandError> {
        match self {
            Self::Running(client) => {
                let path = query("/v1/audit/verify", &[("head", noted.map(|noted| noted.to_string()))]);
                Ok(Box::new(client.lines(&path)?))
            }
            Self::Stored(store) => Ok(lines(AuditLines::verify(store.clone(), noted.into_iter().collect()))),
        }
    }

    /// The whole chain, line by line.
    pub fn export(&self) -> Result<Lines, CommandError> {
        match self {
            Self::Running(client) => Ok(Box::new(client.lines("/v1/audit/export")?)),
            Self::Stored(store) => Ok(lines(AuditLines::export(store.clone()))),
        }
    }
}

fn lines(mut pages: AuditLines) -> Lines {
    let pages = std::iter::from_fn(move || pages.next_lines().map_err(io::Error::other).transpose());
    Box::new(pages.flat_map(|page| -> Lines {
        match page {
            Ok(page) => {
                let lines: Vec<_> = page.lines().map(|line| Ok(line.to_owned())).collect();
                Box::new(lines.into_iter())
            }
            Err(error) => Box::new(std::iter::once(Err(error))),
        }
    }))
}

impl Wanted {
    fn path(&self, before: Option<u64>, limit: usize) -> String {
        let text = |glob: &Option<Glob>| glob.as_ref().map(|glob| glob.as_str().to_owned());
        let parts = [
            ("key", text(&self.key)),
            ("tenant", self.tenant.clone()),
            ("type", text(&self.event_type)),
            ("since", self.since_us.map(time::format_us)),
            ("before", before.map(|before| before.to_string())),
            ("limit", Some(limit.to_string())),
        ];
        query("/v1/audit", &parts)
    }
}
