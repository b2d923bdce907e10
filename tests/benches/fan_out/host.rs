//! The real host with one pipeline: what a WebSocket client changes goes to all WebSocket clients.

use crate::server::Server;
use std::{
    fs,
    net::{SocketAddr, TcpListener},
    path::Path,
    process::{Command, Stdio},
};

/// What the author sends.
pub const CHANGE: &str = r#"{"type":"config_change","config_key":"app.service.setting","new_value":{"theme":"dark","limits":[10,20,30],"enabled":true},"user_id":"bench"}"#;

pub fn start(built: &Path, dir: &Path) -> Server {
    let address = free_address();
    let server = format!(
        "plugin: websocket\n    config: {{ port: {}, max_connections: 5000, max_messages_per_second: 0 }}\n",
        address.port()
    );
    let pipeline = dir.join("fan_out.yaml");
    fs::write(&pipeline, format!("sources:\n  - {server}sinks:\n  - {server}")).expect("a pipeline");
    let child = Command::new(built.join("lockstep"))
        .arg("run")
        .arg(&pipeline)
        .arg("--plugin-path")
        .arg(built)
        .arg("--data-dir")
        .arg(dir.join("data"))
        .args(["--admin-listen", "127.0.0.1:0"])
        .current_dir(dir)
        .stderr(Stdio::null())
        .spawn()
        .expect("the host starts");
    Server::new(child, address)
}

fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("it is bound")
}
