//! Layers: unpacked once, shared by every image that has them.

mod decompress;
mod feed;
mod ingest;
mod staging;
mod unpack;

#[cfg(test)]
mod tests;

use std::path::PathBuf;

use oci_spec::image::Digest;

use crate::digest::hex;
use crate::error::At;
use crate::store::Store;
use crate::{Error, ImageLayer, Result, fs};

pub(crate) use decompress::{Packing, decompress};
pub use ingest::LayerIngest;

/// A layer that is to be fetched and unpacked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerSpec {
    /// Digest of the packed layer, from the manifest.
    pub blob: Digest,
    /// Size of the packed layer in bytes, from the manifest.
    pub size: u64,
    /// Its media type, from the manifest.
    pub media_type: String,
    /// Digest of the uncompressed archive, from the image's configuration.
    pub diff_id: Digest,
    /// Name of the layer upon all those below it: [`crate::chain_id`].
    pub chain_id: Digest,
}

/// A packed layer, as a manifest names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerBlob {
    /// Its digest.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// Its media type.
    pub media_type: String,
}

impl From<&LayerSpec> for LayerBlob {
    fn from(spec: &LayerSpec) -> Self {
        LayerBlob {
            digest: spec.blob.clone(),
            size: spec.size,
            media_type: spec.media_type.clone(),
        }
    }
}

impl From<&ImageLayer> for LayerSpec {
    fn from(layer: &ImageLayer) -> Self {
        LayerSpec {
            blob: layer.blob.clone(),
            size: layer.size,
            media_type: layer.media_type.clone(),
            diff_id: layer.diff_id.clone(),
            chain_id: layer.chain_id.clone(),
        }
    }
}

impl Store {
    /// Whether the layer is unpacked and complete.
    ///
    /// # Errors
    /// [`Error::UnsupportedDigest`], [`Error::Io`], [`Error::Database`].
    pub fn has_layer(&self, chain_id: &Digest) -> Result<bool> {
        let diff = self.layer_dir(chain_id)?.join("diff");
        Ok(self.read(|tx| tx.layer_number(chain_id))?.is_some() && fs::exists(&diff)?)
    }

    /// Starts to unpack a layer; None if it is there already.
    ///
    /// Locks the layer against all other processes and threads: while another one is at it this call waits, then
    /// returns None or, should the other have failed, goes on where that one stopped. Take a [`crate::Lease`] on the
    /// chain id and the blob first, lest a garbage collection removes the layer before an image uses it.
    ///
    /// # Errors
    /// [`Error::UnsupportedDigest`], [`Error::UnsupportedLayer`], [`Error::Io`], [`Error::DiskFull`], [`Error::Database`].
    pub fn begin_layer(&self, spec: LayerSpec) -> Result<Option<LayerIngest>> {
        LayerIngest::begin(self, spec)
    }

    /// Starts to unpack a layer of which only the blob is known yet: [`LayerIngest::name`] tells what it is. None if the
    /// layer may be there, or some of its bytes are: [`begin_layer`](Self::begin_layer) knows what is missing.
    ///
    /// Nothing but the blob is locked: should another process unpack the same layer meanwhile, the first one's is kept.
    ///
    /// # Errors
    /// Those of [`begin_layer`](Self::begin_layer).
    pub fn begin_layer_early(&self, blob: LayerBlob) -> Result<Option<LayerIngest>> {
        LayerIngest::begin_early(self, blob)
    }

    /// The directories of the layers, **top first**, as overlayfs wants its lower directories.
    ///
    /// Takes the chain ids **base first**, as an image has them. The paths are short links (`layers/link/<name>`), so
    /// that hundreds of them fit on a page. A layer that hides all below it ends the list, and those that change nothing
    /// are left out.
    ///
    /// # Errors
    /// [`Error::NoSuchLayer`], [`Error::UnsupportedDigest`], [`Error::Io`], [`Error::Database`].
    pub fn layer_paths(&self, chain_ids: &[Digest]) -> Result<Vec<PathBuf>> {
        let found = self.read(|tx| {
            let mut found = Vec::with_capacity(chain_ids.len());
            for chain_id in chain_ids.iter().rev() {
                let Some(layer) = tx.layer_mount(chain_id)? else {
                    return Err(Error::NoSuchLayer {
                        chain_id: chain_id.clone(),
                    });
                };
                let lowest = chain_id == &chain_ids[0];
                // Mounting and every look-up would take longer for nothing; but there must be one.
                if !layer.empty || (lowest && found.is_empty()) {
                    found.push((chain_id, layer.number));
                }
                if layer.opaque {
                    break;
                }
            }
            Ok(found)
        })?;
        found
            .into_iter()
            .map(|(chain_id, number)| self.layer_link(chain_id, number))
            .collect()
    }

    /// `layers/<hex>`, which holds `diff`.
    pub(crate) fn layer_dir(&self, chain_id: &Digest) -> Result<PathBuf> {
        Ok(self.layers_dir().join(hex(chain_id)?))
    }

    /// The short link to a layer's directory; made again should a crash have lost it.
    fn layer_link(&self, chain_id: &Digest, number: i64) -> Result<PathBuf> {
        let link = self.links_dir().join(short_name(number));
        // A trailing slash looks at what the link leads to.
        if !fs::exists(&link.join(""))? {
            if !fs::exists(&self.layer_dir(chain_id)?.join("diff"))? {
                return Err(Error::NoSuchLayer {
                    chain_id: chain_id.clone(),
                });
            }
            self.link_layer(chain_id, number)?;
        }
        Ok(link)
    }

    pub(crate) fn link_layer(&self, chain_id: &Digest, number: i64) -> Result<()> {
        let link = self.links_dir().join(short_name(number));
        match rustix::fs::symlink(format!("../{}/diff", hex(chain_id)?), &link) {
            Ok(()) | Err(rustix::io::Errno::EXIST) => Ok(()),
            Err(e) => Err(e).at("link", link),
        }
    }
}

/// A number in base 36: what a layer is called in `layers/link`.
pub(crate) fn short_name(mut number: i64) -> String {
    let mut digits = Vec::new();
    loop {
        let digit = u32::try_from(number.rem_euclid(36)).unwrap_or_default();
        digits.extend(char::from_digit(digit, 36));
        number /= 36;
        if number == 0 {
            return digits.into_iter().rev().collect();
        }
    }
}
