//! What nobody can do without: texts are read as JSON, what is shown is put together, and written.

use crate::{
    Work,
    messages::{Edit, Hosts, place, word},
    timed,
};
use serde_json::{Map, Value};
use std::{collections::BTreeMap, hint::black_box};

const BATCH: usize = 100;

fn read(text: &str) -> Value {
    serde_json::from_str(text).expect("JSON")
}

/// A message is read and written.
pub fn copied(message: String) -> impl Work {
    move || {
        let work = || (0..BATCH).for_each(|_| drop(black_box(read(&message).to_string())));
        (BATCH, timed(work).1)
    }
}

/// The messages of several hosts are read, and one is written with the value that all of them make.
pub fn shown(edit: Edit, n_hosts: usize) -> impl Work {
    let hosts = Hosts::of("last_write_wins", edit);
    let messages: Vec<String> = (0..n_hosts).map(|host| hosts.message(host, 0)).collect();
    move || {
        let work = || {
            let mut messages: Vec<Value> = messages.iter().map(|message| read(message)).collect();
            let value = together(edit, &messages);
            let last = messages.last_mut().expect("several");
            last["new_value"] = value;
            black_box(last.to_string())
        };
        let n = if n_hosts > 10 { 1 } else { BATCH };
        (n, timed(|| (0..n).for_each(|_| drop(work()))).1)
    }
}

/// What every author has changed, in one value; whoever does it knows who changed what.
fn together(edit: Edit, messages: &[Value]) -> Value {
    match edit {
        Edit::Text { .. } => messages.last().expect("several")["new_value"].clone(),
        Edit::Fields { .. } => {
            let mut value = messages[0]["new_value"].clone();
            for (author, message) in messages.iter().enumerate() {
                for at in author * 5..author * 5 + 5 {
                    let name = format!("field-{at:03}");
                    value[&name] = message["new_value"][&name].clone();
                }
            }
            value
        }
        Edit::Insert { n_bytes } => {
            let mut text = messages[0]["old_value"].as_str().expect("a text").to_owned();
            (0..messages.len()).for_each(|author| text.insert_str(place(author, n_bytes), &word(author)));
            Value::from(text)
        }
    }
}

/// Each author's operations are read, and the text is written after each.
pub fn one_by_one(edit: Edit, n_authors: usize) -> impl Work {
    let ops: Vec<String> = (0..n_authors).filter_map(|author| edit.by(author).ops).collect();
    let before = edit.before();
    move || {
        let work = || {
            let mut text = before.clone();
            for ops in &ops {
                let (op, Value::String(mut value)) = (read(ops), read(&text)) else { unreachable!("a text") };
                let at = op[0]["es"][0].as_u64().expect("a place") as usize;
                value.insert_str(at, op[0]["es"][1].as_str().expect("a word"));
                text = black_box(Value::from(value).to_string());
            }
        };
        (ops.len(), timed(work).1)
    }
}
