//! One record on its way to the server.

use super::{conflict::ConflictWrite, once, renewal::Renewal};
use crate::{
    cell::{KeyNumber, KeyNumbers, author_of},
    entry::{DATA, EVENT_ID, fields_of, raw_fields},
};
use lockstep_plugin_api::{
    causality::Shown,
    names::{check_key, tenant_problem},
    prelude::*,
    tally::Ticket,
    wire::Form,
};

/// What is to be written, and for whom.
#[derive(Debug)]
pub(crate) struct Job {
    /// The records that are written with it; more than one only after a cell was received.
    pub(crate) tickets: Vec<Ticket>,
    pub(crate) key: KeyNumber,
    pub(crate) write: Write,
    /// By what the record is known, if it is to be applied once.
    pub(crate) once: Option<Bytes>,
    /// If only the cell is to be written.
    pub(crate) renewal: Option<Renewal>,
}

/// What becomes of a record on the server.
#[derive(Debug)]
pub(crate) enum Write {
    /// A change: a cell, an entry and a message.
    Change(Box<ChangeWrite>),
    /// The record of a conflict.
    Conflict(ConflictWrite),
    /// An entry with these fields and nothing else.
    Raw(Vec<(String, Bytes)>),
}

/// A change as it is written.
#[derive(Debug)]
pub(crate) struct ChangeWrite {
    pub(crate) tenant: Option<Text>,
    pub(crate) config_key: Text,
    pub(crate) data: Bytes,
    /// What stands beside `data` in the entry.
    pub(crate) fields: Vec<(&'static str, Text)>,
    pub(crate) cell: CellWrite,
    /// Of its entry in the log; nothing in a direct pipeline.
    pub(crate) revision: Option<u64>,
    /// Who gave it its dot.
    pub(crate) author: Option<Text>,
}

impl ChangeWrite {
    pub(crate) fn event_id(&self) -> Option<&str> {
        self.fields.iter().find(|(name, _)| *name == EVENT_ID).map(|(_, value)| value.as_str())
    }

    /// The fields of its entry.
    pub(crate) fn entry(&self) -> impl Iterator<Item = (&str, &[u8])> {
        let beside = self.fields.iter().map(|(name, value)| (*name, value.as_str().as_bytes()));
        beside.chain([(DATA, &self.data[..])])
    }
}

/// How the cell is written.
#[derive(Debug)]
pub(crate) enum CellWrite {
    /// If the cell shows nothing that this state does not know.
    State(Shown),
    /// Whatever is there.
    Blind,
    /// The cell goes, whatever is there.
    Remove,
}

impl Job {
    /// How many bytes it sends, about.
    pub(crate) fn size(&self) -> usize {
        match &self.write {
            Write::Change(change) => change.data.len() + 256,
            Write::Conflict(conflict) => conflict.size(),
            Write::Raw(fields) => {
                fields.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>() + 64
            }
        }
    }
}

/// Makes jobs of records.
#[derive(Debug, Clone)]
pub(crate) struct JobMaker {
    pub(crate) form: Form,
    pub(crate) is_raw: bool,
    /// Whether a record is applied once.
    pub(crate) is_once: bool,
    pub(crate) keys: KeyNumbers,
    /// What the id of a conflict is put behind to name its record.
    pub(crate) conflict_prefix: Text,
}

impl JobMaker {
    /// What a notice is to change, in the order of the changes of its key; the last job stands for the notice.
    ///
    /// # Errors
    /// `Rejected`, if it tells of a conflict in another form.
    pub(crate) fn conflict_jobs(&self, ticket: Ticket, notice: &Record) -> Result<Vec<Job>> {
        let notice = notice.to_change()?;
        let writes = ConflictWrite::of(&notice, &self.conflict_prefix)?;
        let key = self.keys.of(notice.tenant_id(), notice.config_key().as_bytes());
        let n_writes = writes.len();
        let job = |(i, write): (usize, ConflictWrite)| Job {
            tickets: if i + 1 == n_writes { vec![ticket] } else { Vec::new() },
            key,
            write: Write::Conflict(write),
            once: None,
            renewal: None,
        };
        Ok(writes.into_iter().enumerate().map(job).collect())
    }

    /// # Errors
    /// `Rejected`, if the record is no change and only changes are written, or its key or tenant cannot be one.
    pub(crate) fn job(&self, ticket: Ticket, record: &Record) -> Result<Job> {
        let tickets = vec![ticket];
        let once = if self.is_once { Some(once::id_of(record)?) } else { None };
        if self.is_raw {
            let key = self.keys.of(None, record.key().map_or(&[][..], |key| key));
            return Ok(Job { tickets, key, write: Write::Raw(raw_fields(record)), once, renewal: None });
        }
        let mut record = record.clone();
        let change = record.change().map_err(|error| match error.code() {
            Some("bad_message") => Error::rejected(
                "bad_message",
                "the record is no configuration change; give the sink a `stream:` to write records as they are",
            ),
            _ => error,
        })?;
        let tenant = change.tenant_id().filter(|tenant| !tenant.is_empty()).map(Text::from);
        check_key(change.config_key())?;
        if let Some(problem) = tenant.as_deref().and_then(tenant_problem) {
            return Err(Error::rejected("bad_tenant", format!("`tenant_id` {problem}")));
        }
        let shown = if self.form.replicate { Shown::of(change)? } else { None };
        let cell = match shown {
            Some(shown) => CellWrite::State(shown),
            None if !self.form.replicate && change.is_deletion() => CellWrite::Remove,
            None => CellWrite::Blind,
        };
        let config_key = change.config_key_text().clone();
        let key = self.keys.of(tenant.as_deref(), config_key.as_str().as_bytes());
        let (fields, revision) = (fields_of(change), change.revision());
        let author = author_of(change);
        let data = record.wire(self.form, &[])?;
        let change = ChangeWrite { tenant, config_key, data, fields, cell, revision, author };
        Ok(Job { tickets, key, write: Write::Change(Box::new(change)), once, renewal: None })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TICKET: Ticket = Ticket { seq: 1, id: 1 };

    fn maker(replicate: bool, is_raw: bool) -> JobMaker {
        let form = Form { replicate, ..Form::default() };
        let conflict_prefix = "conflict:".into();
        JobMaker { form, is_raw, is_once: false, keys: KeyNumbers::default(), conflict_prefix }
    }

    fn change(replicate: bool, json: &str) -> ChangeWrite {
        let job = maker(replicate, false).job(TICKET, &Record::new(json)).expect(json);
        match job.write {
            Write::Change(change) => *change,
            Write::Raw(_) | Write::Conflict(_) => panic!("a change is written as one"),
        }
    }

    const DOTTED: &str =
        r#"{"config_key":"k","new_value":1,"event_id":"e","dot":{"node":"a","seq":1},"ctx":{},"hlc":"1-0"}"#;

    #[test]
    fn a_state_is_compared_and_everything_else_is_not() {
        assert!(matches!(change(true, DOTTED).cell, CellWrite::State(_)));
        assert!(matches!(change(true, r#"{"config_key":"k","new_value":1}"#).cell, CellWrite::Blind));
        let plain = change(false, DOTTED);
        assert!(matches!(plain.cell, CellWrite::Blind));
        assert!(!String::from_utf8_lossy(&plain.data).contains("dot"));
    }

    #[test]
    fn a_deletion_leaves_its_state_in_the_cell_unless_nobody_takes_it_in() {
        let deleted = DOTTED.replace(r#""new_value":1"#, r#""event_type":"config_deleted""#);
        assert!(matches!(change(true, &deleted).cell, CellWrite::State(_)));
        assert!(matches!(change(false, &deleted).cell, CellWrite::Remove));
    }

    #[test]
    fn what_is_no_change_is_rejected_or_written_as_it_is() {
        let error = |json: &str| maker(true, false).job(TICKET, &Record::new(json)).expect_err(json);
        assert_eq!(error("12").code(), Some("bad_message"));
        assert!(error("12").message().contains("stream:"));
        assert_eq!(error(r#"{"config_key":"a..b"}"#).code(), Some("bad_key"));
        assert_eq!(error(r#"{"config_key":"a","tenant_id":"a:b"}"#).code(), Some("bad_tenant"));
        let raw = maker(true, true).job(TICKET, &Record::new("12").with_key("k")).expect("anything");
        assert!(matches!(raw.write, Write::Raw(fields) if fields.len() == 2));
    }
}
