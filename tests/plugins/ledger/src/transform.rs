//! Counts, tells the author the count, and passes the change on with the count in its `metadata`.

use crate::bumps::{self, BETWEEN_LOOKS};
use lockstep_plugin_api::{
    operations::Caller,
    prelude::*,
    schemars::JsonSchema,
    serde::{Deserialize, Serialize},
};
use std::{fs, path::PathBuf, thread, time::Duration};

/// Longer than a commit takes.
const A_MOMENT: Duration = Duration::from_millis(30);

/// The state it keeps: config key -> how many changes.
pub const NAMESPACE: &str = "ledger";

#[config]
pub struct LedgerConfig {
    /// The folder of orders.
    dir: PathBuf,
}

pub struct Ledger {
    dir: PathBuf,
    context: Context,
}

/// What the count of a key was, and what the log says about it.
#[derive(Serialize)]
#[serde(crate = "lockstep_plugin_api::serde")]
struct Counted {
    count: u64,
    caller: String,
    head: u64,
    /// The revision of the key's newest entry.
    newest: Option<u64>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(crate = "lockstep_plugin_api::serde")]
#[schemars(crate = "lockstep_plugin_api::schemars")]
struct Count {
    /// The config key.
    key: String,
}

pub fn count(stored: Option<&Bytes>) -> u64 {
    stored.and_then(|bytes| std::str::from_utf8(bytes).ok()?.parse().ok()).unwrap_or(0)
}

/// `app.20mib.x` stages so much beside its count.
fn large(key: &str) -> Option<usize> {
    let mebibytes: usize = key.split('.').find_map(|part| part.strip_suffix("mib"))?.parse().ok()?;
    Some(mebibytes << 20)
}

impl Transform for Ledger {
    type Config = LedgerConfig;

    fn new(config: LedgerConfig, context: &Context) -> Result<Self> {
        let dir = context.resolve(&config.dir);
        fs::create_dir_all(&dir)?;
        let (bumper, orders) = (context.clone(), dir.clone());
        thread::spawn(move || bumps::serve(&bumper, &orders));
        Ok(Self { dir, context: context.clone() })
    }

    fn apply(&mut self, mut record: Record, out: &mut Output) -> Result<()> {
        let key = record.change()?.config_key().to_owned();
        let state = self.context.state(NAMESPACE);
        let count = count(state.get(key.as_bytes())?.as_ref()) + 1;
        self.hold();
        if key.contains("flaky") && fs::remove_file(self.dir.join("flaky")).is_ok() {
            return Err(Error::failed(std::io::Error::other("it fails once")));
        }
        if key.contains("refused") {
            return Err(Error::rejected("invalid_value", format!("refused with count {count}")));
        }
        state.stage(key.as_bytes(), Some(count.to_string().into()))?;
        if let Some(n_bytes) = large(&key) {
            state.stage(format!("large {key}").as_bytes(), Some(vec![0; n_bytes].into()))?;
        }
        if key.contains("dropped") {
            return Ok(());
        }
        if key.contains("noticed") {
            let mut notice = Change::new(key.as_str(), Json::write(&count)?);
            notice.set_event_type("counted");
            self.context.publish(Record::notice(notice))?;
            self.context.audit(&format!("counted {key}"))?;
        }
        let told =
            Json::write(&[("count", count)].into_iter().collect::<std::collections::BTreeMap<_, _>>())?;
        record.change_mut()?.set_metadata(Some(told.clone()));
        out.push(record);
        out.tell(&told)
    }

    fn operations(&mut self) -> Operations {
        let context = self.context.clone();
        let answer = move |caller: Caller, Count { key }: Count| {
            let context = context.clone();
            async move {
                let count = count(context.state(NAMESPACE).get(key.as_bytes())?.as_ref());
                let newest = match context.entry_at(None, &key, u64::MAX)? {
                    EntryAt::Entry(mut entry) => entry.change()?.revision(),
                    EntryAt::Absent | EntryAt::Compacted => None,
                };
                let caller =
                    format!("{} {}", if caller.is_operator { "operator" } else { "component" }, caller.name);
                Ok(Counted { count, caller, head: context.log()?.head, newest })
            }
        };
        Operations::new().add("ledger.count", "How many changes a key had.", answer).only_reads()
    }
}

impl Ledger {
    /// Waits between read and commit while the file `hold` is there, and says so with the file `held`; for a moment only
    /// if there is the file `slow`.
    fn hold(&self) {
        if self.dir.join("slow").exists() {
            thread::sleep(A_MOMENT);
        }
        if !self.dir.join("hold").exists() {
            return;
        }
        fs::write(self.dir.join("held"), "").unwrap_or_default();
        while self.dir.join("hold").exists() && !self.context.stopping() {
            thread::sleep(BETWEEN_LOOKS);
        }
        fs::remove_file(self.dir.join("held")).unwrap_or_default();
    }
}
