//! Building images: a Dockerfile is parsed ([`dockerfile`]), planned as a graph of steps for what the target needs,
//! and solved against the store, each step cached by the content it depends on.
#![deny(missing_docs)]

pub mod context;
pub mod dockerfile;
pub mod files;
pub mod ignore;
