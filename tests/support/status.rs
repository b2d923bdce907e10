//! What `/v1/pipelines` and `/metrics` say, in the words the tests ask in.

use serde_json::Value;

/// The pipelines of a host.
#[derive(Debug)]
pub struct Status(Value);

impl Status {
    pub(crate) fn new(answer: Value) -> Self {
        let list = if answer.is_array() { answer } else { answer["pipelines"].clone() };
        assert!(list.is_array(), "a list of pipelines");
        Self(list)
    }

    /// One pipeline.
    ///
    /// # Panics
    /// If there is none of this name.
    pub fn pipeline(&self, name: &str) -> &Value {
        let mut pipelines = self.0.as_array().into_iter().flatten();
        pipelines
            .find(|pipeline| pipeline["name"] == name)
            .unwrap_or_else(|| panic!("no `{name}` in {}", self.0))
    }

    /// The name of the only pipeline.
    ///
    /// # Panics
    /// If there is not exactly one.
    pub fn only(&self) -> String {
        match self.0.as_array().map(Vec::as_slice) {
            Some([pipeline]) => pipeline["name"].as_str().unwrap_or_default().to_owned(),
            _ => panic!("one pipeline: {}", self.0),
        }
    }

    /// `running`, `restarting`, `failed`, `finished` or `stopped`.
    pub fn state(&self, pipeline: &str) -> String {
        self.pipeline(pipeline)["state"].as_str().unwrap_or_default().to_owned()
    }

    /// One component of a pipeline: `kind` is `sources`, `transforms` or `sinks`.
    pub fn component(&self, pipeline: &str, kind: &str, name: &str) -> &Value {
        let pipeline = self.pipeline(pipeline);
        let mut components = pipeline[kind].as_array().into_iter().flatten();
        let found = components.find(|component| component["name"] == name);
        found.unwrap_or_else(|| panic!("no {kind} `{name}` in {pipeline}"))
    }

    /// Every error that the pipeline or a component of it shows as its last one, as text.
    pub fn errors(&self, pipeline: &str) -> String {
        let mut errors = Vec::new();
        collect_errors(self.pipeline(pipeline), &mut errors);
        errors.join("\n")
    }

    /// The JSON itself.
    pub fn json(&self) -> &Value {
        &self.0
    }
}

fn collect_errors(value: &Value, errors: &mut Vec<String>) {
    match value {
        Value::Object(fields) => fields.iter().for_each(|(name, field)| match name.as_str() {
            "last_error" if !field.is_null() => errors.push(field.to_string()),
            _ => collect_errors(field, errors),
        }),
        Value::Array(items) => items.iter().for_each(|item| collect_errors(item, errors)),
        _ => {}
    }
}

/// Prometheus' text format.
#[derive(Debug)]
pub struct Metrics(String);

impl Metrics {
    pub(crate) fn new(text: String) -> Self {
        Self(text)
    }

    /// The sum of every sample of this name whose labels include all of these.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let samples = self.0.lines().filter_map(|line| sample(line, name));
        let wanted = labels.iter().map(|(label, value)| format!("{label}=\"{value}\"")).collect::<Vec<_>>();
        samples
            .filter(|(found, _)| wanted.iter().all(|label| found.contains(label)))
            .map(|(_, value)| value)
            .sum()
    }

    /// Whether any sample has this name.
    pub fn has(&self, name: &str) -> bool {
        self.0.lines().any(|line| sample(line, name).is_some())
    }

    /// The text.
    pub fn text(&self) -> &str {
        &self.0
    }
}

/// The labels and the value of a line, if it is a sample of this name.
fn sample<'a>(line: &'a str, name: &str) -> Option<(&'a str, f64)> {
    let rest = line.strip_prefix(name)?;
    let (labels, value) = match rest.strip_prefix('{') {
        Some(rest) => rest.rsplit_once('}')?,
        None => ("", rest.strip_prefix(' ')?),
    };
    Some((labels, value.split_whitespace().next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_summed_by_name_and_labels() {
        let text = "# TYPE a_total counter\na_total{p=\"x\",c=\"1\"} 2\na_total{p=\"x\",c=\"2\"} 3\na_total_more 9\nb 4 170000\n";
        let metrics = Metrics::new(text.to_owned());
        assert_eq!(metrics.sum("a_total", &[("p", "x")]), 5.0);
        assert_eq!(metrics.sum("a_total", &[("c", "2"), ("p", "x")]), 3.0);
        assert_eq!(metrics.sum("b", &[]), 4.0);
        assert!(!metrics.has("a"));
    }
}
