//! What results can be called before they are there: digests of all that a node is made of, down to images and files.
//!
//! A step's own keys tell of the content of what it needs, so that content must be there first. By the definitions of
//! other stages a step is found in the cache although nobody has, or makes, what those stages make.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock};

use super::{Solver, lock};
use crate::plan::{NodeId, Op, Origin};

/// The definitions of a plan's nodes.
pub(super) struct Definitions {
    known: Vec<OnceLock<Option<String>>>,
    /// What was read of contexts, by node.
    contents: Mutex<HashMap<NodeId, Vec<String>>>,
    /// A context changed while it was built.
    unsettled: AtomicBool,
}

impl Definitions {
    pub(super) fn of(nodes: usize) -> Definitions {
        Definitions {
            known: std::iter::repeat_with(OnceLock::new).take(nodes).collect(),
            contents: Mutex::default(),
            unsettled: AtomicBool::new(false),
        }
    }

    /// Notes what a node reads of a context.
    pub(super) fn note(&self, node: NodeId, contents: &[String]) {
        let mut all = lock(&self.contents);
        let first = all.entry(node).or_insert_with(|| contents.to_vec());
        if first != contents {
            self.unsettled.store(true, Ordering::Relaxed);
        }
    }

    /// Whether what was made is what the definitions say.
    pub(super) fn hold(&self) -> bool {
        !self.unsettled.load(Ordering::Relaxed)
    }
}

impl Solver<'_> {
    /// What stands for a node's result; `None` where only doing it tells.
    pub(super) fn definition(&self, node: NodeId) -> Option<&str> {
        // From the lowest, for a stage may have more steps than a thread's stack has room for.
        for link in self.chain(node).into_iter().rev() {
            self.definitions.known[link].get_or_init(|| self.define(link));
        }
        self.definitions.known[node].get()?.as_deref()
    }

    /// The same for what is more than an image, whose content is known anyway.
    pub(super) fn stage_definition(&self, node: NodeId) -> Option<&str> {
        match self.plan.nodes[node].op {
            Op::Scratch | Op::Image(_) => None,
            _ => self.definition(node),
        }
    }

    fn define(&self, id: NodeId) -> Option<String> {
        let node = &self.plan.nodes[id];
        if node.no_cache {
            return None;
        }
        let work = self.work(id, &|| ());
        let key = match &node.op {
            Op::Scratch => return Some("scratch".to_owned()),
            Op::Image(image) => {
                let top = image.record.layers.last();
                return Some(top.map_or("scratch".to_owned(), |top| top.chain_id.to_string()));
            }
            Op::Mkdir { base, path, user } => work.mkdir_key(self.definition(*base)?, path, user),
            Op::Run(run) => {
                let shown = run.mounts.iter().map(|mount| match &mount.origin {
                    Some(Origin::Node(node)) => self.definition(*node).map(Some),
                    _ => Some(None),
                });
                let shown = shown.collect::<Option<Vec<_>>>()?;
                work.run_key(run, self.definition(run.base)?, &shown)
            }
            Op::Copy(copy) => {
                let origin = match &copy.from {
                    Origin::Node(node) => vec![self.definition(*node)?.to_owned()],
                    Origin::Context(_) => work.contents(copy)?,
                };
                work.copy_key(copy, self.definition(copy.base)?)
                    .field("origin", &origin)
            }
        };
        Some(key.digest())
    }

    /// Whether a node is in the cache whatever it is put upon.
    pub(super) fn is_known(&self, id: NodeId) -> bool {
        let node = &self.plan.nodes[id];
        let Op::Copy(copy) = &node.op else {
            return false;
        };
        let Origin::Node(from) = &copy.from else {
            return false;
        };
        if node.no_cache || !copy.stands_alone() {
            return false;
        }
        let Some(defined) = self.stage_definition(*from) else {
            return false;
        };
        let work = self.work(id, &|| ());
        let key = work.copy_key(copy, "").field("defined", defined).digest();
        let here = self.engine.store().cache_find(&key);
        here.is_ok_and(|entry| entry.is_some()) || self.imports.have(&key)
    }
}
