//! What can go wrong, and which exit code Docker gives it.

use std::path::PathBuf;

/// Result with the engine's error.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong in the engine.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The configuration file cannot be read or says something unknown.
    #[error("configuration {}: {reason}", file.display())]
    Config {
        /// The file.
        file: PathBuf,
        /// What is wrong, with the line.
        reason: String,
    },
    /// A flag's value makes no sense.
    #[error("{0}")]
    Invalid(#[from] crate::options::ParseError),
}
