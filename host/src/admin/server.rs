//! Binding, serving and ending.

use super::access::{Door, MAX_BODY, MAX_VALUE_BODY, guard, within_time};
use super::acts::{Unserved, audited};
use super::answer::Refusal;
use super::listen::{AdminError, Arrival, HasPeer, Limited, bind_address, bind_socket};
use super::token::Token;
use super::watch::Watchers;
use super::{
    ADDRESS, HostView, SOCKET, TOKEN, audit, changes, dead_letters, guide_metrics, health, keys, operations,
    pipelines, plugins, scrape, state, watch as watching,
};
use axum::Router;
use axum::extract::{DefaultBodyLimit, Extension};
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::{get, post};
use axum::serve::Listener;
use std::future::IntoFuture;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};
use std::time::Duration;
use tokio::sync::watch;
use tracing::{error, info, warn};

/// How long answers on their way may take when the server ends. A test has as long as its machine needs.
const LAST_ANSWERS: Duration = Duration::from_secs(if cfg!(test) { 600 } else { 1 });

/// Threads for what may wait. A store that hangs takes them up, and health still answers.
const MAX_WAITING: usize = 8;

/// A running admin server. Dropping it ends it.
pub struct AdminServer {
    address: Option<SocketAddr>,
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
    /// What shows where the server is, while it is there.
    files: Vec<PathBuf>,
}

/// An address that is taken and not yet served: connections wait.
pub struct BoundAddress(Option<(TcpListener, SocketAddr)>);

impl BoundAddress {
    /// Takes the address `listen`, or none if it is `off`; `origin` says where it was set.
    ///
    /// # Errors
    /// If the address cannot be bound.
    pub fn bind(listen: &str, origin: &str) -> Result<Self, AdminError> {
        bind_address(listen, origin).map(Self)
    }
}

/// Where the server listens.
struct Doors {
    tcp: Option<(TcpListener, Door)>,
    socket: Option<UnixListener>,
}

impl AdminServer {
    /// Serves on the bound address and on a socket in the data folder, which this host has locked.
    ///
    /// # Errors
    /// If the system cannot start one more thread.
    pub fn start(bound: BoundAddress, data_dir: &Path, view: HostView) -> Result<Self, AdminError> {
        let BoundAddress(tcp) = bound;
        let address = tcp.as_ref().map(|(_, address)| *address);
        let token = Token::in_file(&data_dir.join(TOKEN))
            .inspect_err(|error| {
                warn!(%error, "no token can be kept: over TCP nothing can be changed, use the socket");
            })
            .ok();
        let door = |address: SocketAddr| Door::Tcp { is_loopback: address.ip().is_loopback(), token };
        let tcp = tcp.map(|(listener, address)| (listener, door(address)));
        let socket = data_dir.join(SOCKET);
        let doors = Doors { tcp, socket: open_socket(&socket) };
        let mut files = Vec::from_iter(doors.socket.is_some().then_some(socket));
        files.extend(address.and_then(|address| write_address(data_dir, address)));
        let (stop, stopped) = watch::channel(false);
        scrape::describe(&view.metrics);
        let thread = Builder::new()
            .name("admin".to_owned())
            .spawn(move || serve(doors, Arc::new(view), stopped))
            .map_err(AdminError::Thread)?;
        match address {
            Some(address) => info!(addr = %address, "admin server listening"),
            None => {
                info!(socket = %data_dir.join(SOCKET).display(), "admin server listening on its socket only")
            }
        }
        Ok(Self { address, stop, thread: Some(thread), files })
    }

    /// The address that was bound.
    pub fn address(&self) -> Option<SocketAddr> {
        self.address
    }
}

impl Drop for AdminServer {
    fn drop(&mut self) {
        self.stop.send_replace(true);
        self.files.iter().for_each(|file| drop(std::fs::remove_file(file)));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn open_socket(path: &Path) -> Option<UnixListener> {
    let told = |error: &std::io::Error| {
        warn!(%error, path = %path.display(), "no admin socket: commands reach this host over TCP only");
    };
    bind_socket(path).inspect_err(told).ok()
}

/// So that a script, or a command on this host, finds a port that the system chose.
fn write_address(data_dir: &Path, address: SocketAddr) -> Option<PathBuf> {
    let file = data_dir.join(ADDRESS);
    match std::fs::write(&file, format!("{address}\n")) {
        Ok(()) => Some(file),
        Err(error) => {
            warn!(%error, path = %file.display(), "the admin server's address cannot be written down");
            None
        }
    }
}

fn serve(doors: Doors, view: Arc<HostView>, stopped: watch::Receiver<bool>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(MAX_WAITING)
        .thread_name("admin-wait")
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return error!(%error, "the admin server cannot be started"),
    };
    let watchers = Watchers::new(stopped.clone());
    runtime.block_on(async {
        let (tcp, socket) = (doors.tcp, doors.socket);
        let tcp = async {
            let Some((listener, door)) = tcp else { return };
            match tokio::net::TcpListener::from_std(listener) {
                Ok(listener) => serve_door(listener, door, &view, watchers.clone(), stopped.clone()).await,
                Err(error) => error!(%error, "the admin server cannot listen"),
            }
        };
        let socket = async {
            let Some(listener) = socket else { return };
            match tokio::net::UnixListener::from_std(listener) {
                Ok(listener) => {
                    serve_door(listener, Door::Socket, &view, watchers.clone(), stopped.clone()).await
                }
                Err(error) => error!(%error, "the admin server cannot listen on its socket"),
            }
        };
        tokio::join!(tcp, socket);
    });
    // What waits for a hanging disk must not keep the host from ending.
    runtime.shutdown_background();
}

/// Serves until it is told to stop; answers on their way then get a moment.
async fn serve_door<L>(
    listener: L,
    door: Door,
    view: &Arc<HostView>,
    watchers: Watchers,
    mut stopped: watch::Receiver<bool>,
) where
    L: Listener,
    L::Io: HasPeer,
    L::Addr: std::fmt::Debug,
{
    let stop = |mut stopped: watch::Receiver<bool>| async move {
        let _ = stopped.wait_for(|is_stopped| *is_stopped).await;
    };
    let service = router(Arc::clone(view), door, watchers).into_make_service_with_connect_info::<Arrival>();
    let serving = axum::serve(Limited::new(listener), service)
        .with_graceful_shutdown(stop(stopped.clone()))
        .into_future();
    let late = async {
        let _ = stopped.wait_for(|is_stopped| *is_stopped).await;
        tokio::time::sleep(LAST_ANSWERS).await;
    };
    tokio::select! {
        _ = serving => {}
        () = late => {}
    }
}

/// Every path of the server.
pub(super) fn router(view: Arc<HostView>, door: Door, watchers: Watchers) -> Router {
    Router::new()
        .route("/healthz", get(health::alive))
        .route("/readyz", get(health::ready))
        .route("/metrics", get(scrape::metrics))
        .route("/v1/pipelines", get(pipelines::list))
        .route("/v1/pipelines/{name}", get(pipelines::show))
        .route("/v1/dead-letters", get(dead_letters::list))
        .route("/v1/dead-letters/{id}", get(dead_letters::show).delete(dead_letters::drop))
        .route("/v1/dead-letters/{id}/retry", post(dead_letters::retry))
        .route("/v1/plugins", get(plugins::list))
        .route("/v1/changes", post(changes::submit).layer(DefaultBodyLimit::max(MAX_VALUE_BODY)))
        .route("/v1/keys", get(keys::list))
        .route("/v1/keys/{key}", get(keys::show))
        .route("/v1/keys/{key}/history", get(keys::history))
        .route("/v1/keys/{key}/diff", get(keys::diff))
        .route("/v1/keys/{key}/blame", get(keys::blame))
        .route("/v1/keys/{key}/rollback", post(keys::rollback))
        .route("/v1/watch", get(watching::lines))
        .route("/v1/operations", get(operations::list))
        .route("/v1/operations/{name}", post(operations::call).layer(DefaultBodyLimit::max(MAX_VALUE_BODY)))
        .route("/v1/audit", get(audit::list))
        .route("/v1/audit/verify", get(audit::verify))
        .route("/v1/audit/export", get(audit::export))
        .route("/v1/state", get(state::status))
        .route("/v1/state/rotate-key", post(state::rotate_key))
        .route("/v1/metrics", get(guide_metrics::document))
        .route("/v1/metrics/rates", get(guide_metrics::rates))
        .route("/v1/metrics/reset", post(guide_metrics::reset))
        .fallback(|| async { (Extension(Unserved), Refusal::not_found("there is nothing here")) })
        .method_not_allowed_fallback(|| async { (Extension(Unserved), Refusal::bad_method()) })
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(Extension(watchers))
        .layer(from_fn(within_time))
        .layer(from_fn_with_state(Arc::clone(&view), audited))
        .layer(from_fn_with_state(Arc::new(door), guard))
        .with_state(view)
}
