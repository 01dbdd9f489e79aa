//! One forwarded connection: a pair of streams on the client's side, a TCP connection in the pod.

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

use super::Sessions;
use super::stream::{CHUNK, Gone, Inbound, Outbound};
use crate::error::chain;

/// The client's side of one connection.
pub(super) struct Pair {
    pub(super) from_client: Inbound,
    pub(super) to_client: Outbound,
    pub(super) error: Outbound,
}

/// Forwards until both directions have ended, or either side breaks the connection off.
pub(super) async fn run(sessions: &dyn Sessions, pod: String, port: u16, pair: Pair) {
    let Pair {
        from_client,
        to_client,
        error,
    } = pair;
    let dialled = tokio::select! {
        dialled = sessions.dial(pod, port) => dialled,
        () = to_client.gone() => return error.finish().await,
    };
    match dialled {
        Ok(connection) => {
            let (reader, writer) = connection.into_split();
            let gone = to_client.gone_token();
            // The client takes a word on the error stream for the end of all its connections, so a
            // connection that its peer breaks off, as TCP peers do, is told as just that.
            tokio::select! {
                _ = both_ways(reader, writer, from_client, to_client) => {}
                () = gone.cancelled() => {}
            }
        }
        Err(cause) => {
            let text = format!("error forwarding port {port}: {}", chain(&cause));
            let _ = error.send(Bytes::from(text)).await;
            to_client.finish().await;
        }
    }
    error.finish().await;
}

async fn both_ways(
    reader: OwnedReadHalf,
    writer: OwnedWriteHalf,
    from_client: Inbound,
    to_client: Outbound,
) -> Result<(), Gone> {
    let up = async {
        upwards(from_client, writer).await;
        Ok(())
    };
    tokio::try_join!(up, downwards(reader, to_client))?;
    Ok(())
}

/// Client to pod. A pod that takes no more is no failure: what it still has to say may follow.
async fn upwards(mut from_client: Inbound, mut writer: OwnedWriteHalf) {
    while let Some(chunk) = from_client.next().await {
        if writer.write_all(&chunk).await.is_err() {
            return;
        }
    }
    let _ = writer.shutdown().await;
}

/// Pod to client; fails if either breaks it off.
async fn downwards(mut reader: OwnedReadHalf, to_client: Outbound) -> Result<(), Gone> {
    let mut buffer = BytesMut::new();
    loop {
        buffer.reserve(CHUNK);
        match (&mut reader).take(CHUNK as u64).read_buf(&mut buffer).await {
            Ok(0) => {
                to_client.finish().await;
                return Ok(());
            }
            Ok(_) => to_client.send(buffer.split().freeze()).await?,
            Err(_) => {
                to_client.reset().await;
                return Err(Gone);
            }
        }
    }
}
