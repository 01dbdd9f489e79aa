//! From solved files to what was asked for: an image in the store or at a registry, an archive of it, or the files
//! themselves.

mod files;
mod image;
mod index;

use std::borrow::Cow;
use std::sync::Arc;

use oci_spec::image::Digest;
use rctr_engine::ArchiveFormat;
use rctr_registry_client::Platform;

use crate::attest::Facts;
use crate::build::View;
use crate::document::{Document, History};
use crate::options::BuildOptions;
use crate::output::{Annotated, ImageOutput, Output};
use crate::plan::Target;
use crate::solve::{Solved, Solver};
use crate::{BuildError, Result, cache, time};

/// Id and digest of the manifest of what was built.
pub(crate) struct Identity {
    pub(crate) image: Digest,
    pub(crate) manifest: Digest,
}

/// What was solved for one platform, and the configuration of the image that it makes.
struct Image<'a> {
    platform: &'a Platform,
    solved: &'a Solved,
    document: Document,
}

/// Does all that was asked for with what was solved.
pub(crate) fn run(
    view: &mut View<'_>,
    solver: &Solver<'_>,
    facts: &Facts<'_>,
    solved: &[Arc<Solved>],
) -> Result<Identity> {
    let options = solver.options;
    let mut images = Vec::new();
    for (target, solved) in solver.plan.targets.iter().zip(solved) {
        let mut document = document(solver, target, solved);
        if options.inline_cache() {
            document.cache = Some(cache::inline(solver, solved)?);
        }
        images.push(Image {
            platform: &target.platform,
            solved,
            document,
        });
    }
    let mut identity = None;
    for output in outputs(options).iter() {
        if solver.cancel.is_cancelled() {
            return Err(BuildError::Cancelled);
        }
        let exported = match output {
            Output::Image(wanted) => image::to_store(view, solver, facts, &images, wanted)?,
            Output::Archive(wanted) => image::to_archive(view, solver, facts, &images, wanted)?,
            Output::Tar(to, wanted) => {
                files::to_tar(view, solver, facts, &images, (to, wanted))?;
                continue;
            }
            Output::Local(directory, wanted) => {
                files::to_directory(view, solver, facts, &images, (directory, wanted))?;
                continue;
            }
        };
        identity.get_or_insert(exported);
    }
    match identity {
        Some(identity) => Ok(identity),
        None => image::identity(solver, &images),
    }
}

/// Says before anything is built what cannot be done with it.
///
/// # Errors
/// [`BuildError::DockerIndex`], [`BuildError::AnnotatedIndex`], [`BuildError::AnnotatedPlatform`].
pub(crate) fn check(options: &BuildOptions) -> Result<()> {
    let index = options.platforms.len() > 1 || options.attestations.any();
    for output in outputs(options).iter() {
        let image = match output {
            Output::Archive(wanted) if index && wanted.format == ArchiveFormat::Docker => {
                return Err(BuildError::DockerIndex);
            }
            Output::Image(image) => image,
            Output::Archive(wanted) => &wanted.image,
            Output::Tar(..) | Output::Local(..) => continue,
        };
        for annotation in &image.annotations {
            match &annotation.on {
                Annotated::Index | Annotated::IndexDescriptor if !index => {
                    return Err(BuildError::AnnotatedIndex);
                }
                Annotated::Manifest(Some(platform))
                | Annotated::ManifestDescriptor(Some(platform))
                    if !options.platforms.contains(platform) =>
                {
                    return Err(BuildError::AnnotatedPlatform {
                        platform: platform.to_string(),
                    });
                }
                _ => {}
            }
        }
    }
    Ok(())
}

/// What is made of the result; if nothing is said, an image.
fn outputs(options: &BuildOptions) -> Cow<'_, [Output]> {
    match &options.outputs[..] {
        [] => Cow::Owned(vec![Output::Image(ImageOutput {
            names: options.tags.clone(),
            ..ImageOutput::default()
        })]),
        outputs => Cow::Borrowed(outputs),
    }
}

/// The configuration of the image that the target's files and instructions make.
///
/// Times are those at which the layers were made, so that a build that changes nothing makes the same image.
fn document(solver: &Solver<'_>, target: &Target, solved: &Solved) -> Document {
    let epoch = solver.options.epoch.map(time::format);
    let mut document = target.document.clone();
    let mut last = document
        .history
        .last()
        .and_then(|entry| entry.created.clone())
        .or(document.created.take());
    for planned in &target.history {
        let made = planned.node.and_then(|node| solver.made(node)?.created);
        if let Some(made) = made {
            last = Some(time::format(made));
        }
        let created = epoch
            .clone()
            .or_else(|| last.clone())
            .unwrap_or_else(|| time::format(time::now()));
        last.get_or_insert_with(|| created.clone());
        document.history.push(History {
            created: Some(created),
            ..planned.entry.clone()
        });
    }
    document.created = epoch.or(last);
    document.rootfs.diff_ids = solved
        .layers
        .iter()
        .map(|l| l.diff_id.to_string())
        .collect();
    document
}
