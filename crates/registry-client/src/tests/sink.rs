//! A sink in memory that checks what a real one would, and what every test needs to pull into it.

use std::collections::HashMap;
use std::sync::mpsc::{Receiver, Sender};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use oci_spec::image::{Descriptor, Digest};

use super::image::sha;
use super::server::Server;
use crate::retry::Timing;
use crate::{
    Client, Corrupt, Error, HostConfigs, LayerEvent, LayerIngest, Lookup, Platform, Progress,
    Pulled, PulledLayer, Sink, SinkError, parse_reference,
};

#[derive(Default)]
pub struct State {
    pub blobs: HashMap<String, Vec<u8>>,
    /// Committed layers by chain id.
    pub layers: HashMap<String, Vec<u8>>,
    /// Bytes of unfinished layers by blob digest.
    pub partial: HashMap<String, Vec<u8>>,
    pub resets: usize,
    /// Layers are begun before the image is known.
    pub early: bool,
    /// Fail writes of layers beyond this many bytes.
    pub full_at: Option<usize>,
    pub events: Vec<LayerEvent>,
    /// A blob that another process is at, which first waits for all that come here.
    pub elsewhere: Option<(String, Receiver<String>)>,
    /// Is told of what is no longer held.
    pub let_go: Option<Sender<String>>,
}

#[derive(Clone, Default)]
pub struct MemorySink(Arc<Mutex<State>>);

struct Ingest {
    sink: MemorySink,
    blob: String,
    layer: Option<PulledLayer>,
    parent: Option<String>,
    bytes: Vec<u8>,
}

impl MemorySink {
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }
}

impl Sink for MemorySink {
    fn read_blob(&self, descriptor: &Descriptor) -> Result<Option<Vec<u8>>, SinkError> {
        Ok(self
            .state()
            .blobs
            .get(descriptor.digest().as_ref())
            .cloned())
    }

    fn put_blob(&self, descriptor: &Descriptor, bytes: &[u8]) -> Result<(), SinkError> {
        assert_eq!(sha(bytes), descriptor.digest().as_ref());
        assert_eq!(bytes.len() as u64, descriptor.size());
        self.state().blobs.insert(sha(bytes), bytes.to_vec());
        Ok(())
    }

    fn begin_early(&self, blob: &Descriptor) -> Result<Option<Box<dyn LayerIngest>>, SinkError> {
        let state = self.state();
        let digest = blob.digest().to_string();
        if !state.early || state.partial.contains_key(&digest) {
            return Ok(None);
        }
        Ok(Some(Box::new(Ingest {
            sink: self.clone(),
            blob: digest,
            layer: None,
            parent: None,
            bytes: Vec::new(),
        })))
    }

    fn begin_layer(
        &self,
        layer: &PulledLayer,
        parent: Option<&Digest>,
    ) -> Result<Option<Box<dyn LayerIngest>>, SinkError> {
        let blob = layer.descriptor.digest();
        let elsewhere = self
            .state()
            .elsewhere
            .take_if(|(at, _)| at == blob.as_ref());
        if let Some((_, let_go)) = elsewhere {
            let_go.recv_timeout(Duration::from_secs(20))?;
        }
        let mut state = self.state();
        if state.layers.contains_key(layer.chain_id.as_ref()) {
            return Ok(None);
        }
        let kept = state.partial.remove(layer.descriptor.digest().as_ref());
        Ok(Some(Box::new(Ingest {
            sink: self.clone(),
            blob: layer.descriptor.digest().to_string(),
            layer: Some(layer.clone()),
            parent: parent.map(Digest::to_string),
            bytes: kept.unwrap_or_default(),
        })))
    }
}

impl LayerIngest for Ingest {
    fn offset(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn write(&mut self, chunk: &[u8]) -> Result<(), SinkError> {
        self.bytes.extend_from_slice(chunk);
        match self.sink.state().full_at {
            Some(limit) if self.bytes.len() > limit => Err("no space left on device".into()),
            _ => Ok(()),
        }
    }

    fn reset(&mut self) -> Result<(), SinkError> {
        self.bytes.clear();
        self.sink.state().resets += 1;
        Ok(())
    }

    fn name(&mut self, layer: &PulledLayer, parent: Option<&Digest>) -> Result<(), SinkError> {
        assert_eq!(layer.descriptor.digest().as_ref(), self.blob);
        assert!(self.layer.replace(layer.clone()).is_none());
        self.parent = parent.map(Digest::to_string);
        Ok(())
    }

    fn commit(mut self: Box<Self>) -> Result<(), SinkError> {
        let bytes = std::mem::take(&mut self.bytes);
        if sha(&bytes) != self.blob {
            return Err(Box::new(Corrupt {
                actual: sha(&bytes),
            }));
        }
        let mut state = self.sink.state();
        if let Some(parent) = &self.parent
            && !state.layers.contains_key(parent)
        {
            return Err("committed before its parent".into());
        }
        let layer = self.layer.as_ref().ok_or("committed without a name")?;
        state.layers.insert(layer.chain_id.to_string(), bytes);
        Ok(())
    }
}

impl Drop for Ingest {
    fn drop(&mut self) {
        if !self.bytes.is_empty() {
            let bytes = std::mem::take(&mut self.bytes);
            let digest = std::mem::take(&mut self.blob);
            let mut state = self.sink.state();
            if let Some(let_go) = &state.let_go {
                let_go.send(digest.clone()).unwrap();
            }
            state.partial.insert(digest, bytes);
        }
    }
}

impl Progress for MemorySink {
    fn resolved(&self, _: &Descriptor, _: &[PulledLayer]) {}

    fn event(&self, _: &Digest, event: LayerEvent) {
        self.state().events.push(event);
    }
}

/// Time-outs and pauses short enough for tests.
pub fn quick() -> Timing {
    Timing {
        connect: Duration::from_secs(2),
        idle: Duration::from_secs(5),
        pause: Duration::from_millis(2),
        longest_pause: Duration::from_millis(10),
        longest_retry_after: Duration::from_secs(2),
        patience: Duration::from_millis(20),
    }
}

pub fn client(hosts: HostConfigs) -> Client {
    Client::with_timing(hosts, None, quick()).unwrap()
}

/// Pulls `test/app:latest` from a server into a sink.
pub async fn pull_into(sink: &MemorySink, server: &Server) -> Result<Pulled, Error> {
    let name = format!("{}/test/app", server.host());
    pull(&client(HostConfigs::new()), &name, None, sink).await
}

pub async fn pull(
    client: &Client,
    name: &str,
    platform: Option<&str>,
    sink: &MemorySink,
) -> Result<Pulled, Error> {
    pull_by(Lookup::Head, client, name, platform, sink).await
}

pub async fn pull_by(
    lookup: Lookup,
    client: &Client,
    name: &str,
    platform: Option<&str>,
    sink: &MemorySink,
) -> Result<Pulled, Error> {
    let reference = parse_reference(name).unwrap();
    let platform = platform.map(|p| p.parse::<Platform>().unwrap());
    let (sink, progress) = (Arc::new(sink.clone()), Arc::new(sink.clone()));
    client
        .pull(&reference, platform.as_ref(), lookup, sink, progress)
        .await
}
