//! The reference in Markdown, made from the schemas: every field with its type, default and meaning.

use std::fmt::Write as _;

use serde_json::{Map, Value};

use super::format;
use super::schema::resolve;

/// The pipeline format, field by field.
pub fn format_reference() -> String {
    sections(format::pipeline_schema(), "Pipeline")
}

/// The host settings, field by field.
pub fn settings_reference() -> String {
    let mut text = String::from("| setting | type | default | meaning |\n|---|---|---|---|\n");
    settings_rows(format::settings_schema(), format::settings_schema(), "", &mut text);
    text
}

/// A `lockstep.yaml` with every setting at its default, all of them commented out.
pub fn settings_example() -> String {
    let mut text = String::from(
        "## Lockstep host settings. Every setting stands here with its default;\n\
         ## take the `# ` away from a line, and from the group above it, to change one.\n\
         ## Environment variables win over this file (`LOCKSTEP_ADMIN__LISTEN`), flags over both.\n",
    );
    example(format::settings_schema(), format::settings_schema(), 0, &mut text);
    text
}

fn example(root: &Value, node: &Value, depth: usize, text: &mut String) {
    let indent = "  ".repeat(depth);
    for (name, field) in fields(node) {
        let Some(resolved) = resolve(root, field) else { continue };
        let about = description(root, field);
        let separator = if depth == 0 { "\n" } else { "" };
        let _ = writeln!(text, "{separator}## {indent}{about}");
        if resolved.get("properties").is_some() {
            let _ = writeln!(text, "# {indent}{name}:");
            example(root, &with_defaults(resolved, field), depth + 1, text);
        } else {
            let _ = writeln!(text, "# {indent}{name}: {}", field.get("default").map_or("null".into(), plain));
        }
    }
}

fn settings_rows(root: &Value, node: &Value, at: &str, text: &mut String) {
    for (name, field) in fields(node) {
        let at = if at.is_empty() { name.clone() } else { format!("{at}.{name}") };
        let Some(resolved) = resolve(root, field) else { continue };
        if resolved.get("properties").is_some() {
            settings_rows(root, &with_defaults(resolved, field), &at, text);
            continue;
        }
        let row = Row { root, name: &at, field, required: false };
        row.write(text);
    }
}

/// A nested group whose fields take their defaults from the group's own default.
fn with_defaults(group: &Value, field: &Value) -> Value {
    let mut group = group.clone();
    if let (Some(defaults), Some(fields)) = (field.get("default"), group["properties"].as_object_mut()) {
        for (name, field) in fields {
            if let (Some(value), Some(field)) = (defaults.get(name), field.as_object_mut()) {
                field.insert("default".into(), value.clone());
            }
        }
    }
    group
}

/// A table for the document, then one for each type it uses, in the order of their first use.
fn sections(root: &Value, title: &str) -> String {
    let mut text = String::new();
    let mut open = vec![(title.to_owned(), root)];
    let mut n = 0;
    while let Some((title, node)) = open.get(n).cloned() {
        n += 1;
        let _ = writeln!(text, "### {title}\n\n{}\n", description(root, node));
        text.push_str("| field | type | default | meaning |\n|---|---|---|---|\n");
        let required = node.get("required").and_then(Value::as_array);
        for (name, field) in fields(node) {
            let required = required.is_some_and(|required| required.iter().any(|each| each == name));
            Row { root, name, field, required }.write(&mut text);
            if let Some((name, target)) = structure(root, field)
                && !open.iter().any(|(seen, _)| *seen == name)
            {
                open.push((name, target));
            }
        }
        text.push('\n');
    }
    text
}

fn fields(node: &Value) -> impl Iterator<Item = (&String, &Value)> {
    node.get("properties").and_then(Value::as_object).into_iter().flat_map(Map::iter)
}

/// The named type with fields that a field holds, alone or in a list.
fn structure<'a>(root: &'a Value, field: &'a Value) -> Option<(String, &'a Value)> {
    let reference = reference(field).or_else(|| reference(field.get("items")?))?;
    let target = root.pointer(reference.strip_prefix('#')?)?;
    target.get("properties")?;
    Some((reference.rsplit('/').next()?.to_owned(), target))
}

fn reference(field: &Value) -> Option<&str> {
    field.get("$ref").and_then(Value::as_str)
}

struct Row<'a> {
    root: &'a Value,
    name: &'a str,
    field: &'a Value,
    required: bool,
}

impl Row<'_> {
    fn write(&self, text: &mut String) {
        let about = description(self.root, self.field);
        let (about, default) = match (self.required, self.stated_default(), self.field.get("default")) {
            (true, _, _) => (about.clone(), "required".to_owned()),
            (_, Some((rest, default)), _) => (rest, default),
            (_, None, Some(Value::Null)) | (_, None, None) => (about.clone(), String::new()),
            (_, None, Some(Value::Object(_))) => (about.clone(), String::new()),
            (_, None, Some(value)) => (about.clone(), format!("`{}`", plain(value))),
        };
        let kind = self.kind(self.field).replace('|', "\\|");
        let _ = writeln!(text, "| `{}` | {kind} | {default} | {} |", self.name, about.replace('|', "\\|"));
    }

    /// Docs may say a default that depends on something: `... Default: the plugin's name.`
    fn stated_default(&self) -> Option<(String, String)> {
        let about = description(self.root, self.field);
        let (rest, default) = about.split_once("Default: ")?;
        Some((rest.trim().to_owned(), default.trim_end_matches('.').to_owned()))
    }

    fn kind(&self, field: &Value) -> String {
        if let Some((name, _)) = structure(self.root, field) {
            let link = format!("[{name}](#{})", name.to_lowercase());
            return if field.get("items").is_some() { format!("list of {link}") } else { link };
        }
        let Some(field) = resolve(self.root, field) else { return String::new() };
        if let Some(options) = options(field) {
            return options;
        }
        match field.get("format").and_then(Value::as_str) {
            Some("duration-text") => return "duration".into(),
            Some("size-text") => return "size".into(),
            _ => {}
        }
        let types = match field.get("type") {
            Some(Value::Array(types)) => types.iter().filter_map(Value::as_str).collect(),
            Some(Value::String(only)) => vec![only.as_str()],
            _ => return "reserved".into(),
        };
        let worded = types.iter().filter(|name| **name != "null").map(|name| match *name {
            "object" => "map",
            "array" => "list",
            "integer" => "whole number",
            other => other,
        });
        worded.collect::<Vec<_>>().join(" or ")
    }
}

/// The values of an enumeration, whichever way it is written.
fn options(field: &Value) -> Option<String> {
    let listed = field.get("enum").and_then(Value::as_array).map(|values| values.iter().collect::<Vec<_>>());
    let described = || {
        let branches = field.get("oneOf")?.as_array()?;
        branches.iter().map(|branch| branch.get("const")).collect::<Option<Vec<_>>>()
    };
    let values = listed.or_else(described)?;
    Some(values.iter().map(|value| format!("`{}`", plain(value))).collect::<Vec<_>>().join(", "))
}

/// The field's own words, else those of its type, on one line.
fn description(root: &Value, field: &Value) -> String {
    let own = field.get("description");
    let of_type = || resolve(root, field).and_then(|field| field.get("description"));
    let text = own.or_else(of_type).and_then(Value::as_str).unwrap_or_default();
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
