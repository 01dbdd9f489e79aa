//! Doing what a plan says: each node once, side by side where they do not wait for one another, and not at all where
//! the cache has the result.

mod cancel;
mod copy;
mod emulation;
mod key;
mod mounts;
mod run;
mod stubs;
mod turn;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use oci_spec::image::{Digest, MediaType};
use rctr_engine::{Engine, StepRunner};
use rctr_store::{BuildStep, BuiltLayer, CommitOptions, ImageLayer, Lease, NewCacheEntry};

use crate::build::line;
use crate::cache::Imports;
use crate::files::{self, Tree};
use crate::options::BuildOptions;
use crate::plan::{Node, NodeId, Op, Plan};
use crate::progress::{Event, Progress, VertexId};
use crate::{BuildError, Result};

pub use cancel::Cancel;
pub(crate) use copy::copy_tree;
use key::Key;
use turn::Turn;

/// Files that a node has made, as layers.
#[derive(Debug, Clone, Default)]
pub(crate) struct Solved {
    /// Base first.
    pub(crate) layers: Vec<ImageLayer>,
    /// When the topmost was made, if a build made it: seconds since 1970.
    pub(crate) created: Option<i64>,
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
    /// Entries of the cache that were hits.
    used: Mutex<Vec<Used>>,
}

impl<'a> Solver<'a> {
    #[allow(clippy::too_many_arguments)]
    pub(crate) fn new(
        engine: &'a Engine,
        plan: &'a Plan,
        options: &'a BuildOptions,
        contexts: &'a BTreeMap<String, Arc<Tree>>,
        imports: &'a Imports<'a>,
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
            used: Mutex::default(),
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
        solved.ok_or_else(|| self.take_failure())
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
    /// The bases below it are solved in this thread, from the lowest; what else they need in threads of its own, so
    /// that stages are built side by side.
    fn solve(&self, node: NodeId) -> Option<Arc<Solved>> {
        let mut chain = vec![node];
        while let Some(base) = self.plan.nodes[*chain.last()?].op.base() {
            chain.push(base);
        }
        std::thread::scope(|scope| {
            let mut begun = Vec::new();
            for &link in &chain {
                for input in self.plan.nodes[link].op.inputs() {
                    if !begun.contains(&input) {
                        begun.push(input);
                        scope.spawn(move || self.solve(input));
                    }
                }
            }
            let mut solved = None;
            for &link in chain.iter().rev() {
                solved = self.cells[link]
                    .get_or_init(|| self.solve_one(link))
                    .clone();
                solved.as_ref()?;
            }
            solved
        })
    }

    /// A node's input, solved by whoever comes first.
    fn input(&self, node: NodeId) -> Result<Arc<Solved>> {
        self.solve(node).ok_or(BuildError::Cancelled)
    }

    fn solve_one(&self, id: NodeId) -> Option<Arc<Solved>> {
        if self.cancel.is_cancelled() {
            return None;
        }
        let node = &self.plan.nodes[id];
        let work = Work {
            solver: self,
            node,
            vertex: self.first_vertex + id,
            started: Cell::new(false),
        };
        match work.solve() {
            Ok(solved) => Some(Arc::new(solved)),
            Err(error) => {
                let error = match node.span {
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

/// What looking for a result gives.
enum HitOrTurn {
    Hit(Solved),
    Turn(Turn),
}

/// One node being solved.
struct Work<'s> {
    solver: &'s Solver<'s>,
    node: &'s Node,
    vertex: VertexId,
    started: Cell<bool>,
}

impl Work<'_> {
    fn solve(&self) -> Result<Solved> {
        match &self.node.op {
            Op::Scratch => Ok(Solved::default()),
            Op::Image(image) => {
                self.cached();
                let layers = image.record.layers.clone();
                let chain_ids: Vec<Digest> = layers.iter().map(|l| l.chain_id.clone()).collect();
                self.solver.lease.extend(&chain_ids)?;
                Ok(Solved {
                    layers,
                    created: None,
                })
            }
            Op::Run(run) => self.run(run),
            Op::Copy(copy) => self.copy(copy),
            Op::Mkdir { base, path, user } => self.mkdir(*base, path, user),
        }
    }

    fn mkdir(&self, base: NodeId, path: &str, user: &str) -> Result<Solved> {
        let base = self.solver.input(base)?;
        let key = self
            .key("mkdir")
            .field("base", base.identity())
            .field("path", path)
            .field("user", user);
        let key = key.digest();
        let _turn = match self.hit_or_turn(&key, &base)? {
            HitOrTurn::Hit(hit) => return Ok(hit),
            HitOrTurn::Turn(turn) => turn,
        };
        let step = self.begin(&base)?;
        let root =
            self.solver
                .runner
                .mount_writable(&base.chain_ids(), step.upper(), step.work())?;
        let again = root
            .try_clone()
            .map_err(BuildError::io("open", step.upper()))?;
        let owner = files::parse_owner(&Tree::rootfs(again), user)?;
        files::make_dirs(root.as_fd(), path, owner, None)?;
        drop(root);
        self.commit(step, &base, &key, "regular")
    }

    /// A key that begins with what every key has.
    fn key(&self, kind: &str) -> Key {
        Key::new(kind).field("clamp", &self.clamp())
    }

    /// The cached result under a key, upon `base`.
    fn hit(&self, key: &str, base: &Solved) -> Result<Option<Solved>> {
        let store = self.solver.engine.store();
        if self.node.no_cache {
            return Ok(None);
        }
        let Some(entry) = store.cache_find(key)? else {
            return self.imported(key, base);
        };
        self.solver.lease.extend([&entry.chain_id])?;
        let Some(mut layer) = store.built_layer(&entry.chain_id)? else {
            return Ok(None);
        };
        if layer.chain_id != rctr_store::chain_id(base.top(), &layer.diff_id) {
            // COPY --link: the same files upon another base.
            let options = CommitOptions {
                lease: Some(&self.solver.lease),
                ..CommitOptions::default()
            };
            layer = store.relink_layer(&entry.chain_id, base.top(), options)?;
        }
        self.solver.used(&entry.key, &layer.chain_id, entry.created);
        self.cached();
        Ok(Some(base.with(&layer, entry.created)))
    }

    /// The result under a key that another machine has kept; it is this one's from now on.
    fn imported(&self, key: &str, base: &Solved) -> Result<Option<Solved>> {
        let (store, lease) = (self.solver.engine.store(), &self.solver.lease);
        let warn = |text: &str| {
            self.start();
            self.event(Event::Warning {
                vertex: self.vertex,
                text,
            });
        };
        let imports = self.solver.imports;
        let Some(imported) = imports.fetch(key, base.top(), lease, &warn)? else {
            return Ok(None);
        };
        let chain_id = &imported.layer.chain_id;
        for (key, created) in &imported.keys {
            self.remember(key, chain_id, *created)?;
        }
        let created = imported.keys.iter().find(|(known, _)| known == key);
        let created = created.map_or_else(crate::time::now, |(_, created)| *created);
        let Some(layer) = store.built_layer(chain_id)? else {
            return Ok(None);
        };
        self.solver.used(key, chain_id, created);
        self.cached();
        Ok(Some(base.with(&layer, created)))
    }

    /// As [`hit`](Self::hit), after any other build that makes the same result at this moment. Without one it is for
    /// the caller to make, before letting go of the turn.
    fn hit_or_turn(&self, key: &str, base: &Solved) -> Result<HitOrTurn> {
        if let Some(hit) = self.hit(key, base)? {
            return Ok(HitOrTurn::Hit(hit));
        }
        let root = self.solver.engine.store().root();
        let (turn, waited) = Turn::take(root, key, self.solver.cancel)?;
        if waited && let Some(hit) = self.hit(key, base)? {
            return Ok(HitOrTurn::Hit(hit));
        }
        self.start();
        Ok(HitOrTurn::Turn(turn))
    }

    fn begin(&self, base: &Solved) -> Result<BuildStep> {
        Ok(self.solver.engine.store().begin_build_step(base.top())?)
    }

    /// Makes a layer of what a step changed, remembered under a key.
    fn commit(&self, step: BuildStep, base: &Solved, key: &str, kind: &str) -> Result<Solved> {
        let store = self.solver.engine.store();
        let layer = step.commit(CommitOptions {
            clamp_mtime: self.clamp(),
            cache: Some(NewCacheEntry {
                key,
                kind,
                description: &self.node.name,
            }),
            lease: Some(&self.solver.lease),
        })?;
        let entry = store.cache_find(key)?;
        let created = entry.map_or_else(crate::time::now, |entry| entry.created);
        self.done();
        Ok(base.with(&layer, created))
    }

    /// Another key for a result that the cache has already.
    fn remember(&self, key: &str, chain_id: &Digest, created: i64) -> Result<()> {
        let entry = NewCacheEntry {
            key,
            kind: "regular",
            description: &self.node.name,
        };
        let store = self.solver.engine.store();
        Ok(store.write(|tx| tx.cache_put_as_of(&entry, chain_id, created))?)
    }

    /// What `rewrite-timestamp` says.
    fn clamp(&self) -> Option<i64> {
        let options = self.solver.options;
        options.epoch.filter(|_| options.rewrite_timestamps)
    }

    /// Nodes without a name are nobody's business.
    fn shown(&self) -> bool {
        !self.node.name.is_empty()
    }

    fn event(&self, event: Event<'_>) {
        if self.shown() {
            self.solver.progress.event(event);
        }
    }

    fn start(&self) {
        if self.started.replace(true) {
            return;
        }
        self.event(Event::Started {
            vertex: self.vertex,
            name: &self.node.name,
        });
    }

    fn cached(&self) {
        self.event(Event::Cached {
            vertex: self.vertex,
            name: &self.node.name,
        });
    }

    fn done(&self) {
        self.event(Event::Done {
            vertex: self.vertex,
            error: None,
        });
    }

    fn failed(&self, error: &BuildError) {
        self.start();
        self.event(Event::Done {
            vertex: self.vertex,
            error: Some(&error.to_string()),
        });
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
