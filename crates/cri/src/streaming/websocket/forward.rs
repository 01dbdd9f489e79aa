//! Port-forward over WebSocket without SPDY: two channels for each port, for data and for errors.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_tungstenite::WebSocketStream;

use super::Channels;
use super::connection::Connection;
use crate::streaming::forward::{self, Pair};
use crate::streaming::stream::Inbound;
use crate::streaming::{PortForwardRequest, Sessions};

/// Channel numbers are bytes, and the last is not a port's.
const MOST_PORTS: usize = 127;

/// Serves one connection to each port, until all have ended.
pub(in crate::streaming) async fn serve(
    sessions: Arc<dyn Sessions>,
    request: PortForwardRequest,
    socket: WebSocketStream<TcpStream>,
    protocol: Channels,
) {
    let mut destinations = HashMap::new();
    let mut inbounds = Vec::new();
    for (index, port) in request.ports.iter().take(MOST_PORTS).enumerate() {
        let (sender, inbound) = Inbound::new(None);
        let channel = (index * 2) as u8;
        destinations.insert(channel, sender);
        inbounds.push((channel, *port, inbound));
    }
    let connection = Connection::with(socket, protocol, destinations);
    let mut forwards = JoinSet::new();
    for (channel, port, from_client) in inbounds {
        let pair = Pair {
            from_client,
            to_client: connection.outbound(channel),
            error: connection.outbound(channel + 1),
        };
        // The first message of both channels is their port.
        for stream in [&pair.to_client, &pair.error] {
            let _ = stream
                .send(Bytes::copy_from_slice(&port.to_le_bytes()))
                .await;
        }
        let (sessions, pod) = (sessions.clone(), request.pod.clone());
        forwards.spawn(async move { forward::run(&*sessions, pod, port, pair).await });
    }
    let gone = connection.gone();
    gone.run_until_cancelled(async { while forwards.join_next().await.is_some() {} })
        .await;
    drop(forwards);
    connection.finish().await;
}
