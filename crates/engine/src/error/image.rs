//! What is wrong with an image, its names, or the place it comes from or goes to.

use std::path::PathBuf;

/// What is wrong with an image, its names, or the place it comes from or goes to.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImageError {
    /// No image has this tag, so it cannot be pushed.
    #[error("An image does not exist locally with the tag: {name}")]
    NoSuchTag {
        /// Its short form.
        name: String,
    },
    /// `tag` with a target that is no name.
    #[error("Error parsing reference: {name:?} is not a valid repository/tag: {reason}")]
    BadTag {
        /// As given.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// `tag` with a digest in the target.
    #[error("refusing to create a tag with a digest reference")]
    TagWithDigest,
    /// `push` of a digest.
    #[error("cannot push a digest reference")]
    PushDigest,
    /// `push --all-tags` of a name with a tag.
    #[error("tag can't be used with --all-tags/-a")]
    PushTagAndAll,
    /// `--platform` of an image that has none such.
    #[error(
        "image with reference {reference} was found but does not provide the specified platform ({wanted})"
    )]
    PlatformMissing {
        /// The image's name.
        reference: String,
        /// The platform asked for.
        wanted: String,
    },
    /// A part of an image that should be in the store is not.
    #[error("{what} of image {image} is missing or damaged; pull it again")]
    ContentMissing {
        /// The image's name.
        image: String,
        /// Which part.
        what: String,
    },
    /// `login` with something that is no registry.
    #[error("{server:?} is no registry's address: write HOST[:PORT]")]
    BadServer {
        /// As given.
        server: String,
    },
    /// No manifest list of this name is being made here.
    #[error("No such manifest: {name}")]
    NoSuchManifestList {
        /// Its canonical name.
        name: String,
    },
    /// `manifest create` of a list that is there.
    #[error("refusing to amend an existing manifest list with no --amend flag")]
    ManifestListExists,
    /// A list has no such member.
    #[error("manifest for image {member} does not exist in {list}")]
    NoSuchMember {
        /// Canonical name of the member.
        member: String,
        /// Canonical name of the list.
        list: String,
    },
    /// A list cannot be a member of a list.
    #[error("{member} is a manifest list: name the images in it")]
    MemberIsList {
        /// Canonical name of the member.
        member: String,
    },
    /// `copy` from or to something that is no place of images.
    #[error("Invalid image name {place:?}: {reason}")]
    BadPlace {
        /// As given.
        place: String,
        /// What is wrong with it.
        reason: String,
    },
    /// An archive or layout of images is not what it should be.
    #[error("{}: {reason}", path.display())]
    BadLayout {
        /// The file or directory.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// No manifest of an index is for this platform.
    #[error(
        "{place} has no image for {wanted}, only for {available}; choose one with --platform, or take all with --all"
    )]
    NoPlatform {
        /// What was looked in.
        place: String,
        /// The platform looked for.
        wanted: String,
        /// The platforms there are.
        available: String,
    },
    /// A container uses the image.
    #[error(
        "conflict: unable to remove repository reference \"{image}\" ({how}) - container {container} is using its referenced image {id}"
    )]
    InUse {
        /// The image as the user named it.
        image: String,
        /// Short id of the image.
        id: String,
        /// Short id of the container.
        container: String,
        /// `must force`, or `cannot be forced` for the id of an image that a running one uses.
        how: &'static str,
    },
    /// An image id that several repositories name cannot be removed by id without force.
    #[error(
        "conflict: unable to delete {id} (must be forced) - image is referenced in multiple repositories"
    )]
    InSeveralRepositories {
        /// Short id of the image.
        id: String,
    },
    /// The image's configuration or manifest cannot be understood.
    #[error("image {image}: {reason}")]
    BadImage {
        /// The image as the user named it.
        image: String,
        /// What is wrong with it.
        reason: String,
    },
    /// `--platform` makes no sense.
    #[error("{reason}")]
    Platform {
        /// What is wrong with it.
        reason: String,
    },
}
