//! Images: what is in the store, how it gets there from a registry, and how it goes.

use std::collections::{BTreeMap, HashSet};

use oci_spec::image::{Digest, ImageConfiguration};
use rctr_registry_client::{Platform, parse_reference};
use rctr_store::{IdMatch, Tx};

use crate::events::{self, ImageEvent};
use crate::model::Container;
use crate::options::MountKind;
use crate::{Engine, Error, ImageError, Result};

/// One image with its configuration.
#[derive(Debug, Clone)]
pub struct Image {
    /// Digest of the configuration: the image's id, `sha256:…`.
    pub id: String,
    /// The same, parsed.
    pub digest: Digest,
    /// Canonical names with tags: `docker.io/library/nginx:latest`.
    pub tags: Vec<String>,
    /// Canonical names with digests: `docker.io/library/nginx@sha256:…`.
    pub digests: Vec<String>,
    /// Digest of the manifest that was pulled for this platform.
    pub manifest_digest: String,
    /// Chain ids of the layers, lowest first.
    pub layers: Vec<Digest>,
    /// What it runs on.
    pub platform: Platform,
    /// The configuration as the OCI image specification has it.
    pub config: ImageConfiguration,
    /// Bytes of the unpacked layers.
    pub size: u64,
    raw: serde_json::Value,
}

impl Image {
    /// The configuration as it was pulled, with Docker's additions.
    pub fn raw_config(&self) -> &serde_json::Value {
        &self.raw
    }
}

/// A line of `images`.
#[derive(Debug, Clone)]
pub struct ImageSummary {
    /// Image id, `sha256:…`.
    pub id: String,
    /// Canonical names with tags.
    pub tags: Vec<String>,
    /// Canonical names with digests.
    pub digests: Vec<String>,
    /// RFC 3339, as the image says.
    pub created: String,
    /// Bytes of the unpacked layers.
    pub size: u64,
    /// Labels of the configuration.
    pub labels: BTreeMap<String, String>,
    /// `user[:group]` of the configuration; empty means root.
    pub user: String,
}

impl ImageSummary {
    /// Whether no tag names it.
    pub fn dangling(&self) -> bool {
        self.tags.is_empty()
    }
}

/// How to remove an image.
#[derive(Debug, Clone, Copy, Default)]
pub struct RemoveImage {
    /// Also if a stopped container uses it or several names point to it.
    pub force: bool,
}

/// What a removal did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImageRemoval {
    /// A name is gone.
    Untagged(String),
    /// An image or a layer is gone.
    Deleted(String),
}

impl Engine {
    /// One image by name, id or a unique beginning of its id.
    ///
    /// # Errors
    /// [`Error::NoSuchImage`], [`Error::AmbiguousId`], [`ImageError::BadImage`] if its configuration is damaged.
    pub fn image(&self, name: &str) -> Result<Image> {
        self.read_image(self.find_image(name)?, name)
    }

    /// The id of the image that a name, id or unique beginning of an id stands for, if there is one.
    ///
    /// # Errors
    /// Whatever hinders reading.
    pub fn image_id(&self, name: &str) -> Result<Option<String>> {
        match self.find_image(name) {
            Ok(image) => Ok(Some(image.record.id.to_string())),
            Err(Error::NoSuchImage { .. } | Error::AmbiguousId { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// All images, newest first; those that are only part of another one, for another platform, are not listed.
    ///
    /// # Errors
    /// Whatever hinders reading.
    pub fn images(&self) -> Result<Vec<ImageSummary>> {
        let mut summaries = Vec::new();
        let all = self.store.images()?;
        let parts = parts(&all);
        for record in &all {
            if parts.contains(&record.record.id) {
                continue;
            }
            let config = match self.read_image(record.clone(), record.record.id.as_ref()) {
                Ok(image) => Some(image.config),
                // As one whose removal was interrupted: it is there to be removed, or pulled again.
                Err(Error::Image(ImageError::BadImage { .. })) => None,
                Err(e) => return Err(e),
            };
            let config = config.as_ref();
            let created = config.and_then(|config| config.created().clone());
            summaries.push(ImageSummary {
                id: record.record.id.to_string(),
                tags: record.tags.clone(),
                digests: record.repo_digests.clone(),
                created: created.unwrap_or_default(),
                size: record.size,
                labels: config.map(labels).unwrap_or_default(),
                user: config.map(user).unwrap_or_default(),
            });
        }
        summaries.sort_by(|a, b| b.created.cmp(&a.created).then_with(|| a.tags.cmp(&b.tags)));
        Ok(summaries)
    }

    /// Takes a name away from an image, and removes the image with its layers when that was the last one, and the
    /// images for other platforms that were only part of it. By force, a name goes although a running container uses the
    /// image, which then stays.
    ///
    /// # Errors
    /// [`Error::NoSuchImage`], [`ImageError::InUse`], [`ImageError::InSeveralRepositories`].
    pub fn remove_image(&self, name: &str, options: RemoveImage) -> Result<Vec<ImageRemoval>> {
        let image = self.find_image(name)?;
        let by_id = !names(&image)
            .iter()
            .any(|known| Some(known) == canonical(name).as_ref());
        let gone = match canonical(name) {
            Some(name) if !by_id => with_orphans(&image, name),
            _ => names(&image),
        };
        let user = self.user_of(&image)?;
        let live = user.as_ref().is_some_and(|c| c.state.status.is_live());
        let last = gone.len() == names(&image).len();
        if let Some(container) = user.filter(|_| last && (!options.force || by_id && live)) {
            return Err(ImageError::InUse {
                image: name.into(),
                id: short(image.record.id.as_ref()),
                container: container.id.chars().take(12).collect(),
                how: match by_id && live {
                    true => "cannot be forced",
                    false => "must force",
                },
            }
            .into());
        }
        if by_id && !options.force && repositories(&image) > 1 {
            return Err(ImageError::InSeveralRepositories {
                id: short(image.record.id.as_ref()),
            }
            .into());
        }
        let mut done = Vec::new();
        let labels = events::labels_of(&self.store, &image.record.id);
        let (id, tell) = (image.record.id.as_ref(), events::image);
        for name in gone {
            self.store.write(|tx| match tx.untag(&name)? {
                Some(_) => tell(tx, ImageEvent::Untag, id, id, &labels),
                None => Ok(()),
            })?;
            done.push(ImageRemoval::Untagged(crate::familiar_name(&name)));
        }
        if last && !live {
            for id in self.with_its_parts(&image)? {
                let itself = id == image.record.id;
                let labels = events::labels_of(&self.store, &id);
                let tell = |tx: &Tx<'_>| {
                    events::image(tx, ImageEvent::Delete, id.as_ref(), id.as_ref(), &labels)
                };
                let forced = options.force && itself;
                let deleted = match self.store.delete_image(&id, forced, tell) {
                    // A container was made of it.
                    Err(rctr_store::Error::ImageInUse { .. }) if !itself => continue,
                    // Somebody else removes it, too.
                    Err(rctr_store::Error::NoSuchImage { .. }) => continue,
                    other => other?.deleted,
                };
                done.extend(
                    deleted
                        .iter()
                        .map(|digest| ImageRemoval::Deleted(digest.to_string())),
                );
            }
            self.collect_garbage()?;
        }
        Ok(done)
    }

    /// The image itself, and those that have no name and are part of no other.
    pub(crate) fn with_its_parts(&self, image: &rctr_store::Image) -> Result<Vec<Digest>> {
        let (own, others): (Vec<_>, Vec<_>) = self
            .store
            .images()?
            .into_iter()
            .partition(|other| other.record.id == image.record.id);
        let kept = parts(&others);
        let gone = parts(&[own, others].concat());
        let gone = gone.into_iter().filter(|id| !kept.contains(id));
        Ok([image.record.id.clone()].into_iter().chain(gone).collect())
    }

    /// Removes an image with all its names; a container that uses it keeps its layers as long as it is there. One that
    /// is not there is fine.
    ///
    /// # Errors
    /// [`Error::AmbiguousId`], and whatever hinders removing.
    pub fn forget_image(&self, name: &str) -> Result<()> {
        let image = match self.find_image(name) {
            Err(Error::NoSuchImage { .. }) => return Ok(()),
            other => other?,
        };
        for id in self.with_its_parts(&image)? {
            let itself = id == image.record.id;
            let labels = events::labels_of(&self.store, &id);
            let tell = |tx: &Tx<'_>| {
                events::image(tx, ImageEvent::Delete, id.as_ref(), id.as_ref(), &labels)
            };
            match self.store.delete_image(&id, itself, tell) {
                Ok(_) | Err(rctr_store::Error::NoSuchImage { .. }) => {}
                // A container was made of it.
                Err(rctr_store::Error::ImageInUse { .. }) if !itself => {}
                Err(e) => return Err(e.into()),
            }
        }
        Ok(())
    }

    /// Removes what no image, container or living process leads to: what interrupted commands have left.
    ///
    /// # Errors
    /// Whatever hinders reading or removing.
    pub fn collect_garbage(&self) -> Result<()> {
        self.store.gc()?;
        self.sweep_steps()
    }

    pub(crate) fn find_image(&self, name: &str) -> Result<rctr_store::Image> {
        let missing = || Error::NoSuchImage { name: name.into() };
        if let Some(canonical) = canonical(name)
            && let Some(image) = self.store.find_image(&canonical)?
        {
            return Ok(image);
        }
        let prefix = name.strip_prefix("sha256:").unwrap_or(name);
        if prefix.is_empty() || !prefix.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(missing());
        }
        match self.store.find_image_by_id_prefix(prefix)? {
            IdMatch::One(image) => Ok(*image),
            IdMatch::None => Err(missing()),
            IdMatch::Ambiguous(_) => Err(Error::AmbiguousId {
                prefix: name.into(),
            }),
        }
    }

    fn read_image(&self, record: rctr_store::Image, name: &str) -> Result<Image> {
        let bad = |reason: String| ImageError::BadImage {
            image: name.into(),
            reason,
        };
        let bytes = self
            .store
            .read_blob(&record.record.id)?
            .ok_or_else(|| bad("its configuration is missing or damaged; pull it again".into()))?;
        let raw = serde_json::from_slice(&bytes).map_err(|e| bad(e.to_string()))?;
        let config: ImageConfiguration =
            serde_json::from_slice(&bytes).map_err(|e| bad(e.to_string()))?;
        let platform = Platform::new(
            &config.os().to_string(),
            &config.architecture().to_string(),
            config.variant().as_deref(),
        );
        Ok(Image {
            id: record.record.id.to_string(),
            digest: record.record.id.clone(),
            tags: record.tags,
            digests: record.repo_digests,
            manifest_digest: record.record.manifest.to_string(),
            layers: record.record.chain_ids(),
            size: record.size,
            platform,
            config,
            raw,
        })
    }

    /// A container that uses an image: a running one if there is one.
    fn user_of(&self, image: &rctr_store::Image) -> Result<Option<Container>> {
        let id: &str = image.record.id.as_ref();
        let shows = |c: &Container| {
            let mut mounts = c.mounts.iter();
            mounts.any(|m| m.spec.kind == MountKind::Image && m.source.as_os_str() == id)
        };
        let users = self.records()?.into_iter();
        let users = users.filter(|c| c.image_id == id || shows(c));
        Ok(users.max_by_key(|c| c.state.status.is_live()))
    }
}

/// Ids of the images without a name that belong to another one's index.
fn parts(images: &[rctr_store::Image]) -> HashSet<Digest> {
    let named: HashSet<&Digest> = images
        .iter()
        .flat_map(|image| {
            let others = image.record.other_blobs.iter();
            others.filter(|other| **other != image.record.id)
        })
        .collect();
    let parts = images.iter().filter(|image| {
        image.tags.is_empty() && image.repo_digests.is_empty() && named.contains(&image.record.id)
    });
    parts.map(|image| image.record.id.clone()).collect()
}

/// `nginx` → `docker.io/library/nginx:latest`; `None` for what is no name.
fn canonical(name: &str) -> Option<String> {
    parse_reference(name)
        .ok()
        .map(|reference| reference.whole())
}

fn names(image: &rctr_store::Image) -> Vec<String> {
    image
        .tags
        .iter()
        .chain(&image.repo_digests)
        .cloned()
        .collect()
}

/// A name to remove, and with a repository's last tag also the digests that it was pulled by.
fn with_orphans(image: &rctr_store::Image, name: String) -> Vec<String> {
    let repository = repository(&name);
    let of_it = |other: &&String| self::repository(other) == repository;
    let tagged = |other: &String| *other != name && of_it(&other);
    if !image.tags.contains(&name) || image.tags.iter().any(tagged) {
        return vec![name];
    }
    let digests = image.repo_digests.iter().filter(of_it).cloned();
    [name.clone()].into_iter().chain(digests).collect()
}

fn repositories(image: &rctr_store::Image) -> usize {
    names(image)
        .iter()
        .map(|name| repository(name))
        .collect::<std::collections::BTreeSet<_>>()
        .len()
}

/// `docker.io/library/nginx:latest` → `docker.io/library/nginx`.
fn repository(name: &str) -> String {
    parse_reference(name)
        .map(|r| format!("{}/{}", r.registry(), r.repository()))
        .unwrap_or_default()
}

fn user(config: &ImageConfiguration) -> String {
    let user = config.config().as_ref().and_then(|c| c.user().clone());
    user.unwrap_or_default()
}

fn labels(config: &ImageConfiguration) -> BTreeMap<String, String> {
    let labels = config.config().as_ref().and_then(|c| c.labels().clone());
    labels.unwrap_or_default().into_iter().collect()
}

fn short(id: &str) -> String {
    id.strip_prefix("sha256:")
        .unwrap_or(id)
        .chars()
        .take(12)
        .collect()
}

/// Digests kept as text in a record.
pub(crate) fn parse_digests(texts: &[String], image: &str) -> Result<Vec<Digest>> {
    let parse = |text: &String| {
        let bad = |_| ImageError::BadImage {
            image: image.into(),
            reason: format!("{text} is no digest"),
        };
        Ok(text.parse().map_err(bad)?)
    };
    texts.iter().map(parse).collect()
}
