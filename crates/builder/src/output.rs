//! Where the result of a build goes.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;

use rctr_engine::{ArchiveFormat, Compression};
use rctr_registry_client::Platform;

/// One result of a build.
#[derive(Debug, Clone)]
pub enum Output {
    /// An image in the store.
    Image(ImageOutput),
    /// An archive of the image, which does not go to the store.
    Archive(ArchiveOutput),
    /// The files as a tar archive.
    Tar(Destination, FilesOutput),
    /// The files in a directory, belonging to whoever builds; what is there already stays.
    Local(PathBuf, FilesOutput),
}

/// How files are laid out. What is attested of them is in files beside them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FilesOutput {
    /// Those for a platform are in a directory of its name, such as `linux_amd64`; if not said, only if there are several
    /// platforms.
    pub by_platform: Option<bool>,
    /// What names of attestations begin with.
    pub attestation_prefix: String,
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
    /// In order: later ones of one key count.
    pub annotations: Vec<Annotation>,
}

/// Something said of an image, beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Annotation {
    /// Where it is said.
    pub on: Annotated,
    /// What is said.
    pub key: String,
    /// Its value.
    pub value: String,
}

/// What has annotations. Manifests: that of one platform, or all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Annotated {
    /// The manifest.
    Manifest(Option<Platform>),
    /// Its descriptor in the index, or, without one, in the archive.
    ManifestDescriptor(Option<Platform>),
    /// The index.
    Index,
    /// Its descriptor in an archive.
    IndexDescriptor,
}

impl ImageOutput {
    pub(crate) fn of_manifest(&self, platform: &Platform) -> BTreeMap<String, String> {
        self.annotations(Annotated::Manifest, platform)
    }

    pub(crate) fn of_manifest_descriptor(&self, platform: &Platform) -> BTreeMap<String, String> {
        self.annotations(Annotated::ManifestDescriptor, platform)
    }

    pub(crate) fn of_index(&self) -> BTreeMap<String, String> {
        self.annotated(&Annotated::Index)
    }

    pub(crate) fn of_index_descriptor(&self) -> BTreeMap<String, String> {
        self.annotated(&Annotated::IndexDescriptor)
    }

    /// What is said for all platforms, and over it what is said for one.
    fn annotations(
        &self,
        on: fn(Option<Platform>) -> Annotated,
        platform: &Platform,
    ) -> BTreeMap<String, String> {
        let mut all = self.annotated(&on(None));
        all.extend(self.annotated(&on(Some(platform.clone()))));
        all
    }

    fn annotated(&self, on: &Annotated) -> BTreeMap<String, String> {
        let meant = self.annotations.iter().filter(|a| a.on == *on);
        meant.map(|a| (a.key.clone(), a.value.clone())).collect()
    }
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
