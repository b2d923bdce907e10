//! Why a value does not match its schema, in words that come from the schema alone.

use jsonschema::{
    JsonType, ValidationError, Validator,
    error::{TypeKind, ValidationErrorKind as Kind},
};
use serde::Serialize;
use serde_json::Value;

/// How many reasons a rejection has at most.
const MOST_REASONS: usize = 16;

/// The longest piece of a schema or of a path that is quoted, in characters.
const LONGEST_QUOTE: usize = 200;

/// From this size on only the first reason is looked for: a long array could have a million of them.
const LARGE_VALUE: usize = 64 << 10;

/// One place of a value and what is wrong there.
#[derive(Debug, Serialize, PartialEq, Eq)]
pub struct Reason {
    /// An RFC 6901 pointer into the value.
    pub path: String,
    pub reason: String,
}

/// Every reason (at most 16) why `value`, whose text has `n_bytes`, is not valid.
pub fn reasons(validator: &Validator, value: &Value, n_bytes: usize) -> Vec<Reason> {
    if n_bytes > LARGE_VALUE {
        return validator.validate(value).err().iter().flat_map(explain).take(MOST_REASONS).collect();
    }
    let errors = validator.iter_errors(value);
    errors.flat_map(|error| explain(&error)).take(MOST_REASONS).collect()
}

fn explain(error: &ValidationError<'_>) -> Vec<Reason> {
    let at = error.instance_path().as_str();
    match error.kind() {
        Kind::AdditionalProperties { unexpected } | Kind::UnevaluatedProperties { unexpected } => {
            let unknown = |name: &String| Reason {
                path: clipped(&format!("{at}/{}", name.replace('~', "~0").replace('/', "~1"))),
                reason: "is not a known property".to_owned(),
            };
            unexpected.iter().take(MOST_REASONS).map(unknown).collect()
        }
        kind => vec![Reason { path: clipped(at), reason: sentence(kind) }],
    }
}

fn sentence(kind: &Kind) -> String {
    match kind {
        Kind::Type { kind: TypeKind::Single(expected) } => format!("is not of type \"{expected}\""),
        Kind::Type { kind: TypeKind::Multiple(expected) } => {
            let names: Vec<String> = expected.iter().map(|one: JsonType| format!("\"{one}\"")).collect();
            format!("is not of type {}", names.join(" or "))
        }
        Kind::Required { property } => {
            format!("lacks the required property {}", clipped(&property.to_string()))
        }
        Kind::Enum { options } => format!("is not one of {}", clipped(&options.to_string())),
        Kind::Constant { expected_value } => format!("is not {}", clipped(&expected_value.to_string())),
        Kind::Maximum { limit } => format!("is greater than the maximum of {limit}"),
        Kind::Minimum { limit } => format!("is less than the minimum of {limit}"),
        Kind::ExclusiveMaximum { limit } => format!("is not less than {limit}"),
        Kind::ExclusiveMinimum { limit } => format!("is not greater than {limit}"),
        Kind::MultipleOf { multiple_of } => format!("is not a multiple of {multiple_of}"),
        Kind::MaxLength { limit } => format!("is longer than {}", counted(*limit, "character", "characters")),
        Kind::MinLength { limit } => {
            format!("is shorter than {}", counted(*limit, "character", "characters"))
        }
        Kind::MaxItems { limit } => format!("has more than {}", counted(*limit, "item", "items")),
        Kind::MinItems { limit } => format!("has fewer than {}", counted(*limit, "item", "items")),
        Kind::MaxProperties { limit } => {
            format!("has more than {}", counted(*limit, "property", "properties"))
        }
        Kind::MinProperties { limit } => {
            format!("has fewer than {}", counted(*limit, "property", "properties"))
        }
        Kind::AdditionalItems { limit } => {
            format!("has more than the {} that the schema describes", counted(*limit as u64, "item", "items"))
        }
        Kind::UnevaluatedItems { .. } => "has items that the schema does not describe".to_owned(),
        Kind::UniqueItems => "has equal items".to_owned(),
        Kind::Contains => "has not the right number of items that match `contains`".to_owned(),
        Kind::Pattern { pattern } => format!("does not match the pattern {}", clipped(pattern)),
        Kind::Format { format } => format!("is not a valid \"{format}\""),
        Kind::PropertyNames { error } => format!("has a property whose name {}", sentence(error.kind())),
        Kind::AnyOf { .. } | Kind::OneOfNotValid { .. } => "matches none of the alternatives".to_owned(),
        Kind::OneOfMultipleValid { .. } => "matches more than one of the alternatives".to_owned(),
        Kind::Not { .. } => "matches what the schema forbids".to_owned(),
        Kind::FalseSchema => "is not allowed here".to_owned(),
        Kind::ContentEncoding { content_encoding } => format!("is not encoded as \"{content_encoding}\""),
        Kind::ContentMediaType { content_media_type } => {
            format!("is not of media type \"{content_media_type}\"")
        }
        Kind::FromUtf8 { .. } => "is not UTF-8 when decoded".to_owned(),
        Kind::BacktrackLimitExceeded { .. } | Kind::RegexEngineFailure { .. } => {
            "is too costly to compare with the pattern".to_owned()
        }
        // One by one in `explain`.
        Kind::AdditionalProperties { .. } | Kind::UnevaluatedProperties { .. } => {
            "has unknown properties".to_owned()
        }
        Kind::Custom { .. } | Kind::Referencing(_) => "does not match the schema".to_owned(),
    }
}

fn counted(n: u64, one: &str, many: &str) -> String {
    format!("{n} {}", if n == 1 { one } else { many })
}

fn clipped(text: &str) -> String {
    match text.char_indices().nth(LONGEST_QUOTE) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
