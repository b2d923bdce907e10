use super::*;
use lockstep_plugin_api::testing::{self, Place as TestPlace, SourceDriver};
use std::{fs::OpenOptions, io::Write, path::PathBuf, process::Command};
use tempfile::TempDir;

/// Much longer than a follower waits for the last words of a rotated file.
const LONG: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_millis(300);

/// A folder with the file `log` in it, and a source that follows it as plain lines unless told otherwise.
struct Log {
    folder: TempDir,
}

impl Log {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().expect("a folder") }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn append(&self, name: &str, text: &str) {
        let mut file = OpenOptions::new().append(true).create(true).open(self.path(name)).expect("opened");
        file.write_all(text.as_bytes()).expect("written");
    }

    fn rename(&self, from: &str, to: &str) {
        fs::rename(self.path(from), self.path(to)).expect("renamed");
    }

    fn open(&self, more: &str, position: Option<&Position>) -> Result<SourceDriver> {
        let place = TestPlace {
            base_dir: self.folder.path().to_owned(),
            positions: position.into_iter().cloned().collect(),
            ..TestPlace::default()
        };
        testing::source::<FileSource>(&format!(r#"{{"path":"log"{more}}}"#), &place)
    }

    fn lines(&self, position: Option<&Position>) -> SourceDriver {
        self.open(r#","format":"lines""#, position).expect("opened")
    }
}

fn text(record: &Record) -> String {
    String::from_utf8_lossy(&record.value().expect("a value")).into_owned()
}

fn texts(records: &[Record]) -> Vec<String> {
    records.iter().map(text).collect()
}

fn take(source: &mut SourceDriver, n_records: usize) -> Vec<String> {
    texts(&source.poll_until(n_records, LONG).expect("polled"))
}

fn last_position(source: &mut SourceDriver, n_records: usize) -> Position {
    let records = source.poll_until(n_records, LONG).expect("polled");
    assert_eq!(records.len(), n_records);
    records.last().and_then(Record::position).expect("a position").clone()
}

/// Everything until the end of input.
fn drain(source: &mut SourceDriver) -> Vec<Record> {
    let mut records = Vec::new();
    loop {
        match source.poll(3, SHORT) {
            Ok(polled) => records.extend(polled),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::END_OF_INPUT, "{error}");
                return records;
            }
        }
    }
}

#[test]
fn a_line_becomes_a_record_with_its_config_key() {
    let log = Log::new();
    log.append("log", "{\"config_key\":\"app.x\",\"new_value\":1}\r\n\n[2]\n");
    let records = log.open("", None).expect("opened").poll(10, SHORT).expect("polled");
    assert_eq!(texts(&records), [r#"{"config_key":"app.x","new_value":1}"#, "[2]"]);
    assert_eq!((records[0].key_str(), records[1].key_str()), (Some("app.x"), None));
}

#[test]
fn an_unfinished_line_waits_for_its_newline() {
    let log = Log::new();
    log.append("log", "one\ntw");
    let mut source = log.lines(None);
    assert_eq!(texts(&source.poll_until(2, SHORT).expect("polled")), ["one"]);
    log.append("log", "o\n");
    assert_eq!(take(&mut source, 1), ["two"]);
}

#[test]
fn without_following_the_end_of_the_file_is_the_end_of_input() {
    let log = Log::new();
    log.append("log", "1\n2\n3\n4\n5");
    let mut source = log.open(r#","follow":false"#, None).expect("opened");
    assert_eq!(texts(&drain(&mut source)), ["1", "2", "3", "4", "5"]);
    assert_eq!(source.poll(1, SHORT).expect_err("still").kind(), ErrorKind::END_OF_INPUT);
}

#[test]
fn from_every_position_exactly_the_rest_is_read() {
    let log = Log::new();
    let all: Vec<String> = (0..200).map(|n| format!("line {n} {}", "x".repeat(n % 7))).collect();
    log.append("log", &(all.join("\n") + "\n"));
    let config = r#","follow":false,"format":"lines""#;
    let records = drain(&mut log.open(config, None).expect("opened"));
    assert_eq!(texts(&records), all);
    for (i, record) in records.iter().enumerate() {
        let rest = drain(&mut log.open(config, record.position()).expect("opened"));
        assert_eq!(texts(&rest), all[i + 1..], "after line {i}");
    }
}

#[test]
fn a_renamed_file_is_read_to_its_end_before_the_new_one() {
    let log = Log::new();
    log.append("log", "1\n");
    let mut source = log.lines(None);
    assert_eq!(take(&mut source, 1), ["1"]);
    log.append("log", "2\n");
    log.rename("log", "log.1");
    log.append("log", "5\n");
    assert_eq!(take(&mut source, 1), ["2"]);
    // The writer still has the old file open, and its last line gets no newline any more.
    log.append("log.1", "3\n4");
    assert_eq!(take(&mut source, 3), ["3", "4", "5"]);
    log.append("log", "6\n");
    assert_eq!(take(&mut source, 1), ["6"]);
}

#[test]
fn a_file_that_came_and_went_between_two_looks_is_read_too() {
    let log = Log::new();
    log.append("log", "1\n");
    let mut source = log.lines(None);
    assert_eq!(take(&mut source, 1), ["1"]);
    log.rename("log", "log.1");
    log.append("log", "2\n");
    log.rename("log.1", "log.2");
    log.rename("log", "log.1");
    log.append("log", "3\n");
    assert_eq!(take(&mut source, 2), ["2", "3"]);
}

#[test]
fn after_copy_and_truncate_the_copy_is_finished_first() {
    let log = Log::new();
    log.append("log", "1\n");
    let mut source = log.lines(None);
    assert_eq!(take(&mut source, 1), ["1"]);
    log.append("log", "2\n3\n");
    fs::copy(log.path("log"), log.path("log.1")).expect("copied");
    fs::write(log.path("log"), "").expect("emptied");
    log.append("log", "4\n");
    assert_eq!(take(&mut source, 3), ["2", "3", "4"]);
}

#[test]
fn a_file_that_was_emptied_and_grew_past_the_position_is_begun_anew() {
    let log = Log::new();
    log.append("log", "old 1\n");
    let mut source = log.lines(None);
    assert_eq!(take(&mut source, 1), ["old 1"]);
    fs::write(log.path("log"), "new 1\nnew 2\n").expect("replaced in place");
    assert_eq!(take(&mut source, 2), ["new 1", "new 2"]);
}

#[test]
fn rotation_while_the_host_was_down_loses_nothing() {
    for names in [["log.3", "log.2", "log.1"], ["log-20240101", "log-20240102", "log-20240103"]] {
        let log = Log::new();
        log.append("log", "1\n2\n");
        let position = last_position(&mut log.lines(None), 2);
        log.append("log", "3\n");
        log.rename("log", names[0]);
        for (name, line) in names[1..].iter().zip(["4\n", "5\n"]) {
            // The system's clock for files ticks every few milliseconds.
            thread::sleep(Duration::from_millis(20));
            log.append(name, line);
        }
        log.append("log", "6\n");
        log.append("log.lock", "not a log\n");
        assert_eq!(take(&mut log.lines(Some(&position)), 4), ["3", "4", "5", "6"], "{names:?}");
    }
}

#[test]
fn a_copied_file_is_recognised_by_its_content_while_the_host_was_down() {
    let log = Log::new();
    log.append("log", "1\n2\n");
    let position = last_position(&mut log.lines(None), 2);
    log.append("log", "3\n");
    fs::copy(log.path("log"), log.path("log.1")).expect("copied");
    fs::write(log.path("log"), "4\n").expect("emptied");
    assert_eq!(take(&mut log.lines(Some(&position)), 2), ["3", "4"]);
}

#[test]
fn another_content_under_the_same_inode_is_another_file() {
    let log = Log::new();
    log.append("log", "1\n");
    let position = last_position(&mut log.lines(None), 1);
    fs::write(log.path("log"), "a\nb\n").expect("replaced in place");
    assert_eq!(take(&mut log.lines(Some(&position)), 2), ["a", "b"]);
}

#[test]
fn a_position_in_a_file_that_is_gone_means_the_beginning_of_the_current_one() {
    let log = Log::new();
    log.append("log", "1\n");
    let position = last_position(&mut log.lines(None), 1);
    fs::remove_file(log.path("log")).expect("removed");
    let mut source = log.open(r#","format":"lines","start_at":"end""#, Some(&position)).expect("opened");
    assert!(source.poll(1, SHORT).expect("waits").is_empty());
    log.append("log", "other\n");
    assert_eq!(take(&mut source, 1), ["other"]);
}

#[test]
fn a_missing_file_is_waited_for_and_then_read_from_its_beginning() {
    let log = Log::new();
    let mut source = log.open(r#","format":"lines","start_at":"end""#, None).expect("opened");
    assert!(source.poll(1, SHORT).expect("waits").is_empty());
    log.append("log", "first\n");
    assert_eq!(take(&mut source, 1), ["first"]);

    let log = Log::new();
    let mut source = log.open(r#","follow":false"#, None).expect("opened");
    assert_eq!(source.poll(1, SHORT).expect_err("no file").kind(), ErrorKind::NOT_CONNECTED);
}

#[test]
fn started_at_the_end_only_new_lines_come_and_whole_ones() {
    let log = Log::new();
    log.append("log", "old\nhalf");
    let mut source = log.open(r#","format":"lines","start_at":"end""#, None).expect("opened");
    assert!(source.poll(1, SHORT).expect("waits").is_empty());
    log.append("log", " and half\nnew\n");
    assert_eq!(take(&mut source, 2), ["half and half", "new"]);
}

#[test]
fn what_cannot_be_read_is_a_failed_record_in_its_place() {
    let log = Log::new();
    let mut bytes = b"[1]\nnot json\n{\"secret\":\"hunter2\xff\"}\n".to_vec();
    bytes.extend(format!("\"{}\"\n[2]\n", "hunter2".repeat(1000)).into_bytes());
    fs::write(log.path("log"), bytes).expect("written");
    let config = r#","follow":false,"max_line_bytes":"5KiB""#;
    let records = drain(&mut log.open(config, None).expect("opened"));
    let codes: Vec<_> = records.iter().map(|record| record.error().and_then(Error::code)).collect();
    assert_eq!(codes, [None, Some("bad_message"), Some("bad_message"), Some("too_large"), None]);
    for error in records.iter().filter_map(Record::error) {
        assert!(!format!("{error:?} {:?}", error.details()).contains("hunter2"), "{error:?}");
    }
    let oversize = &records[3];
    assert_eq!(oversize.value().expect("its beginning").len(), crate::lines::KEPT_OF_OVERSIZE);
    assert!(oversize.error().and_then(Error::details).is_some_and(|details| details.contains("7002")));
    let rest = drain(&mut log.open(config, oversize.position()).expect("opened"));
    assert_eq!(texts(&rest), ["[2]"], "a failed record has a position like any other");
}

#[test]
fn a_poll_gives_no_more_than_was_asked_for() {
    let log = Log::new();
    log.append("log", &"[1]\n".repeat(10));
    let mut source = log.open("", None).expect("opened");
    assert_eq!(source.poll(4, SHORT).expect("polled").len(), 4);
    assert_eq!(source.poll(100, SHORT).expect("polled").len(), 6);
}

#[test]
fn lines_longer_than_a_chunk_are_whole() {
    let log = Log::new();
    let long = format!("\"{}\"", "x".repeat(1 << 20));
    log.append("log", &format!("[1]\n{long}\n[2]\n"));
    assert_eq!(take(&mut log.open("", None).expect("opened"), 3), ["[1]", long.as_str(), "[2]"]);
}

#[test]
fn a_fifo_is_read_without_positions_and_survives_its_writers() {
    let log = Log::new();
    assert!(Command::new("mkfifo").arg(log.path("log")).status().expect("mkfifo runs").success());
    let mut source = log.lines(None);
    assert!(source.poll(1, SHORT).expect("no writer yet").is_empty());
    for line in ["one", "two"] {
        log.append("log", &format!("{line}\n"));
        let records = source.poll_until(1, LONG).expect("polled");
        assert_eq!(texts(&records), [line]);
        assert!(records[0].position().is_none());
    }
    let second = log.open(r#","format":"lines""#, None).err().expect("taken");
    assert_eq!(second.kind(), ErrorKind::CONFIG);
    drop(source);
    log.append("log", "three\n");
    assert_eq!(take(&mut log.lines(None), 1), ["three"], "the next source goes on with the same reader");
}

#[test]
fn what_cannot_work_is_refused_with_its_field() {
    let log = Log::new();
    fs::create_dir(log.path("log")).expect("a folder");
    let error = log.open("", None).err().expect("a directory");
    assert_eq!((error.kind(), error.detail()), (ErrorKind::CONFIG, "path"));
    let error = log.open(r#","max_line_bytes":0"#, None).err().expect("zero");
    assert_eq!((error.kind(), error.detail()), (ErrorKind::CONFIG, "max_line_bytes"));

    let log = Log::new();
    let unknown = Position::new(LANE, "from another version");
    assert_eq!(log.open("", Some(&unknown)).err().expect("unknown").kind(), ErrorKind::FATAL);
}
