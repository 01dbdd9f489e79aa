//! `rctr import`.

use std::fs::File;
use std::io::{self, Read, Write};

use rctr_engine::ImportRequest;
use serde_json::json;

use super::commit::changed;
use crate::app::App;
use crate::cli::ImportArgs;
use crate::failure::{Failure, GENERAL, Result};
use crate::flags::platform;
use crate::usage::wrong_count;

pub fn run(app: &App, command: &str, args: &ImportArgs) -> Result {
    let (source, reference) = match &args.words[..] {
        [] => return Err(wrong_count(command, "requires at least 1 argument")),
        [source] => (source.as_str(), None),
        [source, reference, ..] => (source.as_str(), Some(reference.clone())),
    };
    let config = changed(json!({}), &args.change)?;
    let comment = args.message.clone();
    let request = ImportRequest {
        comment: comment.unwrap_or_else(|| format!("Imported from {}", shown(source))),
        reference: reference.filter(|name| !name.is_empty()),
        platform: platform(command, args.platform.as_deref())?,
    };
    let engine = app.engine()?;
    let id = match source {
        "-" => engine.import_image(io::stdin(), &request, config)?,
        url if is_url(url) => {
            writeln!(io::stdout(), "Downloading from {url}")?;
            engine.import_image(download(url)?, &request, config)?
        }
        path => engine.import_image(open(path)?, &request, config)?,
    };
    writeln!(io::stdout(), "{id}")?;
    Ok(0)
}

/// A file's archive reaches the engine as a stream without a name.
fn shown(source: &str) -> &str {
    if is_url(source) { source } else { "-" }
}

fn is_url(source: &str) -> bool {
    ["http://", "https://"]
        .iter()
        .any(|scheme| source.starts_with(scheme))
}

fn open(path: &str) -> Result<impl Read + Send + use<>> {
    File::open(path).map_err(|e| Failure::new(GENERAL, format!("open {path}: {e}")))
}

fn download(url: &str) -> Result<impl Read + Send + use<>> {
    rctr_builder::files::fetch_file(url).map_err(|e| Failure::new(GENERAL, e.to_string()))
}
