//! `rctr push`.

use std::io::{self, Write};
use std::sync::Arc;

use rctr_engine::{Compression, PushOptions};
use rctr_registry_client::parse_reference;

use super::build;
use crate::app::App;
use crate::cli::PushArgs;
use crate::failure::{ENGINE, Failure, Result};
use crate::flags::{check_trust, platform};
use crate::online::wait_for;
use crate::output::push::{Deed, Silent, progress};
use crate::usage::require_one;

pub fn run(app: &App, command: &str, args: &PushArgs) -> Result {
    let name = require_one(command, &args.names)?;
    check_trust(command, args.disable_content_trust)?;
    let platform = platform(command, args.platform.as_deref())?;
    let kind = args.compression.as_deref();
    let compression = match build::compression(kind, args.compression_level) {
        Ok(Some(Compression::Estargz(_))) => {
            let hint = "it makes another image: build it with --compression estargz";
            Err(hint.to_owned())
        }
        other => other,
    };
    let options = PushOptions {
        all_tags: args.all_tags,
        platform,
        compression: compression.map_err(|reason| {
            let value = kind.unwrap_or_default();
            let message =
                format!("invalid argument {value:?} for \"--compression\" flag: {reason}");
            Failure::usage(ENGINE, command, message)
        })?,
    };
    let default_tag = !args.all_tags && has_no_tag(name);
    if default_tag && !args.quiet {
        writeln!(io::stdout(), "Using default tag: latest")?;
    }
    let progress = match args.quiet {
        true => Arc::new(Silent),
        false => progress(Deed::Push),
    };
    let engine = app.engine()?;
    let pushed = wait_for(engine.push(name, &options, progress))?;
    if args.quiet {
        // As Docker says it: the name as it was meant, once.
        let shown = match (args.all_tags, &pushed[..]) {
            (false, [one]) => one.reference.clone(),
            _ => parse_reference(name)
                .map(|r| format!("{}/{}", r.registry(), r.repository()))
                .unwrap_or_default(),
        };
        writeln!(io::stdout(), "{shown}")?;
        return Ok(0);
    }
    for image in &pushed {
        if let Some(index) = &image.left_index {
            eprintln!(
                "Info -> Not all multiplatform-content is present and only the available single-platform image was pushed\n        \
                 {index} -> {}",
                image.digest
            );
        }
    }
    Ok(0)
}

fn has_no_tag(name: &str) -> bool {
    let last = name.rsplit('/').next().unwrap_or(name);
    parse_reference(name).is_ok_and(|reference| reference.digest().is_none()) && !last.contains(':')
}
