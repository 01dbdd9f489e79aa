//! The Dockerfile language: [`parse`] makes the tree of a file, [`Expander`] its words' values, [`RunMount`] the
//! mounts of RUN, [`lint`] what may be wrong, [`print()`] the text of a tree.

mod arguments;
mod ast;
mod copy;
mod duration;
mod error;
mod expand;
mod expose;
mod flags;
mod heredoc;
mod lines;
mod lint;
mod mount;
mod parse;
mod pattern;
mod print;
mod shell;
mod statement;
mod suggest;
mod values;
mod words;

pub use ast::*;
pub use duration::{format as format_duration, parse as parse_duration};
pub use error::{ParseError, ParseErrorKind, ParseErrors, excerpt};
pub use expand::{Env, ExpandError, ExpandErrorKind, Expanded, Expander};
pub use expose::{ExposeError, exposed_ports};
pub use lint::{ImageEnv, Lint, LintOptions, Rule, Warning, lint};
pub use mount::{MountError, RunMount, Sharing};
pub use parse::{Parsed, parse, parse_trigger};
pub use pattern::PatternError;
pub use print::print;
pub(crate) use shell::MAX_GROWTH;
pub(crate) use suggest::nearest;

#[cfg(test)]
mod tests;
