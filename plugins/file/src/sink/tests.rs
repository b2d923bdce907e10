use super::*;
use lockstep_plugin_api::testing::{self, Place, SinkDriver};
use std::{
    fs::{OpenOptions, Permissions},
    io::{BufRead, BufReader, Write},
    os::unix::fs::{PermissionsExt, symlink},
    process::Command,
    thread,
};
use tempfile::TempDir;

struct Out {
    folder: TempDir,
}

impl Out {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().expect("a folder") }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn try_open(&self, more: &str) -> Result<SinkDriver> {
        let place = Place { base_dir: self.folder.path().to_owned(), ..Place::default() };
        testing::sink::<FileSink>(&format!(r#"{{"path":"out"{more}}}"#), &place)
    }

    fn open(&self, more: &str) -> SinkDriver {
        self.try_open(more).expect("opened")
    }

    fn text(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).expect("a file")
    }
}

fn records(values: &[&str]) -> Vec<Record> {
    values.iter().map(|value| Record::new(*value)).collect()
}

fn write(sink: &mut SinkDriver, values: &[&str]) {
    assert!(sink.write(records(values)).expect("written").is_empty());
}

#[test]
fn records_become_lines_behind_what_is_there() {
    for policy in ["batch", "interval", "never"] {
        let out = Out::new();
        fs::write(out.path("out"), "0\n").expect("written");
        let mut sink = out.open(&format!(r#","fsync":"{policy}","fsync_interval":"1ms""#));
        write(&mut sink, &["1", "2"]);
        write(&mut sink, &["3"]);
        sink.flush(Duration::from_secs(60)).expect("flushed");
        assert_eq!(out.text("out"), "0\n1\n2\n3\n", "{policy}");
    }
}

#[test]
fn a_record_that_is_no_line_fails_alone() {
    let out = Out::new();
    let mut sink = out.open("");
    let mut batch = records(&["1", "two\nlines", "{\n\"a\": 1}"]);
    let mut without_value = Record::new("");
    without_value.set_value(None);
    batch.push(without_value);
    let failed = sink.write(batch).expect("written");
    assert_eq!(failed.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [2, 4]);
    assert!(failed.iter().all(|(_, error)| error.kind() == ErrorKind::REJECTED));
    assert_eq!(out.text("out"), "1\n{\"a\":1}\n");
}

#[test]
fn half_a_line_of_somebody_elses_crash_stays_and_is_closed() {
    let out = Out::new();
    fs::write(out.path("out"), "whole\nhal").expect("written");
    write(&mut out.open(""), &["1"]);
    assert_eq!(out.text("out"), "whole\nhal\n1\n");
}

#[test]
fn a_full_disk_is_waited_out() {
    let out = Out::new();
    symlink("/dev/full", out.path("out")).expect("linked");
    let mut sink = out.open("");
    for _ in 0..2 {
        let error = sink.write(records(&["1"])).expect_err("full");
        assert_eq!(error.kind(), ErrorKind::RETRY);
        assert!(error.message().contains("no space left"), "{error}");
    }
}

#[test]
fn of_a_torn_write_nothing_stays_and_the_batch_can_come_again() {
    // A limit on the size of files tears a write like a full disk does: the first bytes fit, the others do not.
    let out = Out::new();
    let this_test = std::env::current_exe().expect("a path");
    let script = "ulimit -f 8; trap '' XFSZ; exec \"$0\" --exact sink::tests::torn_write_child --nocapture";
    let child = Command::new("bash")
        .args(["-c", script])
        .arg(this_test)
        .env("LOCKSTEP_TORN_WRITE", out.folder.path())
        .output()
        .expect("bash runs");
    let said = String::from_utf8_lossy(&child.stdout);
    assert!(child.status.success() && said.contains("the write was torn"), "{said}");
    assert_eq!(out.text("out").lines().count(), 2, "the batch before and the one after");
}

/// The half of the test above that runs under the limit; does nothing without it.
#[test]
fn torn_write_child() {
    let Some(folder) = std::env::var_os("LOCKSTEP_TORN_WRITE") else { return };
    let place = Place { base_dir: PathBuf::from(folder), ..Place::default() };
    let mut sink = testing::sink::<FileSink>(r#"{"path":"out"}"#, &place).expect("opened");
    let line = "x".repeat(6000);
    write(&mut sink, &[&line]);
    let error = sink.write(records(&[&line])).expect_err("the limit");
    assert_eq!(error.kind(), ErrorKind::RETRY, "{error}");
    let length = fs::metadata(place.base_dir.join("out")).expect("a file").len();
    assert_eq!(length, 6001, "what was written of the batch is gone");
    println!("the write was torn and taken back");
    write(&mut sink, &["short"]);
}

#[test]
fn a_rotated_file_is_left_for_a_new_one() {
    let out = Out::new();
    let mut sink = out.open("");
    write(&mut sink, &["1"]);
    fs::rename(out.path("out"), out.path("out.1")).expect("renamed");
    thread::sleep(Duration::from_millis(1100));
    write(&mut sink, &["2"]);
    assert_eq!((out.text("out.1").as_str(), out.text("out").as_str()), ("1\n", "2\n"));
}

#[test]
fn without_append_the_file_is_emptied_once_and_not_again_by_a_restart() {
    let out = Out::new();
    fs::write(out.path("out"), "old\n").expect("written");
    write(&mut out.open(r#","append":false"#), &["1"]);
    write(&mut out.open(r#","append":false"#), &["2"]);
    assert_eq!(out.text("out"), "1\n2\n");
}

#[test]
fn lines_of_another_writer_are_never_cut_off() {
    let out = Out::new();
    let mut sink = out.open("");
    write(&mut sink, &["1"]);
    let mut other = OpenOptions::new().append(true).open(out.path("out")).expect("opened");
    other.write_all(b"other\n").expect("written");
    write(&mut sink, &["2"]);
    assert_eq!(out.text("out"), "1\nother\n2\n");
}

#[test]
fn what_cannot_work_is_refused_with_its_field() {
    let out = Out::new();
    let error = out.try_open(r#","fsync_interval":0"#).err().expect("zero");
    assert_eq!((error.kind(), error.detail()), (ErrorKind::CONFIG, "fsync_interval"));
    fs::create_dir(out.path("out")).expect("a folder");
    let error = out.try_open("").err().expect("a directory");
    assert_eq!((error.kind(), error.detail()), (ErrorKind::CONFIG, "path"));

    let nested = Place { base_dir: out.path("a/b"), ..Place::default() };
    let error = testing::sink::<FileSink>(r#"{"path":"out"}"#, &nested).err().expect("no folder");
    assert_eq!((error.kind(), error.detail()), (ErrorKind::CONFIG, "path"));
    let mut sink = testing::sink::<FileSink>(r#"{"path":"out","create_dirs":true}"#, &nested).expect("made");
    write(&mut sink, &["1"]);
    assert_eq!(out.text("a/b/out"), "1\n");
}

#[test]
fn a_file_that_may_not_be_written_is_tried_again() {
    let out = Out::new();
    fs::write(out.path("out"), "").expect("written");
    fs::set_permissions(out.path("out"), Permissions::from_mode(0o400)).expect("changed");
    match out.try_open("") {
        Err(error) => assert_eq!(error.kind(), ErrorKind::NOT_CONNECTED),
        // Root may write everything.
        Ok(mut sink) => write(&mut sink, &["1"]),
    }
}

#[test]
fn a_fifo_without_a_reader_holds_the_batch_and_writes_it_once() {
    let out = Out::new();
    assert!(Command::new("mkfifo").arg(out.path("out")).status().expect("mkfifo runs").success());
    let mut sink = out.open("");
    assert_eq!(sink.write(records(&["1"])).expect_err("no reader").kind(), ErrorKind::RETRY);
    let path = out.path("out");
    let reader = thread::spawn(move || {
        let lines = BufReader::new(fs::File::open(path).expect("opened")).lines();
        lines.take(2).map(|line| line.expect("text")).collect::<Vec<_>>()
    });
    write(&mut sink, &["1"]);
    write(&mut sink, &["2"]);
    assert_eq!(reader.join().expect("read"), ["1", "2"]);
}
