//! `rctr load`: all images of an archive or layout into the store.

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;

use oci_spec::image::{Descriptor, Digest};
use rctr_registry_client::{Platform, PushEvent, familiar_name, parse_reference};

use super::docker::{self, Entry};
use super::files::{Files, blob_name};
use super::source::{Layout, Source, names, read_index};
use super::store::StoreWriter;
use crate::pull::parse_platform;
use crate::push::{Leaf, Node, PushLayer, PushProgress, Tree};
use crate::{Engine, Error, ImageError, Result};

/// Under which annotation an index tells what is no image but says something of one.
const ABOUT_AN_IMAGE: &str = "vnd.docker.reference.type";

/// Where images are loaded from.
#[derive(Debug)]
pub enum LoadSource {
    /// A file or pipe: an archive of Docker's or an OCI layout in a tar file, plain or packed.
    Archive {
        /// Open for reading.
        file: File,
        /// What it is called in errors.
        path: PathBuf,
    },
    /// A directory with an OCI layout.
    Directory(PathBuf),
}

/// How to load.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LoadOptions {
    /// The image for this platform of those that there are; this machine's if not said.
    pub platform: Option<String>,
}

/// An image that was loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadedImage {
    /// Its id, `sha256:…`.
    pub id: String,
    /// The names that the archive gives it, in the short form.
    pub names: Vec<String>,
    /// Those of the names that led to another image before, with the id of that one.
    pub taken: Vec<(String, String)>,
}

/// An image in the archive, with names.
struct Found {
    layout: Layout,
    names: Vec<String>,
}

impl Engine {
    /// Puts all images of an archive or layout into the store, and gives them the names they have there.
    ///
    /// Each image appears whole or not at all. Everything is checked against its digest, and nothing is ever looked for
    /// outside the archive.
    ///
    /// # Errors
    /// [`ImageError::BadLayout`], [`ImageError::NoPlatform`], [`ImageError::Platform`], [`ImageError::BadImage`], and
    /// whatever the disk says.
    pub async fn load_images(
        &self,
        from: LoadSource,
        options: &LoadOptions,
        progress: Arc<dyn PushProgress>,
    ) -> Result<Vec<LoadedImage>> {
        let platform = options.platform.as_deref();
        let platform = platform.map(parse_platform).transpose()?;
        let (temp, store) = (self.config.root.join("tmp"), self.store.clone());
        let shown = match &from {
            LoadSource::Archive { path, .. } | LoadSource::Directory(path) => path.clone(),
        };
        let looking = tokio::task::spawn_blocking(move || {
            let room = || Ok(store.require_space()?);
            let files = match from {
                LoadSource::Archive { file, path } => Files::of_file(file, &path, &temp, &room)?,
                LoadSource::Directory(path) => Files::open_dir(&path)?,
            };
            find(&Arc::new(files))
        });
        let found = looking.await.map_err(|e| ImageError::BadLayout {
            path: shown,
            reason: e.to_string(),
        })??;
        let mut loaded = Vec::new();
        for image in found {
            loaded.push(self.load_one(image, platform.as_ref(), &*progress).await?);
        }
        Ok(loaded)
    }

    async fn load_one(
        &self,
        found: Found,
        platform: Option<&Platform>,
        progress: &dyn PushProgress,
    ) -> Result<LoadedImage> {
        let source = Source::Files(Box::new(found.layout));
        let tree = chosen(&source, platform).await?;
        let Some(Node::Manifest { document, .. }) = tree.nodes.last() else {
            return Err(source.bad("has no image".to_owned()));
        };
        let layers = tree.layers();
        let shown: Vec<PushLayer> = layers.iter().map(Leaf::shown).collect();
        progress.layers(&shown);
        let mut writer = StoreWriter::begin(self, None, &source, &tree).await?;
        if let Some(wanted) = platform {
            writer.require(wanted, &source)?;
        }
        for layer in &layers {
            let report = |event| progress.event(&layer.label, event);
            report(
                match writer.layer(&layer.descriptor, &source, &report).await? {
                    true => PushEvent::Pushed,
                    false => PushEvent::Exists,
                },
            );
        }
        let id = writer.finish(document)?;
        let mut loaded = LoadedImage {
            id: id.to_string(),
            names: Vec::new(),
            taken: Vec::new(),
        };
        for name in found.names {
            let reference = parse_reference(&name)?;
            if reference.digest().is_some() {
                continue;
            }
            let (whole, familiar) = (reference.whole(), familiar_name(&reference));
            if loaded.names.contains(&familiar) {
                continue;
            }
            let before = self.store.find_image(&whole)?.map(|image| image.record.id);
            self.name_image(&id, &whole)?;
            if let Some(before) = before.filter(|before| *before != id) {
                loaded.taken.push((familiar.clone(), before.to_string()));
            }
            loaded.names.push(familiar);
        }
        Ok(loaded)
    }
}

/// The image for a platform; the only one there is, if none was asked for.
async fn chosen(source: &Source<'_>, platform: Option<&Platform>) -> Result<Tree> {
    match source.tree(false, platform).await {
        Err(Error::Image(ImageError::NoPlatform { available, .. }))
            if platform.is_none() && !available.contains(", ") =>
        {
            source.tree(false, Some(&parse_platform(&available)?)).await
        }
        other => other,
    }
}

/// The images of an `index.json`, and those that only a `manifest.json` has.
fn find(files: &Arc<Files>) -> Result<Vec<Found>> {
    let mut entries = docker::entries(files)?.unwrap_or_default();
    let mut found: Vec<Found> = Vec::new();
    let mut seen: Vec<Digest> = Vec::new();
    let index = read_index(files)?;
    for entry in index.iter().flat_map(|index| index.manifests()) {
        if is_about_an_image(entry) {
            continue;
        }
        let names = whole_names(entry);
        if let Some(known) = seen.iter().position(|digest| digest == entry.digest()) {
            found[known].names.extend(names);
            continue;
        }
        let layout = Layout::of_entry(Arc::clone(files), entry)?;
        let mut names = names;
        if let Some(config) = config_of(&layout) {
            names.extend(take(&mut entries, &blob_name(&config)));
        }
        seen.push(entry.digest().clone());
        found.push(Found { layout, names });
    }
    for entry in entries {
        let names = entry.repo_tags.clone().unwrap_or_default();
        let layout = docker::layout(Arc::clone(files), entry)?;
        found.push(Found { layout, names });
    }
    match found.is_empty() {
        true => Err(files.bad("has no images: neither manifest.json nor index.json names one")),
        false => Ok(found),
    }
}

/// The names of the entry for a configuration, which is then done.
fn take(entries: &mut Vec<Entry>, config: &str) -> Vec<String> {
    let Some(position) = entries.iter().position(|entry| entry.config == config) else {
        return Vec::new();
    };
    entries.remove(position).repo_tags.unwrap_or_default()
}

/// The configuration that a manifest names; none for an index.
fn config_of(layout: &Layout) -> Option<Digest> {
    let manifest: oci_spec::image::ImageManifest =
        serde_json::from_slice(&layout.root.bytes).ok()?;
    Some(manifest.config().digest().clone())
}

fn is_about_an_image(entry: &Descriptor) -> bool {
    let annotations = entry.annotations().as_ref();
    annotations.is_some_and(|all| all.contains_key(ABOUT_AN_IMAGE))
}

/// The names of an entry that are more than a tag.
fn whole_names(entry: &Descriptor) -> Vec<String> {
    let whole = names(entry)
        .into_iter()
        .filter(|name| name.contains(['/', ':']));
    whole.map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(annotations: &[(&str, &str)]) -> Descriptor {
        let all = annotations.iter().map(|(k, v)| ((*k).into(), (*v).into()));
        let mut entry = Descriptor::new(
            oci_spec::image::MediaType::ImageManifest,
            1,
            rctr_store::sha256(b"x"),
        );
        entry.set_annotations(Some(all.collect()));
        entry
    }

    #[test]
    fn a_tag_alone_is_no_name() {
        let named = entry(&[
            ("io.containerd.image.name", "docker.io/library/a:1"),
            ("org.opencontainers.image.ref.name", "1"),
        ]);
        assert_eq!(whole_names(&named), ["docker.io/library/a:1"]);
        let by_podman = entry(&[("org.opencontainers.image.ref.name", "localhost/b:2")]);
        assert_eq!(whole_names(&by_podman), ["localhost/b:2"]);
        assert!(is_about_an_image(&entry(&[(
            ABOUT_AN_IMAGE,
            "attestation-manifest"
        )])));
    }
}
