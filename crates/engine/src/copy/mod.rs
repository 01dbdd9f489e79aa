//! Copying images between registries, layouts, archives and the store, without unpacking what need not be unpacked.

mod archive;
mod cache;
mod docker;
mod files;
mod layout;
mod load;
mod pack;
mod place;
mod save;
mod source;
mod spool;
mod store;
mod tarball;
mod target;

use std::sync::Arc;

use futures_util::stream::{self, StreamExt, TryStreamExt};
use oci_spec::image::Descriptor;
use rctr_registry_client::PushEvent;

use crate::pull::parse_platform;
use crate::push::{Leaf, PushLayer, PushProgress, PushedImage};
use crate::{Engine, ImageError, Result};
pub use cache::{CachePlace, KeptCache};
pub use load::{LoadOptions, LoadSource, LoadedImage};
use place::Place;
pub use save::{ArchiveFormat, ImageArchive};
pub(crate) use source::RegistryBlobs;
use source::Source;
use target::{Target, unique};

/// How to copy.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CopyOptions {
    /// All images of an index, and the index; otherwise only the image for one platform.
    pub all: bool,
    /// The platform, this machine's if not said.
    pub platform: Option<String>,
}

impl Engine {
    /// Copies an image from one place to another. Places are `docker://NAME`, `oci:DIR[:TAG]`,
    /// `oci-archive:FILE[:TAG]`, `docker-archive:FILE[:NAME]` and `rctr:NAME` (the store).
    ///
    /// Manifests stay byte for byte what they are, unless layers have to be packed: those of images built here, and
    /// those of `docker save` on their way to a registry.
    ///
    /// # Errors
    /// [`ImageError::BadPlace`], [`ImageError::BadLayout`], [`ImageError::NoPlatform`], [`crate::Error::NoSuchImage`],
    /// and whatever a registry or the disk says.
    pub async fn copy(
        &self,
        from: &str,
        to: &str,
        options: &CopyOptions,
        progress: Arc<dyn PushProgress>,
    ) -> Result<PushedImage> {
        let (from, to) = (Place::parse(from)?, Place::parse(to)?);
        let platform = options
            .platform
            .as_deref()
            .map(parse_platform)
            .transpose()?;
        let client = Arc::new(self.registry_client()?);
        let source = Source::open(self, &client, &from).await?;
        let tree = source.tree(options.all, platform.as_ref()).await?;
        let _lease = match source {
            Source::Store(..) => Some(self.store.lease(tree.digests())?),
            _ => None,
        };
        let target = Target::open(self, &client, &to, (&source, &tree)).await?;

        progress.repository(&to.to_string());
        let layers = tree.layers();
        let shown: Vec<PushLayer> = layers.iter().map(Leaf::shown).collect();
        progress.layers(&shown);
        let copy = Copy {
            engine: self,
            source: &source,
            target: &target,
            name: from.to_string(),
            progress: &*progress,
        };
        let sent: Vec<Descriptor> = stream::iter(&layers)
            .map(|layer| copy.layer(layer))
            .buffered(target.parallel())
            .try_collect()
            .await?;
        for config in unique(tree.configs()) {
            if !matches!(target, Target::Store(_)) {
                target.blob(&config, &source, &|_| ()).await?;
            }
        }
        let documents = tree.rewritten(&layers, &sent, &copy.name)?;
        let Some((root, children)) = documents.split_last() else {
            return Err(ImageError::ContentMissing {
                image: copy.name,
                what: "the manifest".to_owned(),
            }
            .into());
        };
        for child in children {
            target.document(child).await?;
        }
        target.finish(root).await?;
        let copied = PushedImage {
            reference: to.to_string(),
            tag: to.to_string(),
            digest: root.descriptor.digest().to_string(),
            size: root.descriptor.size(),
            left_index: None,
        };
        progress.pushed(&copied);
        Ok(copied)
    }
}

/// One image on its way.
struct Copy<'a> {
    engine: &'a Engine,
    source: &'a Source<'a>,
    target: &'a Target<'a>,
    name: String,
    progress: &'a dyn PushProgress,
}

impl Copy<'_> {
    /// Copies one layer, packed first if it must be; what it is called then.
    async fn layer(&self, layer: &Leaf) -> Result<Descriptor> {
        let report = |event| self.progress.event(&layer.label, event);
        report(PushEvent::Waiting);
        let (blob, target) = (&layer.descriptor, self.target);
        match self.source {
            Source::Store(..) if !self.engine.store.has_blob(blob.digest())? => {
                if !layer.is_raw()
                    && let Some(event) = target.ready(blob).await?
                {
                    report(event);
                    return Ok(blob.clone());
                }
                report(PushEvent::Preparing);
                let packed = self.engine.pack(layer, None, &self.name).await?;
                target.blob(&packed, self.source, &report).await?;
                Ok(packed)
            }
            Source::Files(layout)
                if layout.pack && layer.is_raw() && matches!(target, Target::Registry(..)) =>
            {
                report(PushEvent::Preparing);
                let temp = self.engine.config.root.join("tmp");
                let (packed, file) = pack::pack(layout.blob(blob)?, blob, temp).await?;
                target.blob(&packed, &file, &report).await?;
                Ok(packed)
            }
            source => {
                target.blob(blob, source, &report).await?;
                Ok(blob.clone())
            }
        }
    }
}
