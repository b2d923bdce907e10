//! The folder through which a test tells the `probe` plugin's components what to do, and sees what they did.

use crate::{lines, site::Site};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// One folder of control files: a file that exists is an order.
#[derive(Debug, Clone)]
pub struct Probe(PathBuf);

impl Probe {
    /// The folder `name` in the site, made if it is not there. Pipelines name it as `SITE/name`.
    pub fn new(site: &Site, name: &str) -> Self {
        let dir = site.path(name);
        fs::create_dir_all(&dir).expect("the site can be written");
        Self(dir)
    }

    /// The endpoint cannot be reached until [`Probe::up`].
    pub fn down(&self) {
        self.order("down", "");
    }

    /// The endpoint can be reached again.
    pub fn up(&self) {
        self.revoke("down");
    }

    /// `write` does not come back until [`Probe::unblock`].
    pub fn block(&self) {
        self.order("block", "");
    }

    /// `write` goes on.
    pub fn unblock(&self) {
        self.revoke("block");
    }

    /// Records of these keys fail (they might succeed later), until [`Probe::accept_all`].
    pub fn fail(&self, keys: &[&str]) {
        self.order("fail", &keys.join("\n"));
    }

    /// Records of these keys are rejected (they can never succeed), until [`Probe::accept_all`].
    pub fn reject(&self, keys: &[&str]) {
        self.order("reject", &keys.join("\n"));
    }

    /// No record fails or is rejected any more.
    pub fn accept_all(&self) {
        self.revoke("fail");
        self.revoke("reject");
    }

    /// Records of these keys cannot reach their endpoint, until [`Probe::reach_all`]. For `probe_pipelined`.
    pub fn cut_off(&self, keys: &[&str]) {
        self.order("away", &keys.join("\n"));
    }

    /// Every record reaches its endpoint again.
    pub fn reach_all(&self) {
        self.revoke("away");
    }

    /// What was put is not finished until [`Probe::finish`]. For `probe_pipelined`.
    pub fn hold(&self) {
        self.order("hold", "");
    }

    /// What was put is finished.
    pub fn finish(&self) {
        self.revoke("hold");
    }

    /// The sink fails once, when it is next asked what became of a batch. For `probe_pipelined`.
    pub fn break_once(&self) {
        self.order("break", "");
    }

    /// The keys that the sink has written, in order.
    pub fn written(&self) -> Vec<String> {
        lines::lines(&self.0.join("written"))
    }

    /// The keys that the sink was given, in order, whatever became of them.
    pub fn offered(&self) -> Vec<String> {
        lines::lines(&self.0.join("offered"))
    }

    /// The values that the sink has written, in order, each as the JSON it is.
    ///
    /// # Panics
    /// If one is none.
    pub fn values(&self) -> Vec<serde_json::Value> {
        let parse =
            |line: &String| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        lines::lines(&self.0.join("values")).iter().map(parse).collect()
    }

    /// The places in the log of the changes that the sink has written, in order.
    pub fn revisions(&self) -> Vec<u64> {
        let revisions = lines::lines(&self.0.join("revisions"));
        revisions.iter().map(|revision| revision.parse().expect("a number")).collect()
    }

    /// How many records came at once, each time.
    pub fn batches(&self) -> Vec<usize> {
        let sizes = lines::lines(&self.0.join("batches"));
        sizes.iter().map(|size| size.parse().expect("a number")).collect()
    }

    /// Records of these keys wait in the transform, until [`Probe::open`].
    pub fn shut(&self, keys: &[&str]) {
        self.order("shut", &keys.join("\n"));
    }

    /// Every record passes the transform again.
    pub fn open(&self) {
        self.revoke("shut");
    }

    /// The keys of the records that came as far as the transform, in order, each time they did.
    pub fn reached(&self) -> Vec<String> {
        lines::lines(&self.0.join("reached"))
    }

    /// What the source heard: one line `{id} {outcome}` per record.
    pub fn outcomes(&self) -> Vec<String> {
        lines::lines(&self.0.join("outcomes"))
    }

    /// The folder.
    pub fn dir(&self) -> &Path {
        &self.0
    }

    fn order(&self, name: &str, text: &str) {
        // Renamed into place, so that nobody reads half an order.
        let draft = self.0.join(format!("{name}.draft"));
        fs::write(&draft, text).expect("the site can be written");
        fs::rename(&draft, self.0.join(name)).expect("the site can be written");
    }

    fn revoke(&self, name: &str) {
        let _ = fs::remove_file(self.0.join(name));
    }

    /// The keys of a source's first `n` records, as `probe` makes them.
    pub fn keys(n: u64) -> Vec<String> {
        (1..=n).map(|number| format!("app.probe.{number}")).collect()
    }
}
