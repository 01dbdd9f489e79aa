//! COPY and ADD.

use super::stage::{Building, Planner, absolute};
use super::{CopySource, NodeId, Op, Origin, Unpack, at};
use crate::Result;
use crate::dockerfile::{Copy, Instruction, Source, Word};
use crate::files::GitAddress;

impl Planner<'_> {
    pub(super) fn copy(
        &mut self,
        building: &mut Building,
        instruction: &Instruction,
        copy: &Copy,
        add: bool,
    ) -> Result<()> {
        let from = match &copy.from {
            // Never expanded: which stages are needed must not depend on variables.
            Some(from) => self.origin(&from.text, from.span)?,
            None => Origin::Context(String::new()),
        };
        let given = &self.given;
        let scope = &building.scope;
        let optional = |word: &Option<Word>| -> Result<Option<String>> {
            let expanded = word
                .as_ref()
                .map(|word| scope.expand(given, word))
                .transpose()?;
            Ok(expanded.filter(|text| !text.is_empty()))
        };
        let mut shown = vec![if add { "ADD" } else { "COPY" }.to_owned()];
        let mut sources = Vec::new();
        let mut in_order: Vec<&Source> = copy.sources.iter().collect();
        in_order.sort_by_key(|source| matches!(source, Source::Heredoc(_)));
        for source in in_order {
            match source {
                Source::Path(word) => {
                    let text = scope.expand(given, word)?;
                    shown.push(text.clone());
                    sources.push(match add {
                        true => remote(text),
                        false => CopySource::Path(text),
                    });
                }
                Source::Heredoc(heredoc) => {
                    shown.push(format!("<<{}", heredoc.name));
                    sources.push(CopySource::Inline {
                        name: heredoc.name.clone(),
                        content: scope.expand_heredoc(given, heredoc)?,
                    });
                }
            }
        }
        let written = scope.expand(given, &copy.destination)?;
        shown.push(written.clone());
        let (chown, chmod) = (optional(&copy.chown)?, optional(&copy.chmod)?);
        for (flag, value) in [("--chmod", &chmod), ("--chown", &chown)] {
            if let Some(value) = value {
                shown.insert(1, format!("{flag}={value}"));
            }
        }
        if copy.parents {
            shown.insert(1, "--parents".to_owned());
        }
        let destination = destination(&building.document.config.working_dir, &written);
        // BuildKit has come to let the last file win; as its documentation says, this cannot be meant.
        if sources.len() > 1 && !destination.ends_with('/') {
            return Err(at(
                copy.destination.span,
                format!(
                    "When using {} with more than one source file, the destination must be a directory and end with a /",
                    shown[0]
                ),
            ));
        }
        // Patterns are taken as they are written: a backslash in them means something of its own.
        let exclude = copy.exclude.iter().map(|word| word.text.clone()).collect();
        let op = Op::Copy(Box::new(super::Copy {
            base: building.node,
            from,
            sources,
            destination,
            chown,
            chmod,
            link: copy.link,
            parents: copy.parents,
            exclude,
            checksum: optional(&copy.checksum)?,
            keep_git_dir: copy.keep_git_dir.unwrap_or(false),
            unpack: match (add, copy.unpack) {
                (false, _) => Unpack::No,
                (true, None) => Unpack::Local,
                (true, Some(true)) => Unpack::All,
                (true, Some(false)) => Unpack::Never,
            },
        }));
        self.step(
            building,
            instruction,
            op,
            format!("{} # buildkit", shown.join(" ")),
        );
        Ok(())
    }
}

impl super::Copy {
    /// All of an origin, into the root.
    pub(super) fn everything(base: NodeId, from: Origin) -> super::Copy {
        super::Copy {
            base,
            from,
            sources: vec![CopySource::Path("/".into())],
            destination: "/".into(),
            chown: None,
            chmod: None,
            link: false,
            parents: false,
            exclude: Vec::new(),
            checksum: None,
            keep_git_dir: false,
            unpack: Unpack::No,
        }
    }
}

/// Absolute, with the slash that says it is a directory.
fn destination(working_dir: &str, written: &str) -> String {
    let mut path = absolute(working_dir, written);
    let directory =
        written.ends_with('/') || matches!(written, "." | "..") || written.ends_with("/.");
    if directory && !path.ends_with('/') {
        path.push('/');
    }
    path
}

/// ADD takes URLs and repositories, too.
fn remote(text: String) -> CopySource {
    if GitAddress::of_source(&text).is_some() {
        CopySource::Git(text)
    } else if text.starts_with("http://") || text.starts_with("https://") {
        CopySource::Url(text)
    } else {
        CopySource::Path(text)
    }
}
