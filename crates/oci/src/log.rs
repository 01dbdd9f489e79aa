//! Errors and warnings on standard error, and in the file that `--log` names.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::SystemTime;

use rctr_runtime::logs::format_time;

use crate::cli::{Global, LogFormat};
use crate::failure::Failure;

/// Where a command's errors go.
pub struct Log {
    file: Option<Mutex<File>>,
    format: LogFormat,
    debug: bool,
}

impl Log {
    pub fn open(global: &Global) -> Result<Self, Failure> {
        let open = |path: &PathBuf| {
            let opened = OpenOptions::new().create(true).append(true).open(path);
            opened.map(Mutex::new).map_err(Failure::file("open", path))
        };
        Ok(Self {
            file: global.log.as_ref().map(open).transpose()?,
            format: global.log_format,
            debug: global.debug,
        })
    }

    pub fn error(&self, failure: &Failure) {
        self.write("error", &failure.to_string(), true);
    }

    /// An error that standard error has been told of.
    pub fn note(&self, message: &str) {
        self.write("error", message, false);
    }

    /// What only `--debug` wants to know.
    pub fn debug(&self, message: impl FnOnce() -> String) {
        if self.debug {
            self.write("debug", &message(), self.file.is_none());
        }
    }

    pub fn warnings<'a>(&self, warnings: impl IntoIterator<Item = &'a String>) {
        for warning in warnings {
            self.write("warning", warning, self.file.is_none());
        }
    }

    fn write(&self, level: &str, message: &str, also_to_stderr: bool) {
        let line = self.line(level, message);
        if let Some(file) = &self.file
            && let Ok(mut file) = file.lock()
        {
            let _ = file.write_all(line.as_bytes());
        }
        if also_to_stderr {
            let text = match &self.file {
                // The file has the format that was asked for; whoever reads this is a person.
                Some(_) => format!("rctr-oci: {message}\n"),
                None => line,
            };
            let _ = std::io::stderr().write_all(text.as_bytes());
        }
    }

    fn line(&self, level: &str, message: &str) -> String {
        let time = format_time(SystemTime::now());
        match self.format {
            LogFormat::Json => {
                let line = serde_json::json!({"level": level, "msg": message, "time": time});
                format!("{line}\n")
            }
            LogFormat::Text => format!("time={time:?} level={level} msg={message:?}\n"),
        }
    }
}
