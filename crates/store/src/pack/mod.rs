//! Layers as archives and packed: what a push, a save or an export sends.

mod blocks;
mod codec;
mod cut;
mod estargz;
mod toc;

#[cfg(test)]
mod tests;

use std::ffi::CStr;
use std::fmt;
use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use oci_spec::image::Digest;

use crate::archive::{Hashed, Sink, TreeArchive, WriteSink, archive, archive_upper};
use crate::digest::hex;
use crate::error::At;
use crate::layer::{Packing, decompress};
use crate::records::BuiltRow;
use crate::store::Store;
use crate::{Error, Result, fs};

pub use estargz::Estargz;

/// How a layer is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Compression {
    /// Not at all.
    None,
    /// gzip, level 0 to 9.
    Gzip(u32),
    /// zstd, level 1 to 22.
    Zstd(i32),
    /// gzip, level 0 to 9, in which single files can be fetched: an archive with an index, another one than the layer's.
    Estargz(u32),
}

impl Compression {
    /// The level of gzip that takes no longer than other builders do and makes images a little smaller than they do.
    pub const DEFAULT_GZIP: Compression = Compression::Gzip(3);
    /// zstd's own choice.
    pub const DEFAULT_ZSTD: Compression = Compression::Zstd(3);
    /// As for gzip.
    pub const DEFAULT_ESTARGZ: Compression = Compression::Estargz(3);

    /// The media type of layers packed so (OCI image-spec, layer.md).
    pub fn media_type(self) -> &'static str {
        match self {
            Compression::None => "application/vnd.oci.image.layer.v1.tar",
            Compression::Gzip(_) | Compression::Estargz(_) => {
                "application/vnd.oci.image.layer.v1.tar+gzip"
            }
            Compression::Zstd(_) => "application/vnd.oci.image.layer.v1.tar+zstd",
        }
    }

    fn packing(self) -> Packing {
        match self {
            Compression::None => Packing::Plain,
            Compression::Gzip(_) | Compression::Estargz(_) => Packing::Gzip,
            Compression::Zstd(_) => Packing::Zstd,
        }
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Compression::None => f.write_str("no compression"),
            Compression::Gzip(level) => write!(f, "gzip level {level}"),
            Compression::Zstd(level) => write!(f, "zstd level {level}"),
            Compression::Estargz(level) => write!(f, "estargz level {level}"),
        }
    }
}

/// A layer packed, as a manifest describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackedLayer {
    /// Digest of the blob, which is in the store.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// Its media type.
    pub media_type: String,
    /// Digest of the archive in it: another one than the layer's if it is packed as eStargz.
    pub diff_id: Digest,
    /// It is packed as eStargz.
    pub estargz: Option<Estargz>,
}

/// A tree of files, and files that are in no tree, to be written to an archive.
#[derive(Debug)]
pub struct TreeToArchive<'a> {
    /// The directory in the archive that gets the files; none for the archive's root.
    pub directory: Option<&'a str>,
    /// Root of the tree, such as a mounted image.
    pub root: BorrowedFd<'a>,
    /// Names and contents of further files, which only their owner may read.
    pub files: &'a [(String, Vec<u8>)],
    /// Time of these, and of the directory: seconds since 1970.
    pub time: i64,
}

/// Writes an archive of a whole tree, such as a mounted image: its members sorted by name, the root not among them. It is
/// no layer, for the tree has no whiteouts.
///
/// # Errors
/// [`Error::NotArchivable`] for a file that no archive can hold; [`Error::WriteArchive`] if `to` fails; [`Error::Io`].
pub fn write_tree_archive(root: BorrowedFd<'_>, to: &mut dyn Write) -> Result<()> {
    let tree = TreeToArchive {
        directory: None,
        root,
        files: &[],
        time: 0,
    };
    write_tree_archives(&[tree], to)
}

/// Writes an archive of what an overlay's upper directory changes, as a layer has it; the overlay may be in use. Left out
/// is what `skip` says of paths relative to the directory.
///
/// # Errors
/// As [`write_tree_archive`].
pub fn write_upper_archive(
    upper: &Path,
    skip: &dyn Fn(&[u8]) -> bool,
    to: &mut dyn Write,
) -> Result<()> {
    let root = crate::fs::open_dir(upper)?;
    let written = archive_upper(root.as_fd(), skip, &mut WriteSink(to));
    written.map_err(|e| e.beneath(upper))
}

/// Writes an archive of what is called `name` in a directory, with all that is in it, under the name `called`. A
/// directory called `.` gives its entries names that begin with `./`. Left out is what `skip` says of paths relative to it.
///
/// # Errors
/// As [`write_tree_archive`]; names in errors are those in the archive.
pub fn write_entry_archive(
    dir: BorrowedFd<'_>,
    name: &CStr,
    called: &[u8],
    skip: &dyn Fn(&[u8]) -> bool,
    to: &mut dyn Write,
) -> Result<()> {
    let skip = |path: &[u8]| {
        let within = path.strip_prefix(called).unwrap_or(path);
        let start = within.iter().position(|byte| *byte != b'/');
        start.is_some_and(|start| skip(&within[start..]))
    };
    let mut sink = WriteSink(to);
    let mut archive = TreeArchive::new(&mut sink);
    archive
        .entry(dir, name, called, &skip)
        .and_then(|()| archive.finish())
        .map_err(|e| e.beneath(Path::new("")))
}

/// The same for several trees in one archive.
///
/// # Errors
/// As [`write_tree_archive`].
pub fn write_tree_archives(trees: &[TreeToArchive<'_>], to: &mut dyn Write) -> Result<()> {
    let mut sink = WriteSink(to);
    let mut archive = TreeArchive::new(&mut sink);
    let written = trees.iter().try_for_each(|tree| {
        archive.tree(tree.directory.unwrap_or_default(), tree.root, tree.time)?;
        let mut files = tree.files.iter();
        files.try_for_each(|(name, content)| archive.file(name, content, tree.time))
    });
    written
        .and_then(|()| archive.finish())
        .map_err(|e| e.beneath(Path::new("/")))
}

/// Packs an archive that is in no store into `to`, which is called `path` in errors; digest and size of what is in it
/// then.
///
/// # Errors
/// [`Error::UnsupportedCompression`], also for eStargz; [`Error::WriteArchive`] if `archive` cannot be read;
/// [`Error::DiskFull`], [`Error::Io`].
pub fn pack_archive(
    mut archive: impl Read,
    compression: Compression,
    (to, path): (&File, &Path),
) -> Result<(Digest, u64)> {
    let codec = codec::Codec::new(compression)?;
    if matches!(compression, Compression::Estargz(_)) {
        return Err(Error::UnsupportedCompression { compression });
    }
    blocks::pack_archive(codec, to, path, |sink| {
        let broken = |source| Error::WriteArchive { source };
        copy(&mut archive, sink, broken).map(drop)
    })
}

impl Store {
    /// Writes the archive of a layer, whose digest is the layer's diff id.
    ///
    /// # Errors
    /// [`Error::NoSuchLayer`]; [`Error::NotReproducible`] if what was written is not the layer, for its files or its blob
    /// were changed on disk; [`Error::WriteArchive`] if `to` fails; [`Error::Decompress`], [`Error::Io`],
    /// [`Error::Database`].
    pub fn write_layer_archive(&self, chain_id: &Digest, to: &mut dyn Write) -> Result<()> {
        let row = self.layer_row(chain_id)?;
        self.send_archive(&row, &mut WriteSink(to))
    }

    /// Packs a layer, unless that was done before; the blob is in the store then. What a registry served is taken as it
    /// is if it is packed the same way, at whatever level.
    ///
    /// The same layer always gives the same blob. Two that pack the same layer at once share the work. The blob stays as
    /// long as a layer with this content does: take a [`crate::Lease`] on the layer.
    ///
    /// # Errors
    /// [`Error::UnsupportedCompression`]; as [`write_layer_archive`](Self::write_layer_archive); [`Error::DiskFull`].
    pub fn pack_layer(&self, chain_id: &Digest, compression: Compression) -> Result<PackedLayer> {
        let codec = codec::Codec::new(compression)?;
        let row = self.layer_row(chain_id)?;
        let diff_id = &row.layer.diff_id;
        let variant = codec.variant();
        if let Some(packed) = self.find_packed(&row, compression, &variant)? {
            return Ok(packed);
        }
        self.require_space()?;
        let path = self
            .tmp_dir()
            .join(format!("pack-{}-{variant}", hex(diff_id)?));
        let file = File::from(fs::lock_file(&path)?);
        if let Some(packed) = self.find_packed(&row, compression, &variant)? {
            rustix::fs::unlink(&path).at("remove", &path)?;
            return Ok(packed);
        }
        let packed = file
            .set_len(0)
            .at("truncate", &path)
            .and_then(|()| self.pack_into((&file, &path), codec, compression, &row))
            .and_then(|packed| {
                file.sync_all().at("sync", &path)?;
                let blob = self.blob_path(&packed.digest)?;
                self.write(|tx| {
                    fs::rename(&path, &blob)?;
                    tx.insert_packed(diff_id, &variant, &packed)
                })?;
                Ok(packed)
            });
        if packed.is_err() {
            // The first error is the one to tell; a garbage collection removes what stays.
            let _ = rustix::fs::unlink(&path);
        }
        packed
    }

    fn pack_into(
        &self,
        (file, path): (&File, &Path),
        codec: codec::Codec,
        compression: Compression,
        row: &BuiltRow,
    ) -> Result<PackedLayer> {
        let media_type = compression.media_type().to_owned();
        if let Compression::Estargz(level) = compression {
            let send = |sink: &mut dyn Sink| self.send_archive(row, sink);
            let packed = estargz::pack(level, (file, path), &row.layer.diff_id, send)?;
            return Ok(PackedLayer {
                digest: packed.digest,
                size: packed.size,
                media_type,
                diff_id: packed.diff_id,
                estargz: Some(packed.estargz),
            });
        }
        let send = |sink: &mut dyn Sink| self.send_archive(row, sink);
        let (digest, size) = blocks::pack_archive(codec, file, path, send)?;
        Ok(PackedLayer {
            digest,
            size,
            media_type,
            diff_id: row.layer.diff_id.clone(),
            estargz: None,
        })
    }

    /// What there is to say of a layer if its blob, which is in the store, is packed as eStargz.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::UnsupportedDigest`], [`Error::Database`].
    pub fn estargz_of(&self, chain_id: &Digest, blob: &Digest) -> Result<Option<Estargz>> {
        let file = match self.open_blob(blob) {
            Err(Error::NoSuchBlob { .. }) => return Ok(None),
            other => other?,
        };
        let toc = estargz::toc_of(&file).at("read", self.blob_path(blob)?)?;
        let Some(toc) = toc else {
            return Ok(None);
        };
        let row = self.read(|tx| tx.built(chain_id))?;
        Ok(Some(Estargz {
            toc,
            archive_size: row.and_then(|row| row.archive_size).unwrap_or(0),
        }))
    }

    fn layer_row(&self, chain_id: &Digest) -> Result<BuiltRow> {
        self.read(|tx| tx.built(chain_id))?
            .ok_or_else(|| Error::NoSuchLayer {
                chain_id: chain_id.clone(),
            })
    }

    /// What was packed before, or served so.
    fn find_packed(
        &self,
        row: &BuiltRow,
        compression: Compression,
        variant: &str,
    ) -> Result<Option<PackedLayer>> {
        let known = self.read(|tx| tx.packed(&row.layer.diff_id, variant))?;
        if let Some(packed) = known
            && self.blob_size(&packed.digest)? == Some(packed.size)
        {
            return Ok(Some(packed));
        }
        let Some(size) = self.blob_size(&row.blob)? else {
            return Ok(None);
        };
        let mut magic = Vec::new();
        self.open_blob(&row.blob)?
            .take(4)
            .read_to_end(&mut magic)
            .at("read", self.blob_path(&row.blob)?)?;
        let estargz = match compression {
            Compression::Estargz(_) => self.estargz_of(&row.layer.chain_id, &row.blob)?,
            _ => None,
        };
        let alike = match compression {
            Compression::Estargz(_) => estargz.is_some(),
            _ => Packing::of(&magic) == compression.packing(),
        };
        Ok(alike.then(|| PackedLayer {
            digest: row.blob.clone(),
            size,
            media_type: compression.media_type().to_owned(),
            diff_id: row.layer.diff_id.clone(),
            estargz,
        }))
    }

    fn blob_size(&self, digest: &Digest) -> Result<Option<u64>> {
        match self.open_blob(digest) {
            Ok(file) => {
                let path = self.blob_path(digest)?;
                Ok(Some(file.metadata().at("look at", path)?.len()))
            }
            Err(Error::NoSuchBlob { .. }) => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Sends the archive of a layer, and verifies it.
    fn send_archive(&self, row: &BuiltRow, to: &mut dyn Sink) -> Result<()> {
        let mut hashed = Hashed::new(to);
        let size = match self.open_blob(&row.blob) {
            Ok(blob) => unpack(blob, &row.blob, &mut hashed)?,
            Err(Error::NoSuchBlob { .. }) => {
                let root = self.open_layer(&row.layer.chain_id)?;
                let listed = row.root_listed.unwrap_or(false);
                archive(root.as_fd(), listed, None, &mut hashed)
                    .map_err(|e| {
                        let dir = self.layer_dir(&row.layer.chain_id).unwrap_or_default();
                        e.beneath(&dir.join("diff"))
                    })?
                    .archive_size
            }
            Err(e) => return Err(e),
        };
        let actual = hashed.finish();
        if actual != row.layer.diff_id {
            return Err(Error::NotReproducible {
                chain_id: row.layer.chain_id.clone(),
                expected: Box::new(row.layer.diff_id.clone()),
                actual: Box::new(actual),
            });
        }
        if row.archive_size.is_none() {
            self.write(|tx| tx.set_archive_size(&row.layer.chain_id, size))?;
        }
        Ok(())
    }
}

/// Sends what is in a packed layer; its size in bytes.
fn unpack(blob: File, digest: &Digest, to: &mut dyn Sink) -> Result<u64> {
    let broken = |source| Error::Decompress {
        blob: digest.clone(),
        source,
    };
    let mut reader = decompress(BufReader::with_capacity(256 << 10, blob)).map_err(broken)?;
    copy(&mut reader, to, broken)
}

/// Sends all there is to read; its size in bytes.
fn copy(
    reader: &mut impl Read,
    to: &mut dyn Sink,
    broken: impl Fn(io::Error) -> Error,
) -> Result<u64> {
    let mut size = 0;
    let mut piece = Vec::new();
    loop {
        piece.clear();
        let count = reader
            .by_ref()
            .take(256 << 10)
            .read_to_end(&mut piece)
            .map_err(&broken)?;
        if count == 0 {
            return Ok(size);
        }
        size += count as u64;
        piece = to
            .put(piece)
            .map_err(|source| Error::WriteArchive { source })?;
    }
}
