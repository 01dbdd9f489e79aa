//! The Dockerfile language.

mod ast;

pub use ast::*;
