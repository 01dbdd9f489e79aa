//! Pulls images from, and pushes them to, any registry that speaks the OCI distribution specification (or Docker's registry API v2,
//! which it grew out of).
//!
//! [`Client::pull`] resolves a reference, picks the manifest for a platform and streams the layers, several at a
//! time, into a [`Sink`]. Nothing reaches the sink unverified: manifests and configs are checked here against
//! digest, size and media type; a layer's bytes are counted here and its digest is checked by the sink, which sees
//! bytes of earlier, interrupted tries as well.
//!
//! This crate knows no store and no engine: the engine joins them through the sink.
#![deny(missing_docs)]

mod auth;
mod challenge;
mod client;
mod credentials;
mod docker_config;
mod error;
mod fetch;
mod hosts;
mod layer;
mod login;
mod manifest;
mod platform;
mod push;
mod reference;
mod repository;
mod retry;
mod sink;
mod tags;
#[cfg(test)]
mod tests;
mod tls;
mod transport;
mod words;

pub use auth::Account;
pub use client::{Client, Pulled};
pub use credentials::default_docker_config_dir;
pub use docker_config::{DockerConfig, Kept, Secret};
pub use error::Error;
pub use hosts::{HostConfig, HostConfigs, deserialize_hosts};
pub use manifest::choose_manifest;
pub use oci_spec::distribution::Reference;
pub use oci_spec::image::{Descriptor, Digest, MediaType};
pub use platform::{InvalidPlatform, Platform};
pub use push::{BlobSource, BlobStream, PushEvent, Pusher, file_blob};
pub use reference::{familiar_name, parse_reference};
pub use repository::Lookup;
pub use sink::{Corrupt, LayerEvent, LayerIngest, Progress, PulledLayer, Sink, SinkError};
pub use tls::{TlsOptions, tls_config};
