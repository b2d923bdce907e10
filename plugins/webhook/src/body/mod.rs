//! What is sent: the event in the form that its receiver reads.

mod raw;
mod slack;
mod pagerduty;
mod template;

pub(crate) use template::Template;

use crate::{config::Severity, facts::Facts};
use lockstep_plugin_api::prelude::*;

/// What is sent about an event.
#[derive(Debug)]
pub(crate) struct Rendered {
    /// By what the receiver knows it.
    pub(crate) id: Text,
    pub(crate) bytes: Vec<u8>,
}

/// The form of every message of one sink.
#[derive(Debug)]
pub(crate) enum Body {
    /// The event as JSON.
    Raw { values: bool },
    /// Blocks for a Slack incoming webhook.
    Slack { values: bool },
    /// An event for PagerDuty.
    PagerDuty { routing_key: Secret, severity: Option<Severity>, values: bool },
    /// The operator's own.
    Own { template: Template, values: bool },
}

impl Body {
    /// The messages about an event, in order; one, unless its receiver has to be told of something else first.
    ///
    /// # Errors
    /// `Rejected`, if this form cannot tell of this event.
    pub(crate) fn render(&self, facts: &Facts<'_>, node: &str) -> Result<Vec<Rendered>> {
        let bytes = match self {
            Self::Raw { values } => raw::body(facts, *values)?,
            Self::Slack { values } => slack::body(facts, *values)?,
            Self::Own { template, values } => template.render(facts, *values),
            Self::PagerDuty { routing_key, severity, values } => {
                let service = pagerduty::Service { routing_key, severity: *severity, node };
                return pagerduty::messages(facts, &service, *values);
            }
        };
        Ok(vec![Rendered { id: facts.id.into(), bytes }])
    }
}

/// At most so many characters, the last one telling that some are left out.
fn shortened(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        None => text.to_owned(),
        Some(_) => text.chars().take(most - 1).chain(['…']).collect(),
    }
}

#[cfg(test)]
mod tests;
