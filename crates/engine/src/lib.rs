//! The container lifecycle, once, for every front door.
//!
//! [`Engine`] joins the crates of the floors below: it resolves an image through the store (pulling it with the
//! registry client when it is missing), allocates an address, writes an OCI bundle and asks a monitor to run it.
//! The command line, the CRI server and the builder all walk this road.
#![deny(missing_docs)]

pub mod config;
mod error;
mod files;
pub mod inspect;
pub mod model;
mod names;
pub mod options;
mod resolve;
mod rootfs_view;
mod spec;
mod user;

pub use error::{Error, Result};
