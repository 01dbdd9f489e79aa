//! Why a build failed.

use std::path::PathBuf;

use crate::dockerfile::{ParseErrors, Span};
use crate::files::FilesError;

/// Result of this crate.
pub type Result<T, E = BuildError> = std::result::Result<T, E>;

/// Why a build failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The Dockerfile is not one.
    #[error(transparent)]
    Parse(#[from] ParseErrors),
    /// There is nothing in it to build.
    #[error("file with no instructions")]
    NoStage,
    /// `--target` names no stage.
    #[error("target stage {target:?} could not be found{}", known(stages))]
    UnknownTarget {
        /// What was asked for.
        target: String,
        /// The names there are.
        stages: Vec<String>,
    },
    /// An instruction cannot be done as it is written.
    #[error("{reason}")]
    Instruction {
        /// Its place.
        span: Option<Span>,
        /// What is wrong.
        reason: String,
    },
    /// A command of a RUN step failed.
    #[error("process {command:?} did not complete successfully: exit code: {code}")]
    Step {
        /// Its place.
        span: Option<Span>,
        /// The command as it was run.
        command: String,
        /// Its exit code.
        code: i32,
        /// The kernel killed it for want of memory.
        oom_killed: bool,
    },
    /// Files cannot be found, read or copied.
    #[error("{source}")]
    Files {
        /// The instruction's place.
        span: Option<Span>,
        /// Why.
        #[source]
        source: FilesError,
    },
    /// A base image cannot be had, or a step cannot be started.
    #[error("{source}")]
    Engine {
        /// The instruction's place.
        span: Option<Span>,
        /// Why.
        #[source]
        source: Box<rctr_engine::Error>,
    },
    /// A name that is no stage's leads to no image either.
    #[error("{source}; {hint}")]
    NoSuchStage {
        /// The instruction's place.
        span: Option<Span>,
        /// Which stage may be meant.
        hint: String,
        /// Why there is no image.
        #[source]
        source: Box<rctr_engine::Error>,
    },
    /// The store cannot be read or written.
    #[error(transparent)]
    Store(#[from] rctr_store::Error),
    /// A secret that must be there is not.
    #[error("secret {id}: not found: give it with --secret id={id},src=FILE")]
    SecretMissing {
        /// The instruction's place.
        span: Option<Span>,
        /// Its name.
        id: String,
    },
    /// An agent's socket that must be there is not.
    #[error("unset ssh forward key {id}: give it with --ssh {id}")]
    SshMissing {
        /// The instruction's place.
        span: Option<Span>,
        /// Its name.
        id: String,
    },
    /// An archive of Docker's is of one image.
    #[error(
        "docker exporter does not currently support exporting manifest lists, which several platforms and attestations need: use type=oci"
    )]
    DockerIndex,
    /// There is no index that could have an annotation.
    #[error("index annotations not supported for single platform export")]
    AnnotatedIndex,
    /// An annotation is for a platform that is not built.
    #[error("invalid annotation: no platform {platform} found in source")]
    AnnotatedPlatform {
        /// The platform.
        platform: String,
    },
    /// No step has made a cache directory with this id, and nobody filled one.
    #[error("no cache mount has the id {id:?}")]
    NoCacheMount {
        /// The id.
        id: String,
    },
    /// A build works with it at the moment.
    #[error("cache mount {id:?} is in use by a build")]
    CacheMountInUse {
        /// The id.
        id: String,
    },
    /// A file or directory of the build's own cannot be used.
    #[error("{action} {}: {source}", path.display())]
    Io {
        /// What was done.
        action: &'static str,
        /// With what.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The build was stopped, by its user or because another step failed.
    #[error("context canceled")]
    Cancelled,
}

fn known(stages: &[String]) -> String {
    match stages.is_empty() {
        true => ": no stage has a name".into(),
        false => format!("; the stages are: {}", stages.join(", ")),
    }
}

impl BuildError {
    pub(crate) fn io(
        action: &'static str,
        path: &std::path::Path,
    ) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| BuildError::Io {
            action,
            path,
            source,
        }
    }

    /// Its place in the Dockerfile.
    pub fn span(&self) -> Option<Span> {
        match self {
            BuildError::Instruction { span, .. }
            | BuildError::Step { span, .. }
            | BuildError::Files { span, .. }
            | BuildError::Engine { span, .. }
            | BuildError::NoSuchStage { span, .. }
            | BuildError::SecretMissing { span, .. }
            | BuildError::SshMissing { span, .. } => *span,
            _ => None,
        }
    }

    /// The same with its place, unless it knows it.
    pub(crate) fn at(mut self, place: Span) -> Self {
        if let BuildError::Instruction { span, .. }
        | BuildError::Step { span, .. }
        | BuildError::Files { span, .. }
        | BuildError::Engine { span, .. }
        | BuildError::NoSuchStage { span, .. }
        | BuildError::SecretMissing { span, .. }
        | BuildError::SshMissing { span, .. } = &mut self
        {
            span.get_or_insert(place);
        }
        self
    }
}

impl From<rctr_engine::Error> for BuildError {
    fn from(source: rctr_engine::Error) -> Self {
        BuildError::Engine {
            span: None,
            source: Box::new(source),
        }
    }
}

impl From<FilesError> for BuildError {
    fn from(source: FilesError) -> Self {
        BuildError::Files { span: None, source }
    }
}
