//! A build from end to end.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use oci_spec::image::Digest;
use rctr_engine::Engine;

use crate::attest::Facts;
use crate::cache::{self, Imports};
use crate::context::{Context, Location};
use crate::dockerfile::{self, Lint, LintOptions, Parsed, Span};
use crate::export;
use crate::images::ImageFinder;
use crate::options::{BuildOptions, DockerfileLocation, NamedContext};
use crate::plan::{Input, plan, predefined};
use crate::progress::{Amount, Event, Progress, VertexId};
use crate::solve::{Cancel, Solver};
use crate::{BuildError, Result, time};

/// What a build made.
#[derive(Debug, Clone)]
pub struct Built {
    /// Digest of the image's configuration: its id.
    pub image: Digest,
    /// Digest of its manifest.
    pub manifest: Digest,
    /// What may be wrong with the Dockerfile.
    pub lint: Lint,
}

/// A Dockerfile that was looked at, not built.
#[derive(Debug, Clone)]
pub struct Checked {
    /// Its name, as a person would look for it.
    pub name: String,
    /// Its text.
    pub text: String,
    /// What may be wrong with it.
    pub lint: Lint,
    /// Its tree.
    pub file: dockerfile::Dockerfile,
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
    export::check(options)?;
    leave_host_mounts()?;
    let started = time::now();
    let scratch = engine.store().begin_build_step(None)?;
    let mut view = View { progress, next: 0 };
    let mut opened = Opened::new(engine, options, &mut view, scratch.dir(), file)?;

    let finder = ImageFinder::new(engine, options, progress, view.next);
    let plan = plan(&Input {
        file: &opened.parsed.file,
        options,
        images: &finder,
    })?;
    view.next = finder.next_vertex();
    let lint = opened.lint(&mut view, options, &finder, Some(plan.stages.clone()))?;
    if let Some(reason) = lint.failure() {
        return Err(BuildError::Instruction { span: None, reason });
    }
    let mut trees = BTreeMap::new();
    trees.insert(String::new(), Arc::new(opened.context.tree()));
    for (name, named) in &options.contexts {
        if let NamedContext::Files(location) = named {
            let title = format!("[context {name}] load from client");
            let mut opened = view.step(&title, || {
                Context::open(location, engine.store().root(), scratch.dir())
            })?;
            opened.load_ignore("")?;
            trees.insert(name.clone(), Arc::new(opened.tree()));
        }
    }

    let imports = Imports::open(&mut view, engine, &options.cache_from, &options.platforms)?;
    let first = view.next;
    view.next += plan.nodes.len() + 1;
    let solver = Solver::new(
        engine,
        &plan,
        options,
        &trees,
        &imports,
        &finder,
        progress,
        first,
        cancel,
        scratch.dir(),
    )?;
    let solved = solver.solve_targets()?;
    trees.values().for_each(|tree| tree.remember_hashes());
    solver.touch_cache()?;
    let facts = Facts {
        started,
        finished: time::now(),
        dockerfile: (&opened.name, &opened.text),
    };
    let made = export::run(&mut view, &solver, &facts, &solved)?;
    cache::export(&mut view, &solver, &solved)?;
    Ok(Built {
        image: made.image,
        manifest: made.manifest,
        lint,
    })
}

/// Reads the Dockerfile, and says what may be wrong with it; builds and fetches nothing.
///
/// # Errors
/// [`Failure`].
pub fn check(
    engine: &Engine,
    options: &BuildOptions,
    progress: &dyn Progress,
) -> Result<Checked, Failure> {
    let mut file = None;
    let mut run = || {
        let scratch = engine.store().begin_build_step(None)?;
        let mut view = View { progress, next: 0 };
        let mut opened = Opened::new(engine, options, &mut view, scratch.dir(), &mut file)?;
        let finder = ImageFinder::new(engine, options, progress, view.next);
        let lint = opened.lint(&mut view, options, &finder, None)?;
        Ok(Checked {
            name: opened.name,
            text: opened.text,
            lint,
            file: opened.parsed.file,
        })
    };
    run().map_err(|error| Failure {
        error: Box::new(error),
        file,
    })
}

/// A context with its Dockerfile read.
struct Opened {
    context: Context,
    name: String,
    text: String,
    parsed: Parsed,
}

impl Opened {
    fn new(
        engine: &Engine,
        options: &BuildOptions,
        view: &mut View<'_>,
        scratch: &Path,
        file: &mut Option<(String, String)>,
    ) -> Result<Opened> {
        let open = || Context::open(&options.context, engine.store().root(), scratch);
        let mut context = match &options.context {
            // Nothing of it is read yet.
            Location::Directory(_) => open()?,
            Location::Git(address) => {
                let title = format!("[internal] load git source {}", address.shown());
                view.step(&title, open)?
            }
            Location::Stdin | Location::Url(_) => {
                view.step("[internal] load remote build context", open)?
            }
        };
        let shown = match &options.file {
            DockerfileLocation::Path(path) => path.file_name().map(|name| name.to_string_lossy()),
            _ => None,
        };
        let title = format!(
            "[internal] load build definition from {}",
            shown.unwrap_or("Dockerfile".into())
        );
        let (name, text) = view.line(&title, |status| {
            let (name, text) = context.dockerfile(&options.file)?;
            status("transferring dockerfile:", text.len() as u64);
            *file = Some((name.clone(), text.clone()));
            Ok::<_, BuildError>((name, text))
        })?;
        let parsed = dockerfile::parse(&text)?;
        Ok(Opened {
            context,
            name,
            text,
            parsed,
        })
    }

    /// Reads `.dockerignore`, and judges the Dockerfile.
    fn lint(
        &mut self,
        view: &mut View<'_>,
        options: &BuildOptions,
        images: &ImageFinder<'_>,
        stages: Option<BTreeSet<usize>>,
    ) -> Result<Lint> {
        let Opened { context, name, .. } = self;
        view.line("[internal] load .dockerignore", |status| {
            let bytes = context.load_ignore(name)?;
            if bytes > 0 {
                status("transferring context:", bytes);
            }
            Ok::<_, BuildError>(())
        })?;
        let build_args: BTreeMap<_, _> = options.build_args.iter().cloned().collect();
        let check = build_args.get("BUILDKIT_DOCKERFILE_CHECK").cloned();
        let tree = self.context.tree();
        Ok(dockerfile::lint(
            &self.parsed,
            &LintOptions {
                ignore: tree.ignore(),
                build_args,
                predefined: predefined(options),
                base_env: Some(&|image| images.env(image)),
                stages,
                check,
            },
        ))
    }
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

    /// The same for work that tells of its parts when they are done, with the bytes they moved, if any.
    pub(crate) fn line<T, E: std::fmt::Display>(
        &mut self,
        name: &str,
        work: impl FnOnce(&dyn Fn(&str, u64)) -> Result<T, E>,
    ) -> Result<T, E> {
        let vertex = self.next;
        self.next += 1;
        line(self.progress, vertex, name, work)
    }
}

/// Does something under a line of the view, telling of its parts when they are done.
pub(crate) fn line<T, E: std::fmt::Display>(
    progress: &dyn Progress,
    vertex: VertexId,
    name: &str,
    work: impl FnOnce(&dyn Fn(&str, u64)) -> Result<T, E>,
) -> Result<T, E> {
    progress.event(Event::Started { vertex, name });
    let status = |text: &str, current: u64| {
        progress.event(Event::Status {
            vertex,
            text,
            amount: Amount { current, total: 0 },
            done: true,
        });
    };
    let result = work(&status);
    let error = result.as_ref().err().map(ToString::to_string);
    progress.event(Event::Done {
        vertex,
        error: error.as_deref(),
    });
    result
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
