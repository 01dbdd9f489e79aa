//! Unpacks a layer archive (OCI image-spec, layer.md) beneath a directory descriptor.
//!
//! The result is the upper directory of an overlay: whiteouts become character devices 0:0, opaque whiteouts the xattr
//! `trusted.overlay.opaque`. Nothing is ever created or changed outside the directory, whatever the archive says: each
//! name is cleaned lexically, its parents are opened with openat2(2) beneath the root, symbolic links among them are
//! resolved as a chroot into the layer would, and the last component is never followed.

mod error;
mod extract;
mod files;
mod header;
mod member;
mod meta;
mod name;
mod pax;
mod sparse;
mod tree;

#[cfg(test)]
mod tests;

use std::io::BufRead;
use std::os::fd::OwnedFd;

pub(crate) use error::UntarError;
pub use files::{Owner, UnpackError, Unpacking, unpack_files};
pub(crate) use header::Members;
pub(crate) use member::{Kind, Member};
pub(crate) use meta::{copy_attributes, inherit, set_opaque};

/// What unpacking a layer gave.
#[derive(Debug, Default)]
pub(crate) struct Unpacked {
    /// Sum of the sizes of the regular files, in bytes.
    pub size: u64,
    /// Directories that members lie in but that the archive does not list: they get their mode and owner from lower layers.
    pub implied: Vec<Vec<u8>>,
    /// The layer hides all below it (an opaque whiteout at its root).
    pub opaque_root: bool,
}

/// Unpacks the archive into the empty directory `root`, and reads on to the end of `reader`.
pub(crate) fn untar(reader: impl BufRead, root: OwnedFd) -> Result<Unpacked, UntarError> {
    extract::Extractor::new(root)?.run(reader)
}
