//! One more name for an image.

use oci_spec::image::Digest;
use rctr_registry_client::parse_reference;

use crate::events::{self, ImageEvent};
use crate::{Engine, Error, ImageError, Result, familiar_name};

impl Engine {
    /// Gives the image `source` (a name or id) the name `target`, taking it from another image that has it.
    ///
    /// # Errors
    /// [`ImageError::BadTag`], [`ImageError::TagWithDigest`], [`Error::NoSuchImage`], [`Error::AmbiguousId`].
    pub fn tag(&self, source: &str, target: &str) -> Result<()> {
        let reference = parse_reference(target).map_err(|error| match error {
            rctr_registry_client::Error::InvalidReference { reference, reason } => {
                Error::from(ImageError::BadTag {
                    name: reference,
                    reason,
                })
            }
            other => other.into(),
        })?;
        if reference.digest().is_some() {
            return Err(ImageError::TagWithDigest.into());
        }
        let image = self.find_image(source)?;
        self.name_image(&image.record.id, &reference.whole())
    }

    /// Gives an image one more canonical name, taking it from another image that has it.
    ///
    /// # Errors
    /// The store cannot be written, or the image is not there.
    pub fn name_image(&self, id: &Digest, name: &str) -> Result<()> {
        let labels = events::labels_of(&self.store, id);
        Ok(self.store.write(|tx| {
            tx.tag_image(id, name)?;
            events::image(
                tx,
                ImageEvent::Tag,
                id.as_ref(),
                &familiar_name(name),
                &labels,
            )
        })?)
    }
}
