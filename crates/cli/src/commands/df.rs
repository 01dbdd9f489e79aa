//! `rctr system df`.

use std::collections::BTreeMap;

use rctr_engine::{DiskUsage, UsageLine};

use super::df_verbose;
use crate::app::App;
use crate::cli::DfArgs;
use crate::failure::{Failure, GENERAL, Result};
use crate::output::listing::{Column, Kind, Layout, Raw, Row, print};
use crate::output::size;
use crate::usage::require_none;

const KIND: Kind = Kind {
    columns: &[
        Column {
            name: "Type",
            header: "TYPE",
        },
        Column {
            name: "TotalCount",
            header: "TOTAL",
        },
        Column {
            name: "Active",
            header: "ACTIVE",
        },
        Column {
            name: "Size",
            header: "SIZE",
        },
        Column {
            name: "Reclaimable",
            header: "RECLAIMABLE",
        },
    ],
    type_name: "*formatter.diskUsageImagesContext",
};

const TABLE: [&str; 5] = ["Type", "TotalCount", "Active", "Size", "Reclaimable"];

/// What `--format raw` stands for.
const RAW: Raw = Raw {
    whole: "type: {{.Type}}\ntotal: {{.TotalCount}}\nactive: {{.Active}}\nsize: {{.Size}}\n\
            reclaimable: {{.Reclaimable}}\n",
    quiet: "",
};

pub fn run(app: &App, args: &DfArgs) -> Result {
    require_none("system df", &args.surplus)?;
    let layout = Layout::new(false, args.format.as_deref(), &TABLE, RAW);
    let engine = app.engine()?;
    if args.verbose {
        return df_verbose::run(&engine, args.format.as_deref());
    }
    let mut usage = engine.disk_usage()?;
    let mounts = rctr_builder::cache_mounts(engine.store().root());
    for mount in mounts.map_err(|e| Failure::new(GENERAL, e.to_string()))? {
        let cache = &mut usage.build_cache;
        cache.total += 1;
        cache.size += mount.size;
        match mount.in_use {
            true => cache.active += 1,
            false => cache.reclaimable += mount.size,
        }
    }
    print(KIND, &rows(&usage), &layout)
}

fn rows(usage: &DiskUsage) -> Vec<Row> {
    [
        ("Images", usage.images),
        ("Containers", usage.containers),
        ("Local Volumes", usage.volumes),
        ("Build Cache", usage.build_cache),
    ]
    .into_iter()
    .map(|(kind, line)| Row {
        cells: vec![
            kind.to_owned(),
            line.total.to_string(),
            line.active.to_string(),
            size::human4(line.size),
            reclaimable(&line),
        ],
        labels: BTreeMap::new(),
    })
    .collect()
}

fn reclaimable(line: &UsageLine) -> String {
    let bytes = size::human4(line.reclaimable);
    match line.reclaimable.saturating_mul(100).checked_div(line.size) {
        Some(percent) => format!("{bytes} ({percent}%)"),
        None => bytes,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::listing::write;

    #[test]
    fn a_table_like_docker_s() {
        let usage = DiskUsage {
            images: UsageLine {
                total: 2,
                active: 1,
                size: 137_000_000,
                reclaimable: 4_262_000,
            },
            containers: UsageLine {
                total: 1,
                active: 1,
                size: 1095,
                reclaimable: 0,
            },
            volumes: UsageLine::default(),
            build_cache: UsageLine {
                total: 3,
                active: 0,
                size: 1_500,
                reclaimable: 1_500,
            },
        };
        let mut out = Vec::new();
        write(
            &mut out,
            KIND,
            &rows(&usage),
            &Layout::new(false, None, &TABLE, RAW),
        )
        .unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "TYPE            TOTAL     ACTIVE    SIZE      RECLAIMABLE\n\
             Images          2         1         137MB     4.262MB (3%)\n\
             Containers      1         1         1.095kB   0B (0%)\n\
             Local Volumes   0         0         0B        0B\n\
             Build Cache     3         0         1.5kB     1.5kB (100%)\n"
        );
    }
}
