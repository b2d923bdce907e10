use super::*;
use crate::siblings::tests::sibling;
use lockstep_plugin_api::{
    testing::{self, MemoryHost, Place as TestPlace, TransformDriver},
    transform::with_own_revision,
};
use serde_json::{Value, json};

mod answers;
mod elsewhere;
mod hosts;
mod histories;
mod manual;
mod notices;
mod operations;
mod together;
mod two_writers;

/// A host with nothing but the resolver and a log.
struct Host {
    resolver: TransformDriver,
    memory: MemoryHost,
}

/// What the author of one change hears.
#[derive(Debug)]
struct Answer {
    revision: u64,
    /// Empty without concurrency.
    resolution: Value,
    entry: Value,
}

impl Host {
    fn new(config: &Value) -> Self {
        Self::on(MemoryHost::default(), config)
    }

    fn on(memory: MemoryHost, config: &Value) -> Self {
        let place = TestPlace { through_log: true, host: memory.clone(), ..TestPlace::default() };
        let resolver = testing::transform_at::<Resolver>(&config.to_string(), &place).expect("a resolver");
        Self { resolver, memory }
    }

    /// Takes one change in, as a batch of its own. `None` if it brought nothing new.
    fn take(&mut self, change: &Value) -> Result<Option<Answer>> {
        let applied = self.resolver.apply(vec![Record::new(change.to_string())]).expect("applied");
        if let Some((_, error)) = applied.failed.into_iter().next() {
            return Err(error);
        }
        let Some(record) = applied.out.into_iter().next() else { return Ok(None) };
        let entry = serde_json::from_slice(&record.value().expect("a value")).expect("JSON");
        let revision = self.memory.append([record]);
        let told = applied.told.into_iter().next().map(|(_, told)| with_own_revision(told, revision));
        let told: Value = told.map_or(Value::Null, |told| told.read().expect("JSON"));
        Ok(Some(Answer { revision, resolution: told["resolution"].clone(), entry }))
    }

    /// Takes in a change that has to be news.
    fn write(&mut self, change: &Value) -> Answer {
        self.take(change).expect("taken in").expect("news")
    }

    fn set(&mut self, value: &str, rest: Value) -> Answer {
        let mut change = json!({ "config_key": "app.x", "new_value": value, "user_id": "eve" });
        change.as_object_mut().expect("an object").extend(rest.as_object().expect("an object").clone());
        self.write(&change)
    }

    fn notices(&self) -> Vec<Value> {
        let read = |record: Record| record.json().expect("JSON");
        self.memory.notices().into_iter().map(read).collect()
    }

    fn audit(&self) -> Vec<Value> {
        self.memory.audit().iter().map(|entry| serde_json::from_str(entry).expect("JSON")).collect()
    }
}

fn refused(config: &Value) -> Error {
    testing::transform::<Resolver>(&config.to_string()).err().expect("refused")
}

fn names(value: &Value) -> Vec<&str> {
    value.as_array().expect("a list").iter().map(|name| name.as_str().expect("text")).collect()
}
