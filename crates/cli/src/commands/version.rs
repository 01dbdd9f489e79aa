//! `rctr version` and `rctr --version`.

use std::io::{self, Write};

use rctr_engine::VersionInfo;
use serde::Serialize;

use super::info::write_format;
use crate::app::App;
use crate::cli::FormatArgs;
use crate::failure::Result;
use crate::output::table::write_aligned;
use crate::usage::require_none;

/// There is no server: both sides are this program, so that templates written for Docker work.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Versions<'a> {
    client: &'a VersionInfo,
    server: &'a VersionInfo,
}

pub fn run(app: &App, args: &FormatArgs) -> Result {
    require_none("version", &args.surplus)?;
    let version = app.engine()?.version();
    let mut out = io::stdout().lock();
    match args.format.format.as_deref() {
        None | Some("") => {
            let text = format!(
                "Version:\t{}\nOS/Arch:\t{}/{}\nKernel Version:\t{}\n",
                version.version, version.os, version.arch, version.kernel_version
            );
            write_aligned(&mut out, &text)?;
        }
        Some(format) => {
            write_format(
                &mut out,
                format,
                &Versions {
                    client: &version,
                    server: &version,
                },
                "system.versionInfo",
            )?;
        }
    }
    Ok(0)
}

pub fn short() -> Result {
    writeln!(io::stdout(), "rctr version {}", env!("CARGO_PKG_VERSION"))?;
    Ok(0)
}
