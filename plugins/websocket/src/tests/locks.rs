//! The operations on locks, as a component offers them: enough of them to see what this plugin asks.

use lockstep_plugin_api::{
    Operations,
    prelude::*,
    testing::{self, MemoryHost, Place},
};
use schemars::JsonSchema;
use serde_json::{Value, json};
use std::{
    collections::HashMap,
    sync::{Arc, LazyLock, Mutex},
    time::Duration,
};

use lockstep_plugin_api::schemars;

/// What was asked, and who holds what.
#[derive(Clone, Default)]
pub(super) struct Locks(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    calls: Vec<(&'static str, Value)>,
    held: HashMap<String, Held>,
    n_granted: u64,
}

#[derive(Clone)]
struct Held {
    session: String,
    user_id: String,
    token: u64,
    depth: u64,
    ttl_ms: u64,
}

impl Held {
    fn shown(&self) -> Value {
        json!({
            "session": self.session, "token": self.token, "depth": self.depth, "ttl_ms": self.ttl_ms,
            "expires_at": "later",
        })
    }
}

/// Any arguments.
#[derive(serde::Deserialize, JsonSchema)]
#[serde(transparent)]
struct Arguments(HashMap<String, Value>);

impl Arguments {
    fn text(&self, name: &str) -> String {
        self.0.get(name).and_then(Value::as_str).unwrap_or_default().to_owned()
    }

    fn number(&self, name: &str) -> Option<u64> {
        self.0.get(name)?.as_u64()
    }
}

impl Locks {
    /// Every call of an operation, in order.
    pub(super) fn calls(&self, operation: &str) -> Vec<Value> {
        let state = self.0.lock().expect("unpoisoned");
        state.calls.iter().filter(|(name, _)| *name == operation).map(|(_, call)| call.clone()).collect()
    }

    pub(super) fn last(&self, operation: &str) -> Value {
        self.calls(operation).pop().unwrap_or_else(|| panic!("{operation} was called"))
    }

    fn note(&self, operation: &'static str, arguments: &Arguments) {
        let arguments = json!(arguments.0);
        self.0.lock().expect("unpoisoned").calls.push((operation, arguments));
    }

    fn acquire(&self, arguments: &Arguments) -> Result<Value> {
        let mut state = self.0.lock().expect("unpoisoned");
        let (key, session) = (arguments.text("config_key"), arguments.text("session"));
        if let Some(held) = state.held.get_mut(&key) {
            if held.session != session {
                let details = json!({"locked_by": held.user_id, "expires_at": "later"});
                return Err(Error::rejected("locked", "held").with_details(&details));
            }
            held.depth += 1;
            return Ok(held.shown());
        }
        state.n_granted += 1;
        let held = Held {
            session,
            user_id: arguments.text("user_id"),
            token: state.n_granted,
            depth: 1,
            ttl_ms: arguments.number("ttl_ms").unwrap_or(300_000),
        };
        let shown = held.shown();
        state.held.insert(key, held);
        Ok(shown)
    }

    async fn wait_and_acquire(self, arguments: Arguments) -> Result<Value> {
        self.note("lock.acquire", &arguments);
        let mut left_ms = arguments.number("wait_ms").unwrap_or(0);
        loop {
            match self.acquire(&arguments) {
                Err(_) if left_ms > 0 => left_ms = left_ms.saturating_sub(5),
                answer => return answer,
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    fn info(&self, arguments: &Arguments) -> Value {
        let state = self.0.lock().expect("unpoisoned");
        state.held.get(&arguments.text("config_key")).map_or(Value::Null, Held::shown)
    }

    fn extend(&self, arguments: &Arguments) -> Result<Value> {
        self.note("lock.extend", arguments);
        let state = self.0.lock().expect("unpoisoned");
        let held = state.held.get(&arguments.text("config_key"));
        let held = held.filter(|held| held.session == arguments.text("session"));
        let held = held.filter(|held| Some(held.token) == arguments.number("token"));
        held.map(Held::shown).ok_or_else(|| Error::rejected("not_found", "not held"))
    }

    fn release(&self, arguments: &Arguments) -> Result<Value> {
        let mut state = self.0.lock().expect("unpoisoned");
        let (key, session) = (arguments.text("config_key"), arguments.text("session"));
        let held = state.held.get_mut(&key).filter(|held| held.session == session);
        let held = held.ok_or_else(|| Error::rejected("not_found", "not held"))?;
        held.depth -= 1;
        let depth = held.depth;
        if depth == 0 {
            state.held.remove(&key);
        }
        Ok(json!({"released": depth == 0, "depth": depth}))
    }

    fn session_closed(&self, arguments: &Arguments) -> Value {
        self.note("lock.session_closed", arguments);
        let mut state = self.0.lock().expect("unpoisoned");
        state.held.retain(|_, held| held.session != arguments.text("session"));
        json!({"released": 1, "waiting": 0})
    }
}

/// The component that offers them.
struct Offering(Locks);

/// What `new` finds: the drivers make components from JSON alone.
static NEXT: LazyLock<Mutex<Option<Locks>>> = LazyLock::new(Mutex::default);

#[config]
struct Empty {}

impl Transform for Offering {
    type Config = Empty;

    fn new(_: Empty, _: &Context) -> Result<Self> {
        Ok(Self(NEXT.lock().expect("unpoisoned").take().expect("`offer` put it there")))
    }

    fn apply(&mut self, record: Record, out: &mut Output) -> Result<()> {
        out.push(record);
        Ok(())
    }

    fn operations(&mut self) -> Operations {
        let locks = self.0.clone();
        let own = move || locks.clone();
        let (acquire, info, extend, release, close) =
            (own.clone(), own.clone(), own.clone(), own.clone(), own);
        Operations::new()
            .add("lock.acquire", "", move |_, asked: Arguments| acquire().wait_and_acquire(asked))
            .add("lock.info", "", move |_, asked: Arguments| std::future::ready(Ok(info().info(&asked))))
            .add("lock.extend", "", move |_, asked: Arguments| std::future::ready(extend().extend(&asked)))
            .add("lock.release", "", move |_, asked: Arguments| std::future::ready(release().release(&asked)))
            .add("lock.session_closed", "", move |_, asked: Arguments| {
                std::future::ready(Ok(close().session_closed(&asked)))
            })
    }
}

/// Lets a host offer locks.
pub(super) fn offer(host: &MemoryHost) -> Locks {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _turn = ONE_AT_A_TIME.lock().expect("unpoisoned");
    let locks = Locks::default();
    *NEXT.lock().expect("unpoisoned") = Some(locks.clone());
    let place = Place { through_log: true, host: host.clone(), ..Place::default() };
    let driver = testing::transform_at::<Offering>("{}", &place).expect("a transform");
    drop(driver);
    locks
}
