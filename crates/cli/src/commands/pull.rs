//! `rctr pull`, and the pull that `run` does on the way.

use std::io::{self, Write};
use std::sync::Arc;

use rctr_engine::{Engine, PulledImage};
use rctr_registry_client::parse_reference;

use crate::app::App;
use crate::cli::PullArgs;
use crate::failure::{Failure, GENERAL, Result};
use crate::flags::{check_trust, platform};
use crate::online::wait_for;
use crate::output::pull::{Silent, progress};
use crate::usage::require_one;

/// Where a pull says what it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Report {
    Nothing,
    Stdout,
    Stderr,
}

pub fn run(app: &App, command: &str, args: &PullArgs) -> Result {
    let name = require_one(command, &args.names)?;
    check_trust(command, args.disable_content_trust)?;
    let platform = platform(command, args.platform.as_deref())?;
    let report = if args.quiet {
        Report::Nothing
    } else {
        Report::Stdout
    };
    if args.all_tags {
        return all_tags(app, name, platform.as_deref(), report);
    }
    if !args.quiet && has_no_tag(name) {
        writeln!(io::stdout(), "Using default tag: latest")?;
    }
    let image = fetch(&app.engine()?, name, platform.as_deref(), report)?;
    warn(&image);
    writeln!(io::stdout(), "{}", image.reference)?;
    Ok(0)
}

fn all_tags(app: &App, name: &str, platform: Option<&str>, report: Report) -> Result {
    let engine = app.engine()?;
    let reference = parse_reference(name).map_err(rctr_engine::Error::from)?;
    if !has_no_tag(name) {
        let message = "tag can't be used with --all-tags/-a";
        return Err(Failure::new(GENERAL, message));
    }
    let repository = format!("{}/{}", reference.registry(), reference.repository());
    for tag in wait_for(engine.tags(name))? {
        let image = fetch(&engine, &format!("{repository}:{tag}"), platform, report)?;
        warn(&image);
    }
    writeln!(io::stdout(), "{repository}")?;
    Ok(0)
}

fn warn(image: &PulledImage) {
    if let Some(warning) = &image.warning {
        eprintln!("WARNING: {warning}");
    }
}

/// Fetches an image.
pub fn fetch(
    engine: &Engine,
    name: &str,
    platform: Option<&str>,
    report: Report,
) -> Result<PulledImage> {
    let progress = match report {
        Report::Nothing => Arc::new(Silent),
        Report::Stdout => progress(false, head(name)),
        Report::Stderr => progress(true, head(name)),
    };
    let image = wait_for(engine.pull(name, platform, progress))?;
    let status = match image.already {
        true => "Image is up to date",
        false => "Downloaded newer image",
    };
    let familiar = rctr_engine::familiar_name(&image.reference);
    say(
        report,
        &[
            format!("Digest: {}", image.digest),
            format!("Status: {status} for {familiar}"),
        ],
    )?;
    Ok(image)
}

/// The name with the tag that is meant when there is none.
pub fn with_tag(name: &str) -> String {
    match parse_reference(name) {
        Ok(reference) => rctr_engine::familiar_name(&reference.whole()),
        Err(_) => name.to_owned(),
    }
}

fn has_no_tag(name: &str) -> bool {
    let last = name.rsplit('/').next().unwrap_or(name);
    parse_reference(name).is_ok_and(|reference| reference.digest().is_none()) && !last.contains(':')
}

/// Which tag of which repository is asked for; nothing for a name that the engine will refuse.
fn head(name: &str) -> Option<String> {
    let reference = parse_reference(name).ok()?;
    let tag = match reference.digest() {
        Some(digest) => format!(
            "{}/{}@{digest}",
            reference.registry(),
            reference.repository()
        ),
        None => reference.tag().unwrap_or("latest").to_owned(),
    };
    Some(format!("{tag}: Pulling from {}", reference.repository()))
}

fn say(report: Report, lines: &[String]) -> Result<()> {
    for line in lines {
        match report {
            Report::Nothing => {}
            Report::Stdout => writeln!(io::stdout(), "{line}")?,
            Report::Stderr => eprintln!("{line}"),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_pulled_is_said_as_docker_says_it() {
        let line = |name: &str| head(name).unwrap_or_default();
        assert_eq!(line("nginx"), "latest: Pulling from library/nginx");
        assert_eq!(line("localhost:5000/a/b:v1"), "v1: Pulling from a/b");
        let digest = format!("sha256:{}", "0".repeat(64));
        let by_digest = format!("busybox@{digest}");
        assert_eq!(
            line(&by_digest),
            format!("docker.io/library/busybox@{digest}: Pulling from library/busybox")
        );
        assert_eq!(head("UPPER CASE"), None);
        assert!(has_no_tag("localhost:5000/a") && has_no_tag("nginx"));
        assert!(!has_no_tag("nginx:1") && !has_no_tag(&by_digest) && !has_no_tag("UPPER CASE"));
    }

    #[test]
    fn the_tag_that_is_meant() {
        assert_eq!(with_tag("nginx"), "nginx:latest");
        assert_eq!(with_tag("docker.io/library/nginx:1"), "nginx:1");
    }
}
