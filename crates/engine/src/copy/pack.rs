//! Packing what `docker save` left plain: registries get layers as gzip.

use std::fs::File;
use std::io::{self, Seek, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use oci_spec::image::{Descriptor, MediaType};
use rctr_registry_client::{BlobSource, BlobStream, SinkError, file_blob};
use sha2::{Digest as _, Sha256};

use super::docker::finished;
use super::files::Part;
use crate::{Error, Result};

/// A packed layer in a file without a name.
pub(super) struct Packed(File);

impl BlobSource for Packed {
    fn open<'a>(
        &'a self,
        _: &'a Descriptor,
        range: Range<u64>,
    ) -> BoxFuture<'a, Result<BlobStream, SinkError>> {
        let file = self.0.try_clone();
        async move { Ok(file_blob(file?, range)) }.boxed()
    }
}

/// Packs a part of a file on a blocking thread.
pub(super) async fn pack(
    (file, range): (File, Range<u64>),
    plain: &Descriptor,
    temp: PathBuf,
) -> Result<(Descriptor, Packed)> {
    let packing = tokio::task::spawn_blocking(move || gzip(Part::new(file, range), &temp));
    let bad = |reason: String| Error::BadImage {
        image: plain.digest().to_string(),
        reason,
    };
    let packed = packing.await.map_err(|e| bad(e.to_string()))?;
    let (file, hash, size) = packed.map_err(|e| bad(format!("cannot be packed: {e}")))?;
    let digest = finished(hash).ok_or_else(|| bad("has no digest".to_owned()))?;
    let descriptor = Descriptor::new(MediaType::ImageLayerGzip, size, digest);
    Ok((descriptor, Packed(file)))
}

fn gzip(mut plain: Part, temp: &Path) -> io::Result<(File, Sha256, u64)> {
    let hashed = Hashed {
        file: tempfile::tempfile_in(temp)?,
        hash: Sha256::new(),
    };
    let mut gzip = GzEncoder::new(hashed, Compression::default());
    io::copy(&mut plain, &mut gzip)?;
    let mut done = gzip.finish()?;
    let size = done.file.stream_position()?;
    Ok((done.file, done.hash, size))
}

struct Hashed {
    file: File,
    hash: Sha256,
}

impl Write for Hashed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.hash.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
