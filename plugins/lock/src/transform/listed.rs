//! Whose locks are listed, and for whom.

use super::*;

#[test]
fn tenants_are_listed_apart_and_together() {
    let site = site();
    for tenant in [Value::Null, json!("t1"), json!("t2")] {
        let arguments = json!({ "config_key": "app.x", "tenant_id": tenant, "session": "s1" });
        site.host.call("lock.acquire", &arguments).expect("granted");
    }
    let listed = |arguments: Value| {
        let list = site.host.call("lock.list", &arguments).expect("listed");
        let locks = list.as_array().expect("a list").iter();
        locks.map(|lock| lock["lock_key"].as_str().expect("a name").to_owned()).collect::<Vec<_>>()
    };
    let [global, t1, t2] = ["config_lock:global:app.x", "config_lock:t1:app.x", "config_lock:t2:app.x"];
    assert_eq!(listed(json!({ "all_tenants": true })), [global, t1, t2]);
    assert_eq!(listed(json!({})), [global]);
    assert_eq!(listed(json!({ "tenant_id": "t1" })), [t1]);
}

/// Asks for the locks of everybody, as a component that is no operator.
struct Curious(Context);

impl Transform for Curious {
    type Config = NoConfig;

    fn new(_: NoConfig, context: &Context) -> Result<Self> {
        Ok(Self(context.clone()))
    }

    fn apply(&mut self, _: Record, _: &mut Output) -> Result<()> {
        self.0.call_blocking::<Value>("lock.list", &json!({}))?;
        self.0.call_blocking::<Value>("lock.list", &json!({ "all_tenants": true })).map(drop)
    }
}

#[test]
fn the_locks_of_all_tenants_are_for_operators() {
    let site = site();
    let mut curious = testing::transform_at::<Curious>("{}", &site.place).expect("a component");
    let applied = curious.apply(vec![Record::new("1")]).expect("applied");
    assert_eq!(applied.failed[0].1.code(), Some("forbidden"), "{:?}", applied.failed);
}
