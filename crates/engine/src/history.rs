//! How an image came to be.

use oci_spec::image::Digest;

use crate::pull::parse_platform;
use crate::{Engine, Image, ImageError, Result};

/// A line of `history`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryLine {
    /// The image's id; only the newest line has one.
    pub id: Option<String>,
    /// RFC 3339, empty if the image does not say.
    pub created: String,
    /// The instruction.
    pub created_by: String,
    /// Who wrote the line, or why.
    pub comment: String,
    /// Bytes of the layer that it made, unpacked.
    pub size: u64,
}

impl Engine {
    /// The steps that made an image, newest first; that for a platform, if the name leads to images for several.
    ///
    /// # Errors
    /// [`crate::Error::NoSuchImage`], [`crate::Error::AmbiguousId`], [`ImageError::BadImage`],
    /// [`ImageError::PlatformMissing`].
    pub fn history(&self, name: &str, platform: Option<&str>) -> Result<Vec<HistoryLine>> {
        let image = match platform {
            Some(platform) => self.image_for(name, platform)?,
            None => self.image(name)?,
        };
        let mut layers = image.layers.iter();
        let mut size_of_next = || -> Result<u64> {
            let Some(chain_id) = layers.next() else {
                return Ok(0);
            };
            Ok(self.layer_size(chain_id)?.unwrap_or(0))
        };
        let mut lines = Vec::new();
        for step in image.config.history().iter().flatten() {
            let text = |text: &Option<String>| text.clone().unwrap_or_default();
            let size = match step.empty_layer() {
                Some(true) => 0,
                _ => size_of_next()?,
            };
            lines.push(HistoryLine {
                id: None,
                created: text(step.created()),
                created_by: text(step.created_by()),
                comment: text(step.comment()),
                size,
            });
        }
        // Layers that no step speaks of, as other tools leave them.
        for chain_id in layers {
            lines.push(HistoryLine {
                id: None,
                created: image.config.created().clone().unwrap_or_default(),
                created_by: String::new(),
                comment: String::new(),
                size: self.layer_size(chain_id)?.unwrap_or(0),
            });
        }
        lines.reverse();
        if let Some(newest) = lines.first_mut() {
            newest.id = Some(image.id);
        }
        Ok(lines)
    }

    /// The image of a name that is for a platform.
    fn image_for(&self, name: &str, platform: &str) -> Result<Image> {
        let wanted = parse_platform(platform)?;
        let fits = |image: &Image| {
            wanted.matches(&image.platform) && wanted.architecture == image.platform.architecture
        };
        let image = self.image(name)?;
        if fits(&image) {
            return Ok(image);
        }
        // Those of the same index have no name of their own.
        let others = self.find_image(name)?.record.other_blobs;
        for other in self.store.images()? {
            if others.contains(&other.record.id) {
                let other = self.image(other.record.id.as_ref())?;
                if fits(&other) {
                    return Ok(other);
                }
            }
        }
        Err(ImageError::PlatformMissing {
            reference: crate::familiar_name(name),
            wanted: wanted.to_string(),
        }
        .into())
    }

    /// Bytes of an image's layers as they were packed when they came, or are now.
    ///
    /// # Errors
    /// Whatever hinders reading.
    pub fn content_size(&self, image: &Image) -> Result<u64> {
        let known = self.store.image(&image.digest)?;
        let layers = known.map(|known| known.record.layers).unwrap_or_default();
        Ok(rctr_store::sum(layers.iter().map(|layer| layer.size)))
    }

    /// Bytes of a layer, unpacked; `None` if it is not in the store.
    pub(crate) fn layer_size(&self, chain_id: &Digest) -> Result<Option<u64>> {
        Ok(self.store.built_layer(chain_id)?.map(|layer| layer.size))
    }
}
