//! One node at a time: its result from the cache, or made.

use std::cell::Cell;
use std::os::fd::AsFd;

use oci_spec::image::Digest;
use rctr_store::{BuildStep, CommitOptions, NewCacheEntry};

use super::key::Key;
use super::turn::Turn;
use super::{Solved, Solver};
use crate::files::{self, Tree};
use crate::plan::{Node, NodeId, Op};
use crate::progress::{Event, VertexId};
use crate::{BuildError, Result};

/// What looking for a result gives.
pub(super) enum HitOrTurn {
    Hit(Solved),
    Turn(Turn),
}

/// One node being solved.
pub(super) struct Work<'s> {
    pub(super) solver: &'s Solver<'s>,
    pub(super) node: &'s Node,
    pub(super) id: NodeId,
    pub(super) vertex: VertexId,
    started: Cell<bool>,
    /// To be called before something is made.
    ahead: &'s dyn Fn(),
}

impl<'s> Work<'s> {
    pub(super) fn new(solver: &'s Solver<'s>, id: NodeId, ahead: &'s dyn Fn()) -> Work<'s> {
        Work {
            solver,
            node: &solver.plan.nodes[id],
            id,
            vertex: solver.first_vertex + id,
            started: Cell::new(false),
            ahead,
        }
    }
}

impl Work<'_> {
    pub(super) fn solve(&self) -> Result<Solved> {
        match &self.node.op {
            Op::Scratch => Ok(Solved::default()),
            Op::Image(image) => {
                if image.remote.is_none() {
                    self.cached();
                    self.solver.remotes.set_told(self.id);
                }
                let layers = image.record.layers.clone();
                let chain_ids: Vec<Digest> = layers.iter().map(|l| l.chain_id.clone()).collect();
                self.solver.lease.extend(&chain_ids)?;
                Ok(Solved {
                    layers,
                    created: None,
                    image: Some(self.id),
                })
            }
            Op::Run(run) => self.run(run),
            Op::Copy(copy) => self.copy(copy),
            Op::Mkdir { base, path, user } => self.mkdir(*base, path, user),
        }
    }

    fn mkdir(&self, base: NodeId, path: &str, user: &str) -> Result<Solved> {
        let base = self.solver.input(base)?;
        let key = self.mkdir_key(base.identity(), path, user).digest();
        let _turn = match self.hit_or_turn(&key, &base)? {
            HitOrTurn::Hit(hit) => return Ok(hit),
            HitOrTurn::Turn(turn) => turn,
        };
        let step = self.begin(&base)?;
        let root = self.solver.runner.mount_writable(
            &base.chain_ids(),
            step.upper(),
            step.work(),
            None,
        )?;
        let again = root
            .try_clone()
            .map_err(BuildError::io("open", step.upper()))?;
        let owner = files::parse_owner(&Tree::rootfs(again), user)?;
        files::make_dirs(root.as_fd(), path, owner, None)?;
        drop(root);
        self.commit(step, &base, &key, "regular")
    }

    pub(super) fn mkdir_key(&self, base: &str, path: &str, user: &str) -> Key {
        self.key("mkdir")
            .field("base", base)
            .field("path", path)
            .field("user", user)
    }

    /// A key that begins with what every key has.
    pub(super) fn key(&self, kind: &str) -> Key {
        Key::new(kind).field("clamp", &self.clamp())
    }

    /// The cached result under a key, upon `base`.
    pub(super) fn hit(&self, key: &str, base: &Solved) -> Result<Option<Solved>> {
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
            self.solver.fetch(base)?;
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
        if !imports.have(key) {
            return Ok(None);
        }
        self.solver.fetch(base)?;
        let Some(imported) = imports.fetch(key, base.top(), lease, &warn)? else {
            return Ok(None);
        };
        let chain_id = &imported.layer.chain_id;
        for (key, created) in &imported.keys {
            self.remember([key.as_str()], chain_id, *created)?;
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
    pub(super) fn hit_or_turn(&self, key: &str, base: &Solved) -> Result<HitOrTurn> {
        if let Some(hit) = self.hit(key, base)? {
            return Ok(HitOrTurn::Hit(hit));
        }
        (self.ahead)();
        let root = self.solver.engine.store().root();
        let (turn, waited) = Turn::take(root, key, self.solver.cancel)?;
        if waited && let Some(hit) = self.hit(key, base)? {
            return Ok(HitOrTurn::Hit(hit));
        }
        self.solver.fetch(base)?;
        self.start();
        Ok(HitOrTurn::Turn(turn))
    }

    pub(super) fn begin(&self, base: &Solved) -> Result<BuildStep> {
        Ok(self.solver.engine.store().begin_build_step(base.top())?)
    }

    /// Makes a layer of what a step changed, remembered under a key.
    pub(super) fn commit(
        &self,
        step: BuildStep,
        base: &Solved,
        key: &str,
        kind: &str,
    ) -> Result<Solved> {
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

    /// More keys for a result that the cache has already.
    pub(super) fn remember<'k>(
        &self,
        keys: impl IntoIterator<Item = &'k str>,
        chain_id: &Digest,
        created: i64,
    ) -> Result<()> {
        let entries: Vec<_> = keys
            .into_iter()
            .map(|key| NewCacheEntry {
                key,
                kind: "regular",
                description: &self.node.name,
            })
            .collect();
        if entries.is_empty() {
            return Ok(());
        }
        let store = self.solver.engine.store();
        Ok(store.write(|tx| {
            let mut entries = entries.iter();
            entries.try_for_each(|entry| tx.cache_put_as_of(entry, chain_id, created))
        })?)
    }

    /// The same for a result as a whole.
    pub(super) fn remember_also(&self, keys: &[String], solved: &Solved) -> Result<()> {
        match (solved.top(), solved.created) {
            (Some(layer), Some(created)) => {
                self.remember(keys.iter().map(String::as_str), layer, created)
            }
            _ => Ok(()),
        }
    }

    /// To be called before something is made: what else is needed is then begun, too.
    pub(super) fn ahead(&self) {
        (self.ahead)();
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

    pub(super) fn event(&self, event: Event<'_>) {
        if self.shown() {
            self.solver.progress.event(event);
        }
    }

    pub(super) fn start(&self) {
        if self.started.replace(true) {
            return;
        }
        self.event(Event::Started {
            vertex: self.vertex,
            name: &self.node.name,
        });
    }

    pub(super) fn cached(&self) {
        self.event(Event::Cached {
            vertex: self.vertex,
            name: &self.node.name,
        });
    }

    pub(super) fn done(&self) {
        self.event(Event::Done {
            vertex: self.vertex,
            error: None,
        });
    }

    pub(super) fn failed(&self, error: &BuildError) {
        // What was not begun cannot be given up.
        if !self.started.get() && matches!(error, BuildError::Cancelled) {
            return;
        }
        self.start();
        self.event(Event::Done {
            vertex: self.vertex,
            error: Some(&error.to_string()),
        });
    }
}
