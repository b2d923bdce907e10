//! Where a watcher stands: what it has shown, and what to ask for to go on after it.

use super::super::keys::{ShownChange, query};
use super::super::live::CommandError;
use super::Watch;
use serde::Deserialize;
use std::ops::ControlFlow;
use std::str::FromStr;

/// A place in a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Position {
    /// None is the log of whichever host answers.
    epoch: Option<String>,
    revision: u64,
}

impl FromStr for Position {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (epoch, revision) = match text.rsplit_once(':') {
            Some((epoch, revision)) => (Some(epoch.to_owned()), revision),
            None => (None, text),
        };
        let revision = revision.parse().map_err(|_| "write REVISION or EPOCH:REVISION".to_owned())?;
        Ok(Self { epoch, revision })
    }
}

impl std::fmt::Display for Position {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.epoch {
            Some(epoch) => write!(f, "{epoch}:{}", self.revision),
            None => write!(f, "{}", self.revision),
        }
    }
}

/// What one watcher has seen.
pub(super) struct Followed<'a> {
    watch: &'a Watch,
    position: Option<Position>,
    has_begun: bool,
    n_shown: u64,
}

/// What every line of the host may say.
#[derive(Deserialize)]
struct Line {
    r#type: String,
    #[serde(default)]
    epoch: Option<String>,
    #[serde(default)]
    revision: u64,
    #[serde(default)]
    reason: Option<String>,
}

impl<'a> Followed<'a> {
    pub fn new(watch: &'a Watch) -> Self {
        Self { watch, position: watch.since.clone(), has_begun: false, n_shown: 0 }
    }

    pub fn has_begun(&self) -> bool {
        self.has_begun
    }

    /// What to ask the host for. Current values come in the order of their revisions too, so whoever has seen some of
    /// them goes on after the last one.
    pub fn path(&self) -> String {
        let (since, snapshot) = (self.position.as_ref(), self.watch.snapshot && self.position.is_none());
        let mut parts: Vec<_> =
            self.watch.patterns.iter().map(|pattern| ("pattern", Some(pattern.clone()))).collect();
        parts.push(("tenant", self.watch.tenant.clone()));
        parts.push(("since", since.map(Position::to_string)));
        parts.push(("snapshot", snapshot.then(|| "true".to_owned())));
        query("/v1/watch", &parts)
    }

    /// Shows a line of the host through `print`; breaks when enough was shown.
    pub fn take(
        &mut self,
        text: &str,
        print: impl Fn(&str) -> ControlFlow<u8>,
    ) -> Result<ControlFlow<u8>, CommandError> {
        let strange =
            |error| CommandError::Failed(format!("the host sent what is no line of a watch: {error}"));
        let line: Line = serde_json::from_str(text).map_err(strange)?;
        let printed = match line.r#type.as_str() {
            "bookmark" => ControlFlow::Continue(()),
            "watching" | "resync" => {
                self.tell(&line);
                if self.watch.json { print(&format!("{text}\n")) } else { ControlFlow::Continue(()) }
            }
            _ if self.watch.json => print(&format!("{text}\n")),
            _ => print(&serde_json::from_str::<ShownChange>(text).map_err(strange)?.line()),
        };
        self.position = Some(Position { epoch: line.epoch, revision: line.revision });
        self.n_shown += u64::from(line.r#type == "config_sync");
        let is_enough = self.watch.count.is_some_and(|count| self.n_shown >= count);
        Ok(if is_enough && printed.is_continue() { ControlFlow::Break(super::super::DONE) } else { printed })
    }

    /// What is no change, to whoever sits before it.
    fn tell(&mut self, line: &Line) {
        match (line.r#type.as_str(), line.reason.as_deref()) {
            ("watching", _) if !self.has_begun => eprintln!("watching from revision {} on", line.revision),
            ("watching", _) => eprintln!("the host is back; going on after revision {}", line.revision),
            (_, Some("epoch_changed")) => {
                eprintln!("the host has another log than before: its current values follow");
            }
            (_, Some("slow")) => {
                eprintln!("changes came faster than they were read: the current values follow")
            }
            (_, _) => eprintln!("the host has forgotten what came next: the current values follow"),
        }
        self.has_begun = true;
    }

    pub fn tell_gone(&self) {
        let revision = self.position.as_ref().map_or(0, |position| position.revision);
        eprintln!("the host is gone; going on after revision {revision} when it is back");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;
    use std::cell::RefCell;

    #[derive(Parser)]
    struct CommandLine {
        #[command(flatten)]
        watch: Watch,
    }

    fn watch(line: &str) -> Watch {
        CommandLine::try_parse_from(format!("watch {line}").split_whitespace()).expect("a command line").watch
    }

    /// What a watcher prints of these lines, and what it asks for afterwards.
    fn check(command: &str, lines: &[&str], printed: &[&str], path: &str) -> Option<u8> {
        let watch = watch(command);
        let mut followed = Followed::new(&watch);
        let shown = RefCell::new(Vec::new());
        let mut end = None;
        for line in lines {
            let print = |text: &str| {
                shown.borrow_mut().push(text.trim_end().to_owned());
                ControlFlow::Continue(())
            };
            if let ControlFlow::Break(exit) = followed.take(line, print).expect("a line") {
                end = Some(exit);
            }
        }
        assert_eq!(shown.into_inner(), printed);
        assert_eq!(followed.path(), path);
        end
    }

    const WATCHING: &str = r#"{"type":"watching","epoch":"e","revision":4}"#;
    const CHANGE: &str =
        r#"{"type":"config_sync","epoch":"e","revision":7,"config_key":"app.x","new_value":1}"#;
    #[test]
    fn a_watcher_goes_on_after_what_it_has_seen() {
        check("app.* b", &[], &[], "/v1/watch?pattern=app.%2A&pattern=b");
        check("--since 3", &[], &[], "/v1/watch?since=3");
        check("", &[WATCHING], &[], "/v1/watch?since=e%3A4");
        check("", &[WATCHING, CHANGE], &["7  -  -  app.x = 1"], "/v1/watch?since=e%3A7");
        let bookmark = r#"{"type":"bookmark","epoch":"e","revision":9}"#;
        check("", &[CHANGE, bookmark], &["7  -  -  app.x = 1"], "/v1/watch?since=e%3A9");
    }

    #[test]
    fn current_values_are_asked_for_once() {
        check("--snapshot", &[], &[], "/v1/watch?snapshot=true");
        check("--snapshot", &[CHANGE], &["7  -  -  app.x = 1"], "/v1/watch?since=e%3A7");
    }

    #[test]
    fn json_lines_are_the_hosts_own_and_counting_ends() {
        assert_eq!(check("--json", &[WATCHING, CHANGE], &[WATCHING, CHANGE], "/v1/watch?since=e%3A7"), None);
        let end =
            check("--json --count 1", &[WATCHING, CHANGE], &[WATCHING, CHANGE], "/v1/watch?since=e%3A7");
        assert_eq!(end, Some(0));
    }

    #[test]
    fn a_position_is_a_revision_with_or_without_its_log() {
        assert_eq!("7".parse(), Ok(Position { epoch: None, revision: 7 }));
        assert_eq!("e:7".parse(), Ok(Position { epoch: Some("e".into()), revision: 7 }));
        assert!("e:".parse::<Position>().is_err() && "x".parse::<Position>().is_err());
    }
}
