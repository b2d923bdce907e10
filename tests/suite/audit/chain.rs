//! The chain through the commands: whole while nobody touches it, and broken where somebody did, on disk or in a file.

use super::{done, site};
use lockstep::store::{Commit, Namespace, Store, StoreOptions};
use lockstep_test_support::Site;
use serde_json::Value;
use std::fs;

/// A stopped host with entries 1 to 8, and the head it had.
fn scene() -> (Site, String) {
    let (site, _) = site();
    let host = site.started();
    for n in 1..=8 {
        done(&site, &format!("set app.x{n} {n}"));
    }
    let verified = done(&site, "audit verify --json").json();
    assert_eq!((&verified["ok"], &verified["entries"]), (&true.into(), &8.into()), "{verified}");
    host.stop();
    (site, verified["head"].as_str().expect("a head").to_owned())
}

/// Does something to the data folder of a stopped host, as somebody would who knows how it is made.
fn tamper(site: &Site, act: impl FnOnce(&Store) -> Commit) {
    let store = Store::open(&site.path("data"), StoreOptions::default()).expect("a store");
    store.commit(act(&store)).expect("committed");
}

fn entry(store: &Store, number: u64) -> Vec<u8> {
    store.get(Namespace::Audit, &number.to_be_bytes()).expect("readable").expect("an entry")
}

/// Where `audit verify` says that the chain breaks.
fn broken_at(site: &Site, arguments: &str) -> u64 {
    let said = site.words(&format!("audit verify {arguments}")).expect_code(1);
    assert!(said.stderr.contains("the chain is broken") && said.stdout.is_empty(), "{said:?}");
    let told = site.words(&format!("audit verify --json {arguments}")).expect_code(1).json();
    assert_eq!(told["ok"], false, "{told}");
    assert!(said.stderr.contains(&format!("entry {}", told["number"])), "{said:?}");
    told["number"].as_u64().unwrap_or_else(|| panic!("a number: {told}"))
}

/// Of the folder without a host, and of the host that then runs on it.
fn both_say(site: &Site, arguments: &str, expected: Option<u64>) {
    let check = |who: &str| match expected {
        Some(number) => assert_eq!(broken_at(site, arguments), number, "{who} {arguments}"),
        None => drop(done(site, &format!("audit verify {arguments}"))),
    };
    check("the folder");
    let host = site.started();
    check("the host");
    host.stop();
}

#[test]
fn an_entry_that_was_altered_taken_out_or_moved_on_disk_is_found_where_it_was() {
    let (site, head) = scene();
    both_say(&site, &format!("--head {head}"), None);
    tamper(&site, |store| {
        let altered = String::from_utf8_lossy(&entry(store, 5)).contains("app.x5");
        assert!(altered, "an entry is about its key");
        let mut bytes = entry(store, 5);
        let at = bytes.windows(6).position(|text| text == b"app.x5").expect("its key");
        bytes[at + 5] = b'9';
        Commit::default().put(Namespace::Audit, 5_u64.to_be_bytes(), bytes)
    });
    both_say(&site, "", Some(5));
    tamper(&site, |store| {
        let (third, sixth) = (entry(store, 3), entry(store, 6));
        let moved = Commit::default().put(Namespace::Audit, 3_u64.to_be_bytes(), sixth);
        moved.put(Namespace::Audit, 6_u64.to_be_bytes(), third)
    });
    both_say(&site, "", Some(3));
    tamper(&site, |_| Commit::default().delete(Namespace::Audit, 2_u64.to_be_bytes()));
    both_say(&site, "", Some(2));
}

#[test]
fn a_chain_whose_end_was_cut_off_is_found_by_a_head_that_was_noted() {
    let (site, head) = scene();
    tamper(&site, |store| {
        let sixth = entry(store, 6);
        let head = [&6_u64.to_be_bytes()[..], &sixth[41..73]].concat();
        let chain = [vec![0; 40], head, vec![0; 8]].concat();
        let cut = Commit::default().put(Namespace::Meta, "audit_chain", chain);
        cut.delete(Namespace::Audit, 7_u64.to_be_bytes()).delete(Namespace::Audit, 8_u64.to_be_bytes())
    });
    done(&site, "audit verify");
    both_say(&site, &format!("--head {head}"), Some(8));
    // The host has gone on meanwhile: the number is there again, and is another entry's.
    let host = site.started();
    (7..=9).for_each(|n| drop(done(&site, &format!("set app.y{n} {n}"))));
    done(&site, "audit verify");
    assert_eq!(broken_at(&site, &format!("--head {head}")), 8);
    host.stop();
}

#[test]
fn an_export_is_verified_without_the_host() {
    let (site, head) = scene();
    let first = done(&site, "audit export").stdout;
    site.write("first.ndjson", &first);
    let host = site.started();
    done(&site, "set app.more 1");
    site.write("second.ndjson", done(&site, "audit export").stdout);
    let newer = done(&site, "audit verify --json").json()["head"].as_str().expect("a head").to_owned();
    host.stop();
    fs::remove_dir_all(site.path("data")).expect("it is not needed");
    fs::create_dir(site.path("data")).expect("a folder");
    let whole = done(&site, &format!("audit verify --file first.ndjson --head {head}")).stdout;
    assert!(whole.contains("8 entries") && whole.contains(&head), "{whole}");
    let both = "--file first.ndjson --file second.ndjson";
    let verified = done(&site, &format!("audit verify {both} --head {newer} --json")).json();
    assert_eq!((&verified["entries"], &verified["head"]), (&9.into(), &newer.as_str().into()));
    done(&site, &format!("audit verify {both} --head {head}"));
    let later = newer.replacen("9:", "10:", 1);
    assert_eq!(broken_at(&site, &format!("{both} --head {later}")), 10, "in neither");
    let told = site.words("audit verify --file data").expect_code(3);
    assert!(!told.stderr.contains("is broken"), "{told:?}");
    assert_eq!(broken_at(&site, "--file second.ndjson --file first.ndjson"), 9, "the other way round");
    let lines: Vec<_> = first.lines().collect();
    let written = |name: &str, lines: &[&str]| {
        site.write(name, lines.iter().map(|line| format!("{line}\n")).collect::<String>());
        broken_at(&site, &format!("--file {name}"))
    };
    let altered = lines[4].replace("app.x4", "app.y4");
    assert_eq!(written("altered.ndjson", &[&lines[..4], &[&altered], &lines[5..]].concat()), 4);
    assert_eq!(written("removed.ndjson", &[&lines[..4], &lines[5..]].concat()), 4);
    assert_eq!(written("cut.ndjson", &lines[..7]), 7);
    let mut swapped = lines.clone();
    swapped.swap(3, 6);
    assert_eq!(written("swapped.ndjson", &swapped), 3);
    let parsed: Value = serde_json::from_str(lines[8]).expect("JSON lines");
    assert_eq!((&parsed["number"], &parsed["entry"]["config_key"]), (&8.into(), &"app.x8".into()));
    site.words("audit verify --file nothing.ndjson").expect_code(2);
    site.words("audit verify --head 4711").expect_code(2);
    site.words("audit verify").expect_code(2);
}

#[test]
fn entries_are_listed_by_key_tenant_type_and_time_and_old_ones_go() {
    let (site, _) = site();
    let host = site.started();
    for n in 1..=5 {
        done(&site, &format!("set app.x{n} {n}"));
    }
    done(&site, "set app.x1 1 --tenant acme");
    done(&site, "locks acquire app.x2 --session s");
    let numbers = |line: &str| {
        let listed = done(&site, &format!("audit {line} --json")).json();
        let ids: Vec<_> =
            listed["entries"].as_array().expect("a list").iter().map(|entry| entry["id"].as_u64()).collect();
        (ids.into_iter().flatten().collect::<Vec<_>>(), listed["next"].as_u64())
    };
    assert_eq!(numbers("list --type config_* --key app.x[12]").0, [6, 2, 1]);
    assert_eq!(numbers("list --tenant acme").0, [6]);
    assert_eq!(numbers("--before 4 --limit 2"), (vec![3, 2], Some(2)), "as before there were commands");
    assert_eq!(numbers("list --since 2199-01-01T00:00:00Z").0, [0; 0]);
    assert_eq!(numbers("list --since 1h --limit 1000").0.len(), 8);
    let table = done(&site, "audit list --key app.x2").stdout;
    for part in
        ["NUMBER", "config_created", "app.x2", "ann (uid ", "revision=2", "lock_acquired", "admin_operation"]
    {
        assert!(table.contains(part), "`{part}` in {table}");
    }
    let verified = done(&site, "audit verify --json").json();
    host.stop();
    let site =
        site.env("LOCKSTEP_AUDIT__ENTRIES", "3").env("LOCKSTEP_SYNC_SETTINGS__CLEANUP_INTERVAL", "100ms");
    let mut host = site.started();
    host.wait_until("three entries", lockstep_test_support::LIMIT, |_| {
        done(&site, "audit verify --json").json()["entries"] == 3
    });
    let shorter = done(&site, "audit verify --json").json();
    assert_eq!(shorter["head"], verified["head"]);
    assert!(shorter["anchor"].as_str().is_some_and(|anchor| anchor.starts_with("5:")), "{shorter}");
    assert_eq!(host.metrics().sum("lockstep_audit_entries", &[]), 3.0);
    host.stop();
}
