//! Tar files of our own: plain headers, times of 1970, nothing that differs between two runs.

use std::io::Write;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::{Error, Result};

const BLOCK: usize = 512;

pub(super) struct Tarball<W> {
    out: W,
    /// What it is called in errors.
    path: PathBuf,
}

impl<W: Write> Tarball<W> {
    pub fn new(out: W, path: &Path) -> Self {
        Tarball {
            out,
            path: path.to_owned(),
        }
    }

    pub fn dir(&mut self, name: &str) -> Result<()> {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(tar::EntryType::Directory);
        header.set_mode(0o755);
        self.header(header, name, 0)
    }

    /// Begins a file: `size` bytes and [`end`](Self::end) must follow.
    pub fn begin(&mut self, name: &str, size: u64) -> Result<()> {
        let mut header = tar::Header::new_ustar();
        header.set_mode(0o644);
        self.header(header, name, size)
    }

    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let written = self.out.write_all(bytes);
        written.map_err(Error::file("write", &self.path))
    }

    pub fn end(&mut self, size: u64) -> Result<()> {
        let rest = (BLOCK as u64 - size % BLOCK as u64) % BLOCK as u64;
        self.write(&[0; BLOCK][..rest as usize])
    }

    pub fn file(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        let size = bytes.len() as u64;
        self.begin(name, size)?;
        self.write(bytes)?;
        self.end(size)
    }

    pub fn json(&mut self, name: &str, value: &Value) -> Result<()> {
        self.file(name, value.to_string().as_bytes())
    }

    /// Ends the archive; everything is handed on then.
    pub fn finish(&mut self) -> Result<()> {
        self.write(&[0; 2 * BLOCK])?;
        let flushed = self.out.flush();
        flushed.map_err(Error::file("write", &self.path))
    }

    fn header(&mut self, mut header: tar::Header, name: &str, size: u64) -> Result<()> {
        let named = header.set_path(name);
        named.map_err(Error::file("archive", Path::new(name)))?;
        header.set_size(size);
        header.set_mtime(0);
        header.set_cksum();
        self.write(header.as_bytes())
    }
}
