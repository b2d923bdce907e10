//! The same random history in the log and in a list: whatever is asked, both say the same.

use super::*;

const KEYS: [&str; 6] = ["a", "a.b", "app.x", "app.y", "b", "zz"];

/// Everything that was committed, in order, as `show` would put it.
#[derive(Default)]
struct Model {
    entries: Vec<Entry>,
}

#[derive(Clone)]
struct Entry {
    revision: u64,
    tenant: Option<&'static str>,
    key: &'static str,
    kind: Kind,
    shown: String,
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Value,
    Deletion,
    Notice,
}

impl Model {
    fn some_entry(&mut self, random: &mut fastrand::Rng) -> Record {
        let revision = self.entries.len() as u64 + 1;
        let (tenant, key) =
            (*random.choice(&[None, Some("t1"), Some("t2")]).expect("one"), KEYS[random.usize(0..6)]);
        let kind = match random.u8(0..10) {
            0..=6 => Kind::Value,
            7 | 8 => Kind::Deletion,
            _ => Kind::Notice,
        };
        let (record, shown) = match kind {
            Kind::Value => (change(key, revision), format!("{key}={revision}@{revision}")),
            Kind::Deletion => (deletion(key), format!("-{key}@{revision}")),
            Kind::Notice => (notice(key), format!("({key})@{revision}")),
        };
        self.entries.push(Entry { revision, tenant, key, kind, shown });
        of_tenant(record, tenant)
    }

    fn of_key(&self, tenant: Option<&str>, key: &str) -> impl DoubleEndedIterator<Item = &Entry> {
        let is_wanted =
            move |entry: &&Entry| entry.tenant == tenant && entry.key == key && entry.kind != Kind::Notice;
        self.entries.iter().filter(is_wanted)
    }

    /// What a reader sees of the entries after `after` when those up to `passed` were given up.
    fn kept(&self, after: u64, passed: u64) -> Vec<String> {
        let is_kept = |entry: &&Entry| {
            let replaced = self.of_key(entry.tenant, entry.key).find(|other| other.revision > entry.revision);
            let is_newest =
                entry.kind != Kind::Notice && replaced.is_none_or(|other| other.revision > passed);
            entry.revision > after && (entry.revision > passed || is_newest)
        };
        self.entries.iter().filter(is_kept).map(|entry| entry.shown.clone()).collect()
    }

    fn current(&self, after: u64) -> Vec<String> {
        let last = self.entries.len() as u64;
        self.kept(after, last)
    }
}

fn of_tenant(record: Record, tenant: Option<&str>) -> Record {
    let is_notice = record.is_notice();
    let mut change = record.known_change().expect("typed").clone();
    change.set_tenant_id(tenant.map(Into::into));
    if is_notice { Record::notice(change) } else { Record::from_change(change) }
}

/// A log of about `n_entries` in commits of different sizes.
fn fill(log: &Log, random: &mut fastrand::Rng, n_entries: usize) -> Model {
    let mut model = Model::default();
    while model.entries.len() < n_entries {
        let entries = (0..random.usize(1..9)).map(|_| model.some_entry(random)).collect();
        append(log, entries);
    }
    model
}

fn check_keys(log: &Log, model: &Model) {
    for (tenant, key) in
        [None, Some("t1"), Some("t2")].into_iter().flat_map(|tenant| KEYS.map(|key| (tenant, key)))
    {
        let newest = log.get(tenant, key).expect("read").as_ref().map(show);
        assert_eq!(newest.as_ref(), model.of_key(tenant, key).next_back().map(|entry| &entry.shown));
        for revision in 0..=log.head() {
            let expected = model.of_key(tenant, key).rfind(|entry| entry.revision <= revision);
            match log.entry_at(tenant, key, revision).expect("read") {
                At::Entry(found) => assert_eq!(Some(&show(&found)), expected.map(|entry| &entry.shown)),
                At::Absent => assert!(expected.is_none(), "{key} at {revision}"),
                At::Compacted { reaches_back_to } => {
                    assert_eq!(log.reaches_back_to(tenant, key).expect("read"), Some(reaches_back_to));
                    let next = model.of_key(tenant, key).find(|entry| entry.revision > revision);
                    let is_replaced = next.is_some_and(|next| next.revision <= log.compacted_and_passed());
                    assert!(is_replaced, "{key} at {revision}: only what was replaced goes");
                }
            }
        }
    }
    for tenant in [None, Some("t1"), Some("t2")] {
        let live = |key: &&str| {
            let newest = model.of_key(tenant, key).next_back()?;
            (newest.kind == Kind::Value).then(|| ((*key).to_owned(), newest.revision))
        };
        let live: Vec<_> = KEYS.iter().filter_map(live).collect();
        let page = |after: Option<&str>, limit| log.keys(tenant, "a", after, limit).expect("read");
        let of_a: Vec<_> = live.iter().filter(|(key, _)| key.starts_with('a')).cloned().collect();
        assert_eq!(page(None, 9), of_a);
        if let [first, rest @ ..] = &of_a[..] {
            assert_eq!((page(None, 1), page(Some(&first.0), 9)), (vec![first.clone()], rest.to_vec()));
        }
    }
}

impl Log {
    fn compacted_and_passed(&self) -> u64 {
        self.shared().store.tally().passed
    }
}

#[test]
fn reads_of_a_key_agree_with_a_list_of_everything() {
    for seed in 0..8 {
        let dir = tempfile::tempdir().expect("a folder");
        let log = open(dir.path());
        let mut random = fastrand::Rng::with_seed(seed);
        let model = fill(&log, &mut random, 60);
        check_keys(&log, &model);
        for (tenant, key) in [(None, "a"), (Some("t1"), "app.x"), (Some("t2"), "zz")] {
            let expected: Vec<_> = model.of_key(tenant, key).rev().map(|entry| entry.shown.clone()).collect();
            let history = |before, limit| log.history(tenant, key, before, limit).expect("read").records;
            assert_eq!(shown(&history(None, 99)), expected, "seed {seed}");
            let mut paged = Vec::new();
            while let Some(last) = history(paged.last().map(revision), 1).pop() {
                paged.push(last);
            }
            assert_eq!(shown(&paged), expected, "seed {seed}");
        }
        let before_nobodys = shown(&log.history(None, "a", Some(31), 99).expect("read").records);
        let expected = model.of_key(None, "a").rev().filter(|entry| entry.revision < 31);
        assert_eq!(before_nobodys, expected.map(|entry| entry.shown.clone()).collect::<Vec<_>>());
    }
}

fn revision(record: &Record) -> u64 {
    record.known_change().and_then(Change::revision).expect("a revision")
}

#[test]
fn memory_and_disk_give_the_same_from_every_place() {
    for seed in 0..4 {
        let dir = tempfile::tempdir().expect("a folder");
        let log = open(dir.path());
        let mut random = fastrand::Rng::with_seed(seed);
        let model = fill(&log, &mut random, 60);
        for after in 0..=log.head() {
            let (max_records, max_bytes) = (random.usize(1..20), random.u64(1..9_000));
            let memory = log.read(after, max_records, max_bytes).expect("read");
            let disk = log.read_stored(after, max_records, u64::MAX, log.head()).expect("read");
            let (memory_json, disk_json) = (json(&memory.batch), json(&disk.batch));
            assert!(disk_json.starts_with(&memory_json), "seed {seed}, after {after}");
            assert!(memory.batch.len() <= max_records && (after == log.head() || !memory.batch.is_empty()));
            assert_eq!(memory.through, after + memory.batch.len() as u64);
            assert_eq!(disk.through, after + disk.batch.len() as u64);
            assert_eq!((memory.gap, disk.gap), (None, None));
            assert_eq!(shown(&read_all(&log, after).0), model.kept(after, 0));
        }
        let current = log.current(random.u64(0..30), 999, u64::MAX).expect("read");
        assert_eq!(current.through, log.head());
    }
}

fn json(batch: &Batch) -> Vec<Vec<u8>> {
    batch.iter().map(|record| record.value().expect("JSON").to_vec()).collect()
}

#[test]
fn after_compaction_every_reader_still_ends_with_the_newest_entry_of_every_key() {
    for seed in 0..8 {
        let dir = tempfile::tempdir().expect("a folder");
        let keeps = 20;
        let log = open_with(dir.path(), |options| {
            options.retention.records = keeps;
            options.ring_bytes = if seed % 2 == 0 { 0 } else { 10_000 };
        });
        let mut random = fastrand::Rng::with_seed(seed);
        let mut model = Model::default();
        for _ in 0..4 {
            let more = (0..random.usize(5..40)).map(|_| model.some_entry(&mut random)).collect();
            append(&log, more);
            log.compact().expect("compacted");
        }
        let passed = log.head().saturating_sub(keeps);
        assert_eq!(log.compacted_and_passed(), passed);
        for after in 0..=log.head() {
            let found = log.read_stored(after, 999, u64::MAX, log.head()).expect("read");
            assert_eq!(shown(&found.batch), model.kept(after, passed), "seed {seed}, after {after}");
            let gap = (after < log.compacted()).then_some(Gap { after, compacted: log.compacted() });
            assert_eq!(found.gap, gap);
            let current = log.current(after, 999, u64::MAX).expect("read");
            assert_eq!((shown(&current.batch), current.through), (model.current(after), log.head()));
        }
        check_keys(&log, &model);
        let counts = log.counts();
        assert_eq!(counts.n_entries, model.kept(0, passed).len() as u64, "seed {seed}");
        let live: usize = [None, Some("t1"), Some("t2")]
            .map(|tenant| log.keys(tenant, "", None, 99).expect("read").len())
            .iter()
            .sum();
        assert_eq!(counts.n_keys - counts.n_deleted_keys, live as u64);
    }
}
