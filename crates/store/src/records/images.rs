use std::collections::HashMap;

use oci_spec::image::Digest;
use serde::{Deserialize, Serialize};

use super::layers::digest;
use super::{Tx, from_json, now, to_json};
use crate::store::Store;
use crate::usage::sum;
use crate::{Error, Result};

/// An image as it was pulled or built.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageRecord {
    /// Digest of the configuration: the image's id.
    pub id: Digest,
    /// Digest of the manifest.
    pub manifest: Digest,
    /// Media type of the manifest.
    pub media_type: String,
    /// The layers, base first.
    pub layers: Vec<ImageLayer>,
    /// Other blobs that belong to the image, such as the index it was found through.
    #[serde(default)]
    pub other_blobs: Vec<Digest>,
}

/// A layer of an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageLayer {
    /// Digest of the packed layer. The blob may be missing: an unpacked layer is shared however it was packed.
    pub blob: Digest,
    /// Size of the packed layer in bytes.
    pub size: u64,
    /// Media type of the packed layer.
    pub media_type: String,
    /// Digest of the uncompressed archive.
    pub diff_id: Digest,
    /// Name of the unpacked layer.
    pub chain_id: Digest,
}

impl ImageRecord {
    /// The chain ids of the layers, base first.
    pub fn chain_ids(&self) -> Vec<Digest> {
        self.layers.iter().map(|l| l.chain_id.clone()).collect()
    }

    /// All blobs of the image.
    pub(crate) fn blobs(&self) -> impl Iterator<Item = &Digest> {
        [&self.id, &self.manifest]
            .into_iter()
            .chain(self.layers.iter().map(|l| &l.blob))
            .chain(&self.other_blobs)
    }
}

/// An image in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// The image itself.
    pub record: ImageRecord,
    /// Its names with a tag, such as `docker.io/library/nginx:latest`.
    pub tags: Vec<String>,
    /// Its names with a digest, such as `docker.io/library/nginx@sha256:…`.
    pub repo_digests: Vec<String>,
    /// Size of all layers unpacked, in bytes.
    pub size: u64,
    /// When it came into the store, in seconds since 1970.
    pub stored: i64,
}

/// What an image id prefix leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IdMatch {
    /// No image.
    None,
    /// One image.
    One(Box<Image>),
    /// The ids of several.
    Ambiguous(Vec<Digest>),
}

/// What the deletion of an image removed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeletedImage {
    /// Names that led to the image.
    pub untagged: Vec<String>,
    /// The image's id, then the chain ids of layers nothing else needed, top first.
    pub deleted: Vec<Digest>,
}

impl Tx<'_> {
    /// Records an image, whose layers must all be in the store, and moves the names to it.
    ///
    /// # Errors
    /// [`Error::NoSuchLayer`], [`Error::Document`], [`Error::Database`].
    pub fn put_image(
        &self,
        record: &ImageRecord,
        tag: Option<&str>,
        repo_digest: Option<&str>,
    ) -> Result<()> {
        for layer in &record.layers {
            if self.layer_number(&layer.chain_id)?.is_none() {
                return Err(Error::NoSuchLayer {
                    chain_id: layer.chain_id.clone(),
                });
            }
        }
        let id = record.id.as_ref();
        self.execute(
            "INSERT INTO images (id, record, stored) VALUES (?, ?, ?)
             ON CONFLICT (id) DO UPDATE SET record = excluded.record",
            (id, to_json(id, record)?, now()),
        )?;
        for (name, is_tag) in [(tag, true), (repo_digest, false)] {
            if let Some(name) = name {
                self.name_image(&record.id, name, is_tag)?;
            }
        }
        Ok(())
    }

    fn name_image(&self, id: &Digest, name: &str, is_tag: bool) -> Result<()> {
        self.execute(
            "INSERT INTO image_names (name, image, tag) VALUES (?, ?, ?)
             ON CONFLICT (name) DO UPDATE SET image = excluded.image",
            (name, id.as_ref(), is_tag),
        )
        .map(drop)
    }

    /// Gives an image one more tag, taking it from another image that has it.
    ///
    /// # Errors
    /// [`Error::NoSuchImage`], [`Error::Database`].
    pub fn tag_image(&self, id: &Digest, tag: &str) -> Result<()> {
        if self.image(id)?.is_none() {
            return Err(Error::NoSuchImage {
                image: id.to_string(),
            });
        }
        self.name_image(id, tag, true)
    }

    /// Takes a name (with tag or digest) away; the id of the image it led to, None if there was no such name.
    ///
    /// The image stays, even without any name.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub fn untag(&self, name: &str) -> Result<Option<Digest>> {
        self.first(
            "DELETE FROM image_names WHERE name = ? RETURNING image",
            [name],
            |row| digest(row, 0),
        )
    }

    /// The image with this id.
    ///
    /// # Errors
    /// [`Error::Database`], [`Error::Document`].
    pub fn image(&self, id: &Digest) -> Result<Option<Image>> {
        let row = self.first(
            "SELECT id, record, stored FROM images WHERE id = ?",
            [id.as_ref()],
            image_row,
        )?;
        let Some(row) = row else { return Ok(None) };
        let names = self.all(
            "SELECT name, tag FROM image_names WHERE image = ? ORDER BY name",
            [id.as_ref()],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )?;
        self.complete(row, names, |chain_id| {
            let size = self.first(
                "SELECT size FROM layers WHERE chain_id = ?",
                [chain_id.as_ref()],
                |row| row.get::<_, i64>(0),
            )?;
            Ok(size.unwrap_or_default().unsigned_abs())
        })
        .map(Some)
    }

    /// All images, the newest first.
    ///
    /// # Errors
    /// [`Error::Database`], [`Error::Document`].
    pub fn images(&self) -> Result<Vec<Image>> {
        let layers = self.layers()?;
        let mut names: HashMap<String, Vec<(String, bool)>> = HashMap::new();
        let rows = self.all(
            "SELECT image, name, tag FROM image_names ORDER BY name",
            [],
            |row| Ok((row.get(0)?, (row.get(1)?, row.get(2)?))),
        )?;
        for (image, name) in rows {
            names.entry(image).or_default().push(name);
        }
        self.all(
            "SELECT id, record, stored FROM images ORDER BY stored DESC, rowid DESC",
            [],
            image_row,
        )?
        .into_iter()
        .map(|row| {
            let names = names.remove(&row.0).unwrap_or_default();
            self.complete(row, names, |chain_id| {
                Ok(layers.get(chain_id.as_ref()).map_or(0, |l| l.size))
            })
        })
        .collect()
    }

    fn complete(
        &self,
        (id, record, stored): ImageRow,
        names: Vec<(String, bool)>,
        size: impl Fn(&Digest) -> Result<u64>,
    ) -> Result<Image> {
        let record: ImageRecord = from_json(&id, &record)?;
        let (tags, repo_digests): (Vec<_>, Vec<_>) = names.into_iter().partition(|(_, tag)| *tag);
        let text = |names: Vec<(String, bool)>| names.into_iter().map(|(name, _)| name).collect();
        let mut total: u64 = 0;
        for layer in &record.layers {
            total = sum([total, size(&layer.chain_id)?]);
        }
        Ok(Image {
            record,
            tags: text(tags),
            repo_digests: text(repo_digests),
            size: total,
            stored,
        })
    }

    /// The image a complete name leads to: `docker.io/library/nginx:latest`, `…@sha256:…`, or both (the tag is ignored).
    ///
    /// # Errors
    /// [`Error::Database`], [`Error::Document`].
    pub fn find_image(&self, name: &str) -> Result<Option<Image>> {
        let id = self.first(
            "SELECT image FROM image_names WHERE name = ?",
            [without_tag(name)],
            |row| digest(row, 0),
        )?;
        match id {
            Some(id) => self.image(&id),
            None => Ok(None),
        }
    }

    /// The image whose id begins with `prefix`: hex digits, with or without `sha256:` before them.
    ///
    /// # Errors
    /// [`Error::Database`], [`Error::Document`].
    pub fn find_image_by_id_prefix(&self, prefix: &str) -> Result<IdMatch> {
        let hex = prefix.strip_prefix("sha256:").unwrap_or(prefix);
        if hex.is_empty() || !hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return Ok(IdMatch::None);
        }
        let mut ids = self.all(
            "SELECT id FROM images WHERE id GLOB ? ORDER BY id",
            [format!("sha256:{hex}*")],
            |row| digest(row, 0),
        )?;
        if ids.len() > 1 {
            return Ok(IdMatch::Ambiguous(ids));
        }
        let image = match ids.pop() {
            Some(id) => self.image(&id)?,
            None => None,
        };
        Ok(image.map_or(IdMatch::None, |image| IdMatch::One(Box::new(image))))
    }

    /// Forgets an image and its names; those names. Its layers and blobs stay until nothing else needs them.
    pub(crate) fn remove_image(&self, id: &Digest, force: bool) -> Result<Vec<String>> {
        if self.execute("DELETE FROM images WHERE id = ?", [id.as_ref()])? == 0 {
            return Err(Error::NoSuchImage {
                image: id.to_string(),
            });
        }
        let user = self.first(
            "SELECT id FROM containers WHERE image = ? LIMIT 1",
            [id.as_ref()],
            |row| row.get(0),
        )?;
        if let (Some(container), false) = (user, force) {
            return Err(Error::ImageInUse {
                image: id.clone(),
                container,
            });
        }
        let mut names = self.all(
            "DELETE FROM image_names WHERE image = ? RETURNING name",
            [id.as_ref()],
            |row| row.get(0),
        )?;
        names.sort();
        Ok(names)
    }
}

type ImageRow = (String, String, i64);

fn image_row(row: &rusqlite::Row<'_>) -> rusqlite::Result<ImageRow> {
    Ok((row.get(0)?, row.get(1)?, row.get(2)?))
}

/// `repo:tag@digest` as `repo@digest`, under which a digest is recorded.
fn without_tag(name: &str) -> String {
    let Some((repo, digest)) = name.split_once('@') else {
        return name.to_owned();
    };
    let last = repo.rfind('/').map_or(0, |slash| slash + 1);
    let repo = match repo[last..].find(':') {
        Some(colon) => &repo[..last + colon],
        None => repo,
    };
    format!("{repo}@{digest}")
}

impl Store {
    /// [`Tx::put_image`] in a transaction of its own, once the layers are safe on disk ([`flush_build`](Self::flush_build)).
    ///
    /// # Errors
    /// [`Error::NoSuchLayer`], [`Error::Document`], [`Error::Io`], [`Error::Database`].
    pub fn put_image(
        &self,
        record: &ImageRecord,
        tag: Option<&str>,
        repo_digest: Option<&str>,
    ) -> Result<()> {
        self.flush_build()?;
        self.write(|tx| tx.put_image(record, tag, repo_digest))
    }

    /// [`Tx::tag_image`] in a transaction of its own.
    ///
    /// # Errors
    /// [`Error::NoSuchImage`], [`Error::Database`].
    pub fn tag_image(&self, id: &Digest, tag: &str) -> Result<()> {
        self.write(|tx| tx.tag_image(id, tag))
    }

    /// [`Tx::untag`] in a transaction of its own.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub fn untag(&self, name: &str) -> Result<Option<Digest>> {
        self.write(|tx| tx.untag(name))
    }

    /// [`Tx::image`].
    ///
    /// # Errors
    /// [`Error::Database`], [`Error::Document`].
    pub fn image(&self, id: &Digest) -> Result<Option<Image>> {
        self.read(|tx| tx.image(id))
    }

    /// [`Tx::images`].
    ///
    /// # Errors
    /// [`Error::Database`], [`Error::Document`].
    pub fn images(&self) -> Result<Vec<Image>> {
        self.read(|tx| tx.images())
    }

    /// [`Tx::find_image`].
    ///
    /// # Errors
    /// [`Error::Database`], [`Error::Document`].
    pub fn find_image(&self, name: &str) -> Result<Option<Image>> {
        self.read(|tx| tx.find_image(name))
    }

    /// [`Tx::find_image_by_id_prefix`].
    ///
    /// # Errors
    /// [`Error::Database`], [`Error::Document`].
    pub fn find_image_by_id_prefix(&self, prefix: &str) -> Result<IdMatch> {
        self.read(|tx| tx.find_image_by_id_prefix(prefix))
    }
}
