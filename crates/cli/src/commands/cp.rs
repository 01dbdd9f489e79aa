//! `rctr cp`.

use std::io::{self, IsTerminal};

use rctr_engine::{CopyFlags, CopySource, CopyTarget};

use crate::app::App;
use crate::cli::CpArgs;
use crate::failure::{Failure, GENERAL, Result};
use crate::output::size;
use crate::usage::wrong_count;

pub fn run(app: &App, command: &str, args: &CpArgs) -> Result {
    let [source, destination] = &args.words[..] else {
        return Err(wrong_count(command, "requires exactly 2 arguments"));
    };
    let general = |message: &str| Failure::new(GENERAL, message);
    if source.is_empty() {
        return Err(general("source can not be empty"));
    }
    if destination.is_empty() {
        return Err(general("destination can not be empty"));
    }
    let flags = CopyFlags {
        archive: args.archive,
        follow_link: args.follow_link,
    };
    let (copied, shown) = match (split(source), split(destination)) {
        ((Some(_), _), (Some(_), _)) => {
            return Err(general("copying between containers is not supported"));
        }
        ((None, _), (None, _)) => {
            return Err(general("must specify at least one container source"));
        }
        ((Some(_), ""), _) => return Err(general("the path in the container can not be empty")),
        (_, (Some(_), "")) => return Err(general("no such directory")),
        ((Some(container), path), (None, "-")) => {
            let mut out = io::stdout();
            let target = CopyTarget::Archive(&mut out);
            app.engine()?.copy_out(container, path, target, flags)?;
            return Ok(0);
        }
        ((Some(container), path), (None, to)) => {
            let target = CopyTarget::Path(to);
            let copied = app.engine()?.copy_out(container, path, target, flags)?;
            let shown = copied.path.clone();
            (copied, shown)
        }
        ((None, from), (Some(container), path)) => {
            let mut stdin = io::stdin();
            let from = match from {
                "-" => CopySource::Archive(&mut stdin),
                path => CopySource::Path(path),
            };
            let copied = app.engine()?.copy_into(container, from, path, flags)?;
            let shown = format!("{container}:{}", copied.path);
            (copied, shown)
        }
    };
    if !args.quiet && io::stdout().is_terminal() {
        let bytes = size::human3(copied.bytes);
        eprintln!("Successfully copied {bytes} to {shown}");
    }
    Ok(0)
}

/// Container, if there is one, and path: what begins with a slash or a dot is a path.
fn split(word: &str) -> (Option<&str>, &str) {
    match word.split_once(':') {
        Some((container, path)) if !word.starts_with('/') && !container.starts_with('.') => {
            (Some(container), path)
        }
        _ => (None, word),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_with_a_colon_is_no_container_s() {
        assert_eq!(split("web:/etc"), (Some("web"), "/etc"));
        assert_eq!(split("web:"), (Some("web"), ""));
        assert_eq!(split("./a:b"), (None, "./a:b"));
        assert_eq!(split("/a:b"), (None, "/a:b"));
        assert_eq!(split("a"), (None, "a"));
        assert_eq!(split("-"), (None, "-"));
    }
}
