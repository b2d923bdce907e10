//! A lease as the host shows it, and as people read it.

use super::super::live::CommandError;
use super::super::output::without_control;
use super::super::table::Table;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::fmt::Write as _;
use std::time::Duration;

#[derive(Debug, Clone, Deserialize)]
pub(super) struct Lease {
    pub config_key: String,
    #[serde(default)]
    pub user_id: String,
    #[serde(default)]
    pub tenant_id: Option<String>,
    #[serde(default)]
    pub acquired_at: String,
    #[serde(default)]
    pub expires_at: String,
    /// Absent where another program holds the lock, with a lock class of its own.
    #[serde(default)]
    pub token: Option<u64>,
    #[serde(default)]
    pub session: String,
    #[serde(default)]
    pub ttl_ms: u64,
    /// In seconds.
    #[serde(default)]
    pub heartbeat_interval: f64,
}

/// What a lock operation answered.
pub(super) fn read<T: DeserializeOwned>(answer: Value) -> Result<T, CommandError> {
    serde_json::from_value(answer).map_err(|error| {
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

    /// Line by line.
    pub fn told(&self) -> String {
        let mut told = String::new();
        let tenant = self.tenant_id.as_deref().unwrap_or("-");
        for (name, value) in [
            ("key", self.config_key.as_str()),
            ("tenant", tenant),
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
        let tenant = lease.tenant_id.as_deref().unwrap_or("-");
        let cells = [&lease.config_key, tenant, &lease.user_id, &lease.acquired_at, &lease.expires_at];
        table.row(cells.map(without_control).into_iter().chain([lease.token()]));
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn lease() -> Lease {
        read(json!({
            "config_key": "app.x", "user_id": "ann", "tenant_id": null, "acquired_at": "A", "expires_at": "B",
            "heartbeat_interval": 2, "metadata": {}, "lock_key": "config_lock:global:app.x", "token": 7, "session": "s",
            "depth": 1, "ttl_ms": 60000,
        }))
        .expect("a lease")
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
    fn its_holder_knows_when_to_extend_it() {
        assert_eq!((lease().heartbeat(), lease().ttl()), (Duration::from_secs(2), Duration::from_secs(60)));
        let without = Lease { heartbeat_interval: 0.0, ..lease() };
        assert_eq!(without.heartbeat(), Duration::from_secs(20));
    }
}
