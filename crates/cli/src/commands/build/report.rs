//! A failed build: the step's last output, the place in the Dockerfile, one line that says why.

use rctr_builder::{BuildError, Failure as BuildFailure};

use crate::failure::{Failure, GENERAL, chain};
use crate::output::build::{View, excerpt};

/// Prints what leads up to the error; the error itself is the failure's line.
pub fn failure(failure: &BuildFailure, view: &View) -> Failure {
    if let Some(step) = view.failed_step() {
        eprintln!("------\n > {}:", step.name);
        for line in step.lines {
            eprintln!("{line}");
        }
        eprintln!("------");
    }
    if let Some((file, text, span)) = failure.place() {
        eprint!("{}", excerpt(file, text, span.start.line, span.end.line));
    }
    let message = match &*failure.error {
        BuildError::Parse(errors) => errors.to_string(),
        error => format!("failed to solve: {}", chain(error)),
    };
    Failure::new(GENERAL, format!("failed to build: {message}"))
}
