//! `lockstep metrics`: the metrics document of a running host.

use super::DONE;
use super::live::{CommandError, Live};
use super::output::{print, print_json};
use super::table::Table;
use crate::admin::Client;
use clap::Args;
use serde_json::Value;

const AFTER_HELP: &str = "\
Counted since the host started or since the last --reset; connections are those that are open now. For dashboards, \
scrape `/metrics` of the admin server instead: it has everything, by pipeline and component.

Exit codes:
  0  printed, or reset
  1  the host could not answer
  2  there is no host to ask, or the settings are refused

Examples:
  lockstep metrics
  lockstep metrics --rates --json
  lockstep metrics --reset
";

#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Metrics {
    /// Print events per second by type, over the last 300 seconds
    #[arg(long)]
    rates: bool,
    /// Start counting anew
    #[arg(long, conflicts_with = "rates")]
    reset: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    live: Live,
}

impl Metrics {
    pub(super) fn run(self) -> u8 {
        self.live.with_host(|client| self.show(client))
    }

    fn show(&self, client: &Client) -> Result<u8, CommandError> {
        if self.reset {
            client.post("/v1/metrics/reset")?;
            eprintln!("the metrics document was reset");
            return Ok(DONE);
        }
        let document = client.get(if self.rates { "/v1/metrics/rates" } else { "/v1/metrics" })?;
        if self.json {
            return Ok(print_json(&document));
        }
        let mut table = Table::new(&["METRIC", "VALUE"]);
        rows("", &document, &mut table);
        Ok(print(&table.to_string()))
    }
}

/// A row for each number, named by its place in the document.
fn rows(place: &str, value: &Value, table: &mut Table) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                let place = if place.is_empty() { name.clone() } else { format!("{place}.{name}") };
                rows(&place, value, table);
            }
        }
        Value::Number(number) if number.is_f64() => {
            table.row([place.to_owned(), format!("{:.3}", number.as_f64().unwrap_or_default())]);
        }
        value => table.row([place.to_owned(), value.to_string()]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn numbers_are_named_by_their_place() {
        let mut table = Table::new(&["METRIC", "VALUE"]);
        rows("", &json!({ "a": { "b": 1, "c": 0.12345 }, "d": {} }), &mut table);
        assert_eq!(table.to_string(), "METRIC  VALUE\na.b     1\na.c     0.123\n");
    }
}
