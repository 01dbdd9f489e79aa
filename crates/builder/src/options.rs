//! What a build is asked to do.

use std::collections::BTreeMap;
use std::path::PathBuf;

use rctr_engine::CachePlace;
use rctr_engine::options::{AddHost, NetworkMode, Ulimit};
use rctr_registry_client::Platform;

use crate::attest::Attestations;
use crate::cache::{CacheExport, CacheTarget};
use crate::context::Location;
use crate::output::Output;

/// Everything `build` takes. The front door parses; nothing here is text that still needs to be understood, but for
/// references of images and values of build arguments.
#[derive(Debug, Clone)]
pub struct BuildOptions {
    /// Where the files come from.
    pub context: Location,
    /// The Dockerfile.
    pub file: DockerfileLocation,
    /// `--target`: a stage's name; the last stage if not given.
    pub target: Option<String>,
    /// `--build-arg`, in order; the last of one name counts.
    pub build_args: Vec<(String, String)>,
    /// `--build-context`.
    pub contexts: BTreeMap<String, NamedContext>,
    /// What the image is to run on, without doubles and at least one: an image for each.
    pub platforms: Vec<Platform>,
    /// `--label`.
    pub labels: BTreeMap<String, String>,
    /// `--no-cache`.
    pub no_cache: bool,
    /// `--no-cache-filter`: names of stages.
    pub no_cache_filter: Vec<String>,
    /// `--pull`: ask the registry about every image.
    pub pull: bool,
    /// `--network`, for RUN steps that do not say.
    pub network: NetworkMode,
    /// `--add-host`.
    pub add_hosts: Vec<AddHost>,
    /// `--shm-size`, bytes.
    pub shm_size: Option<u64>,
    /// `--ulimit`.
    pub ulimits: Vec<Ulimit>,
    /// `--secret`, by id.
    pub secrets: BTreeMap<String, SecretSource>,
    /// `--ssh`: sockets of agents, by id.
    pub ssh: BTreeMap<String, PathBuf>,
    /// `--allow`.
    pub allow: Vec<Entitlement>,
    /// `SOURCE_DATE_EPOCH`: seconds since 1970 that the image and its history say.
    pub epoch: Option<i64>,
    /// `rewrite-timestamp=true`: no file in a layer is younger than `epoch`.
    pub rewrite_timestamps: bool,
    /// `--cache-from`: where results may be had that are not here.
    pub cache_from: Vec<CachePlace>,
    /// `--cache-to`.
    pub cache_to: Vec<CacheExport>,
    /// `--provenance` and `--sbom`.
    pub attestations: Attestations,
    /// Canonical names the image gets.
    pub tags: Vec<String>,
    /// What is made of it; an image in the store, with these names, if nothing is said.
    pub outputs: Vec<Output>,
}

impl BuildOptions {
    /// The image is to say what its layers are results of.
    pub(crate) fn inline_cache(&self) -> bool {
        let asked = |export: &CacheExport| export.to == CacheTarget::Inline;
        let argument = self.build_args.iter().rev();
        let mut argument = argument.filter(|(name, _)| name == "BUILDKIT_INLINE_CACHE");
        let by_argument = argument.next().is_some_and(|(_, value)| value == "1");
        by_argument || self.cache_to.iter().any(asked)
    }
}

/// Where the Dockerfile is.
#[derive(Debug, Clone)]
pub enum DockerfileLocation {
    /// `Dockerfile` in the context.
    Default,
    /// A path, relative to the working directory or, if it is not there, to the context.
    Path(PathBuf),
    /// Its text, from standard input.
    Text(String),
}

/// `--build-context NAME=…`.
#[derive(Debug, Clone)]
pub enum NamedContext {
    /// A directory, archive or repository.
    Files(Location),
    /// `docker-image://`.
    Image(String),
}

/// Where a secret is.
#[derive(Debug, Clone)]
pub enum SecretSource {
    /// In a file.
    File(PathBuf),
    /// In a variable of the environment.
    Env(String),
}

/// What a build may do beyond the usual.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entitlement {
    /// `RUN --network=host`.
    NetworkHost,
    /// `RUN --security=insecure`.
    SecurityInsecure,
}
