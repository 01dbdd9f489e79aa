//! Container logs, in the format of Kubernetes' CRI: one record a line,
//! `2026-11-21T23:59:59.123456789Z stdout F text`. A line of output longer than 16 KiB, or without a newline
//! at the end, is written as several records of which all but the last are marked `P` (partial).

mod reader;
mod time;
mod writer;

use std::path::{Path, PathBuf};

pub use reader::{LogEntry, LogOptions, LogReader};
pub use time::{format_time, parse_time};
pub use writer::LogWriter;

/// The longest text of one record, in bytes.
pub const MAX_RECORD: usize = 16 * 1024;

/// Where output came from. A terminal's counts as standard output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard output, or the terminal.
    Stdout,
    /// Standard error.
    Stderr,
}

impl Stream {
    fn name(self) -> &'static str {
        match self {
            Stream::Stdout => "stdout",
            Stream::Stderr => "stderr",
        }
    }
}

/// The n-th rotated file of a log, 1 being the youngest; 0 is the log itself.
pub fn rotated(path: &Path, n: u32) -> PathBuf {
    if n == 0 {
        return path.to_owned();
    }
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{n}"));
    name.into()
}

#[cfg(test)]
mod tests;
