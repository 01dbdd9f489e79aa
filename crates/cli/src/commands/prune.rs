//! `rctr image prune` and `rctr system prune`.

use std::io::{self, BufRead, Write};

use rctr_engine::{CacheFilter, Engine, ImageRemoval, ImageSummary, PrunedImages, parse_time, sum};

use super::builder;
use super::ps_filter::{has_label, split};
use crate::app::App;
use crate::cli::{ImagePruneArgs, SystemPruneArgs};
use crate::failure::{Failure, GENERAL, Result};
use crate::output::size;
use crate::usage::require_none;

const ALL: &str =
    "WARNING! This will remove all images without at least one container associated to them.";
const DANGLING: &str = "WARNING! This will remove all dangling images.";

pub fn images(app: &App, args: &ImagePruneArgs) -> Result {
    require_none("image prune", &args.surplus)?;
    let filter = Filter::parse(args)?;
    let warning = if filter.all { ALL } else { DANGLING };
    confirm(args.force, warning, "image prune")?;
    let pruned = app.engine()?.prune_images(&|image| filter.matches(image))?;
    let mut out = io::stdout().lock();
    tell(&mut out, &pruned)?;
    writeln!(out, "Total reclaimed space: {}", size::human4(pruned.bytes))?;
    Ok(0)
}

pub fn system(app: &App, args: &SystemPruneArgs) -> Result {
    require_none("system prune", &args.surplus)?;
    let (images, cache) = match args.all {
        true => (
            "all images without at least one container associated to them",
            "all build cache",
        ),
        false => ("all dangling images", "unused build cache"),
    };
    let warning = format!(
        "WARNING! This will remove:\n  - all stopped containers\n  - {images}\n  - {cache}\n"
    );
    confirm(args.force, &warning, "system prune")?;
    let engine = app.engine()?;
    let mut out = io::stdout().lock();
    let containers = engine.prune_containers()?;
    if !containers.removed.is_empty() {
        writeln!(out, "Deleted Containers:")?;
        for id in &containers.removed {
            writeln!(out, "{id}")?;
        }
        writeln!(out)?;
    }
    let pruned = engine.prune_images(&|image| args.all || image.dangling())?;
    tell(&mut out, &pruned)?;
    let cache = prune_cache(&engine, args.all)?;
    if !cache.0.is_empty() {
        writeln!(out, "Deleted build cache objects:")?;
        for id in &cache.0 {
            writeln!(out, "{id}")?;
        }
        writeln!(out)?;
    }
    let bytes = containers.bytes + pruned.bytes + cache.1;
    writeln!(out, "Total reclaimed space: {}", size::human4(bytes))?;
    Ok(0)
}

fn prune_cache(engine: &Engine, all: bool) -> Result<(Vec<String>, u64)> {
    let filter = CacheFilter {
        all,
        ..CacheFilter::default()
    };
    let pruned = engine
        .store()
        .cache_prune(&filter)
        .map_err(rctr_engine::Error::from)?;
    let mounts = rctr_builder::prune_cache_mounts(engine.store().root(), &|_| true)
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

fn tell(out: &mut impl Write, pruned: &PrunedImages) -> Result<()> {
    if pruned.removed.is_empty() {
        return Ok(());
    }
    writeln!(out, "Deleted Images:")?;
    for removal in &pruned.removed {
        match removal {
            ImageRemoval::Untagged(name) => writeln!(out, "untagged: {name}")?,
            ImageRemoval::Deleted(digest) => writeln!(out, "deleted: {digest}")?,
        }
    }
    writeln!(out)?;
    Ok(())
}

/// Asks whether to go on, unless that was said.
///
/// # Errors
/// Anything but a yes.
pub fn confirm(force: bool, warning: &str, what: &str) -> Result<()> {
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
        _ => Err(Failure::new(GENERAL, format!("{what} has been cancelled"))),
    }
}

/// `--all` and `--filter`.
#[derive(Debug)]
struct Filter {
    all: bool,
    /// Seconds since 1970.
    until: Option<i64>,
    labels: Vec<String>,
    other_labels: Vec<String>,
}

impl Filter {
    fn parse(args: &ImagePruneArgs) -> Result<Filter> {
        let known = ["dangling", "label", "label!", "until"];
        let mut values = split("image prune", &args.filter, &known)?;
        let mut take = |name: &str| values.remove(name).unwrap_or_default();
        let mut all = args.all;
        for value in take("dangling") {
            all |= match value.as_str() {
                "true" | "1" => false,
                "false" | "0" => true,
                other => {
                    let message = format!("invalid filter 'dangling={other}'");
                    return Err(Failure::new(GENERAL, message));
                }
            };
        }
        let until = match &take("until")[..] {
            [] => None,
            [text] => Some(time(text)?),
            _ => {
                return Err(Failure::new(
                    GENERAL,
                    "more than one until filter specified",
                ));
            }
        };
        Ok(Filter {
            all,
            until,
            labels: take("label"),
            other_labels: take("label!"),
        })
    }

    fn matches(&self, image: &ImageSummary) -> bool {
        let created = || {
            let created = image.created.parse::<jiff::Timestamp>();
            created.map_or(0, jiff::Timestamp::as_second)
        };
        (self.all || image.dangling())
            && self.until.is_none_or(|until| created() < until)
            && self.labels.iter().all(|l| has_label(&image.labels, l))
            && !self
                .other_labels
                .iter()
                .any(|l| has_label(&image.labels, l))
    }
}

/// The time of an `until` filter.
pub fn time(text: &str) -> Result<i64> {
    parse_time(text).ok_or_else(|| {
        let way = "use 2006-01-02T15:04:05, seconds since 1970 or a duration such as 24h";
        Failure::new(GENERAL, format!("invalid filter 'until={text}': {way}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(all: bool, filters: &[&str]) -> Result<Filter> {
        Filter::parse(&ImagePruneArgs {
            all,
            filter: filters.iter().map(|f| (*f).to_owned()).collect(),
            force: true,
            surplus: Vec::new(),
        })
    }

    #[test]
    fn filters() {
        let mut image = ImageSummary {
            id: "sha256:0".into(),
            tags: Vec::new(),
            digests: Vec::new(),
            created: "2026-01-01T00:00:00Z".into(),
            size: 1,
            labels: [("keep".to_owned(), "1".to_owned())].into(),
            user: String::new(),
        };
        for (all, filters, dangling, tagged) in [
            (false, &[][..], true, false),
            (true, &[], true, true),
            (false, &["dangling=false"], true, true),
            (true, &["until=2025-01-01"], false, false),
            (true, &["until=2026-06-01"], true, true),
            (true, &["label=keep"], true, true),
            (true, &["label!=keep=1"], false, false),
            (true, &["label=other"], false, false),
        ] {
            let filter = filter(all, filters).unwrap();
            image.tags.clear();
            assert_eq!(filter.matches(&image), dangling, "{all} {filters:?}");
            image.tags.push("docker.io/library/a:1".into());
            assert_eq!(filter.matches(&image), tagged, "{all} {filters:?}");
        }
        for bad in ["until=soon", "dangling=x", "colour=red"] {
            assert!(filter(false, &[bad]).is_err(), "{bad}");
        }
    }
}
