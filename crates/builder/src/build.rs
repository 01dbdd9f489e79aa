//! A build from end to end.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use oci_spec::image::Digest;
use rctr_engine::Engine;

use crate::context::Context;
use crate::dockerfile::{self, Span};
use crate::export;
use crate::images::ImageFinder;
use crate::options::{BuildOptions, NamedContext};
use crate::plan::{Input, plan};
use crate::progress::{Event, Progress, VertexId};
use crate::solve::{Cancel, Solver};
use crate::{BuildError, Result};

/// What a build made.
#[derive(Debug, Clone)]
pub struct Built {
    /// Digest of the image's configuration: its id.
    pub image: Digest,
    /// Digest of its manifest.
    pub manifest: Digest,
    /// Words of warning about the Dockerfile.
    pub warnings: Vec<dockerfile::Warning>,
}

/// A build that failed, with what is needed to show where.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
pub struct Failure {
    /// Why.
    #[source]
    pub error: Box<BuildError>,
    /// The Dockerfile's name and text, once it has been read.
    pub file: Option<(String, String)>,
}

impl Failure {
    /// The Dockerfile's name and the place in it.
    pub fn place(&self) -> Option<(&str, &str, Span)> {
        let (name, text) = self.file.as_ref()?;
        Some((name, text, self.error.span()?))
    }
}

/// Builds an image, gives it its names, and says what it is; stops with [`BuildError::Cancelled`] when `cancel` says so.
///
/// Mounts things where only this thread, those it starts and their children see them: call it from a thread that has
/// nothing else to do with mounts.
///
/// # Errors
/// [`Failure`]; nothing of the image is then left but steps in the cache.
pub fn build(
    engine: &Engine,
    options: &BuildOptions,
    progress: &dyn Progress,
    cancel: &Cancel,
) -> Result<Built, Failure> {
    let mut file = None;
    run(engine, options, progress, cancel, &mut file).map_err(|error| Failure {
        error: Box::new(error),
        file,
    })
}

fn run(
    engine: &Engine,
    options: &BuildOptions,
    progress: &dyn Progress,
    cancel: &Cancel,
    file: &mut Option<(String, String)>,
) -> Result<Built> {
    leave_host_mounts()?;
    let scratch = engine.store().begin_build_step(None)?;
    let mut view = View { progress, next: 0 };

    let mut context = view.step("[internal] load build context", || {
        Context::open(&options.context, engine.store().root(), scratch.dir())
    })?;
    let (name, text) = view.step("[internal] load build definition from Dockerfile", || {
        context.dockerfile(&options.file)
    })?;
    *file = Some((name.clone(), text.clone()));
    let parsed = dockerfile::parse(&text)?;
    view.step("[internal] load .dockerignore", || {
        context.load_ignore(&name)
    })?;

    let mut trees = BTreeMap::new();
    trees.insert(String::new(), Arc::new(context.tree()));
    for (name, named) in &options.contexts {
        if let NamedContext::Files(location) = named {
            let title = format!("[context {name}] load");
            let mut opened = view.step(&title, || {
                Context::open(location, engine.store().root(), scratch.dir())
            })?;
            opened.load_ignore("")?;
            trees.insert(name.clone(), Arc::new(opened.tree()));
        }
    }

    let finder = ImageFinder::new(engine, options, progress, view.next);
    let plan = plan(&Input {
        file: &parsed.file,
        options,
        images: &finder,
    })?;
    let first = finder.next_vertex();
    view.next = first + plan.nodes.len();
    let solver = Solver::new(
        engine,
        &plan,
        options,
        &trees,
        progress,
        first,
        cancel,
        scratch.dir(),
    )?;
    let solved = solver.solve_target()?;
    trees.values().for_each(|tree| tree.remember_hashes());
    solver.touch_cache()?;
    let document = export::document(&solver, &solved);
    let (image, manifest) = export::to_store(&mut view, engine, options, &solved, &document)?;
    Ok(Built {
        image,
        manifest,
        warnings: parsed.warnings,
    })
}

/// The lines of the view that are no steps of the plan.
pub(crate) struct View<'a> {
    progress: &'a dyn Progress,
    next: VertexId,
}

impl View<'_> {
    /// Does something under a line of its own.
    pub(crate) fn step<T, E: std::fmt::Display>(
        &mut self,
        name: &str,
        work: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, E> {
        self.line(name, |_| work())
    }

    /// The same for work that tells of its parts.
    pub(crate) fn line<T, E: std::fmt::Display>(
        &mut self,
        name: &str,
        work: impl FnOnce(&dyn Fn(&str)) -> Result<T, E>,
    ) -> Result<T, E> {
        let vertex = self.next;
        self.next += 1;
        self.progress.event(Event::Started { vertex, name });
        let status = |text: &str| {
            self.progress.event(Event::Status {
                vertex,
                text,
                done: Some(std::time::Duration::ZERO),
            });
        };
        let result = work(&status);
        let error = result.as_ref().err().map(ToString::to_string);
        self.progress.event(Event::Done {
            vertex,
            error: error.as_deref(),
        });
        result
    }
}

/// Mounts of this build are not the host's; the host's still arrive here.
fn leave_host_mounts() -> Result<()> {
    use rustix::mount::{MountPropagationFlags, mount_change};
    use rustix::thread::{UnshareFlags, unshare_unsafe};
    let failed = |e: rustix::io::Errno| {
        BuildError::io("make private the mounts of", Path::new("/"))(e.into())
    };
    // SAFETY: the file descriptor table stays shared; nothing else relies on the mount namespace being the process's.
    unsafe { unshare_unsafe(UnshareFlags::NEWNS) }.map_err(failed)?;
    let flags = MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC;
    mount_change("/", flags).map_err(failed)
}
