//! Sessions that need no container.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use crate::streaming::*;

/// What a session says of itself.
#[derive(Debug, PartialEq, Eq)]
pub enum Said {
    Started,
    /// The client left, after it had sent these bytes.
    Left(Vec<u8>),
}

pub struct Fake {
    pub said: mpsc::UnboundedSender<Said>,
    /// Bytes that a `flood` has got rid of.
    pub sent: Arc<AtomicUsize>,
}

impl Fake {
    async fn run(&self, command: &[String], streams: &mut CommandStreams) -> Result<i32> {
        let _ = self.said.send(Said::Started);
        let argument = |index: usize| command[index].parse::<usize>().unwrap();
        match command[0].as_str() {
            "echo" => {
                let mut stdin = streams.stdin.take().unwrap();
                while let Some(chunk) = stdin.next().await {
                    if streams.stdout.as_ref().unwrap().send(chunk).await.is_err() {
                        return Err(Error::ClientGone);
                    }
                }
                if let Some(stderr) = &streams.stderr {
                    let _ = stderr.send("done".into()).await;
                }
            }
            "flood" => {
                let chunk = Bytes::from(vec![b'x'; 32_768]);
                while self.sent.load(Ordering::SeqCst) < argument(1) {
                    let sent = streams.stdout.as_ref().unwrap().send(chunk.clone()).await;
                    if sent.is_err() {
                        return Err(Error::ClientGone);
                    }
                    self.sent.fetch_add(chunk.len(), Ordering::SeqCst);
                }
            }
            "sizes" => {
                let mut text = String::new();
                for _ in 0..argument(1) {
                    let size = streams.resizes.as_mut().unwrap().next().await.unwrap();
                    text += &format!("{}x{} ", size.width, size.height);
                }
                let _ = streams.stdout.as_ref().unwrap().send(text.into()).await;
            }
            "wait" => {
                streams.client_gone().cancelled().await;
                let mut all = Vec::new();
                while let Some(chunk) = streams.stdin.as_mut().unwrap().next().await {
                    all.extend(chunk);
                }
                let _ = self.said.send(Said::Left(all));
                return Err(Error::ClientGone);
            }
            "deaf" => tokio::time::sleep(Duration::from_millis(500)).await,
            "exit" => return Ok(argument(1) as i32),
            _ => return Err(Error::PodNotReady { pod: "p".into() }),
        }
        Ok(0)
    }
}

impl Sessions for Fake {
    fn exec<'a>(
        &'a self,
        request: ExecRequest,
        streams: &'a mut CommandStreams,
    ) -> BoxFuture<'a, Result<i32>> {
        async move { self.run(&request.command, streams).await }.boxed()
    }

    fn attach<'a>(
        &'a self,
        _: AttachRequest,
        streams: &'a mut CommandStreams,
    ) -> BoxFuture<'a, Result<()>> {
        async move {
            let command = ["echo".to_owned()];
            self.run(&command, streams).await.map(drop)
        }
        .boxed()
    }

    fn dial(&self, _: String, port: u16) -> BoxFuture<'_, Result<TcpStream>> {
        async move {
            TcpStream::connect(("127.0.0.1", port))
                .await
                .map_err(|source| Error::Dial { port, source })
        }
        .boxed()
    }
}
