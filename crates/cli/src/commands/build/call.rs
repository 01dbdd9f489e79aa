//! `--call`: what else can be done with a Dockerfile.

use std::collections::BTreeMap;
use std::io::{self, Write};

use rctr_builder::describe::{self, Outline, Target};
use rctr_builder::{BuildError, BuildOptions, check};
use rctr_engine::Engine;

use super::args::{BuildArgs, Call};
use super::report;
use crate::failure::{Failure, GENERAL, Result};
use crate::output::build::{View, checked};
use crate::output::table::write_aligned;

/// Does it; with warnings, `check` gives 1.
pub fn call(engine: &Engine, options: &BuildOptions, view: &View, args: &BuildArgs) -> Result {
    let looked = check(engine, options, view.progress());
    view.finish();
    let looked = looked.map_err(|failure| report::failure(&failure, view))?;
    let mut out = io::stdout();
    if args.check || args.call == Call::Check {
        write!(out, "{}", checked(&looked))?;
        return Ok(u8::from(!looked.lint.warnings.is_empty()));
    }
    let (file, target) = (&looked.file, options.target.as_deref());
    if args.call == Call::Targets {
        write_aligned(&mut out, &targets(&describe::targets(file)))?;
        return Ok(0);
    }
    let outline = describe::outline(file, target, &options.build_args).ok_or_else(|| {
        let error = BuildError::UnknownTarget {
            target: target.unwrap_or_default().to_owned(),
            stages: file
                .stages
                .iter()
                .filter_map(|s| Some(s.from.name.as_ref()?.text.clone()))
                .collect(),
        };
        Failure::new(
            GENERAL,
            format!("failed to build: failed to solve: {error}"),
        )
    })?;
    for table in tables(&outline) {
        write_aligned(&mut out, &table)?;
        writeln!(out)?;
    }
    Ok(0)
}

fn targets(targets: &[Target]) -> String {
    let mut text = "TARGET\tDESCRIPTION\n".to_owned();
    for target in targets {
        let name = match (&target.name, target.default) {
            (Some(name), true) => format!("{name} (default)"),
            (Some(name), false) => name.clone(),
            (None, _) => "(default)".to_owned(),
        };
        text += &format!("{name}\t{}\n", target.description);
    }
    text
}

/// One for each kind of thing that there is.
fn tables(outline: &Outline) -> Vec<String> {
    let mut tables = Vec::new();
    if outline.name.is_some() || !outline.description.is_empty() {
        let name = outline.name.as_deref().unwrap_or("(default)");
        let mut text = format!("TARGET:\t{name}\n");
        if !outline.description.is_empty() {
            text += &format!("DESCRIPTION:\t{}\n", outline.description);
        }
        tables.push(text);
    }
    if !outline.args.is_empty() {
        let mut text = "BUILD ARG\tVALUE\tDESCRIPTION\n".to_owned();
        for arg in &outline.args {
            text += &format!("{}\t{}\t{}\n", arg.name, arg.value, arg.description);
        }
        tables.push(text);
    }
    let mut needed = |head: &str, ids: &BTreeMap<String, bool>| {
        let line = |(id, needed): (&String, &bool)| match needed {
            true => format!("{id}\ttrue\n"),
            false => format!("{id}\t\n"),
        };
        let lines: String = ids.iter().map(line).collect();
        if !lines.is_empty() {
            tables.push(format!("{head}\tREQUIRED\n{lines}"));
        }
    };
    needed("SECRET", &outline.secrets);
    needed("SSH", &outline.ssh);
    tables
}
