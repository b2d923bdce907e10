//! Where an expression stands in the text of its condition.
//!
//! The parser gives each node the place of one token; what is marked goes from the leftmost to the rightmost below it.

use cel::Program;
use cel::common::ast::{EntryExpr, Expr, IdedExpr};

use super::ConditionError;

/// A condition's text with the places of its nodes.
#[derive(Clone, Copy)]
pub(super) struct Places<'a> {
    pub program: &'a Program,
    pub text: &'a str,
}

impl Places<'_> {
    pub(super) fn error(
        &self,
        at: &IdedExpr,
        message: impl Into<String>,
        help: Option<String>,
    ) -> ConditionError {
        let (start, end) = self.span(at);
        ConditionError { offset: start, length: end - start, message: message.into(), help }
    }

    /// The bytes from the leftmost to the rightmost token below an expression.
    pub(super) fn span(&self, at: &IdedExpr) -> (usize, usize) {
        let (mut start, mut end) = (usize::MAX, 0);
        let mut left = vec![at];
        while let Some(at) = left.pop() {
            if let Some((first, last)) = self.program.source_info().offset_for(at.id) {
                start = start.min(first as usize);
                end = end.max(last as usize + 1);
            }
            if let Expr::Call(call) = &at.expr
                && let Some((name, _)) = self.name(at, &call.func_name)
            {
                start = start.min(name);
            }
            children(&at.expr, &mut left);
        }
        let (start, mut end) =
            (start.min(self.text.len()), end.min(self.text.len()).max(start.min(self.text.len())));
        if let Expr::Select(select) = &at.expr {
            // The selected name is no expression of its own: it follows the dot.
            end = self.after(end, &select.field);
        }
        (start, end + unclosed(&self.text[start..end], &self.text[end..]))
    }

    /// The end of `name`, where it follows next.
    fn after(&self, end: usize, name: &str) -> usize {
        self.text[end..].find(name).map_or(end, |found| end + found + name.len())
    }

    /// The name of a called function: it stands before the parenthesis, which is where the call's place is.
    fn name(&self, call: &IdedExpr, name: &str) -> Option<(usize, usize)> {
        let (parenthesis, _) = self.program.source_info().offset_for(call.id)?;
        let before = self.text.get(..parenthesis as usize)?.trim_end();
        let start = before.strip_suffix(name)?.len();
        Some((start, before.len()))
    }

    /// An error about the function's name alone.
    pub(super) fn error_in_call(
        &self,
        at: &IdedExpr,
        name: &str,
        message: String,
        help: Option<String>,
    ) -> ConditionError {
        let (start, end) = self.name(at, name).unwrap_or_else(|| self.span(at));
        ConditionError { offset: start, length: end - start, message, help }
    }
}

/// How many bytes of `rest` close the brackets that `text` leaves open.
fn unclosed(text: &str, rest: &str) -> usize {
    let mut quote = None;
    let mut depth = |c: char| {
        match (quote, c) {
            (None, '\'' | '"') => quote = Some(c),
            (Some(open), _) if open == c => quote = None,
            (None, '(' | '[') => return 1,
            (None, ')' | ']') => return -1,
            _ => {}
        }
        0
    };
    let mut open: i32 = text.chars().map(&mut depth).sum();
    for (at, c) in rest.char_indices() {
        if open <= 0 {
            return at;
        }
        open += depth(c);
    }
    if open <= 0 { rest.len() } else { 0 }
}

pub(super) fn children<'e>(expr: &'e Expr, into: &mut Vec<&'e IdedExpr>) {
    match expr {
        Expr::Select(select) => into.push(&select.operand),
        Expr::Call(call) => into.extend(call.target.as_deref().into_iter().chain(&call.args)),
        Expr::List(list) => into.extend(&list.elements),
        Expr::Map(map) => into.extend(map.entries.iter().flat_map(|entry| match &entry.expr {
            EntryExpr::MapEntry(entry) => [&entry.key, &entry.value],
            EntryExpr::StructField(field) => [&field.value, &field.value],
        })),
        Expr::Comprehension(each) => into.extend([&each.iter_range, &each.loop_step]),
        Expr::Struct(_) | Expr::Ident(_) | Expr::Literal(_) | Expr::Unspecified => {}
    }
}
