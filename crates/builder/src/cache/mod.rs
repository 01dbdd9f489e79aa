//! The build cache on its way: to a registry, a directory or into the image, and back on another machine.
//!
//! Written as BuildKit writes it; what names a result are keys of our own, so that nobody takes one for another's.

mod export;
mod format;
mod import;

use rctr_engine::{CachePlace, Compression};

pub(crate) use export::{export, inline};
pub(crate) use import::Imports;

/// `--cache-to`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheExport {
    /// Where it is kept.
    pub to: CacheTarget,
    /// `mode=max`: of every step that was needed, not only of those whose layers the image has.
    pub all: bool,
    /// How layers are packed.
    pub compression: Compression,
    /// A cache that cannot be kept is no failure of the build.
    pub ignore_error: bool,
}

/// Where a build cache is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CacheTarget {
    /// In the image.
    Inline,
    /// By itself.
    Place(CachePlace),
}
