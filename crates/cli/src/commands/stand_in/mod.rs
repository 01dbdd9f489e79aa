//! What minikube calls on a node that has CRI-O: `crio`, `podman` and `runc`, as far as it calls them.
//!
//! A node made by `rctr system install-node` has a script of each name that leads here. What minikube never asks is
//! refused, so that nobody takes these for the real programs.

mod crio;
mod podman;
mod runc;

use std::ffi::OsString;

use crate::app::App;
use crate::failure::{ENGINE, Failure, Result};

/// Does what `program` would do with `args`.
pub fn run(app: &App, program: &str, args: Vec<OsString>) -> Result {
    let words = args.iter().map(|arg| arg.to_str());
    let Some(words) = words.collect::<Option<Vec<&str>>>() else {
        return Err(refused(program, "an argument is not UTF-8"));
    };
    match program {
        "crio" => crio::run(app, &words),
        "podman" => podman::run(&words),
        "runc" => runc::run(app, &words),
        other => Err(refused(other, "rctr does not stand in for it")),
    }
}

fn refused(program: &str, why: &str) -> Failure {
    Failure::new(ENGINE, format!("{program}: {why}"))
}
