//! Blocks for a Slack incoming webhook, within the limits of Block Kit.

use super::shortened;
use crate::facts::Facts;
use lockstep_plugin_api::prelude::*;
use serde_json::{Value, json};

/// Characters of a header.
const HEADER: usize = 150;
/// Fields of a section, and characters of one.
const FIELDS: usize = 10;
const FIELD: usize = 2_000;
/// Characters of a section's text are at most 3,000; a value has to leave room for its heading.
const VALUE: usize = 2_800;
/// Characters of the text that notifications show.
const TEXT: usize = 500;

/// The message.
pub(super) fn body(facts: &Facts<'_>, values: bool) -> Result<Vec<u8>> {
    let title = facts.title();
    let text = format!("{title}: {}", escaped(&facts.key_with_tenant()));
    let mut blocks = vec![
        json!({ "type": "header", "text": { "type": "plain_text", "text": shortened(&title, HEADER) } }),
        json!({ "type": "section", "fields": fields(facts) }),
    ];
    if values {
        blocks.extend(value_sections(facts.change));
    }
    let about = format!("{} · event {}", facts.timestamp().unwrap_or_default(), facts.id);
    let about = json!({ "type": "mrkdwn", "text": escaped(about.trim_start_matches(" · ")) });
    blocks.push(json!({ "type": "context", "elements": [about] }));
    serde_json::to_vec(&json!({ "text": shortened(&text, TEXT), "blocks": blocks })).map_err(Error::failed)
}

fn fields(facts: &Facts<'_>) -> Vec<Value> {
    let field = |(name, text): (&str, String)| {
        let text = format!("*{name}*\n{}", escaped(&text));
        json!({ "type": "mrkdwn", "text": shortened(&text, FIELD) })
    };
    facts.named().into_iter().take(FIELDS).map(field).collect()
}

fn value_sections(change: &Change) -> Vec<Value> {
    let old = change.old_value().map(|old| ("Before", old));
    let new = (!change.is_deletion()).then(|| ("Now", change.new_value()));
    let section = |(name, value): (&str, &Json)| {
        // A fence inside would end the block.
        let value = escaped(&value.as_str().replace("```", "'''"));
        let text = format!("*{name}*\n```{}```", shortened(&value, VALUE));
        json!({ "type": "section", "text": { "type": "mrkdwn", "text": text } })
    };
    old.into_iter().chain(new).map(section).collect()
}

/// Slack's three control characters: without them nobody is mentioned and nothing links.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
