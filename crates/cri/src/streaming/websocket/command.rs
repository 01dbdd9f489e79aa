//! Exec and attach over WebSocket.

use bytes::Bytes;
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;

use super::Channels;
use super::connection::Connection;
use crate::streaming::Sessions;
use crate::streaming::command::{self, CommandStreams, Resizes};
use crate::streaming::tokens::Registered;

const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const ERROR: u8 = 3;
const RESIZE: u8 = 4;

/// Serves one command.
pub(in crate::streaming) async fn serve(
    sessions: &dyn Sessions,
    request: Registered,
    socket: WebSocketStream<TcpStream>,
    protocol: Channels,
) {
    let wanted = command::wanted(&request);
    let (connection, [stdin, resizes]) = Connection::start(
        socket,
        protocol,
        [wanted.stdin.then_some(STDIN), wanted.tty.then_some(RESIZE)],
    );
    let mut streams = CommandStreams::new(connection.gone());
    streams.stdin = stdin;
    streams.resizes = resizes.map(Resizes::new);
    streams.stdout = wanted.stdout.then(|| connection.outbound(STDOUT));
    streams.stderr = wanted.stderr.then(|| connection.outbound(STDERR));
    let error = connection.outbound(ERROR);
    // Clients may wait for a first message to know that the connection works.
    let first = streams.stdout.as_ref().or(streams.stderr.as_ref());
    let _ = first.unwrap_or(&error).send_some(&mut Bytes::new()).await;
    command::run(sessions, request, streams, error, protocol.status).await;
    connection.finish().await;
}
