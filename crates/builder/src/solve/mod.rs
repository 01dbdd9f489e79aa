//! Doing what a plan says: each node once, side by side where they do not wait for one another, and not at all where
//! the cache has the result.

mod agent;
mod cancel;
mod copy;
mod definition;
mod emulation;
mod key;
mod mounts;
mod remote;
mod run;
mod stubs;
mod turn;
mod work;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::Scope;

use oci_spec::image::{Digest, MediaType};
use rctr_engine::{Engine, StepRunner};
use rctr_store::{BuiltLayer, ImageLayer, Lease};

use crate::build::line;
use crate::cache::Imports;
use crate::files::Tree;
use crate::options::BuildOptions;
use crate::plan::{Images, NodeId, Op, Plan};
use crate::progress::{Progress, VertexId};
use crate::{BuildError, Result};

pub use cancel::Cancel;
pub(crate) use copy::copy_tree;
use definition::Definitions;
use remote::Remotes;
use work::Work;

/// Files that a node has made, as layers.
#[derive(Debug, Clone, Default)]
pub(crate) struct Solved {
    /// Base first.
    pub(crate) layers: Vec<ImageLayer>,
    /// When the topmost was made, if a build made it: seconds since 1970.
    pub(crate) created: Option<i64>,
    /// The image at the bottom, whose layers may still be at a registry.
    image: Option<NodeId>,
}

impl Solved {
    pub(crate) fn chain_ids(&self) -> Vec<Digest> {
        self.layers.iter().map(|l| l.chain_id.clone()).collect()
    }

    fn top(&self) -> Option<&Digest> {
        self.layers.last().map(|l| &l.chain_id)
    }

    fn with(&self, layer: &BuiltLayer, created: i64) -> Solved {
        let mut layers = self.layers.clone();
        layers.push(ImageLayer {
            // Nothing is packed before it leaves this machine.
            blob: layer.diff_id.clone(),
            size: layer.archive_size,
            media_type: MediaType::ImageLayer.to_string(),
            diff_id: layer.diff_id.clone(),
            chain_id: layer.chain_id.clone(),
        });
        Solved {
            layers,
            created: Some(created),
            image: self.image,
        }
    }

    /// What stands for the content in keys.
    fn identity(&self) -> &str {
        self.top().map_or("scratch", AsRef::as_ref)
    }
}

/// An entry of the cache that was a hit.
struct Used {
    key: String,
    /// The layer it gave; not the entry's own where that was put upon another base.
    chain_id: Digest,
    created: i64,
}

/// What the solver works with.
pub(crate) struct Solver<'a> {
    pub(crate) engine: &'a Engine,
    pub(crate) plan: &'a Plan,
    pub(crate) options: &'a BuildOptions,
    /// The contexts' files, by name; the main one has an empty name.
    pub(crate) contexts: &'a BTreeMap<String, Arc<Tree>>,
    pub(crate) progress: &'a dyn Progress,
    /// Number of the first node's line in the view.
    pub(crate) first_vertex: VertexId,
    pub(crate) runner: StepRunner<'a>,
    pub(crate) lease: Lease,
    pub(crate) cancel: &'a Cancel,
    /// A directory of this build's own.
    pub(crate) scratch: &'a Path,
    /// Reading the context has been told of.
    context_told: AtomicBool,
    cells: Vec<OnceLock<Option<Arc<Solved>>>>,
    failure: Mutex<Option<BuildError>>,
    /// Where results may be had that are not here.
    imports: &'a Imports<'a>,
    /// Where base images come from.
    images: &'a dyn Images,
    /// Entries of the cache that were hits.
    used: Mutex<Vec<Used>>,
    definitions: Definitions,
    remotes: Remotes,
}

impl<'a> Solver<'a> {
    #[allow(clippy::too_many_arguments)]
    pub(crate) fn new(
        engine: &'a Engine,
        plan: &'a Plan,
        options: &'a BuildOptions,
        contexts: &'a BTreeMap<String, Arc<Tree>>,
        imports: &'a Imports<'a>,
        images: &'a dyn Images,
        progress: &'a dyn Progress,
        first_vertex: VertexId,
        cancel: &'a Cancel,
        scratch: &'a Path,
    ) -> Result<Solver<'a>> {
        Ok(Solver {
            engine,
            plan,
            options,
            contexts,
            progress,
            first_vertex,
            runner: engine.step_runner(scratch)?,
            lease: engine.store().lease([])?,
            cancel,
            scratch,
            context_told: AtomicBool::new(false),
            cells: plan.nodes.iter().map(|_| OnceLock::new()).collect(),
            failure: Mutex::default(),
            imports,
            images,
            used: Mutex::default(),
            definitions: Definitions::of(plan.nodes.len()),
            remotes: Remotes::of(plan.nodes.len()),
        })
    }

    /// Solves the targets, in their order.
    pub(crate) fn solve_targets(&self) -> Result<Vec<Arc<Solved>>> {
        let targets = &self.plan.targets;
        let solved: Option<Vec<_>> = match &targets[..] {
            [one] => self.solve(one.node).map(|solved| vec![solved]),
            several => std::thread::scope(|scope| {
                let solve = |node| scope.spawn(move || self.solve(node));
                let under_way: Vec<_> = several.iter().map(|target| solve(target.node)).collect();
                let solved = under_way.into_iter().map(|thread| thread.join().ok()?);
                solved.collect()
            }),
        };
        let solved = solved.ok_or_else(|| self.take_failure())?;
        for solved in &solved {
            self.fetch(solved).map_err(|_| self.take_failure())?;
        }
        self.tell_of_unneeded();
        Ok(solved)
    }

    /// What nobody had to do is as good as cached.
    fn tell_of_unneeded(&self) {
        for (id, cell) in self.cells.iter().enumerate() {
            let done = match cell.get() {
                None => false,
                Some(_) => !matches!(self.plan.nodes[id].op, Op::Image(_)) || self.remotes.told(id),
            };
            if !done {
                self.work(id, &|| ()).cached();
            }
        }
    }

    /// Does what reads files of the context; the first time under a line of its own, whose number follows the nodes'.
    fn reading_context<T>(&self, read: impl FnOnce(&dyn Fn(&str, u64)) -> Result<T>) -> Result<T> {
        if self.context_told.swap(true, Ordering::Relaxed) {
            return read(&|_, _| {});
        }
        let vertex = self.first_vertex + self.plan.nodes.len();
        line(self.progress, vertex, "[internal] load build context", read)
    }

    fn used(&self, key: &str, chain_id: &Digest, created: i64) {
        lock(&self.used).push(Used {
            key: key.to_owned(),
            chain_id: chain_id.clone(),
            created,
        });
    }

    /// Keys that led to a layer in this build, with the time each result was made.
    pub(crate) fn keys_of(&self, chain_id: &Digest) -> BTreeMap<String, i64> {
        let used = lock(&self.used);
        let led = used.iter().filter(|used| used.chain_id == *chain_id);
        led.map(|used| (used.key.clone(), used.created)).collect()
    }

    /// What all nodes that were needed have made.
    pub(crate) fn all_made(&self) -> impl Iterator<Item = &Solved> {
        self.cells.iter().filter_map(|cell| cell.get()?.as_deref())
    }

    /// Tells the cache which entries were of use.
    pub(crate) fn touch_cache(&self) -> Result<()> {
        let used = lock(&self.used);
        match used.is_empty() {
            true => Ok(()),
            false => Ok(self
                .engine
                .store()
                .cache_touch(used.iter().map(|used| used.key.as_str()))?),
        }
    }

    /// What a node has made, if it has been solved.
    pub(crate) fn made(&self, node: NodeId) -> Option<&Solved> {
        self.cells[node].get()?.as_deref()
    }

    fn take_failure(&self) -> BuildError {
        let mut failure = lock(&self.failure);
        failure.take().unwrap_or(BuildError::Cancelled)
    }

    /// The first failure counts; everything else under way is stopped.
    fn fail(&self, error: BuildError) {
        let mut failure = lock(&self.failure);
        if failure.is_none() && !matches!(error, BuildError::Cancelled) {
            *failure = Some(error);
        }
        drop(failure);
        self.cancel.cancel();
    }

    /// Solves a node with all it needs; `None` once something failed.
    ///
    /// The bases below it are solved in this thread, from the lowest. As soon as one of them has to be made, what else it
    /// and those above it need is made, too, in threads of its own, so that stages are built side by side.
    fn solve(&self, node: NodeId) -> Option<Arc<Solved>> {
        let chain = self.chain(node);
        let begun = RefCell::new(Vec::new());
        std::thread::scope(|scope| {
            let mut solved = None;
            for (position, &link) in chain.iter().enumerate().rev() {
                let ahead = || self.begin_inputs(scope, &chain[..=position], &begun);
                if !self.may_skip() {
                    ahead();
                }
                solved = self.cells[link]
                    .get_or_init(|| self.solve_one(link, &ahead))
                    .clone();
                solved.as_ref()?;
            }
            solved
        })
    }

    /// The node and all it is based upon, itself first.
    fn chain(&self, node: NodeId) -> Vec<NodeId> {
        let base = |node: &NodeId| self.plan.nodes[*node].op.base();
        std::iter::successors(Some(node), base).collect()
    }

    /// Begins what some nodes need besides their bases.
    fn begin_inputs<'s>(
        &'s self,
        scope: &'s Scope<'s, '_>,
        nodes: &[NodeId],
        begun: &RefCell<Vec<NodeId>>,
    ) {
        for &node in nodes.iter().rev() {
            if self.may_skip() && self.is_known(node) {
                continue;
            }
            for input in self.plan.nodes[node].op.inputs() {
                if !begun.borrow().contains(&input) {
                    begun.borrow_mut().push(input);
                    scope.spawn(move || self.prepare(input));
                }
            }
        }
    }

    /// Solves what is going to be looked into.
    fn prepare(&self, node: NodeId) {
        if let Some(solved) = self.solve(node)
            && matches!(self.plan.nodes[node].op, Op::Image(_))
        {
            // Who needs it is told of a failure.
            let _ = self.fetch(&solved);
        }
    }

    /// Whether what is not needed for the result may be left out; not if its cache is to be kept.
    fn may_skip(&self) -> bool {
        !self.options.cache_to.iter().any(|export| export.all)
    }

    /// A node's input, solved by whoever comes first.
    fn input(&self, node: NodeId) -> Result<Arc<Solved>> {
        self.solve(node).ok_or(BuildError::Cancelled)
    }

    fn work<'s>(&'s self, id: NodeId, ahead: &'s dyn Fn()) -> Work<'s> {
        Work::new(self, id, ahead)
    }

    fn solve_one(&self, id: NodeId, ahead: &dyn Fn()) -> Option<Arc<Solved>> {
        if self.cancel.is_cancelled() {
            return None;
        }
        let work = self.work(id, ahead);
        match work.solve() {
            Ok(solved) => Some(Arc::new(solved)),
            Err(error) => {
                let error = match self.plan.nodes[id].span {
                    Some(span) => error.at(span),
                    None => error,
                };
                work.failed(&error);
                self.fail(error);
                None
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
