//! Whether a condition looks into the values of a change, which a component before it may have sealed.
//!
//! It goes by what is written: `change.new_value.port` and `value["new_value"]` look into a value, `has(change.new_value)`
//! asks whether there is one. What takes the whole record as one thing is not told of.

use cel::common::ast::{CallExpr, Expr, IdedExpr, LiteralValue, operators};

use super::place::children;

/// The fields that hold values, or what is made of them.
const VALUES: [&str; 4] = ["new_value", "old_value", "ops", "base_hash"];

/// Of whom values are.
const KEYS: [&str; 2] = ["config_key", "tenant_id"];

/// What a condition asks for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Reads {
    /// What a value holds.
    pub values: bool,
    /// Whose value it is, by which it may leave some alone.
    pub key: bool,
}

/// Looks through a whole condition.
pub(super) fn of(root: &IdedExpr) -> Reads {
    let mut reads = Reads::default();
    look(root, &mut Vec::new(), &mut reads);
    reads
}

fn look<'e>(at: &'e IdedExpr, hidden: &mut Vec<&'e str>, reads: &mut Reads) {
    if let Some((field, is_test)) = field_of_record(&at.expr, hidden) {
        reads.values |= VALUES.contains(&field) && !is_test;
        reads.key |= KEYS.contains(&field);
        return;
    }
    if let Expr::Ident(name) = &at.expr {
        reads.key |= name == "key" && !hidden.contains(&"key");
    }
    let n_outer = hidden.len();
    if let Expr::Comprehension(each) = &at.expr {
        hidden.push(&each.iter_var);
        hidden.extend(each.iter_var2.as_deref());
    }
    let mut below = Vec::new();
    children(&at.expr, &mut below);
    below.into_iter().for_each(|child| look(child, hidden, reads));
    hidden.truncate(n_outer);
}

/// The field of the record's change that an expression names, and whether it only asks if that is there.
fn field_of_record<'e>(expr: &'e Expr, hidden: &[&str]) -> Option<(&'e str, bool)> {
    let is_record = |of: &IdedExpr| {
        let Expr::Ident(name) = &of.expr else { return false };
        matches!(name.as_str(), "change" | "value") && !hidden.contains(&name.as_str())
    };
    match expr {
        Expr::Select(select) if is_record(&select.operand) => Some((select.field.as_str(), select.test)),
        Expr::Call(CallExpr { func_name, args, .. }) if func_name == operators::INDEX => {
            let [of, name] = args.as_slice() else { return None };
            match &name.expr {
                Expr::Literal(LiteralValue::String(name)) if is_record(of) => Some((name.inner(), false)),
                _ => None,
            }
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use crate::condition::Condition;

    #[test]
    fn what_looks_into_a_value_is_told_from_what_asks_for_it() {
        for (text, values, key) in [
            ("change.new_value.port > 5", true, false),
            ("change.old_value == 1", true, false),
            ("has(change.new_value.port)", true, false),
            ("change['new_value'].port > 5", true, false),
            ("value.new_value.port > 5", true, false),
            ("[1].exists(n, change.new_value == n)", true, false),
            ("has(change.new_value)", false, false),
            ("'new_value' in change", false, false),
            ("change.event_type == 'config_updated'", false, false),
            ("change.metadata.all(change, change == 'x')", false, false),
            ("change.config_key == 'a' && change.new_value.port > 5", true, true),
            ("key.startsWith('app') || change.new_value == 1", true, true),
        ] {
            let condition = Condition::compile(text).expect(text);
            assert_eq!((condition.reads_values(), condition.asks_for_key()), (values, key), "{text}");
        }
    }
}
