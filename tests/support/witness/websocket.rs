//! A subscriber by WebSocket.

use super::{Arrivals, PATIENCE, Witness};
use crate::websocket::{Frame, WsClient};

impl Witness {
    /// Subscribes to these patterns. Ends with its connection.
    pub fn of_websocket(port: u16, patterns: &[&str], arrivals: &Arrivals) -> Self {
        let mut client = WsClient::connect(port);
        client.subscribe(patterns);
        Self::start(arrivals, move |arrivals, is_over| {
            while !is_over() {
                match client.try_next(PATIENCE) {
                    Some(Frame::Message(message)) if message["type"] == "config_sync" => {
                        arrivals.tell(&message)
                    }
                    Some(Frame::Message(_)) | None => {}
                    Some(Frame::Closed(_)) => return,
                }
            }
        })
    }
}
