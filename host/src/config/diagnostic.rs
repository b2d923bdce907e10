//! What is wrong, where, and what to do: one refusal as the operator reads it, and many of them.

use std::fmt;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet};
use serde_json::{Value, json};

use super::source_text::SourceText;

/// One thing that is wrong, and its place.
#[derive(Debug, Clone)]
pub struct Diagnostic {
    severity: Severity,
    code: &'static str,
    message: String,
    help: Option<String>,
    place: Place,
}

/// Whether the host can start nevertheless.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    Error,
    Warning,
}

#[derive(Debug, Clone)]
enum Place {
    Text {
        source: Arc<SourceText>,
        span: Range<usize>,
        path: String,
    },
    /// Not in a text: a variable, a flag, a file that cannot be read.
    Outside {
        origin: String,
        path: String,
    },
}

/// Everything that is wrong, in the order in which it is read.
#[derive(Debug, Clone, Default)]
pub struct Diagnostics(Vec<Diagnostic>);

impl Diagnostic {
    pub(super) fn in_text(
        source: Arc<SourceText>,
        span: Range<usize>,
        path: String,
        message: String,
    ) -> Self {
        let place = Place::Text { source, span, path };
        Self { severity: Severity::Error, code: "config", message, help: None, place }
    }

    /// About something that has no line: `origin` says what (``environment variable `LOCKSTEP_WATCHDOG` ``).
    pub fn outside(origin: impl Into<String>, message: impl Into<String>) -> Self {
        let place = Place::Outside { origin: origin.into(), path: String::new() };
        Self { severity: Severity::Error, code: "config", message: message.into(), help: None, place }
    }

    /// A stable name of this kind of mistake, for programs that read the output.
    pub fn code(mut self, code: &'static str) -> Self {
        self.code = code;
        self
    }

    /// What to do about it.
    pub fn help(self, help: impl Into<String>) -> Self {
        self.maybe_help(Some(help.into()))
    }

    pub(super) fn maybe_help(mut self, help: Option<String>) -> Self {
        self.help = help.or(self.help);
        self
    }

    /// Which setting or field it is about.
    pub fn at_path(mut self, at: &str) -> Self {
        match &mut self.place {
            Place::Text { path, .. } | Place::Outside { path, .. } => *path = at.into(),
        }
        self
    }

    /// Makes it something the host can start with.
    pub fn warning(mut self) -> Self {
        self.severity = Severity::Warning;
        self
    }

    pub fn severity(&self) -> Severity {
        self.severity
    }

    pub fn message(&self) -> &str {
        &self.message
    }

    pub fn help_text(&self) -> Option<&str> {
        self.help.as_deref()
    }

    pub fn code_name(&self) -> &'static str {
        self.code
    }

    /// The path of the value it is about, for example `sinks.0.config.port`; may be empty.
    pub fn path(&self) -> &str {
        match &self.place {
            Place::Text { path, .. } | Place::Outside { path, .. } => path,
        }
    }

    pub fn file(&self) -> Option<&Path> {
        match &self.place {
            Place::Text { source, .. } => Some(source.file()),
            Place::Outside { .. } => None,
        }
    }

    /// Line and column, both from 1; columns count characters.
    pub fn line_column(&self) -> Option<(usize, usize)> {
        match &self.place {
            Place::Text { source, span, .. } => Some(source.line_column_at(span.start)),
            Place::Outside { .. } => None,
        }
    }

    /// One object with stable fields; those that do not apply are null.
    pub fn to_json(&self) -> Value {
        let (line, column) = self.line_column().unzip();
        let origin = match &self.place {
            Place::Text { .. } => None,
            Place::Outside { origin, .. } => Some(origin),
        };
        json!({
            "severity": match self.severity { Severity::Error => "error", Severity::Warning => "warning" },
            "code": self.code,
            "message": self.message,
            "help": self.help,
            "file": self.file(),
            "line": line,
            "column": column,
            "path": self.path(),
            "origin": origin,
        })
    }

    /// As a compiler shows it; `colour` adds terminal colours.
    pub fn render(&self, colour: bool) -> String {
        let level = match self.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let title = level.primary_title(&self.message).id(self.code);
        let group = match &self.place {
            Place::Text { source, span, .. } => {
                let (line, shown) = source.quoted_line(span);
                let snippet = Snippet::source(line)
                    .path(source.file().display().to_string())
                    .line_start(source.line_column_at(span.start).0)
                    .annotation(AnnotationKind::Primary.span(shown));
                title.element(snippet)
            }
            Place::Outside { origin, .. } => title.element(Origin::path(origin.as_str())),
        };
        let mut report = vec![group];
        if let Some(help) = &self.help {
            report.push(Group::with_title(Level::HELP.secondary_title(help)));
        }
        let renderer = if colour { Renderer::styled() } else { Renderer::plain() };
        self.with_true_column(renderer.render(&report).to_string())
    }

    /// What is masked before the place has shifted the column that the renderer counted.
    fn with_true_column(&self, rendered: String) -> String {
        let Place::Text { source, span, .. } = &self.place else { return rendered };
        let (line, shown) = source.quoted_line(span);
        let (n_line, column) = source.line_column_at(span.start);
        let counted = line[..shown.start].chars().count() + 1;
        let file = source.file().display();
        rendered.replacen(&format!("{file}:{n_line}:{counted}"), &format!("{file}:{n_line}:{column}"), 1)
    }

    fn order(&self) -> (Option<&Path>, Option<(usize, usize)>) {
        (self.file(), self.line_column())
    }
}

impl Diagnostics {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn push(&mut self, diagnostic: Diagnostic) {
        self.0.push(diagnostic);
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn iter(&self) -> std::slice::Iter<'_, Diagnostic> {
        self.0.iter()
    }

    pub fn has_errors(&self) -> bool {
        self.0.iter().any(|diagnostic| diagnostic.severity == Severity::Error)
    }

    /// Puts them into the order of files and lines; those without a place come first.
    pub fn sort(&mut self) {
        self.0.sort_by(|a, b| a.order().cmp(&b.order()));
    }

    /// All of them as a compiler shows them, an empty line between two.
    pub fn render(&self, colour: bool) -> String {
        let shown: Vec<_> = self.0.iter().map(|diagnostic| diagnostic.render(colour)).collect();
        shown.join("\n\n")
    }

    /// A list of objects, see [`Diagnostic::to_json`].
    pub fn to_json(&self) -> Value {
        self.0.iter().map(Diagnostic::to_json).collect()
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl std::error::Error for Diagnostics {}

impl From<Diagnostic> for Diagnostics {
    fn from(diagnostic: Diagnostic) -> Self {
        Self(vec![diagnostic])
    }
}

impl Extend<Diagnostic> for Diagnostics {
    fn extend<I: IntoIterator<Item = Diagnostic>>(&mut self, diagnostics: I) {
        self.0.extend(diagnostics);
    }
}

impl FromIterator<Diagnostic> for Diagnostics {
    fn from_iter<I: IntoIterator<Item = Diagnostic>>(diagnostics: I) -> Self {
        Self(diagnostics.into_iter().collect())
    }
}

impl IntoIterator for Diagnostics {
    type Item = Diagnostic;
    type IntoIter = std::vec::IntoIter<Diagnostic>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}
