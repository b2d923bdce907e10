//! A lease as the host shows it, and as people read it.

use super::super::live::CommandError;
use super::super::output::without_control;
use super::super::table::Table;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use std::fmt::Write as _;
use std::time::Duration;

/// What another program holds is shown with its own fields, of whatever types these are.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Lease {
    #[serde(deserialize_with = "text")]
    pub config_key: String,
    #[serde(default, deserialize_with = "text")]
    pub user_id: String,
    /// Empty without a tenant.
    #[serde(default, deserialize_with = "text")]
    pub tenant_id: String,
    #[serde(default, deserialize_with = "text")]
    pub acquired_at: String,
    #[serde(default, deserialize_with = "text")]
    pub expires_at: String,
    /// Absent where another program holds the lock, with a lock class of its own.
    #[serde(default)]
    pub token: Option<u64>,
    #[serde(default, deserialize_with = "text")]
    pub session: String,
    #[serde(default, deserialize_with = "number")]
    pub ttl_ms: u64,
    /// In seconds.
    #[serde(default, deserialize_with = "number")]
    pub heartbeat_interval: f64,
}

/// A lease that was given back or taken away.
#[derive(Debug, Deserialize)]
pub(super) struct Ended {
    /// Whose it was, if it was taken away.
    #[serde(default, deserialize_with = "text")]
    pub user_id: String,
    /// How often the session still has it, if it was given back.
    #[serde(default, deserialize_with = "number")]
    pub depth: u64,
}

/// A text, or the JSON of anything else; `null` is empty.
fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let json = <&RawValue>::deserialize(deserializer)?.get();
    let text = serde_json::from_str::<Option<String>>(json).map(Option::unwrap_or_default);
    Ok(text.unwrap_or_else(|_| json.to_owned()))
}

/// A number; 0 for anything else.
fn number<'de, D: Deserializer<'de>, N: DeserializeOwned + Default>(deserializer: D) -> Result<N, D::Error> {
    let json = <&RawValue>::deserialize(deserializer)?.get();
    Ok(serde_json::from_str(json).unwrap_or_default())
}

/// What a lock operation answered.
pub(super) fn read<'a, T: Deserialize<'a>>(answer: &'a RawValue) -> Result<T, CommandError> {
    serde_json::from_str(answer.get()).map_err(|error| {
        CommandError::Failed(format!("the host answered with something else than a lease: {error}"))
    })
}

impl Lease {
    pub fn ttl(&self) -> Duration {
        Duration::from_millis(self.ttl_ms)
    }

    /// How often its holder extends it.
    pub fn heartbeat(&self) -> Duration {
        let asked = Duration::try_from_secs_f64(self.heartbeat_interval).unwrap_or_default();
        if asked.is_zero() { self.ttl() / 3 } else { asked }
    }

    fn token(&self) -> String {
        self.token.map_or_else(|| "-".to_owned(), |token| token.to_string())
    }

    fn tenant(&self) -> &str {
        if self.tenant_id.is_empty() { "-" } else { &self.tenant_id }
    }

    /// Line by line.
    pub fn told(&self) -> String {
        let mut told = String::new();
        for (name, value) in [
            ("key", self.config_key.as_str()),
            ("tenant", self.tenant()),
            ("held by", &self.user_id),
            ("since", &self.acquired_at),
            ("until", &self.expires_at),
            ("token", &self.token()),
            ("session", &self.session),
        ] {
            let _ = writeln!(told, "{name:8}  {}", without_control(value));
        }
        told
    }
}

/// A row for each.
pub(super) fn table(leases: &[Lease]) -> Table {
    let mut table = Table::new(&["KEY", "TENANT", "HELD BY", "SINCE", "UNTIL", "TOKEN"]);
    for lease in leases {
        let cells =
            [&lease.config_key, lease.tenant(), &lease.user_id, &lease.acquired_at, &lease.expires_at];
        table.row(cells.map(without_control).into_iter().chain([lease.token()]));
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{json, value::to_raw_value};

    fn lease() -> Lease {
        let lease = json!({
            "config_key": "app.x", "user_id": "ann", "tenant_id": null, "acquired_at": "A", "expires_at": "B",
            "heartbeat_interval": 2, "metadata": {}, "lock_key": "config_lock:global:app.x", "token": 7, "session": "s",
            "depth": 1, "ttl_ms": 60000,
        });
        read(&to_raw_value(&lease).expect("JSON")).expect("a lease")
    }

    #[test]
    fn a_lease_is_told_and_listed() {
        let told = lease().told();
        for part in ["held by   ann", "until     B", "token     7"] {
            assert!(told.contains(part), "`{part}` in\n{told}");
        }
        assert_eq!(
            table(&[lease()]).to_string().lines().last(),
            Some("app.x  -       ann      A      B      7")
        );
    }

    #[test]
    fn what_another_program_wrote_is_listed_whatever_it_is() {
        let odd = r#"[{"config_key":"app.x","tenant_id":"t","user_id":5,"acquired_at":1.7e9,"expires_at":null,
            "heartbeat_interval":"30s","ttl_ms":1e400,"session":["a"],"metadata":{"n":1e400}}]"#;
        let odd = RawValue::from_string(odd.to_owned()).expect("JSON");
        let shown = table(&read::<Vec<Lease>>(&odd).expect("leases")).to_string();
        assert_eq!(shown.lines().last().map(str::trim_end), Some("app.x  t       5        1.7e9         -"));
    }

    #[test]
    fn its_holder_knows_when_to_extend_it() {
        assert_eq!((lease().heartbeat(), lease().ttl()), (Duration::from_secs(2), Duration::from_secs(60)));
        let without = Lease { heartbeat_interval: 0.0, ..lease() };
        assert_eq!(without.heartbeat(), Duration::from_secs(20));
    }
}
