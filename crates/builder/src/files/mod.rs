//! Trees that files are copied from, and the copying: COPY, ADD, and what contexts are made of.
//!
//! A [`Tree`] is the root of a context, image or stage; [`Tree::select`] finds what the words of an instruction name;
//! [`Selection::digest`] is what a cached step depends on; [`copy`] does it. Everything happens beneath directory
//! descriptors, one name at a time.

mod archive;
mod cache;
mod chmod;
mod copy;
mod digest;
mod directory;
mod entry;
mod error;
mod fetch;
mod git;
mod git_address;
mod glob;
mod opened;
mod owner;
mod path;
mod select;
mod target;
mod tree;
mod unpack;
mod walk;

#[cfg(test)]
mod tests;

pub use cache::HashCache;
pub use chmod::{Chmod, Clause};
pub use copy::{CopyRequest, Source, copy, make_dirs};
pub use error::{FilesError, Result};
pub use fetch::{Fetched, Validators, fetch, fetch_file, fetch_if_changed};
pub use git::{Checkout, GitOptions, checkout, resolve};
pub use git_address::GitAddress;
pub use owner::parse_owner;
pub use select::{SelectOptions, Selection};
pub use tree::Tree;

pub(crate) use archive::{is_archive, open as open_archive};
pub(crate) use digest::hex;
pub(crate) use unpack::unpack;
