//! Files of an OCI layout or an archive, read by name and never by a path that leaves it.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use oci_spec::image::Digest;
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat, openat2};
use rustix::io::Errno;

use super::spool;
use crate::{Error, ImageError, Result};

/// No document in a layout is larger.
const MAX_DOCUMENT: u64 = 8 << 20;

/// Members of an archive with all that belongs to them.
const MAX_MEMBERS: usize = 100_000;
/// Bytes of headers, long names and other things that describe members.
const MAX_HEADERS: u64 = 64 << 20;

/// Named pieces of a directory or an archive.
pub(super) struct Files {
    path: PathBuf,
    kind: Kind,
}

enum Kind {
    Dir(OwnedFd),
    Archive {
        file: File,
        members: HashMap<String, Range<u64>>,
    },
}

impl Files {
    pub fn open_dir(path: &Path) -> Result<Files> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = openat(CWD, path, flags, Mode::empty());
        let dir = dir.map_err(|e| Error::file("open", path)(e.into()))?;
        Ok(Files {
            path: path.to_owned(),
            kind: Kind::Dir(dir),
        })
    }

    /// Opens a tar archive. A packed one, or one that comes through a pipe, goes into a file without a name in `temp`;
    /// `room` is asked now and then whether that may go on.
    pub fn open_archive(path: &Path, temp: &Path, room: &dyn Fn() -> Result<()>) -> Result<Files> {
        let file = File::open(path).map_err(Error::file("open", path))?;
        Files::of_file(file, path, temp, room)
    }

    /// The same for a file that is open already; `path` is what it is called in errors.
    pub fn of_file(
        file: File,
        path: &Path,
        temp: &Path,
        room: &dyn Fn() -> Result<()>,
    ) -> Result<Files> {
        let whole = file.try_clone().map_err(Error::file("open", path))?;
        let regular = whole.metadata().is_ok_and(|meta| meta.is_file());
        let opened = spool::open(file, regular).map_err(Error::file("unpack", path))?;
        let file = match opened {
            Some(stream) => spool::unpack(stream, path, temp, room)?,
            None => whole,
        };
        let members = members(&file).map_err(|e| ImageError::BadLayout {
            path: path.to_owned(),
            reason: format!("is no archive of images: {e}"),
        })?;
        Ok(Files {
            path: path.to_owned(),
            kind: Kind::Archive { file, members },
        })
    }

    /// One file and where in it the content is; `None` if there is none of that name.
    pub fn find(&self, name: &str) -> Result<Option<(File, Range<u64>)>> {
        let fail = |e: io::Error| Error::file("open", &self.path.join(name))(e);
        match &self.kind {
            Kind::Dir(dir) => {
                let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
                let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
                let file = match openat2(dir, name, flags, Mode::empty(), resolve) {
                    Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
                    other => File::from(other.map_err(|e| fail(e.into()))?),
                };
                let meta = file.metadata().map_err(fail)?;
                match meta.is_file() {
                    true => Ok(Some((file, 0..meta.len()))),
                    false => Err(self.bad(format!("{name} is no file"))),
                }
            }
            Kind::Archive { file, members } => match members.get(name) {
                Some(range) => Ok(Some((file.try_clone().map_err(fail)?, range.clone()))),
                None => Ok(None),
            },
        }
    }

    /// The whole of a small file.
    pub fn read(&self, name: &str) -> Result<Option<Vec<u8>>> {
        let Some((file, range)) = self.find(name)? else {
            return Ok(None);
        };
        let length = range.end - range.start;
        if length > MAX_DOCUMENT {
            return Err(self.bad(format!(
                "{name} has {length} bytes, more than {MAX_DOCUMENT}"
            )));
        }
        let mut bytes = vec![0; length as usize];
        let read = file.read_exact_at(&mut bytes, range.start);
        read.map_err(Error::file("read", &self.path.join(name)))?;
        Ok(Some(bytes))
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn bad(&self, reason: impl Into<String>) -> Error {
        ImageError::BadLayout {
            path: self.path.clone(),
            reason: reason.into(),
        }
        .into()
    }
}

/// Where a layout keeps a blob.
pub(super) fn blob_name(digest: &Digest) -> String {
    format!("blobs/{}/{}", digest.algorithm(), digest.digest())
}

/// A part of a file as a reader of its own.
pub(super) struct Part {
    file: File,
    range: Range<u64>,
}

impl Part {
    pub fn new(file: File, range: Range<u64>) -> Part {
        Part { file, range }
    }
}

impl Read for Part {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let rest = self.range.end - self.range.start;
        let most = usize::try_from(rest)
            .unwrap_or(usize::MAX)
            .min(buffer.len());
        let got = self.file.read_at(&mut buffer[..most], self.range.start)?;
        if got == 0 && most > 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.range.start += got as u64;
        Ok(got)
    }
}

/// Where in an archive each regular file is. Links within it, as older archives of Docker have them, are followed.
fn members(file: &File) -> io::Result<HashMap<String, Range<u64>>> {
    let mut reader = Headers {
        reader: BufReader::new(file.try_clone()?),
        left: MAX_HEADERS,
    };
    reader.seek(SeekFrom::Start(0))?;
    let mut members = HashMap::new();
    let mut links = Vec::new();
    let mut archive = tar::Archive::new(reader);
    for (count, entry) in archive.entries_with_seek()?.enumerate() {
        let entry = entry?;
        if count > MAX_MEMBERS {
            return Err(io::Error::other("it has too many members"));
        }
        let Some(name) = normal(&String::from_utf8_lossy(&entry.path_bytes()), "") else {
            continue;
        };
        match entry.header().entry_type() {
            tar::EntryType::Regular | tar::EntryType::Continuous => {
                let start = entry.raw_file_position();
                members.insert(name, start..start.saturating_add(entry.size()));
            }
            kind @ (tar::EntryType::Symlink | tar::EntryType::Link) => {
                let from = match (kind, name.rsplit_once('/')) {
                    (tar::EntryType::Symlink, Some((dir, _))) => dir.to_owned(),
                    _ => String::new(),
                };
                let target = entry.link_name_bytes().unwrap_or_default();
                let target = normal(&String::from_utf8_lossy(&target), &from);
                links.extend(target.map(|target| (name, target)));
            }
            _ => {}
        }
    }
    for (name, target) in links {
        if let Some(range) = members.get(&target).cloned() {
            members.insert(name, range);
        }
    }
    Ok(members)
}

/// Reads headers, the data between them being skipped, and no more than there can be: an archive of images has few
/// members with short names; one that has not is made to fill the memory.
struct Headers {
    reader: BufReader<File>,
    left: u64,
}

impl Read for Headers {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let got = self.reader.read(buffer)?;
        let left = self.left.checked_sub(got as u64);
        self.left = left.ok_or_else(|| io::Error::other("its names are too long"))?;
        Ok(got)
    }
}

impl Seek for Headers {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.reader.seek(to)
    }
}

/// A name without `.` and `..`; none if it leads out of the archive.
fn normal(name: &str, from: &str) -> Option<String> {
    let mut parts: Vec<&str> = from.split('/').filter(|part| !part.is_empty()).collect();
    for part in name.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn add(builder: &mut tar::Builder<Vec<u8>>, name: &str, content: &[u8]) {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_cksum();
        builder.append_data(&mut header, name, content).unwrap();
    }

    fn open(path: &Path) -> Result<Files> {
        Files::open_archive(path, path.parent().unwrap(), &|| Ok(()))
    }

    #[test]
    fn members_of_archives_are_found_however_they_are_packed() {
        let dir = tempfile::tempdir().unwrap();
        let mut builder = tar::Builder::new(Vec::new());
        add(&mut builder, "a/layer.tar", b"content");
        let mut link = tar::Header::new_gnu();
        link.set_entry_type(tar::EntryType::Symlink);
        link.set_size(0);
        builder
            .append_link(&mut link, "b/layer.tar", "../a/layer.tar")
            .unwrap();
        let plain = builder.into_inner().unwrap();
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&plain).unwrap();
        let zstd = zstd::stream::encode_all(&plain[..], 1).unwrap();
        for bytes in [plain, gzip.finish().unwrap(), zstd] {
            let path = dir.path().join("x.tar");
            std::fs::write(&path, bytes).unwrap();
            let files = open(&path).unwrap();
            assert_eq!(files.read("b/layer.tar").unwrap().unwrap(), b"content");
            assert!(files.read("c").unwrap().is_none());
        }
        std::fs::write(dir.path().join("no.tar"), "x".repeat(2000)).unwrap();
        assert!(open(&dir.path().join("no.tar")).is_err());
    }

    #[test]
    fn nothing_outside_a_layout_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let layout = dir.path().join("layout");
        std::fs::create_dir(&layout).unwrap();
        std::fs::write(dir.path().join("secret"), "s").unwrap();
        std::os::unix::fs::symlink("../secret", layout.join("index.json")).unwrap();
        let files = Files::open_dir(&layout).unwrap();
        assert!(files.read("index.json").is_err());
        assert!(files.read("../secret").is_err());
        assert!(files.read("nothing").unwrap().is_none());
        assert_eq!(normal("../../etc/passwd", "a"), None);
    }

    #[test]
    fn archives_that_would_fill_the_memory_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.tar");
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(tar::EntryType::XHeader);
        header.set_size(MAX_HEADERS);
        header.set_cksum();
        std::fs::write(&path, header.as_bytes()).unwrap();
        let file = File::options().write(true).open(&path).unwrap();
        file.set_len(2 * MAX_HEADERS).unwrap();
        let error = open(&path).err().unwrap().to_string();
        assert!(error.ends_with("its names are too long"), "{error}");
        let mut header = tar::Header::new_ustar();
        header.set_path("x").unwrap();
        header.set_size(0);
        header.set_cksum();
        std::fs::write(&path, header.as_bytes().repeat(MAX_MEMBERS + 2)).unwrap();
        let error = open(&path).err().unwrap().to_string();
        assert!(error.ends_with("it has too many members"), "{error}");
    }

    #[test]
    fn what_unpacks_to_more_than_there_is_room_for_is_given_up() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("bomb.tar.gz");
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        for _ in 0..64 {
            gzip.write_all(&vec![0; 1 << 20]).unwrap();
        }
        std::fs::write(&path, gzip.finish().unwrap()).unwrap();
        let asked = std::cell::Cell::new(0);
        let full = || {
            asked.set(asked.get() + 1);
            match asked.get() {
                3 => Err(ImageError::TagWithDigest.into()),
                _ => Ok(()),
            }
        };
        let given_up = Files::open_archive(&path, dir.path(), &full);
        assert!(matches!(
            given_up.err(),
            Some(Error::Image(ImageError::TagWithDigest))
        ));
    }
}
