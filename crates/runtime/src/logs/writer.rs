//! Writing and rotating a log.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::time::SystemTime;

use super::{MAX_RECORD, Stream, format_time, rotated};
use crate::error::{Error, Result};
use crate::spec::LogConfig;

/// Appends output to a log. Bytes wait in memory until their line is complete or 16 KiB long.
pub struct LogWriter {
    file: Option<LogFile>,
    pending: [Vec<u8>; 2],
    records: Vec<u8>,
    /// What was written, for another reader; none if there is no such.
    copied: Option<Vec<u8>>,
}

struct LogFile {
    config: LogConfig,
    file: File,
    size: u64,
}

impl LogWriter {
    /// Opens the log, appending to one that exists.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn open(config: LogConfig) -> Result<Self> {
        let (file, size) = open(&config).map_err(|e| Error::file("open", &config.path, e))?;
        Ok(Self {
            file: Some(LogFile { config, file, size }),
            ..Self::without_file()
        })
    }

    /// Makes records that are written nowhere: see [`with_copy`](Self::with_copy).
    pub fn without_file() -> Self {
        Self {
            file: None,
            pending: [Vec::new(), Vec::new()],
            records: Vec::new(),
            copied: None,
        }
    }

    /// Keeps a copy of the records for [`take_copied`](Self::take_copied).
    pub fn with_copy(self) -> Self {
        Self {
            copied: Some(Vec::new()),
            ..self
        }
    }

    /// The records made since this was asked last, also those that could not be written.
    pub fn take_copied(&mut self) -> Vec<u8> {
        self.copied.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Opens the file at its path anew, after somebody has renamed it.
    ///
    /// # Errors
    /// [`Error::File`]; the file open until now is then kept.
    pub fn reopen(&mut self) -> Result<()> {
        if let Some(log) = &mut self.file {
            let path = &log.config.path;
            let opened = open(&log.config).map_err(|e| Error::file("open", path, e))?;
            (log.file, log.size) = opened;
        }
        Ok(())
    }

    /// Takes output and writes the lines it completes.
    ///
    /// # Errors
    /// [`Error::File`], for example on a full disk; those lines are lost, later ones may succeed.
    pub fn write(&mut self, stream: Stream, mut bytes: &[u8]) -> Result<()> {
        let now = format_time(SystemTime::now());
        while !bytes.is_empty() {
            let room = MAX_RECORD - self.pending[stream as usize].len();
            let line_end = bytes.iter().take(room + 1).position(|&b| b == b'\n');
            let taken = line_end.unwrap_or(bytes.len().min(room));
            self.pending[stream as usize].extend_from_slice(&bytes[..taken]);
            bytes = &bytes[taken..];
            if line_end.is_some() {
                bytes = &bytes[1..];
                self.record(&now, stream, b'F');
            } else if taken == room {
                self.record(&now, stream, b'P');
            }
        }
        self.flush()
    }

    /// Writes what waits for the end of its line, as partial records. Call when the output has ended.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub fn finish(&mut self) -> Result<()> {
        let now = format_time(SystemTime::now());
        for stream in [Stream::Stdout, Stream::Stderr] {
            if !self.pending[stream as usize].is_empty() {
                self.record(&now, stream, b'P');
            }
        }
        self.flush()
    }

    /// Moves a stream's pending bytes into a record.
    fn record(&mut self, time: &str, stream: Stream, flag: u8) {
        let text = &mut self.pending[stream as usize];
        self.records.extend_from_slice(time.as_bytes());
        self.records.push(b' ');
        self.records.extend_from_slice(stream.name().as_bytes());
        self.records.extend_from_slice(&[b' ', flag, b' ']);
        self.records.append(text);
        self.records.push(b'\n');
        // An idle container's monitor keeps no buffers.
        if text.capacity() > 1024 {
            *text = Vec::new();
        }
    }

    fn flush(&mut self) -> Result<()> {
        if self.records.is_empty() {
            return Ok(());
        }
        let records = std::mem::take(&mut self.records);
        if let Some(copied) = &mut self.copied {
            copied.extend_from_slice(&records);
        }
        match &mut self.file {
            Some(log) => log.append(&records),
            None => Ok(()),
        }
    }
}

impl LogFile {
    fn append(&mut self, records: &[u8]) -> Result<()> {
        let written = self.write_whole(records);
        written.map_err(|e| Error::file("write", &self.config.path, e))
    }

    /// In one go, unless a file is full before the last record.
    fn write_whole(&mut self, mut records: &[u8]) -> io::Result<()> {
        while !records.is_empty() {
            let mut count = whole_records(records, self.room());
            if count == 0 && self.size > 0 {
                self.rotate()?;
                count = whole_records(records, self.room());
            }
            // One that is larger than a file may be has one of its own.
            let first = || records.iter().position(|b| *b == b'\n');
            let count = match count {
                0 => first().map_or(records.len(), |end| end + 1),
                count => count,
            };
            self.size += count as u64;
            self.file.write_all(&records[..count])?;
            records = &records[count..];
        }
        Ok(())
    }

    /// How many bytes still fit.
    fn room(&self) -> usize {
        match self.config.max_size {
            0 => usize::MAX,
            limit => usize::try_from(limit.saturating_sub(self.size)).unwrap_or(usize::MAX),
        }
    }

    fn rotate(&mut self) -> io::Result<()> {
        let path = &self.config.path;
        if self.config.max_file <= 1 {
            fs::remove_file(path)?;
        }
        for n in (1..self.config.max_file.max(1)).rev() {
            match fs::rename(rotated(path, n - 1), rotated(path, n)) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
                _ => {}
            }
        }
        (self.file, self.size) = open(&self.config)?;
        Ok(())
    }
}

/// The length of the records that fit.
fn whole_records(records: &[u8], room: usize) -> usize {
    match records.get(..room) {
        None => records.len(),
        Some(fitting) => fitting
            .iter()
            .rposition(|b| *b == b'\n')
            .map_or(0, |end| end + 1),
    }
}

fn open(config: &LogConfig) -> io::Result<(File, u64)> {
    let file = OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o640)
        .open(&config.path)?;
    let size = file.metadata()?.len();
    Ok((file, size))
}
