//! Where pushed content comes from, and who is told how it goes.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream, StreamExt};
use oci_spec::image::Descriptor;

use crate::SinkError;

/// What is read of a file at once.
const PIECE: u64 = 512 << 10;

/// The bytes of a blob, or of a part of it.
pub type BlobStream = BoxStream<'static, Result<Bytes, SinkError>>;

/// Gives the content of blobs that are pushed. A part may be asked for again after a connection broke.
pub trait BlobSource: Send + Sync {
    /// The bytes `range` of a blob, neither more nor fewer.
    ///
    /// # Errors
    /// Whatever hinders reading, here or in the stream.
    fn open<'a>(
        &'a self,
        blob: &'a Descriptor,
        range: Range<u64>,
    ) -> BoxFuture<'a, Result<BlobStream, SinkError>>;
}

/// A part of a file as a stream. The reading is done on blocking threads; the file's own position does not matter.
pub fn file_blob(file: File, range: Range<u64>) -> BlobStream {
    let file = Arc::new(file);
    stream::try_unfold(range, move |mut range| {
        let file = Arc::clone(&file);
        async move {
            if range.is_empty() {
                return Ok(None);
            }
            let length = PIECE.min(range.end - range.start);
            let start = range.start;
            let read = tokio::task::spawn_blocking(move || {
                let mut piece = vec![0; length as usize];
                file.read_exact_at(&mut piece, start).map(|()| piece)
            });
            let piece = read.await??;
            range.start += length;
            Ok(Some((Bytes::from(piece), range)))
        }
    })
    .boxed()
}

/// Has no content: for questions that send none.
pub(super) struct Nothing;

impl BlobSource for Nothing {
    fn open<'a>(
        &'a self,
        blob: &'a Descriptor,
        _: Range<u64>,
    ) -> BoxFuture<'a, Result<BlobStream, SinkError>> {
        let error = format!("nothing was to be sent of {}", blob.digest());
        Box::pin(std::future::ready(Err(error.into())))
    }
}

/// What is happening to a blob that is pushed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PushEvent {
    /// It is being packed.
    Preparing,
    /// Queued behind others.
    Waiting,
    /// Nothing to do: the registry has it in this repository.
    Exists,
    /// The registry took it over from another of its repositories.
    Mounted {
        /// Path of that repository.
        from: String,
    },
    /// Bytes went out.
    Pushing {
        /// Bytes so far, those of earlier tries included.
        current: u64,
        /// Bytes in all.
        total: u64,
    },
    /// It failed, and will be tried again after a pause.
    Retrying {
        /// Tries without progress so far.
        attempt: u32,
        /// One line.
        reason: String,
    },
    /// The registry has it all, verified.
    Pushed,
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::TryStreamExt;
    use std::io::Write;

    #[tokio::test]
    async fn a_part_of_a_file_is_that_part() {
        let mut file = tempfile::tempfile().unwrap();
        let content: Vec<u8> = (0..1_300_000u32).map(|n| n as u8).collect();
        file.write_all(&content).unwrap();
        let part = file_blob(file.try_clone().unwrap(), 7..1_250_000);
        let pieces: Vec<Bytes> = part.try_collect().await.unwrap();
        assert_eq!(pieces.concat(), &content[7..1_250_000]);
        let short = file_blob(file, 1_200_000..1_400_000);
        assert!(short.try_collect::<Vec<Bytes>>().await.is_err());
    }
}
