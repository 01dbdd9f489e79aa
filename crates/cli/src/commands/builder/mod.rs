//! `rctr builder`: the build cache, seen and cleared.

mod cache_mount;
pub mod record;

use std::io::{self, Write};
use std::path::Path;

use rctr_engine::options::parse_size;
use rctr_engine::{CacheFilter, Engine, sum};

use super::build;
use super::prune::confirm;
use crate::app::App;
use crate::cli::{BuilderCommand, BuilderDuArgs, BuilderPruneArgs};
use crate::failure::{ENGINE, Failure, GENERAL, Result};
use crate::output::size;
use crate::output::table::write_aligned;
use crate::usage::require_none;

pub use record::short;
use record::{Filter, Record};

const ALL: &str = "WARNING! This will remove all build cache.";
const DANGLING: &str = "WARNING! This will remove all dangling build cache.";

pub fn run(app: &App, command: BuilderCommand) -> Result {
    match command {
        BuilderCommand::Build(args) => build::run(app, "builder build", &args.0),
        BuilderCommand::Du(args) => du(app, &args),
        BuilderCommand::Prune(args) => prune(app, &args),
        BuilderCommand::CacheMount { command } => cache_mount::run(app, &command),
    }
}

/// What the cache takes on disk.
#[derive(Debug, Default)]
struct Totals {
    /// Of layers that images have, too.
    shared: u64,
    private: u64,
    reclaimable: u64,
}

/// All of the cache, the one used last first.
fn records(engine: &Engine) -> Result<(Vec<Record>, Totals)> {
    let report = engine.store().cache_list();
    let report = report.map_err(rctr_engine::Error::from)?;
    let mounts = mounts(engine)?;
    let mut totals = Totals {
        shared: 0,
        private: sum(mounts.iter().map(|mount| mount.size).chain([report.size])),
        reclaimable: report.reclaimable,
    };
    let idle = mounts.iter().filter(|mount| !mount.in_use);
    totals.reclaimable = sum(idle.map(|mount| mount.size).chain([totals.reclaimable]));
    let mut seen = Vec::new();
    for usage in report.entries.iter().filter(|usage| usage.shared) {
        if !seen.contains(&&usage.entry.chain_id) {
            seen.push(&usage.entry.chain_id);
            totals.shared = sum([totals.shared, usage.size]);
        }
    }
    let mut records: Vec<Record> = report.entries.iter().map(Record::from).collect();
    records.extend(mounts.iter().map(Record::from));
    records.sort_by_key(|record| std::cmp::Reverse(record.last_used));
    Ok((records, totals))
}

fn mounts(engine: &Engine) -> Result<Vec<rctr_builder::CacheMountUsage>> {
    let mounts = rctr_builder::cache_mounts(engine.store().root());
    mounts.map_err(|e| Failure::new(GENERAL, e.to_string()))
}

fn du(app: &App, args: &BuilderDuArgs) -> Result {
    require_none("builder du", &args.surplus)?;
    let filter = Filter::parse("builder du", &args.filter)?;
    let (mut records, totals) = records(&app.engine()?)?;
    records.retain(|record| filter.matches(record));
    let mut out = io::stdout().lock();
    match args.verbose {
        true => {
            for record in &records {
                record.verbose(&mut out)?;
            }
        }
        false => table(&mut out, &records)?,
    }
    if !args.filter.is_empty() {
        return Ok(0);
    }
    let mut lines = String::new();
    let mut line = |name: &str, bytes: u64| {
        // As buildx aligns them: with tabs, to the sixteenth column.
        let tabs = (15 - name.len()).div_ceil(8);
        lines += &format!("{name}:{}{}\n", "\t".repeat(tabs), size::human4(bytes));
    };
    if totals.shared > 0 {
        line("Shared", totals.shared);
        line("Private", totals.private);
    }
    line("Reclaimable", totals.reclaimable);
    line("Total", totals.shared + totals.private);
    out.write_all(lines.as_bytes())?;
    Ok(0)
}

fn table(out: &mut impl Write, records: &[Record]) -> Result<()> {
    let mut text = "ID\tRECLAIMABLE\tSIZE\tLAST ACCESSED\n".to_owned();
    for record in records {
        text += &record.line();
    }
    Ok(write_aligned(out, &text)?)
}

/// How much of the cache may stay, in bytes.
#[derive(Debug, Default)]
struct Limits {
    reserved: Option<u64>,
    max_used: Option<u64>,
    min_free: Option<u64>,
}

impl Limits {
    fn parse(command: &str, args: &BuilderPruneArgs) -> Result<Limits> {
        let bytes = |text: &Option<String>, flag: &str| match text {
            None => Ok(None),
            Some(text) => parse_size(text).map(Some).map_err(|e| {
                let message = format!("invalid argument {text:?} for \"{flag}\" flag: {e}");
                Failure::usage(ENGINE, command, message)
            }),
        };
        Ok(Limits {
            reserved: bytes(&args.reserved_space, "--reserved-space")?,
            max_used: bytes(&args.max_used_space, "--max-used-space")?,
            min_free: bytes(&args.min_free_space, "--min-free-space")?,
        })
    }

    /// What may stay of a cache of `used` bytes on a disk with `free` ones, as BuildKit reckons; `None`: nothing need.
    fn keep(&self, used: u64, free: u64) -> Option<u64> {
        if let (None, None, None) = (self.reserved, self.max_used, self.min_free) {
            return None;
        }
        let lacking = self.min_free.unwrap_or(0).saturating_sub(free);
        let most = match (self.max_used, self.min_free) {
            (Some(most), _) => most,
            (None, Some(_)) if lacking == 0 => u64::MAX,
            (None, Some(_)) => used,
            (None, None) => 0,
        };
        let most = match lacking {
            0 => most,
            lacking => most.min(used.saturating_sub(lacking)),
        };
        Some(most.max(self.reserved.unwrap_or(0)))
    }
}

/// Bytes that are free on the disk that holds a directory.
fn free_on(directory: &Path) -> Result<u64> {
    let found = nix::sys::statvfs::statvfs(directory);
    let found = found.map_err(|e| {
        let what = format!("cannot look at {}: {e}", directory.display());
        Failure::new(GENERAL, what)
    })?;
    Ok(found
        .blocks_available()
        .saturating_mul(found.fragment_size()))
}

fn prune(app: &App, args: &BuilderPruneArgs) -> Result {
    let command = "builder prune";
    require_none(command, &args.surplus)?;
    let filter = Filter::parse(command, &args.filter)?;
    let limits = Limits::parse(command, args)?;
    confirm(args.force, if args.all { ALL } else { DANGLING })?;
    let engine = app.engine()?;
    let (records, totals) = records(&engine)?;
    let keep = limits.keep(totals.private, free_on(engine.store().root())?);
    let chosen: Vec<&Record> = records.iter().filter(|r| filter.matches(r)).collect();
    let mounts = sum(records.iter().filter(|r| r.mutable).map(|r| r.size));
    let mut left = totals.private;
    let mut gone: Vec<&Record> = Vec::new();

    let ids: Vec<String> = chosen
        .iter()
        .filter(|r| !r.mutable)
        .map(|r| r.id.clone())
        .collect();
    let mut freed = 0;
    if !ids.is_empty() {
        let pruned = engine.store().cache_prune(&CacheFilter {
            all: args.all,
            ids,
            keep_bytes: keep.map(|keep| keep.saturating_sub(mounts)),
            ..CacheFilter::default()
        });
        let pruned = pruned.map_err(rctr_engine::Error::from)?;
        freed = sum([freed, pruned.bytes]);
        left = left.saturating_sub(pruned.bytes);
        let keys: Vec<&String> = pruned
            .entries
            .iter()
            .map(|usage| &usage.entry.key)
            .collect();
        gone.extend(chosen.iter().filter(|record| keys.contains(&&record.id)));
    }
    // The one not used for the longest time first.
    for record in chosen.iter().rev().filter(|record| record.mutable) {
        if keep.is_some_and(|keep| left <= keep) {
            break;
        }
        let only = |mount: &rctr_builder::CacheMountUsage| mount.key == record.id;
        let pruned = rctr_builder::prune_cache_mounts(engine.store().root(), &only);
        let pruned = pruned.map_err(|e| Failure::new(GENERAL, e.to_string()))?;
        if !pruned.is_empty() {
            freed = sum([freed, record.size]);
            left = left.saturating_sub(record.size);
            gone.push(record);
        }
    }
    engine.tell_of_prune("builder", freed)?;

    let mut out = io::stdout().lock();
    match args.verbose {
        true => {
            for record in gone {
                record.verbose(&mut out)?;
            }
        }
        false if !gone.is_empty() => {
            let gone: Vec<Record> = gone.into_iter().cloned().collect();
            table(&mut out, &gone)?;
        }
        false => {}
    }
    writeln!(out, "Total:\t{}", size::human4(freed))?;
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_stay() {
        let keep = |reserved, max_used, min_free, used, free| {
            let limits = Limits {
                reserved,
                max_used,
                min_free,
            };
            limits.keep(used, free)
        };
        assert_eq!(keep(None, None, None, 100, 5), None);
        assert_eq!(keep(Some(30), None, None, 100, 5), Some(30));
        assert_eq!(keep(None, Some(60), None, 100, 5), Some(60));
        assert_eq!(keep(Some(70), Some(60), None, 100, 5), Some(70));
        // 20 are free and 50 are wanted, so 30 go.
        assert_eq!(keep(None, None, Some(50), 100, 20), Some(70));
        assert_eq!(keep(None, Some(60), Some(50), 100, 20), Some(60));
        assert_eq!(keep(Some(90), None, Some(50), 100, 20), Some(90));
        assert_eq!(keep(None, None, Some(500), 100, 20), Some(0));
        assert_eq!(keep(None, None, Some(50), 100, 60), Some(u64::MAX));
    }
}
