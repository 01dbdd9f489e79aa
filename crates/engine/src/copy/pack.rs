//! Packing what `docker save` left plain: registries get layers as gzip.

use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use oci_spec::image::{Descriptor, Digest, MediaType};
use rctr_registry_client::{BlobSource, BlobStream, SinkError, file_blob};
use rctr_store::{Compression, pack_archive};

use super::files::Part;
use crate::{Error, ImageError, Result};

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

/// Packs a part of a file on blocking threads.
pub(super) async fn pack(
    (file, range): (File, Range<u64>),
    plain: &Descriptor,
    temp: PathBuf,
) -> Result<(Descriptor, Packed)> {
    let packing = tokio::task::spawn_blocking(move || gzip(Part::new(file, range), &temp));
    let packed = packing.await.map_err(|e| ImageError::BadImage {
        image: plain.digest().to_string(),
        reason: e.to_string(),
    })?;
    let (file, digest, size) = packed?;
    let descriptor = Descriptor::new(MediaType::ImageLayerGzip, size, digest);
    Ok((descriptor, Packed(file)))
}

fn gzip(plain: Part, temp: &Path) -> Result<(File, Digest, u64)> {
    let file = tempfile::tempfile_in(temp).map_err(Error::file("create a file in", temp))?;
    let (digest, size) = pack_archive(plain, Compression::DEFAULT_GZIP, (&file, temp))?;
    Ok((file, digest, size))
}
