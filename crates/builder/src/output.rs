//! Where the result of a build goes.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;

use rctr_engine::{ArchiveFormat, Compression};

/// One result of a build.
#[derive(Debug, Clone)]
pub enum Output {
    /// An image in the store.
    Image(ImageOutput),
    /// An archive of the image, which does not go to the store.
    Archive(ArchiveOutput),
    /// The files as a tar archive.
    Tar(Destination),
    /// The files in a directory, belonging to whoever builds; what is there already stays.
    Local(PathBuf),
}

/// An image, and what is done with it.
#[derive(Debug, Clone, Default)]
pub struct ImageOutput {
    /// Canonical names it gets.
    pub names: Vec<String>,
    /// Send it to the registries that the names name.
    pub push: bool,
    /// How the layers are packed. If not said, those of an image that is not pushed are not.
    pub compression: Option<Compression>,
    /// Those of the base image, too.
    pub force_compression: bool,
    /// Of the manifest.
    pub annotations: BTreeMap<String, String>,
}

/// An archive of an image.
#[derive(Debug, Clone)]
pub struct ArchiveOutput {
    /// What is in it.
    pub image: ImageOutput,
    /// For whom it is.
    pub format: ArchiveFormat,
    /// Where it goes.
    pub to: Destination,
}

/// Where an archive is written.
#[derive(Debug, Clone)]
pub enum Destination {
    /// A file, which appears when it is complete.
    File(PathBuf),
    /// A directory, in which members become files.
    Directory(PathBuf),
    /// Standard output or another stream.
    Stream(Arc<File>),
}
