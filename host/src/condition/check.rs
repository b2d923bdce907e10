//! The types of a condition, worked out before it runs, and what it needs of a record.

use std::collections::BTreeSet;

use cel::Program;
use cel::common::ast::{
    CallExpr, ComprehensionExpr, EntryExpr, Expr, IdedExpr, LiteralValue, SelectExpr, operators,
};
use cel::parser::ParseErrors;

use super::ConditionError;
use super::place::{Places, children};
use super::types::{CHANGE, FUNCTIONS, Type, VARIABLES};
use crate::config::nearest::suggest;

/// The parts of a record that a condition looks at.
#[derive(Debug, Default)]
pub(super) struct Needs {
    pub key: bool,
    pub value: bool,
    pub timestamp: bool,
    pub headers: Option<Wanted>,
    pub change: Option<Wanted>,
}

#[derive(Debug)]
pub(super) enum Wanted {
    All,
    Only(BTreeSet<String>),
}

/// Refuses names that are not known, types that do not fit and results that are neither true nor false.
pub(super) fn check(program: &Program, text: &str) -> Result<Needs, ConditionError> {
    let mut checker =
        Checker { places: Places { program, text }, scope: Vec::new(), needs: Needs::default() };
    let root = program.expression();
    match checker.infer(root)? {
        Type::Bool | Type::Any => Ok(checker.needs),
        other => Err(checker.places.error(
            root,
            format!("a condition gives true or false, this gives {other}"),
            None,
        )),
    }
}

/// The parser's first complaint, in bytes of the text.
pub(super) fn syntax(text: &str, errors: &ParseErrors) -> ConditionError {
    let first = errors.errors.first();
    let (line, column) = first.map_or((1, 1), |error| error.pos);
    let line_start: usize = text.split_inclusive('\n').take((line - 1).max(0) as usize).map(str::len).sum();
    let rest = text.get(line_start..).unwrap_or_default();
    let in_line: usize = rest.chars().take((column - 1).max(0) as usize).map(char::len_utf8).sum();
    let message = first.map_or("not a CEL expression", |error| error.msg.as_str());
    let message = message.trim_start_matches("Syntax error: ").lines().next().unwrap_or_default();
    let help = text
        .contains(" and ")
        .then_some("write `&&` for and, `||` for or, `!` for not")
        .or_else(|| single_equals(text).then_some("write `==` to compare"));
    let offset = (line_start + in_line).min(text.len());
    ConditionError {
        offset,
        length: text[offset..].chars().next().map_or(0, char::len_utf8),
        message: format!("not a CEL expression: {message}"),
        help: help.map(str::to_owned),
    }
}

/// Refuses a tree so deep that walking it could exhaust the stack.
pub(super) fn depth(root: &IdedExpr, most: u16) -> Result<(), ConditionError> {
    let mut level = vec![root];
    for _ in 0..most {
        let mut next = Vec::new();
        level.iter().for_each(|at| children(&at.expr, &mut next));
        if next.is_empty() {
            return Ok(());
        }
        level = next;
    }
    let message = format!("the condition is nested more than {most} levels deep");
    Err(ConditionError {
        offset: 0,
        length: 1,
        message,
        help: Some("split it with `in [...]` or `matches`".into()),
    })
}

fn single_equals(text: &str) -> bool {
    let bytes = text.as_bytes();
    let at = |n: usize| bytes.get(n).copied().unwrap_or_default();
    (1..bytes.len()).any(|n| at(n) == b'=' && at(n + 1) != b'=' && !b"=!<>".contains(&at(n - 1)))
}

struct Checker<'a> {
    places: Places<'a>,
    /// Variables of the macros around the expression, `exists(x, ...)`.
    scope: Vec<(String, Type)>,
    needs: Needs,
}

impl Checker<'_> {
    fn infer(&mut self, at: &IdedExpr) -> Result<Type, ConditionError> {
        match &at.expr {
            Expr::Ident(name) => self.variable(at, name),
            Expr::Select(select) => self.select(at, select),
            Expr::Call(call) => self.call(at, call),
            Expr::Literal(literal) => Ok(of_literal(literal)),
            Expr::Comprehension(comprehension) => self.comprehension(comprehension),
            Expr::List(list) => {
                list.elements.iter().try_for_each(|element| self.infer(element).map(drop))?;
                Ok(Type::List)
            }
            Expr::Map(map) => {
                for entry in &map.entries {
                    if let EntryExpr::MapEntry(entry) = &entry.expr {
                        self.infer(&entry.key)?;
                        self.infer(&entry.value)?;
                    }
                }
                Ok(Type::Map)
            }
            Expr::Struct(_) | Expr::Unspecified => {
                Err(self.places.error(at, "messages are not part of a condition", None))
            }
        }
    }

    fn variable(&mut self, at: &IdedExpr, name: &str) -> Result<Type, ConditionError> {
        if let Some((_, kind)) = self.scope.iter().rev().find(|(known, _)| known == name) {
            return Ok(*kind);
        }
        let Some((_, kind)) = VARIABLES.iter().find(|(known, _)| *known == name) else {
            let known: Vec<_> = VARIABLES.iter().map(|(name, _)| *name).collect();
            let of_change = CHANGE.iter().any(|(field, _)| *field == name);
            let help =
                of_change.then(|| format!("did you mean `change.{name}`?")).or_else(|| suggest(name, &known));
            return Err(self.places.error(at, format!("`{name}` is not known"), help));
        };
        match name {
            "key" => self.needs.key = true,
            "value" => self.needs.value = true,
            "timestamp" => self.needs.timestamp = true,
            "headers" => self.needs.headers = Some(Wanted::All),
            _ => self.needs.change = Some(Wanted::All),
        }
        Ok(*kind)
    }

    /// `operand.field`, or `has(operand.field)`.
    fn select(&mut self, at: &IdedExpr, select: &SelectExpr) -> Result<Type, ConditionError> {
        let kind = match self.known_map(&select.operand) {
            Some(kind) => self.field_of(at, kind, &select.field)?,
            None => match self.infer(&select.operand)? {
                kind if kind.is_map() || kind == Type::Any => Type::Any,
                other => {
                    return Err(self.places.error(
                        at,
                        format!("{other} has no field `{}`", select.field),
                        None,
                    ));
                }
            },
        };
        Ok(if select.test { Type::Bool } else { kind })
    }

    /// Whether the operand is `change` or `headers` itself, so that only the named field is needed.
    fn known_map(&self, operand: &IdedExpr) -> Option<Type> {
        match &operand.expr {
            Expr::Ident(name) if self.scope.iter().any(|(hidden, _)| hidden == name) => None,
            Expr::Ident(name) if name == "change" => Some(Type::Change),
            Expr::Ident(name) if name == "headers" => Some(Type::Headers),
            _ => None,
        }
    }

    fn field_of(&mut self, at: &IdedExpr, map: Type, field: &str) -> Result<Type, ConditionError> {
        let (needs, kind) = match map {
            Type::Change => match CHANGE.iter().find(|(name, _)| *name == field) {
                Some((_, kind)) => (&mut self.needs.change, *kind),
                None => {
                    let known: Vec<_> = CHANGE.iter().map(|(name, _)| *name).collect();
                    let mut error = self.places.error(
                        at,
                        format!("a change has no field `{field}`"),
                        suggest(field, &known),
                    );
                    if let Some(found) = self.places.text[error.offset..].find(field) {
                        (error.offset, error.length) = (error.offset + found, field.len());
                    }
                    return Err(error);
                }
            },
            _ => (&mut self.needs.headers, Type::String),
        };
        match needs.get_or_insert_with(|| Wanted::Only(BTreeSet::new())) {
            Wanted::All => {}
            Wanted::Only(names) => {
                names.insert(field.to_owned());
            }
        }
        Ok(kind)
    }

    fn call(&mut self, at: &IdedExpr, call: &CallExpr) -> Result<Type, ConditionError> {
        let arguments = call.args.as_slice();
        match (call.func_name.as_str(), arguments) {
            (operators::LOGICAL_AND | operators::LOGICAL_OR | operators::LOGICAL_NOT, _) => {
                self.all(arguments, Type::Bool, &call.func_name)?;
                Ok(Type::Bool)
            }
            (operators::NOT_STRICTLY_FALSE, [only]) => self.infer(only).map(|_| Type::Bool),
            (operators::EQUALS | operators::NOT_EQUALS, [left, right]) => self.equality(at, left, right),
            (
                operators::LESS | operators::LESS_EQUALS | operators::GREATER | operators::GREATER_EQUALS,
                [left, right],
            ) => self.ordering(at, left, right),
            (operators::IN, [item, list]) => self.membership(item, list),
            (operators::INDEX, [map, index]) => self.index(at, map, index),
            (operators::CONDITIONAL, [condition, then, otherwise]) => {
                self.all(std::slice::from_ref(condition), Type::Bool, "?:")?;
                Ok(self.infer(then)?.or(self.infer(otherwise)?))
            }
            (operators::ADD, [left, right]) => self.addition(at, left, right),
            (
                operators::SUBSTRACT
                | operators::MULTIPLY
                | operators::DIVIDE
                | operators::MODULO
                | operators::NEGATE,
                _,
            ) => {
                self.all(arguments, Type::Number, &call.func_name)?;
                Ok(Type::Number)
            }
            _ => self.function(at, call),
        }
    }

    /// Each argument must be able to be `kind`.
    fn all(&mut self, arguments: &[IdedExpr], kind: Type, operator: &str) -> Result<(), ConditionError> {
        for argument in arguments {
            let found = self.infer(argument)?;
            if !found.fits(kind) {
                let operator = operator.trim_matches('_').replace('_', "");
                return Err(self.places.error(
                    argument,
                    format!("`{operator}` takes {kind}, this is {found}"),
                    None,
                ));
            }
        }
        Ok(())
    }

    fn equality(&mut self, at: &IdedExpr, left: &IdedExpr, right: &IdedExpr) -> Result<Type, ConditionError> {
        let (a, b) = (self.infer(left)?, self.infer(right)?);
        if a.may_equal(b) {
            return Ok(Type::Bool);
        }
        Err(self.places.error(at, format!("{a} never equals {b}"), None))
    }

    fn ordering(&mut self, at: &IdedExpr, left: &IdedExpr, right: &IdedExpr) -> Result<Type, ConditionError> {
        let (a, b) = (self.infer(left)?, self.infer(right)?);
        let ordered =
            |kind| matches!(kind, Type::Number | Type::String | Type::Bytes | Type::Bool | Type::Any);
        if a.fits(b) && ordered(a) && ordered(b) {
            return Ok(Type::Bool);
        }
        Err(self.places.error(at, format!("{a} cannot be compared with {b}"), None))
    }

    fn membership(&mut self, item: &IdedExpr, list: &IdedExpr) -> Result<Type, ConditionError> {
        self.infer(item)?;
        let kind = match (self.known_map(list), &item.expr) {
            (Some(map @ Type::Headers), Expr::Literal(LiteralValue::String(name))) => {
                self.field_of(list, map, name.inner())?;
                map
            }
            (Some(map @ Type::Change), Expr::Literal(LiteralValue::String(name))) => {
                self.field_of(item, map, name.inner())?;
                map
            }
            _ => self.infer(list)?,
        };
        if kind.is_map() || matches!(kind, Type::List | Type::Any) {
            return Ok(Type::Bool);
        }
        Err(self.places.error(list, format!("`in` takes a list or a map, this is {kind}"), None))
    }

    fn index(&mut self, at: &IdedExpr, map: &IdedExpr, index: &IdedExpr) -> Result<Type, ConditionError> {
        if let (Some(kind), Expr::Literal(LiteralValue::String(name))) = (self.known_map(map), &index.expr) {
            return self.field_of(index, kind, name.inner());
        }
        let (kind, by) = (self.infer(map)?, self.infer(index)?);
        match kind {
            Type::Any | Type::Map | Type::Change => Ok(Type::Any),
            Type::Headers => Ok(Type::String),
            Type::List if by.fits(Type::Number) => Ok(Type::Any),
            Type::List => {
                Err(self.places.error(index, format!("a list is indexed by a number, this is {by}"), None))
            }
            other => Err(self.places.error(at, format!("{other} has no items"), None)),
        }
    }

    fn addition(&mut self, at: &IdedExpr, left: &IdedExpr, right: &IdedExpr) -> Result<Type, ConditionError> {
        let (a, b) = (self.infer(left)?, self.infer(right)?);
        let adds = |kind| matches!(kind, Type::Number | Type::String | Type::Bytes | Type::List | Type::Any);
        if a.fits(b) && adds(a) && adds(b) {
            return Ok(if a == Type::Any { b } else { a });
        }
        Err(self.places.error(at, format!("{a} and {b} cannot be added"), None))
    }

    fn function(&mut self, at: &IdedExpr, call: &CallExpr) -> Result<Type, ConditionError> {
        let name = call.func_name.as_str();
        let named: Vec<_> = FUNCTIONS.iter().filter(|function| function.name == name).collect();
        if named.is_empty() {
            let known: BTreeSet<_> = FUNCTIONS.iter().map(|function| function.name).collect();
            let known: Vec<_> = known.into_iter().collect();
            let help = suggest(name, &known);
            return Err(self.places.error_in_call(at, name, format!("there is no function `{name}`"), help));
        }
        let fits_form = |function: &&&super::types::Function| {
            function.target.is_some() == call.target.is_some() && function.arguments.len() == call.args.len()
        };
        let Some(function) = named.iter().find(fits_form) else {
            let form = named[0];
            let dots = form.arguments.iter().map(|kind| kind.to_string()).collect::<Vec<_>>().join(", ");
            let form = if form.target.is_some() {
                format!("text.{name}({dots})")
            } else {
                format!("{name}({dots})")
            };
            let message = format!("`{name}` is called in another way");
            return Err(self.places.error_in_call(at, name, message, Some(format!("write `{form}`"))));
        };
        if let (Some(target), Some(kind)) = (&call.target, function.target) {
            self.all(std::slice::from_ref(target), kind, name)?;
        }
        for (argument, kind) in call.args.iter().zip(function.arguments) {
            self.all(std::slice::from_ref(argument), *kind, name)?;
        }
        if name == "matches" {
            self.pattern(call.args.last())?;
        }
        Ok(function.result)
    }

    /// A pattern that is written out is compiled now.
    fn pattern(&self, argument: Option<&IdedExpr>) -> Result<(), ConditionError> {
        let Some(argument) = argument else { return Ok(()) };
        let Expr::Literal(LiteralValue::String(pattern)) = &argument.expr else { return Ok(()) };
        match regex::Regex::new(pattern.inner()) {
            Ok(_) => Ok(()),
            Err(_) => Err(self.places.error(argument, "this regular expression cannot be used", None)),
        }
    }

    /// What `all`, `exists`, `exists_one`, `map` and `filter` become.
    fn comprehension(&mut self, each: &ComprehensionExpr) -> Result<Type, ConditionError> {
        let range = self.infer(&each.iter_range)?;
        if !(range.is_map() || matches!(range, Type::List | Type::Any)) {
            return Err(self.places.error(
                &each.iter_range,
                format!("expected a list or a map, this is {range}"),
                None,
            ));
        }
        let n_outer = self.scope.len();
        let accumulated = self.infer(&each.accu_init)?;
        // The keys of a map are strings; what a list holds is not known.
        let item = if range.is_map() { Type::String } else { Type::Any };
        self.scope.push((each.iter_var.clone(), item));
        self.scope.extend(each.iter_var2.iter().map(|name| (name.clone(), Type::Any)));
        self.scope.push((each.accu_var.clone(), accumulated));
        self.infer(&each.loop_cond)?;
        self.infer(&each.loop_step)?;
        let result = self.infer(&each.result);
        self.scope.truncate(n_outer);
        result
    }
}

fn of_literal(literal: &LiteralValue) -> Type {
    match literal {
        LiteralValue::Boolean(_) => Type::Bool,
        LiteralValue::Bytes(_) => Type::Bytes,
        LiteralValue::Double(_) | LiteralValue::Int(_) | LiteralValue::UInt(_) => Type::Number,
        LiteralValue::Null => Type::Null,
        LiteralValue::String(_) => Type::String,
    }
}
