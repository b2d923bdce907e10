//! Comparisons of text, and their combinations, without the CEL engine.
//!
//! Gives what the engine would give: the tests run every condition both ways.

use cel::common::ast::{CallExpr, Expr, IdedExpr, LiteralValue, operators};
use regex::Regex;

use super::RecordView;
use super::types::{CHANGE, Type};

#[derive(Debug)]
pub(super) enum Test {
    Compare { what: What, how: How },
    And(Box<Test>, Box<Test>),
    Or(Box<Test>, Box<Test>),
    Not(Box<Test>),
}

#[derive(Debug)]
pub(super) enum What {
    Key,
    Header(String),
    Change(String),
}

#[derive(Debug)]
pub(super) enum How {
    Equals(String),
    Differs(String),
    StartsWith(String),
    EndsWith(String),
    Contains(String),
    /// Compiled once; the engine would compile it for every record.
    Matches(Regex),
}

/// The test that answers like `expr`, if there is one.
pub(super) fn of(expr: &Expr) -> Option<Test> {
    let Expr::Call(call) = expr else { return None };
    let two = |a: &IdedExpr, b: &IdedExpr| Some((Box::new(of(&a.expr)?), Box::new(of(&b.expr)?)));
    match (call.func_name.as_str(), call.args.as_slice()) {
        (operators::LOGICAL_AND, [a, b]) => two(a, b).map(|(a, b)| Test::And(a, b)),
        (operators::LOGICAL_OR, [a, b]) => two(a, b).map(|(a, b)| Test::Or(a, b)),
        (operators::LOGICAL_NOT, [a]) => of(&a.expr).map(|a| Test::Not(Box::new(a))),
        (operators::EQUALS, [a, b]) => equality(How::Equals, &a.expr, &b.expr),
        (operators::NOT_EQUALS, [a, b]) => equality(How::Differs, &a.expr, &b.expr),
        _ => method(call),
    }
}

fn equality(how: fn(String) -> How, a: &Expr, b: &Expr) -> Option<Test> {
    let (what, text) = what(a).zip(literal(b)).or_else(|| what(b).zip(literal(a)))?;
    Some(Test::Compare { what, how: how(text) })
}

/// `target.method("text")`, or `matches(target, "text")`.
fn method(call: &CallExpr) -> Option<Test> {
    let (target, argument) = match (&call.target, call.args.as_slice()) {
        (Some(target), [argument]) => (target.as_ref(), argument),
        (None, [target, argument]) if call.func_name == "matches" => (target, argument),
        _ => return None,
    };
    let (what, text) = (what(&target.expr)?, literal(&argument.expr)?);
    let how = match call.func_name.as_str() {
        "startsWith" => How::StartsWith(text),
        "endsWith" => How::EndsWith(text),
        "contains" => How::Contains(text),
        "matches" => How::Matches(Regex::new(&text).ok()?),
        _ => return None,
    };
    Some(Test::Compare { what, how })
}

fn literal(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Literal(LiteralValue::String(text)) => Some(text.inner().to_owned()),
        _ => None,
    }
}

fn what(expr: &Expr) -> Option<What> {
    match expr {
        Expr::Ident(name) if name == "key" => Some(What::Key),
        Expr::Select(select) if !select.test => field(&select.operand, &select.field),
        Expr::Call(call) if call.func_name == operators::INDEX => match call.args.as_slice() {
            [map, name] => field(map, &literal(&name.expr)?),
            _ => None,
        },
        _ => None,
    }
}

fn field(map: &IdedExpr, name: &str) -> Option<What> {
    let Expr::Ident(map) = &map.expr else { return None };
    let is_text = || CHANGE.iter().any(|(field, kind)| *field == name && *kind == Type::String);
    match map.as_str() {
        "headers" => Some(What::Header(name.into())),
        "change" if is_text() => Some(What::Change(name.into())),
        _ => None,
    }
}

impl Test {
    pub(super) fn matches(&self, record: &dyn RecordView) -> Result<bool, String> {
        match self {
            Self::Compare { what, how } => what.compare(how, record),
            Self::Not(test) => Ok(!test.matches(record)?),
            // As in CEL, one side that decides makes an error of the other irrelevant.
            Self::And(a, b) => match a.matches(record) {
                Ok(true) => b.matches(record),
                Ok(false) => Ok(false),
                Err(error) => {
                    if b.matches(record) == Ok(false) {
                        Ok(false)
                    } else {
                        Err(error)
                    }
                }
            },
            Self::Or(a, b) => match a.matches(record) {
                Ok(false) => b.matches(record),
                Ok(true) => Ok(true),
                Err(error) => {
                    if b.matches(record) == Ok(true) {
                        Ok(true)
                    } else {
                        Err(error)
                    }
                }
            },
        }
    }
}

impl What {
    fn compare(&self, how: &How, record: &dyn RecordView) -> Result<bool, String> {
        match self {
            Self::Key => match (record.key(), how) {
                (Some(key), _) => Ok(how.compare(key)),
                (None, How::Equals(_)) => Ok(false),
                (None, How::Differs(_)) => Ok(true),
                (None, _) => Err("the record has no `key`".into()),
            },
            Self::Header(name) => {
                record.header(name).map(|found| how.compare(found)).ok_or_else(|| absent(name))
            }
            Self::Change(name) => {
                let found = record.change_field(name).ok_or_else(|| absent(name))?;
                match (found.as_text(), how) {
                    (Some(found), _) => Ok(how.compare(&found)),
                    (None, How::Equals(_)) => Ok(false),
                    (None, How::Differs(_)) => Ok(true),
                    (None, _) => Err(format!("the field `{name}` is not a string")),
                }
            }
        }
    }
}

impl How {
    fn compare(&self, found: &str) -> bool {
        match self {
            Self::Equals(text) => found == text,
            Self::Differs(text) => found != text,
            Self::StartsWith(text) => found.starts_with(text.as_str()),
            Self::EndsWith(text) => found.ends_with(text.as_str()),
            Self::Contains(text) => found.contains(text.as_str()),
            Self::Matches(pattern) => pattern.is_match(found),
        }
    }
}

fn absent(name: &str) -> String {
    format!("the field `{name}` is absent")
}
