//! `rctr logs`.

use std::io::{self, BufWriter, Write};

use rctr_engine::{LogOptions, LogStream, format_time};

use crate::app::App;
use crate::cli::LogsArgs;
use crate::failure::{ENGINE, Failure, Result};
use crate::usage::require_one;

/// Bytes of output that wait to be written together.
const BUFFER: usize = 64 * 1024;

pub fn run(app: &App, command: &str, args: &LogsArgs) -> Result {
    let name = require_one(command, &args.names)?;
    let options = LogOptions {
        follow: args.follow,
        since: args.since.clone(),
        until: args.until.clone(),
        tail: tail(command, &args.tail)?,
    };
    let engine = app.engine()?;
    let details = match args.details {
        true => format!("{} ", engine.log_details(name)?),
        false => String::new(),
    };
    let mut logs = engine.logs(name, &options)?;
    let mut stdout = BufWriter::with_capacity(BUFFER, io::stdout().lock());
    let mut stderr = io::stderr().lock();
    loop {
        while let Some(entry) = logs.next_entry()? {
            let time = match args.timestamps && !entry.continues {
                true => format!("{} {details}", format_time(entry.time)),
                false if entry.continues => String::new(),
                false => details.clone(),
            };
            match entry.stream {
                LogStream::Stdout => write_entry(&mut stdout, &time, &entry.text)?,
                LogStream::Stderr => {
                    // Both may be one terminal.
                    stdout.flush()?;
                    write_entry(&mut stderr, &time, &entry.text)?;
                }
            }
        }
        stdout.flush()?;
        if !logs.wait()? {
            return Ok(0);
        }
    }
}

fn write_entry(out: &mut impl Write, time: &str, text: &[u8]) -> io::Result<()> {
    out.write_all(time.as_bytes())?;
    out.write_all(text)
}

/// `all`, or so many lines; a negative number is all of them, and so is none.
fn tail(command: &str, text: &str) -> Result<Option<usize>> {
    if matches!(text, "" | "all") {
        return Ok(None);
    }
    match text.parse::<i64>() {
        Ok(lines) => Ok(usize::try_from(lines).ok()),
        Err(error) => Err(Failure::usage(
            ENGINE,
            command,
            format!("invalid argument {text:?} for \"-n, --tail\" flag: {error}"),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tails() {
        assert_eq!(tail("logs", "all").unwrap(), None);
        assert_eq!(tail("logs", "").unwrap(), None);
        assert_eq!(tail("logs", "-1").unwrap(), None);
        assert_eq!(tail("logs", "0").unwrap(), Some(0));
        assert_eq!(tail("logs", "17").unwrap(), Some(17));
        assert_eq!(tail("logs", "some").unwrap_err().code(), 125);
    }
}
