//! Sessions over the engine.

mod attach;
mod dial;
mod exec;

use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use rctr_engine::Engine;
use tokio::net::TcpStream;

use super::{AttachRequest, CommandStreams, Error, ExecRequest, Result, Sessions, TerminalSize};
use crate::turns::Turns;

/// Does with an engine's containers and pods what streaming clients ask for.
pub struct EngineSessions {
    engine: Arc<Engine>,
    turns: Turns,
}

impl EngineSessions {
    /// Sessions in this engine's containers.
    pub(crate) fn new(engine: Arc<Engine>, turns: Turns) -> EngineSessions {
        EngineSessions { engine, turns }
    }

    /// Runs what blocks where it may.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Engine) -> rctr_engine::Result<T> + Send + 'static,
    ) -> Result<T> {
        let engine = self.engine.clone();
        let done = tokio::task::spawn_blocking(move || work(&engine)).await;
        Ok(done.map_err(|_| Error::Ending)??)
    }

    /// The same for what asks the container's monitor.
    async fn ask<T: Send + 'static>(
        &self,
        container: &str,
        work: impl FnOnce(&Engine) -> rctr_engine::Result<T> + Send + 'static,
    ) -> Result<T> {
        let done = self.turns.take(container, work).await;
        Ok(done.map_err(|_| Error::Ending)??)
    }
}

impl Sessions for EngineSessions {
    fn exec<'a>(
        &'a self,
        request: ExecRequest,
        streams: &'a mut CommandStreams,
    ) -> BoxFuture<'a, Result<i32>> {
        exec::exec(self, request, streams).boxed()
    }

    fn attach<'a>(
        &'a self,
        request: AttachRequest,
        streams: &'a mut CommandStreams,
    ) -> BoxFuture<'a, Result<()>> {
        attach::attach(self, request, streams).boxed()
    }

    fn dial(&self, pod: String, port: u16) -> BoxFuture<'_, Result<TcpStream>> {
        dial::dial(self, pod, port).boxed()
    }
}

impl From<TerminalSize> for rctr_engine::WindowSize {
    fn from(size: TerminalSize) -> Self {
        rctr_engine::WindowSize {
            rows: size.height,
            cols: size.width,
        }
    }
}
