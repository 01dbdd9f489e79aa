//! `rctr container prune`, `rctr image prune` and `rctr system prune`.

mod filter;

use std::io::{self, BufRead, Write};

use rctr_engine::{CacheFilter, Engine, ImageRemoval, PrunedImages, sum};

use super::builder;
use crate::app::App;
use crate::cli::{ContainerPruneArgs, ImagePruneArgs, SystemPruneArgs};
use crate::failure::{Failure, GENERAL, Result};
use crate::output::size;
use crate::usage::require_none;

pub use filter::time;
use filter::{Filter, ImageFilter};

const ALL: &str =
    "WARNING! This will remove all images without at least one container associated to them.";
const DANGLING: &str = "WARNING! This will remove all dangling images.";
const STOPPED: &str = "WARNING! This will remove all stopped containers.";

pub fn containers(app: &App, args: &ContainerPruneArgs) -> Result {
    require_none("container prune", &args.surplus)?;
    let filter = Filter::parse("container prune", &args.filter)?;
    confirm(args.force, STOPPED)?;
    let engine = app.engine()?;
    let pruned = engine.prune_containers(&|c| filter.matches(&c.created, &c.process.labels))?;
    let mut out = io::stdout().lock();
    list(&mut out, "Deleted Containers:", &pruned.removed)?;
    writeln!(out, "Total reclaimed space: {}", size::human4(pruned.bytes))?;
    Ok(0)
}

pub fn images(app: &App, args: &ImagePruneArgs) -> Result {
    require_none("image prune", &args.surplus)?;
    let filter = ImageFilter::parse(args)?;
    let warning = if filter.all { ALL } else { DANGLING };
    confirm(args.force, warning)?;
    let pruned = app.engine()?.prune_images(&|image| filter.matches(image))?;
    let mut out = io::stdout().lock();
    list_images(&mut out, &pruned)?;
    writeln!(out, "Total reclaimed space: {}", size::human4(pruned.bytes))?;
    Ok(0)
}

pub fn system(app: &App, args: &SystemPruneArgs) -> Result {
    require_none("system prune", &args.surplus)?;
    let filter = Filter::parse("system prune", &args.filter)?;
    if args.volumes && filter.until.is_some() {
        let message = "ERROR: The \"until\" filter is not supported with \"--volumes\"";
        return Err(Failure::new(GENERAL, message));
    }
    confirm(args.force, &warning(args))?;

    let engine = app.engine()?;
    let mut out = io::stdout().lock();
    let containers = engine.prune_containers(&|c| filter.matches(&c.created, &c.process.labels))?;
    list(&mut out, "Deleted Containers:", &containers.removed)?;
    let networks = engine.prune_networks(&|n| filter.matches(&n.created, &n.labels))?;
    list(&mut out, "Deleted Networks:", &networks.removed)?;
    let mut bytes = vec![containers.bytes];
    if args.volumes {
        let volumes = engine.prune_volumes(&|volume| {
            let labels = volume.labels.clone().unwrap_or_default();
            volume.anonymous && filter.matches_labels(&labels)
        })?;
        list(&mut out, "Deleted Volumes:", &volumes.removed)?;
        bytes.push(volumes.bytes);
    }
    let images = engine.prune_images(&|image| {
        (args.all || image.dangling()) && filter.matches(&image.created, &image.labels)
    })?;
    list_images(&mut out, &images)?;
    bytes.push(images.bytes);
    // Nothing in it has a label.
    if !filter.asks_for_labels() {
        let (ids, freed) = prune_cache(&engine, args.all, filter.until)?;
        list(&mut out, "Deleted build cache objects:", &ids)?;
        bytes.push(freed);
    }
    writeln!(out, "Total reclaimed space: {}", size::human4(sum(bytes)))?;
    Ok(0)
}

fn warning(args: &SystemPruneArgs) -> String {
    let mut lines = vec![
        "all stopped containers",
        "all networks not used by at least one container",
    ];
    if args.volumes {
        lines.push("all anonymous volumes not used by at least one container");
    }
    lines.extend(match args.all {
        true => [
            "all images without at least one container associated to them",
            "all build cache",
        ],
        false => ["all dangling images", "unused build cache"],
    });
    let items = |lines: &[&str]| -> String {
        let items = lines.iter().map(|line| format!("  - {line}\n"));
        items.collect()
    };
    let mut text = format!("WARNING! This will remove:\n{}", items(&lines));
    if !args.filter.is_empty() {
        let filters: Vec<&str> = args.filter.iter().map(String::as_str).collect();
        text += &format!(
            "\n  Items to be pruned will be filtered with:\n{}",
            items(&filters)
        );
    }
    text
}

fn prune_cache(engine: &Engine, all: bool, until: Option<i64>) -> Result<(Vec<String>, u64)> {
    let filter = CacheFilter {
        all,
        unused_since: until,
        ..CacheFilter::default()
    };
    let pruned = engine
        .store()
        .cache_prune(&filter)
        .map_err(rctr_engine::Error::from)?;
    let old_enough =
        |mount: &rctr_builder::CacheMountUsage| until.is_none_or(|until| mount.last_used < until);
    let mounts = rctr_builder::prune_cache_mounts(engine.store().root(), &old_enough)
        .map_err(|e| Failure::new(GENERAL, e.to_string()))?;
    let entries = pruned
        .entries
        .iter()
        .map(|usage| builder::short(&usage.entry.key));
    let ids = entries.chain(mounts.iter().map(|mount| builder::short(&mount.key)));
    let bytes = sum(mounts.iter().map(|mount| mount.size).chain([pruned.bytes]));
    engine.tell_of_prune("builder", bytes)?;
    Ok((ids.collect(), bytes))
}

fn list(out: &mut impl Write, head: &str, lines: &[String]) -> Result<()> {
    if lines.is_empty() {
        return Ok(());
    }
    writeln!(out, "{head}")?;
    for line in lines {
        writeln!(out, "{line}")?;
    }
    writeln!(out)?;
    Ok(())
}

fn list_images(out: &mut impl Write, pruned: &PrunedImages) -> Result<()> {
    let lines: Vec<String> = pruned
        .removed
        .iter()
        .map(|removal| match removal {
            ImageRemoval::Untagged(name) => format!("untagged: {name}"),
            ImageRemoval::Deleted(digest) => format!("deleted: {digest}"),
        })
        .collect();
    list(out, "Deleted Images:", &lines)
}

/// Asks whether to go on, unless that was said.
///
/// # Errors
/// Anything but a yes ends the command, as with Docker without a word and not as a failure.
pub fn confirm(force: bool, warning: &str) -> Result<()> {
    if force {
        return Ok(());
    }
    let mut out = io::stdout().lock();
    write!(out, "{warning}\nAre you sure you want to continue? [y/N] ")?;
    out.flush()?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    match answer.trim() {
        "y" | "Y" => Ok(()),
        _ => Err(Failure::silent(0)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_will_go_is_said() {
        let mut args = SystemPruneArgs {
            all: false,
            filter: Vec::new(),
            force: false,
            volumes: false,
            surplus: Vec::new(),
        };
        assert_eq!(
            warning(&args),
            "WARNING! This will remove:\n  - all stopped containers\n\
             \x20 - all networks not used by at least one container\n\
             \x20 - all dangling images\n  - unused build cache\n"
        );
        args.volumes = true;
        args.filter.push("label=a=b".into());
        assert!(
            warning(&args)
                .ends_with("\n\n  Items to be pruned will be filtered with:\n  - label=a=b\n")
        );
        assert!(warning(&args).contains("  - all anonymous volumes not used"));
    }
}
