//! From a Dockerfile to a graph: one node for everything that makes files, for what the target needs and nothing
//! else. Equal nodes are one node, so what two stages do alike is done once.

mod changes;
mod copy;
mod metadata;
mod names;
mod run;
mod scope;
mod stage;

use std::collections::BTreeSet;
use std::sync::Arc;

use oci_spec::image::Digest;
use rctr_engine::RemoteImage;
use rctr_engine::options::NetworkMode;
use rctr_registry_client::Platform;

use crate::dockerfile::{Dockerfile, RunMount, Span};
use crate::document::{Document, History};
use crate::options::BuildOptions;
use crate::progress::VertexId;
use crate::solve::Cancel;
use crate::{BuildError, Result};

pub use changes::apply_changes;
pub(crate) use scope::predefined;
pub(crate) use stage::absolute;
pub use stage::plan;

/// Index of a node in its [`Plan`].
pub type NodeId = usize;

/// What a build is to do.
#[derive(Debug)]
pub struct Plan {
    /// Every node comes after those it needs.
    pub nodes: Vec<Node>,
    /// What is to be made of them, for each platform of the build in its order.
    pub targets: Vec<Target>,
    /// The stages it needs, by number.
    pub stages: BTreeSet<usize>,
}

/// An image that is to be made.
#[derive(Debug)]
pub struct Target {
    /// What it is to run on.
    pub platform: Platform,
    /// The node whose files are the result.
    pub node: NodeId,
    /// The result's configuration, but for `rootfs`, `created` and the times of its own history.
    pub document: Document,
    /// What the target's instructions add to the base image's history.
    pub history: Vec<PlannedHistory>,
}

/// A history entry whose time is known when its node has been solved.
#[derive(Debug, Clone)]
pub struct PlannedHistory {
    /// The entry.
    pub entry: History,
    /// What made its layer.
    pub node: Option<NodeId>,
}

/// Something that makes files.
#[derive(Debug, Clone)]
pub struct Node {
    /// What it does.
    pub op: Op,
    /// `[build 2/5] RUN make`.
    pub name: String,
    /// Its place in the Dockerfile.
    pub span: Option<Span>,
    /// Do it even if the cache has it.
    pub no_cache: bool,
}

/// What a node does.
#[derive(Debug, Clone, PartialEq)]
pub enum Op {
    /// No files.
    Scratch,
    /// The layers of an image.
    Image(BaseImage),
    /// A command.
    Run(Box<Run>),
    /// Files copied from elsewhere.
    Copy(Box<Copy>),
    /// A directory.
    Mkdir {
        /// What it is made in.
        base: NodeId,
        /// Absolute.
        path: String,
        /// `user[:group]` it belongs to; empty is root.
        user: String,
    },
}

impl Op {
    /// The node whose files this one changes.
    pub fn base(&self) -> Option<NodeId> {
        match self {
            Op::Scratch | Op::Image(_) => None,
            Op::Run(run) => Some(run.base),
            Op::Copy(copy) => Some(copy.base),
            Op::Mkdir { base, .. } => Some(*base),
        }
    }

    /// The other nodes it needs.
    pub fn inputs(&self) -> Vec<NodeId> {
        let origins: Vec<&Origin> = match self {
            Op::Run(run) => run
                .mounts
                .iter()
                .filter_map(|m| m.origin.as_ref())
                .collect(),
            Op::Copy(copy) => vec![&copy.from],
            _ => Vec::new(),
        };
        origins
            .into_iter()
            .filter_map(|origin| match origin {
                Origin::Node(node) => Some(*node),
                Origin::Context(_) => None,
            })
            .collect()
    }
}

/// An image that is in the store, or at a registry.
#[derive(Debug, Clone)]
pub struct BaseImage {
    /// As it is shown: `docker.io/library/busybox:latest`.
    pub name: String,
    /// The image's record, with its layers.
    pub record: Arc<rctr_store::ImageRecord>,
    /// Its configuration.
    pub document: Arc<Document>,
    /// What its name stands for: digest of the index or manifest, if it is known.
    pub digest: Option<Digest>,
    /// Where its layers are, if they are not here.
    pub remote: Option<Arc<RemoteImage>>,
}

impl PartialEq for BaseImage {
    fn eq(&self, other: &Self) -> bool {
        self.record.id == other.record.id && self.name == other.name
    }
}

/// Where files come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// What another node made.
    Node(NodeId),
    /// A context: the main one has an empty name.
    Context(String),
}

/// RUN.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    /// What it runs in.
    pub base: NodeId,
    /// The command.
    pub args: Vec<String>,
    /// As the Dockerfile says it, for errors.
    pub shown: String,
    /// The file that `#!` heredocs are run from: name and content.
    pub script: Option<(String, String)>,
    /// `NAME=value`.
    pub env: Vec<String>,
    /// Proxies: given to the command, and nothing depends on them.
    pub proxies: Vec<String>,
    /// `user[:group]`.
    pub user: String,
    /// Absolute.
    pub working_dir: String,
    /// What the command is a program for.
    pub platform: Platform,
    /// Which network.
    pub network: NetworkMode,
    /// `--security=insecure`.
    pub insecure: bool,
    /// In the order they were written.
    pub mounts: Vec<PlannedMount>,
}

/// A mount of a RUN step.
#[derive(Debug, Clone, PartialEq)]
pub struct PlannedMount {
    /// What was written.
    pub mount: RunMount,
    /// What a bind or cache mount shows.
    pub origin: Option<Origin>,
}

/// COPY and ADD.
#[derive(Debug, Clone, PartialEq)]
pub struct Copy {
    /// What it changes.
    pub base: NodeId,
    /// Where the paths lie.
    pub from: Origin,
    /// What is copied.
    pub sources: Vec<CopySource>,
    /// Absolute, a trailing slash kept.
    pub destination: String,
    /// `user[:group]`.
    pub chown: Option<String>,
    /// Octal or symbolic.
    pub chmod: Option<String>,
    /// A layer of its own, whatever lies below.
    pub link: bool,
    /// Keep the directories of the sources.
    pub parents: bool,
    /// Patterns of what is left out.
    pub exclude: Vec<String>,
    /// ADD: digest of a URL's content, or commit of a repository.
    pub checksum: Option<String>,
    /// ADD: keep `.git`.
    pub keep_git_dir: bool,
    /// Local archives are unpacked (ADD), or downloaded ones, too.
    pub unpack: Unpack,
}

/// Which archives are unpacked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unpack {
    /// None: COPY.
    No,
    /// Those that are files of the origin: ADD.
    Local,
    /// All: `ADD --unpack`.
    All,
    /// None: `ADD --unpack=false`.
    Never,
}

/// One thing that is copied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CopySource {
    /// A path or pattern.
    Path(String),
    /// A file written in the Dockerfile.
    Inline {
        /// Its name.
        name: String,
        /// Its content.
        content: String,
    },
    /// ADD of a URL.
    Url(String),
    /// ADD of a git repository.
    Git(String),
}

/// Finds images. The planner asks; whoever calls it decides about registries.
pub trait Images: Sync {
    /// The image of this name for a platform; its layers may still be elsewhere.
    ///
    /// # Errors
    /// Whatever hinders it.
    fn find(&self, name: &str, platform: &Platform) -> Result<BaseImage>;

    /// Brings an image's layers into the store, telling of it in a line of the view.
    ///
    /// # Errors
    /// Whatever hinders it; [`BuildError::Cancelled`].
    fn fetch(&self, image: &BaseImage, vertex: VertexId, cancel: &Cancel) -> Result<()>;
}

/// What the planner works with.
pub struct Input<'a> {
    /// The file.
    pub file: &'a Dockerfile,
    /// What was asked for.
    pub options: &'a BuildOptions,
    /// Images.
    pub images: &'a dyn Images,
}

/// Nodes being collected.
#[derive(Debug, Default)]
pub(crate) struct Graph {
    nodes: Vec<Node>,
}

impl Graph {
    /// The node's id: of an equal one if there is one.
    fn add(&mut self, node: Node) -> NodeId {
        let equal = |other: &Node| other.op == node.op && other.no_cache == node.no_cache;
        match self.nodes.iter().position(equal) {
            Some(id) => id,
            None => {
                self.nodes.push(node);
                self.nodes.len() - 1
            }
        }
    }
}

fn at(span: Span, reason: impl Into<String>) -> BuildError {
    BuildError::Instruction {
        span: Some(span),
        reason: reason.into(),
    }
}
