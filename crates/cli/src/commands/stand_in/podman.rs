//! `podman`: loading, saving, tagging, building and pushing images on the node.

use std::ffi::OsString;

use super::refused;
use crate::commands;
use crate::failure::Result;

/// The commands that podman and rctr have in common.
const SHARED: [&str; 6] = ["build", "images", "load", "push", "save", "tag"];

pub fn run(args: &[&str]) -> Result {
    // podman takes its global flags anywhere. Who makes the cgroups of a build is rctr's own configuration.
    let args: Vec<&str> = args
        .iter()
        .copied()
        .filter(|arg| !arg.starts_with("--cgroup-manager="))
        .collect();
    let words: Vec<&str> = match args.as_slice() {
        ["--version" | "-v"] | ["version"] => vec!["version"],
        ["version", "--format" | "-f", "{{.Version}}"] => {
            vec!["version", "--format", "{{.Client.Version}}"]
        }
        ["image", "inspect", ..] => args,
        [verb, ..] if SHARED.contains(verb) => args,
        _ => {
            return Err(refused(
                "podman",
                &format!(
                    "only version, image inspect, {} can be had from rctr",
                    SHARED.join(", ")
                ),
            ));
        }
    };
    let line = std::iter::once("rctr").chain(words).map(OsString::from);
    commands::run(line.collect())
}
