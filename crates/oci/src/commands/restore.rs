//! `checkpoint`, `restore`: CRIU's work, which is not done here.

use super::{load, root};
use crate::cli::{Checkpoint, Global};
use crate::failure::Failure;

const REFUSAL: &str = "checkpoint and restore, which take CRIU, are not supported by this runtime";

pub fn checkpoint(global: &Global, args: &Checkpoint) -> Result<u8, Failure> {
    load(global, &args.id.id)?;
    Err(Failure::Unsupported(REFUSAL))
}

pub fn restore(global: &Global, args: &Checkpoint) -> Result<u8, Failure> {
    match root(global).join(&args.id.id).exists() {
        true => Err(rctr_runtime::Error::ContainerExists {
            id: args.id.id.clone(),
        }
        .into()),
        false => Err(Failure::Unsupported(REFUSAL)),
    }
}
