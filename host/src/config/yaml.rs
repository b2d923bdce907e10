//! The only file that knows a YAML library: text in, a tree of places and a tree of values out.
//!
//! saphyr's parser is strict and tells where everything stands; serde_yaml, through figment, gives the values.
//! `places_and_values_agree` below holds the two together.

use std::collections::HashMap;
use std::ops::Range;
use std::rc::Rc;

use figment::Figment;
use figment::providers::{Format, Yaml};
use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Span, StrInput};
use serde_json::Value;

/// Deeper nesting than any configuration needs, and far from exhausting the stack.
const MAX_DEPTH: usize = 64;
/// Values that aliases may add to a file: room for shared settings, none for a bomb.
const MAX_ALIASED: usize = 10_000;

/// What is wrong with the text itself.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Problem {
    pub span: Range<usize>,
    pub code: &'static str,
    pub message: String,
    pub help: Option<String>,
}

/// How a value is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    Plain,
    SingleQuoted,
    DoubleQuoted,
    Block,
    Collection,
}

/// One value and its place, in bytes.
#[derive(Debug)]
pub(super) struct Node {
    pub span: Range<usize>,
    pub style: Style,
    pub children: Children,
}

#[derive(Debug)]
pub(super) enum Children {
    None,
    Map(Vec<(Key, Rc<Node>)>),
    List(Vec<Rc<Node>>),
    /// `*name`: the place is where the alias stands, the value where the anchor stands.
    Alias(Rc<Node>),
}

#[derive(Debug, Clone)]
pub(super) struct Key {
    pub name: String,
    pub span: Range<usize>,
}

/// A file's only document.
#[derive(Debug)]
pub(super) struct Document {
    pub root: Rc<Node>,
    /// What can be reported without giving up on the rest of the file.
    pub problems: Vec<Problem>,
}

/// Reads `text` strictly; an error is one after which nothing else can be said about the file.
pub(super) fn parse(text: &str) -> Result<Document, Problem> {
    let mut builder = Builder::new(text);
    let mut parser = Parser::<StrInput<'_>>::new_from_str(text);
    while let Some(next) = parser.next_event() {
        let (event, span) = next.map_err(|error| builder.syntax(&error))?;
        let span = builder.bytes(span);
        builder.take(event, span)?;
    }
    builder.finish()
}

/// The values of `text`, which [`parse`] has accepted; an error comes with the path of the value it is about.
pub(super) fn values(text: &str) -> Result<Value, (Vec<String>, String)> {
    Figment::from(Yaml::string(text)).extract().map_err(|error| (error.path.clone(), error.kind.to_string()))
}

/// What a plain scalar with this text means: `5` is a number, `true` a boolean, `hello` a string.
///
/// Text that could be anything but one plain scalar stays the string it is, and so does empty text.
pub(super) fn plain_scalar(text: &str) -> Value {
    let one_word = !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "+-._~".contains(c));
    let meaning = one_word.then(|| serde_yaml::from_str::<Value>(text).ok()).flatten();
    meaning.unwrap_or_else(|| Value::from(text))
}

/// Builds the tree without recursion, so that no input exhausts the stack.
struct Builder<'text> {
    text: &'text str,
    /// Byte offset of each character, because the parser counts characters.
    starts: Vec<usize>,
    open: Vec<Open>,
    anchors: HashMap<usize, Rc<Node>>,
    root: Option<Rc<Node>>,
    n_documents: usize,
    problems: Vec<Problem>,
}

/// A collection whose end has not been seen.
struct Open {
    start: usize,
    anchor: usize,
    children: Children,
    key: Option<Key>,
}

impl<'text> Builder<'text> {
    fn new(text: &'text str) -> Self {
        let starts = text.char_indices().map(|(at, _)| at).chain([text.len()]).collect();
        let (open, anchors, problems) = (Vec::new(), HashMap::new(), Vec::new());
        Self { text, starts, open, anchors, root: None, n_documents: 0, problems }
    }

    fn byte(&self, index: usize) -> usize {
        self.starts[index.min(self.starts.len() - 1)]
    }

    fn bytes(&self, span: Span) -> Range<usize> {
        let start = self.byte(span.start.index());
        start..self.byte(span.end.index()).max(start)
    }

    fn take(&mut self, event: Event<'_>, span: Range<usize>) -> Result<(), Problem> {
        match event {
            Event::DocumentStart(_) => self.start_document(span)?,
            Event::Scalar(text, style, anchor, tag) => {
                self.refuse_tag(tag.is_some(), &span);
                self.scalar(&text, style, anchor, span);
            }
            Event::Alias(anchor) => self.alias(anchor, span)?,
            Event::MappingStart(anchor, tag) => {
                self.refuse_tag(tag.is_some(), &span);
                self.open(span, anchor, Children::Map(Vec::new()))?;
            }
            Event::SequenceStart(anchor, tag) => {
                self.refuse_tag(tag.is_some(), &span);
                self.open(span, anchor, Children::List(Vec::new()))?;
            }
            Event::MappingEnd | Event::SequenceEnd => self.close(span),
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => {}
        }
        Ok(())
    }

    fn start_document(&mut self, span: Range<usize>) -> Result<(), Problem> {
        self.n_documents += 1;
        if self.n_documents == 1 {
            return Ok(());
        }
        Err(Problem {
            span,
            code: "several-documents",
            message: "a second YAML document starts here".into(),
            help: Some("write one document per file, and remove this `---`".into()),
        })
    }

    fn open(&mut self, span: Range<usize>, anchor: usize, children: Children) -> Result<(), Problem> {
        if self.open.len() == MAX_DEPTH {
            let message = format!("nested more than {MAX_DEPTH} levels deep");
            return Err(Problem { span, code: "nesting", message, help: None });
        }
        self.open.push(Open { start: span.start, anchor, children, key: None });
        Ok(())
    }

    fn close(&mut self, span: Range<usize>) {
        let open = self.open.pop().expect("the parser ends only what it started");
        let written = &self.text[open.start..span.end.max(open.start)];
        let end = open.start + written.trim_end().len();
        let node = Node { span: open.start..end, style: Style::Collection, children: open.children };
        self.insert(node, open.anchor);
    }

    fn scalar(&mut self, text: &str, style: ScalarStyle, anchor: usize, span: Range<usize>) {
        let end = span.start + self.text[span.clone()].trim_end().len();
        let span = span.start..end;
        if self.expects_key() {
            return self.key(text, style, span);
        }
        if style == ScalarStyle::Plain && is_not_finite(text) {
            let message = format!("`{text}` is a number that JSON does not have");
            self.problems.push(Problem { span: span.clone(), code: "syntax", message, help: None });
        }
        let style = match style {
            ScalarStyle::Plain => Style::Plain,
            ScalarStyle::SingleQuoted => Style::SingleQuoted,
            ScalarStyle::DoubleQuoted => Style::DoubleQuoted,
            ScalarStyle::Literal | ScalarStyle::Folded => Style::Block,
        };
        self.insert(Node { span, style, children: Children::None }, anchor);
    }

    fn expects_key(&self) -> bool {
        self.open.last().is_some_and(|open| matches!(open.children, Children::Map(_)) && open.key.is_none())
    }

    fn key(&mut self, text: &str, style: ScalarStyle, span: Range<usize>) {
        if style == ScalarStyle::Plain && !plain_scalar(text).is_string() {
            self.problems.push(Problem {
                span: span.clone(),
                code: "syntax",
                message: format!("the key `{text}` is not a string"),
                help: Some(format!("quote it: \"{text}\"")),
            });
        }
        let open = self.open.last_mut().expect("a key stands in a map");
        open.key = Some(Key { name: text.into(), span });
    }

    fn alias(&mut self, anchor: usize, span: Range<usize>) -> Result<(), Problem> {
        let Some(target) = self.anchors.get(&anchor).cloned() else {
            let message = "this alias stands inside the value that it names".into();
            return Err(Problem { span, code: "alias", message, help: None });
        };
        self.insert(Node { span, style: target.style, children: Children::Alias(target) }, 0);
        Ok(())
    }

    fn insert(&mut self, node: Node, anchor: usize) {
        let node = Rc::new(node);
        if anchor > 0 {
            self.anchors.insert(anchor, node.clone());
        }
        let Some(open) = self.open.last_mut() else {
            self.root = Some(node);
            return;
        };
        match (&mut open.children, open.key.take()) {
            (Children::List(items), _) => items.push(node),
            (Children::Map(entries), Some(key)) => match entries.iter().find(|(k, _)| k.name == key.name) {
                Some((first, _)) => self.problems.push(duplicate(self.text, first, &key)),
                None => entries.push((key, node)),
            },
            // A map or an alias where a key belongs: named once, then read as an entry without a name.
            (Children::Map(_), None) => {
                let (span, message) = (node.span.clone(), "a key must be a plain string".to_owned());
                self.problems.push(Problem { span: span.clone(), code: "syntax", message, help: None });
                open.key = Some(Key { name: String::new(), span });
            }
            (Children::None | Children::Alias(_), _) => unreachable!("only maps and lists are open"),
        }
    }

    fn refuse_tag(&mut self, tagged: bool, span: &Range<usize>) {
        if !tagged {
            return;
        }
        // The tag stands before the value it belongs to.
        let start = self.text[..span.start].rfind('!').map_or(span.start, |at| {
            self.text[..at].rfind(|c: char| c != '!').map_or(at, |before| before + 1).min(at)
        });
        self.problems.push(Problem {
            span: start..span.end.max(start),
            code: "tag",
            message: "YAML tags have no meaning here".into(),
            help: Some("remove the tag; to make a string of a number, quote it".into()),
        });
    }

    fn syntax(&self, error: &ScanError) -> Problem {
        let at = self.byte(error.marker().index());
        let end = self.text[at..].chars().next().map_or(at, |c| at + c.len_utf8());
        let line = self.text[..at].rfind('\n').map_or(0, |newline| newline + 1);
        let help =
            if self.text[line..at].trim_start_matches(' ').starts_with('\t') || self.text[at..end] == *"\t" {
                Some("indent with spaces, not tabs".to_owned())
            } else if self.text[line..].lines().next().is_some_and(|line| line.contains("${")) {
                Some("inside `{ }` and `[ ]`, quote what contains `${...}`: \"${env:NAME}\"".to_owned())
            } else {
                None
            };
        Problem { span: at..end, code: "syntax", message: format!("not valid YAML: {}", error.info()), help }
    }

    fn finish(self) -> Result<Document, Problem> {
        let empty = Problem { span: 0..0, code: "empty", message: "the file is empty".into(), help: None };
        let root = self.root.ok_or(empty)?;
        if n_aliased(&root, MAX_ALIASED).is_none() {
            let message = format!("aliases stand for more than {MAX_ALIASED} values");
            return Err(Problem {
                span: root.span.start..root.span.start,
                code: "alias",
                message,
                help: None,
            });
        }
        if !matches!(root.children, Children::Map(_)) {
            let message = "expected a map of fields at the top of the file".into();
            return Err(Problem { span: root.span.clone(), code: "wrong-type", message, help: None });
        }
        Ok(Document { root, problems: self.problems })
    }
}

fn is_not_finite(text: &str) -> bool {
    matches!(text.trim_start_matches(['+', '-']).to_ascii_lowercase().as_str(), ".inf" | ".nan")
}

fn duplicate(text: &str, first: &Key, again: &Key) -> Problem {
    let line = text[..first.span.start].matches('\n').count() + 1;
    Problem {
        span: again.span.clone(),
        code: "duplicate-key",
        message: format!("`{}` is given twice", again.name),
        help: Some(format!("it was given first on line {line}; keep one of them")),
    }
}

/// How many values the tree has once aliases are followed, `None` if more than `most` beyond those written.
fn n_aliased(root: &Rc<Node>, most: usize) -> Option<usize> {
    let (mut left, mut n) = (vec![(root.as_ref(), false)], 0);
    while let Some((node, aliased)) = left.pop() {
        n += usize::from(aliased);
        if n > most {
            return None;
        }
        match &node.children {
            Children::None => {}
            Children::Map(entries) => left.extend(entries.iter().map(|(_, child)| (child.as_ref(), aliased))),
            Children::List(items) => left.extend(items.iter().map(|child| (child.as_ref(), aliased))),
            Children::Alias(target) => left.push((target, true)),
        }
    }
    Some(n)
}

#[cfg(test)]
mod tests;
