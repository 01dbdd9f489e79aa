//! Building images: a Dockerfile is parsed ([`dockerfile`]), planned as a graph of steps for what the target needs
//! ([`plan`]), and solved against the store, each step cached by the content it depends on.
#![deny(missing_docs)]

mod attest;
mod build;
mod cache;
mod cachemount;
pub mod context;
pub mod describe;
pub mod dockerfile;
pub mod document;
mod error;
mod export;
pub mod files;
pub mod ignore;
mod images;
mod options;
mod output;
pub mod plan;
pub mod progress;
mod solve;
mod time;

pub use attest::{Attestations, Detail};
pub use build::{Built, Checked, Failure, build, check};
pub use cache::{CacheExport, CacheTarget};
pub use cachemount::{
    CacheMountUsage, cache_mounts, export_cache_mount, import_cache_mount, prune_cache_mounts,
};
pub use error::{BuildError, Result};
pub use options::{BuildOptions, DockerfileLocation, Entitlement, NamedContext, SecretSource};
pub use output::{
    Annotated, Annotation, ArchiveOutput, Destination, FilesOutput, ImageOutput, Output,
};
pub use plan::apply_changes;
pub use solve::Cancel;
