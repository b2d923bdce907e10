//! One JSON Schema for editors: the pipeline format with every installed plugin's own schema in its place.

use serde_json::{Map, Value, json};

use super::format;
use super::pipeline::ComponentKind;

/// The schema of one pipeline file; `config` takes any map.
pub fn pipeline_schema() -> Value {
    format::pipeline_schema().clone()
}

/// The schema of `lockstep.yaml`.
pub fn settings_schema() -> Value {
    format::settings_schema().clone()
}

/// The pipeline schema in which `plugin: NAME` decides what `config` takes.
///
/// Each component brings its kind, its plugin's name and the JSON Schema of its configuration.
pub fn editor_schema(components: &[(ComponentKind, &str, Value)]) -> Value {
    let mut root = pipeline_schema();
    let item = root["$defs"]["Component"].take();
    let mut definitions = Map::new();
    for kind in [ComponentKind::Source, ComponentKind::Transform, ComponentKind::Sink] {
        let own: Vec<_> = components.iter().filter(|(of, _, _)| *of == kind).collect();
        definitions.insert(kind.to_string(), component(&item, kind, &own));
        for (_, name, schema) in own {
            let place = place(kind, name);
            definitions.insert(place.clone(), embedded(schema, &place));
        }
    }
    let known = root["$defs"].as_object_mut().expect("the pipeline schema has definitions");
    known.remove("Component");
    known.extend(definitions);
    for (list, kind) in [("sources", "source"), ("transforms", "transform"), ("sinks", "sink")] {
        root["properties"][list]["items"] = json!({ "$ref": format!("#/$defs/{kind}") });
    }
    root
}

/// What one kind of component takes: the common fields that mean something on it, and one condition per plugin.
fn component(item: &Value, kind: ComponentKind, own: &[&(ComponentKind, &str, Value)]) -> Value {
    let mut schema = item.clone();
    let fields = schema["properties"].as_object_mut().expect("a component has fields");
    fields.remove("isolation");
    fields.remove("tasks");
    match kind {
        ComponentKind::Source => {
            fields.remove("when");
            fields.remove("on_error");
        }
        ComponentKind::Transform => {
            fields.remove("transforms");
        }
        ComponentKind::Sink => {}
    }
    if let Some(chain) = fields.get_mut("transforms") {
        chain["items"] = json!({ "$ref": "#/$defs/transform" });
    }
    fields["plugin"]["examples"] = own.iter().map(|(_, name, _)| Value::from(*name)).collect();
    if !own.is_empty() {
        schema["allOf"] = own.iter().map(|(_, name, schema)| condition(kind, name, schema)).collect();
    }
    schema
}

/// `plugin: name`, in any version, takes that plugin's configuration.
fn condition(kind: ComponentKind, name: &str, schema: &Value) -> Value {
    let mut then =
        json!({ "properties": { "config": { "$ref": format!("#/$defs/{}", place(kind, name)) } } });
    if schema.get("required").and_then(Value::as_array).is_some_and(|fields| !fields.is_empty()) {
        then["required"] = json!(["config"]);
    }
    let pattern = format!("^{}(@|$)", name.replace('.', "\\."));
    json!({ "if": { "properties": { "plugin": { "pattern": pattern } }, "required": ["plugin"] }, "then": then })
}

fn place(kind: ComponentKind, name: &str) -> String {
    format!("{kind}-{name}")
}

/// The plugin's schema as a part of another document: its references point to its new place.
fn embedded(schema: &Value, place: &str) -> Value {
    let mut schema = schema.clone();
    if let Some(fields) = schema.as_object_mut() {
        fields.remove("$schema");
        fields.remove("$id");
    }
    adapt(&mut schema, place);
    schema
}

fn adapt(node: &mut Value, place: &str) {
    match node {
        Value::Object(fields) => {
            if let Some(Value::String(reference)) = fields.get_mut("$ref")
                && let Some(local) = reference.strip_prefix('#')
            {
                *reference = format!("#/$defs/{place}{local}");
            }
            fields.values_mut().for_each(|child| adapt(child, place));
            allow_interpolation(node);
        }
        Value::Array(items) => items.iter_mut().for_each(|item| adapt(item, place)),
        _ => {}
    }
}

/// Where a number or boolean is expected, `${env:PORT}` may stand for one.
fn allow_interpolation(node: &mut Value) {
    let takes_text = match node.get("type") {
        Some(Value::String(only)) => !["number", "integer", "boolean"].contains(&only.as_str()),
        Some(Value::Array(types)) => {
            types.iter().any(|each| each == "string" || each == "object" || each == "array")
        }
        _ => true,
    };
    if takes_text {
        return;
    }
    let own = node.take();
    let mut outer = Map::new();
    for shown in ["title", "description", "default"] {
        if let Some(value) = own.get(shown) {
            outer.insert(shown.into(), value.clone());
        }
    }
    outer.insert("anyOf".into(), json!([own, { "type": "string", "pattern": "\\$\\{(env|file):" }]));
    *node = Value::Object(outer);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rename_schema() -> Value {
        json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "type": "object",
            "properties": { "from": { "type": "string" }, "limit": { "$ref": "#/$defs/Limit" } },
            "required": ["from"],
            "additionalProperties": false,
            "$defs": { "Limit": { "type": "integer", "minimum": 1 } },
        })
    }

    fn check(transform: Value, expect: bool) {
        let schema = editor_schema(&[(ComponentKind::Transform, "rename", rename_schema())]);
        let document = json!({ "sources": [{ "plugin": "a" }], "transforms": [transform], "sinks": [{ "plugin": "b" }] });
        let validator = jsonschema::validator_for(&schema).unwrap();
        let errors: Vec<_> = validator.iter_errors(&document).map(|error| error.to_string()).collect();
        assert_eq!(errors.is_empty(), expect, "{document}: {errors:?}");
    }

    #[test]
    fn the_plugins_name_decides_what_config_takes() {
        check(json!({ "plugin": "rename", "config": { "from": "a" } }), true);
        check(json!({ "plugin": "rename@1.2", "config": { "from": 1 } }), false);
        check(json!({ "plugin": "rename" }), false);
        check(json!({ "plugin": "rename", "config": { "from": "a", "limit": 0 } }), false);
        check(json!({ "plugin": "rename", "config": { "from": "a", "limit": "${env:LIMIT}" } }), true);
        check(json!({ "plugin": "rename", "config": { "from": "a", "limit": "many" } }), false);
        check(json!({ "plugin": "other", "config": { "anything": 1 } }), true);
    }

    #[test]
    fn fields_that_mean_nothing_on_a_kind_are_not_offered() {
        check(json!({ "plugin": "other", "transforms": [] }), false);
        check(json!({ "plugin": "other", "when": "key == 'a'" }), true);
    }
}
