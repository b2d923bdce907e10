//! Who shares a server: one per listen address in this library, open as long as a source or a sink holds it.

use crate::{
    config::Settings,
    server::{Intake, Server},
};
use lockstep_plugin_api::prelude::*;
use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Every open endpoint of this library.
static ENDPOINTS: Mutex<Vec<Endpoint>> = Mutex::new(Vec::new());

struct Endpoint {
    server: Arc<Server>,
    /// How many sources and sinks hold it; at 0 it is closing and cannot be held any more.
    n_holders: usize,
    /// The pipeline whose source takes the changes of this address.
    source_of: Option<String>,
    /// The sink that shows the log here, and which of its instances.
    log_sink: Option<LogSink>,
}

struct LogSink {
    pipeline: String,
    component: String,
    instance: Arc<()>,
}

/// What a component wants of an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Source,
    Sink,
}

/// A source's or a sink's hold on a server. When the last one is dropped, the server closes.
pub(crate) struct Hold {
    server: Arc<Server>,
    role: Role,
    through_log: bool,
    /// Tells this hold from that of an instance that took its place.
    instance: Arc<()>,
}

/// Joins the server at the settings' address, or starts it.
///
/// # Errors
/// `Config` if the address must not be opened, or the server there has other settings or a source already; otherwise as [`Server::start`].
pub(crate) fn open(settings: &Settings, role: Role, context: &Context) -> Result<Hold> {
    if let Some(reason) = settings.reason_to_stay_closed() {
        return Err(Error::config(reason).at("auth"));
    }
    let settings = settings.resolved(context);
    let mut endpoints = without_closing(settings.address)?;
    // Port 0 asks for a port of one's own, so only a bound address is ever shared.
    let known = endpoints.iter().position(|endpoint| endpoint.server.address() == settings.address);
    let at = match known {
        Some(at) => {
            endpoints[at].check(&settings, role, context)?;
            at
        }
        None => {
            for endpoint in &*endpoints {
                endpoint.check_overlap(settings.address)?;
            }
            let server = Server::start(settings, context)?;
            endpoints.push(Endpoint { server, n_holders: 0, source_of: None, log_sink: None });
            endpoints.len() - 1
        }
    };
    let endpoint = &mut endpoints[at];
    endpoint.n_holders += 1;
    if role == Role::Source {
        endpoint.source_of = Some(context.pipeline().to_owned());
        // Until the source runs, a change is answered `unavailable` and not `read_only`.
        endpoint.server.set_intake(Intake::Closed);
    }
    let (through_log, instance) = (context.through_log(), Arc::new(()));
    if through_log {
        endpoint.join_log(role, context, &instance);
    }
    Ok(Hold { server: endpoint.server.clone(), role, through_log, instance })
}

/// The endpoints, with none at this address that is about to close: a pipeline that starts again finds its own address
/// closing and waits for it.
fn without_closing(address: SocketAddr) -> Result<MutexGuard<'static, Vec<Endpoint>>> {
    loop {
        let mut endpoints = endpoints();
        endpoints.retain(|endpoint| endpoint.n_holders > 0 || !endpoint.server.has_ended());
        let closing =
            endpoints.iter().find(|endpoint| endpoint.n_holders == 0 && endpoint.server.address() == address);
        let Some(server) = closing.map(|endpoint| endpoint.server.clone()) else { return Ok(endpoints) };
        drop(endpoints);
        if !server.wait_ended() {
            return Err(Error::not_connected(format!("{address} is still closing")));
        }
    }
}

impl Endpoint {
    fn join_log(&mut self, role: Role, context: &Context, instance: &Arc<()>) {
        self.server.join_log(role, context);
        if role == Role::Sink {
            let (pipeline, component) = (context.pipeline().to_owned(), context.component().to_owned());
            self.log_sink = Some(LogSink { pipeline, component, instance: instance.clone() });
        }
    }

    fn check(&self, settings: &Settings, role: Role, context: &Context) -> Result<()> {
        let address = settings.address;
        if let Some(field) = self.server.settings.difference(&Settings { address, ..settings.clone() }) {
            return Err(Error::config(format!(
                "`{field}` differs from the other websocket component at {address}: they share one server, so their \
                 settings must be alike"
            ))
            .at(field));
        }
        // An instance of the same sink was given up, for it hangs: this one takes its place.
        let is_other = |sink: &&LogSink| {
            (sink.pipeline.as_str(), sink.component.as_str()) != (context.pipeline(), context.component())
        };
        let other = self.log_sink.as_ref().filter(is_other);
        if let (Some(LogSink { component, .. }), Role::Sink, true) = (other, role, context.through_log()) {
            return Err(Error::config(format!(
                "{address} already shows the log, by sink `{component}`: two sinks could not keep the order of its revisions; use \
                 one, or another address"
            )));
        }
        match (&self.source_of, role) {
            (Some(pipeline), Role::Source) => Err(Error::config(format!(
                "{address} already has a websocket source, in pipeline `{pipeline}`: a change could not go to both"
            ))),
            _ => Ok(()),
        }
    }

    /// An address and "every address" with the same port cannot both be listened on.
    fn check_overlap(&self, address: SocketAddr) -> Result<()> {
        let own = self.server.address();
        let overlaps =
            address.port() == own.port() && (address.ip().is_unspecified() || own.ip().is_unspecified());
        if !overlaps || self.n_holders == 0 {
            return Ok(());
        }
        Err(Error::config(format!(
            "{address} overlaps with {own}, where another websocket component listens: write the same address in both"
        )))
    }
}

impl Hold {
    /// The server.
    pub(crate) fn server(&self) -> &Arc<Server> {
        &self.server
    }

    /// Gives the hold up and tells whether it was the last one.
    fn release(&self) -> bool {
        let mut endpoints = endpoints();
        let endpoint = endpoints.iter_mut().find(|endpoint| Arc::ptr_eq(&endpoint.server, &self.server));
        let endpoint = endpoint.expect("an endpoint is listed as long as it is held");
        endpoint.n_holders -= 1;
        if self.role == Role::Source {
            endpoint.source_of = None;
        }
        let is_replaced = self.role == Role::Sink
            && endpoint.log_sink.as_ref().is_some_and(|sink| !Arc::ptr_eq(&sink.instance, &self.instance));
        if self.through_log && !is_replaced {
            endpoint.server.log.set(self.role, None);
            if self.role == Role::Sink {
                endpoint.log_sink = None;
            }
        }
        endpoint.n_holders == 0
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        if self.role == Role::Source {
            self.server.set_intake(Intake::Closed);
        }
        if !self.release() {
            return;
        }
        self.server.stop();
        // On the runtime's own thread this would keep the sessions from closing; whoever opens the address next waits
        // instead.
        if tokio::runtime::Handle::try_current().is_err() {
            self.server.wait_ended();
        }
    }
}

fn endpoints() -> MutexGuard<'static, Vec<Endpoint>> {
    ENDPOINTS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The server at this address.
#[cfg(test)]
pub(crate) fn server_at(address: SocketAddr) -> Arc<Server> {
    let endpoints = endpoints();
    let endpoint = endpoints.iter().find(|endpoint| endpoint.server.address() == address);
    endpoint.expect("somebody listens").server.clone()
}
