//! Port-forward over SPDY: each connection is a pair of streams with the same request id.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;

use super::connection::{Connection, Stream};
use crate::streaming::forward::{self, Pair};
use crate::streaming::{PortForwardRequest, Sessions};

/// How long the second stream of a pair may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// The first stream of a pair.
struct Half {
    stream: Stream,
    is_error: bool,
    since: Instant,
}

/// Serves connections until the client is gone.
pub(in crate::streaming) async fn serve(
    sessions: Arc<dyn Sessions>,
    request: PortForwardRequest,
    mut connection: Connection,
) {
    // Dropping the set ends the connections that are still open.
    let mut forwards = JoinSet::new();
    let mut halves: HashMap<String, Half> = HashMap::new();
    loop {
        let oldest = halves.values().map(|half| half.since).min();
        tokio::select! {
            stream = connection.next_stream() => {
                let Some(stream) = stream else { break };
                if let Some((port, pair)) = pair_up(&mut halves, stream).await {
                    let (sessions, pod) = (sessions.clone(), request.pod.clone());
                    forwards.spawn(async move {
                        forward::run(&*sessions, pod, port, pair).await;
                    });
                }
            }
            Some(_) = forwards.join_next() => {}
            () = tokio::time::sleep_until(oldest.unwrap_or_else(Instant::now) + PATIENCE),
                if oldest.is_some() => expire(&mut halves).await,
        }
    }
    drop(forwards);
    connection.finish().await;
}

/// The port and the pair that this stream completes, if it does.
async fn pair_up(halves: &mut HashMap<String, Half>, stream: Stream) -> Option<(u16, Pair)> {
    let is_error = match stream.headers.get("streamtype") {
        Some("error") => true,
        Some("data") => false,
        _ => {
            stream.to_client.reset().await;
            return None;
        }
    };
    let id = request_id(&stream, is_error);
    let half = Half {
        stream,
        is_error,
        since: Instant::now(),
    };
    let first = match halves.remove(&id) {
        Some(first) if first.is_error != is_error => first,
        // A second one of the same kind takes the place of the first.
        Some(first) => {
            first.stream.to_client.reset().await;
            halves.insert(id, half);
            return None;
        }
        None => {
            halves.insert(id, half);
            return None;
        }
    };
    let (error, data) = match is_error {
        true => (half.stream, first.stream),
        false => (first.stream, half.stream),
    };
    let port = data.headers.get("port").and_then(|port| port.parse().ok());
    match port {
        Some(port) if port > 0 => Some((
            port,
            Pair {
                from_client: data.from_client,
                to_client: data.to_client,
                error: error.to_client,
            },
        )),
        _ => {
            let _ = error.to_client.send("bad port".into()).await;
            error.to_client.finish().await;
            data.to_client.reset().await;
            None
        }
    }
}

/// Clients from before request ids open the error stream first and the data stream right after it.
fn request_id(stream: &Stream, is_error: bool) -> String {
    match stream.headers.get("requestid") {
        Some(id) if !id.is_empty() => id.to_owned(),
        _ if is_error => stream.id.to_string(),
        _ => stream.id.wrapping_sub(2).to_string(),
    }
}

async fn expire(halves: &mut HashMap<String, Half>) {
    let late: Vec<String> = halves
        .iter()
        .filter(|(_, half)| half.since.elapsed() >= PATIENCE)
        .map(|(id, _)| id.clone())
        .collect();
    for half in late.iter().filter_map(|id| halves.remove(id)) {
        half.stream.to_client.reset().await;
    }
}
