//! What rctr keeps on disk: blobs by digest, unpacked layers, and the records of images, containers, addresses, volumes
//! and leases, with the garbage collection that follows from them.
//!
//! ```text
//! store.db                SQLite (WAL): all records
//! blobs/sha256/<hex>      manifests, configurations, packed layers, as the registry served them
//! layers/<chain hex>/diff the layer, unpacked as an overlay directory
//! layers/link/<short>     links to it, short enough for hundreds in one mount
//! containers/<id>/        upper, work, and what the engine adds
//! volumes/<name>/_data
//! tmp/                    what is being made or removed, each locked by whoever does it
//! ```
//!
//! Everything is synchronous and safe to use from many threads and processes at once. Something appears under its final
//! name only when it is complete, verified and on disk. A process that dies at any moment leaves nothing but entries of
//! `tmp/`, which the next [`Store::gc`] removes, and partial downloads, which the next pull goes on with.
#![deny(missing_docs)]

mod archive;
mod blob;
mod build;
mod build_cache;
mod containers;
mod db;
mod digest;
mod error;
mod fs;
mod gc;
mod layer;
mod overlay;
mod pack;
mod records;
mod reserve;
mod shm;
mod store;
mod untar;
mod usage;
mod volumes;

#[cfg(test)]
mod tests;

pub use build::{BuildStep, BuiltLayer, CommitOptions};
pub use build_cache::{CacheFilter, CacheReport, CacheUsage, PrunedCache};
pub use digest::{chain_id, sha256};
pub use error::{ArchiveProblem, Error, MemberProblem, Result};
pub use fs::{Found, Links, Trail};
pub use gc::{Finding, GcReport};
pub use layer::{LayerBlob, LayerIngest, LayerSpec};
pub use overlay::opaque as opaque_attribute;
pub use pack::{
    Compression, Estargz, PackedLayer, TreeToArchive, pack_archive, write_entry_archive,
    write_tree_archive, write_tree_archives, write_upper_archive,
};
pub use records::{
    AddressPool, CacheEntry, Container, DeletedImage, Event, IdMatch, Image, ImageLayer,
    ImageRecord, Lease, NewCacheEntry, NewContainer, NewEvent, NewVolume, Tx, Volume, Watch,
};
pub use store::Store;
pub use untar::{Owner, UnpackError, Unpacking, unpack_files};
pub use usage::{
    BuildCacheUsage, ContainerUsage, DiskUsage, ImageUsage, VolumeUsage, sum, tree_size,
};
