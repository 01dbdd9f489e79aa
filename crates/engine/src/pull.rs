//! Pulling: the registry client's content streams into the store.

use std::sync::Arc;

use oci_spec::distribution::Reference;
use oci_spec::image::{Descriptor, Digest};
use rctr_registry_client::{
    Account, Client, Corrupt, LayerIngest, Lookup, Platform, Progress, Pulled, PulledLayer, Sink,
    SinkError, parse_reference,
};
use rctr_store::{ImageLayer, ImageRecord, LayerBlob, LayerSpec, Lease, Store};

use crate::events::{self, ImageEvent};
use crate::{Engine, ImageError, Result, familiar_name};

/// What a pull brought.
#[derive(Debug, Clone)]
pub struct PulledImage {
    /// Image id, `sha256:…`.
    pub id: String,
    /// Canonical name: `docker.io/library/nginx:latest`.
    pub reference: String,
    /// Digest of what the name stands for.
    pub digest: String,
    /// The name stood for the same image before.
    pub already: bool,
    /// For the user: the image is for another platform, …
    pub warning: Option<String>,
}

impl Engine {
    /// What a registry has under a name: the image's configuration and manifests are fetched, its layers are not, and
    /// it gets no record. The lease keeps what has come.
    ///
    /// # Errors
    /// Whatever the registry or the disk says.
    pub async fn pull_metadata(
        &self,
        name: &str,
        platform: Option<&str>,
        progress: Arc<dyn Progress>,
    ) -> Result<RemoteImage> {
        let reference = parse_reference(name)?;
        let lease = Arc::new(self.store.lease([])?);
        let sink = StoreSink {
            store: self.store.clone(),
            lease: Arc::clone(&lease),
            layers: false,
        };
        let pulled = self
            .pull_into(sink, &reference, platform, None, progress)
            .await?;
        let digest = pulled.target.digest();
        lease.extend([pulled.config.digest()])?;
        self.store
            .put_blob(pulled.config.digest(), &pulled.config_json)?;
        Ok(RemoteImage {
            reference: format!(
                "{}/{}@{digest}",
                reference.registry(),
                reference.repository()
            ),
            digest: digest.clone(),
            platform: platform.map(str::to_owned),
            config: pulled.config_json.clone(),
            record: record_of(&pulled),
            lease,
        })
    }

    /// Fetches an image and gives it its name.
    ///
    /// # Errors
    /// Whatever the registry or the disk says. What has arrived whole is kept, and the next pull goes on from there.
    pub async fn pull(
        &self,
        name: &str,
        platform: Option<&str>,
        progress: Arc<dyn Progress>,
    ) -> Result<PulledImage> {
        self.pull_as(name, platform, None, progress).await
    }

    /// As [`Engine::pull`], with an account at the image's registry instead of the one in Docker's configuration.
    ///
    /// # Errors
    /// Those of [`Engine::pull`].
    pub async fn pull_as(
        &self,
        name: &str,
        platform: Option<&str>,
        account: Option<Account>,
        progress: Arc<dyn Progress>,
    ) -> Result<PulledImage> {
        let reference = parse_reference(name)?;
        let sink = StoreSink {
            store: self.store.clone(),
            lease: Arc::new(self.store.lease([])?),
            layers: true,
        };
        let pulled = self
            .pull_into(sink, &reference, platform, account, progress)
            .await?;
        self.record_pull(&reference, pulled)
    }

    /// The tags that a registry has of an image's repository.
    ///
    /// # Errors
    /// Whatever the registry says.
    pub async fn tags(&self, name: &str) -> Result<Vec<String>> {
        Ok(self
            .registry_client()?
            .tags(&parse_reference(name)?)
            .await?)
    }

    /// Whoever talks to registries, with their settings and the accounts of Docker's configuration.
    pub(crate) fn registry_client(&self) -> Result<Client> {
        let config_dir = rctr_registry_client::default_docker_config_dir();
        let settings = self.config.settings.registry.clone();
        Ok(Client::new(settings, config_dir)?)
    }

    async fn pull_into(
        &self,
        sink: StoreSink,
        reference: &Reference,
        platform: Option<&str>,
        account: Option<Account>,
        progress: Arc<dyn Progress>,
    ) -> Result<Pulled> {
        let platform = platform.map(parse_platform).transpose()?;
        self.store.require_space()?;
        let client = self.registry_client()?;
        let client = match account {
            Some(account) => client.with_account(reference.registry(), account),
            None => client,
        };
        let lookup = match self.store.find_image(&reference.whole())? {
            Some(_) => Lookup::Head,
            None => Lookup::Get,
        };
        let (platform, sink) = (platform.as_ref(), Arc::new(sink));
        Ok(client
            .pull(reference, platform, lookup, sink, progress)
            .await?)
    }

    fn record_pull(&self, reference: &Reference, pulled: Pulled) -> Result<PulledImage> {
        let id = pulled.config.digest().clone();
        let repository = format!("{}/{}", reference.registry(), reference.repository());
        let repo_digest = format!("{repository}@{}", pulled.target.digest());
        let name = reference.whole();
        let before = self.store.find_image(&name)?;
        let tag = reference.digest().is_none().then_some(name.as_str());
        self.store.flush_build()?;
        let labels = events::labels_of(&self.store, &id);
        let (whole, short) = (familiar_name(&name), events::repository(&repo_digest));
        self.store.write(|tx| {
            tx.put_image(&record_of(&pulled), tag, Some(&repo_digest))?;
            events::image(tx, ImageEvent::Pull, &whole, &short, &labels)
        })?;
        Ok(PulledImage {
            already: before.is_some_and(|before| before.record.id == id),
            id: id.to_string(),
            reference: name,
            digest: pulled.target.digest().to_string(),
            warning: pulled.warning,
        })
    }
}

/// An image at a registry.
#[derive(Debug)]
pub struct RemoteImage {
    /// What to pull to get the same: `docker.io/library/nginx@sha256:…`.
    pub reference: String,
    /// Digest of what the name stands for.
    pub digest: Digest,
    /// The platform that was asked for.
    pub platform: Option<String>,
    /// As it will be in the store.
    pub record: ImageRecord,
    /// The configuration, as the registry has it.
    pub config: Vec<u8>,
    /// Keeps configuration and manifests.
    pub lease: Arc<Lease>,
}

fn record_of(pulled: &Pulled) -> ImageRecord {
    let index = (pulled.target != pulled.manifest).then(|| pulled.target.digest().clone());
    ImageRecord {
        id: pulled.config.digest().clone(),
        manifest: pulled.manifest.digest().clone(),
        media_type: pulled.manifest.media_type().to_string(),
        layers: pulled.layers.iter().map(image_layer).collect(),
        other_blobs: index.into_iter().collect(),
    }
}

/// `--platform`.
pub(crate) fn parse_platform(text: &str) -> Result<Platform> {
    let wrong = |e: rctr_registry_client::InvalidPlatform| ImageError::Platform {
        reason: e.to_string(),
    };
    Ok(text.parse().map_err(wrong)?)
}

fn image_layer(layer: &PulledLayer) -> ImageLayer {
    ImageLayer {
        blob: layer.descriptor.digest().clone(),
        size: layer.descriptor.size(),
        media_type: layer.descriptor.media_type().to_string(),
        diff_id: layer.diff_id.clone(),
        chain_id: layer.chain_id.clone(),
    }
}

/// The store as the registry client sees it.
struct StoreSink {
    store: Store,
    lease: Arc<Lease>,
    /// Whether layers are wanted.
    layers: bool,
}

impl Sink for StoreSink {
    fn read_blob(&self, descriptor: &Descriptor) -> Result<Option<Vec<u8>>, SinkError> {
        self.lease.extend([descriptor.digest()])?;
        match self.store.read_blob(descriptor.digest()) {
            // It has been removed: fetching it again is the repair.
            Err(rctr_store::Error::BlobDamaged { .. }) => Ok(None),
            other => Ok(other?),
        }
    }

    fn put_blob(&self, descriptor: &Descriptor, bytes: &[u8]) -> Result<(), SinkError> {
        self.lease.extend([descriptor.digest()])?;
        Ok(self.store.put_blob(descriptor.digest(), bytes)?)
    }

    fn begin_early(&self, blob: &Descriptor) -> Result<Option<Box<dyn LayerIngest>>, SinkError> {
        if !self.layers {
            return Ok(None);
        }
        self.lease.extend([blob.digest()])?;
        let ingest = self.store.begin_layer_early(LayerBlob {
            digest: blob.digest().clone(),
            size: blob.size(),
            media_type: blob.media_type().to_string(),
        })?;
        Ok(ingest.map(|inner| self.taking(inner, None)))
    }

    fn begin_layer(
        &self,
        layer: &PulledLayer,
        parent: Option<&Digest>,
    ) -> Result<Option<Box<dyn LayerIngest>>, SinkError> {
        if !self.layers {
            return Ok(None);
        }
        self.lease
            .extend([layer.descriptor.digest(), &layer.chain_id])?;
        let ingest = self.store.begin_layer(spec_of(layer))?;
        Ok(ingest.map(|inner| self.taking(inner, parent)))
    }
}

impl StoreSink {
    fn taking(
        &self,
        inner: rctr_store::LayerIngest,
        parent: Option<&Digest>,
    ) -> Box<dyn LayerIngest> {
        Box::new(Ingest {
            inner,
            parent: parent.cloned(),
            lease: Arc::clone(&self.lease),
        })
    }
}

fn spec_of(layer: &PulledLayer) -> LayerSpec {
    LayerSpec::from(&image_layer(layer))
}

/// One layer on its way into the store.
struct Ingest {
    inner: rctr_store::LayerIngest,
    parent: Option<Digest>,
    lease: Arc<Lease>,
}

impl LayerIngest for Ingest {
    fn offset(&self) -> u64 {
        self.inner.offset()
    }

    fn canceller(&self) -> Box<dyn Fn() + Send + Sync> {
        Box::new(self.inner.canceller())
    }

    fn write(&mut self, chunk: &[u8]) -> Result<(), SinkError> {
        self.inner.write(chunk).map_err(corrupt)
    }

    fn reset(&mut self) -> Result<(), SinkError> {
        Ok(self.inner.reset()?)
    }

    fn name(&mut self, layer: &PulledLayer, parent: Option<&Digest>) -> Result<(), SinkError> {
        self.lease.extend([&layer.chain_id])?;
        self.inner.name(spec_of(layer));
        self.parent = parent.cloned();
        Ok(())
    }

    fn commit(self: Box<Self>) -> Result<(), SinkError> {
        self.inner.commit(self.parent.as_ref()).map_err(corrupt)
    }
}

/// The client fetches again what it is told is corrupt, and gives up on anything else.
fn corrupt(error: rctr_store::Error) -> SinkError {
    use rctr_store::Error as E;
    match error {
        E::DigestMismatch { actual, .. } => Corrupt {
            actual: actual.to_string(),
        }
        .into(),
        E::TooLong { .. } | E::Truncated { .. } => Corrupt {
            actual: error.to_string(),
        }
        .into(),
        _ => error.into(),
    }
}
