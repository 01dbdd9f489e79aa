//! Makes a layer archive (OCI image-spec, layer.md) of the upper directory of an overlay: the counterpart of
//! [`crate::untar`].
//!
//! The archive is canonical: one walk, sorted by name, gives the same bytes for the same tree. Before that, [`Settle`]
//! makes a fresh upper directory what unpacking its archive would give, so that the archive can be made again at any
//! time, and a layer is the same wherever it is.

mod error;
mod header;
mod output;
mod settle;
mod tree;
mod walk;
mod xattrs;

#[cfg(test)]
mod tests;

pub(crate) use output::{HashSink, Hashed, Sink, WriteSink};
pub(crate) use settle::{Lowers, Settle};
pub(crate) use tree::TreeArchive;
pub(crate) use walk::{archive, archive_upper};
pub(crate) use xattrs::{is_opaque, same_root};
