//! One more name for an image.

use rctr_registry_client::parse_reference;

use crate::{Engine, Error, Result};

impl Engine {
    /// Gives the image `source` (a name or id) the name `target`, taking it from another image that has it.
    ///
    /// # Errors
    /// [`Error::BadTag`], [`Error::TagWithDigest`], [`Error::NoSuchImage`], [`Error::AmbiguousId`].
    pub fn tag(&self, source: &str, target: &str) -> Result<()> {
        let reference = parse_reference(target).map_err(|error| match error {
            rctr_registry_client::Error::InvalidReference { reference, reason } => Error::BadTag {
                name: reference,
                reason,
            },
            other => other.into(),
        })?;
        if reference.digest().is_some() {
            return Err(Error::TagWithDigest);
        }
        let image = self.find_image(source)?;
        Ok(self.store.tag_image(&image.record.id, &reference.whole())?)
    }
}
