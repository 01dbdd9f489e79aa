//! Build contexts: a directory, an archive, a git repository, a URL.

mod location;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest as _, Sha256};

pub use location::Location;

use crate::files::{
    self, FilesError, GitOptions, HashCache, Result, Tree, checkout, fetch, is_archive,
    open_archive, unpack,
};
use crate::ignore::Ignore;
use crate::options::DockerfileLocation;

/// Of a Dockerfile or `.dockerignore`.
const MAX_FILE: u64 = 16 << 20;
const DOCKERFILE: &str = "Dockerfile";
const DOCKERIGNORE: &str = ".dockerignore";
/// As much of a stream as tells whether it is an archive.
const HEAD: usize = 1024;

/// The files a build may use.
#[derive(Debug)]
pub struct Context {
    tree: Tree,
    /// Of this machine: `.dockerignore` counts only there, as with BuildKit.
    local: bool,
    /// The context itself was a Dockerfile, and nothing else.
    inline: Option<String>,
    /// Where the Dockerfile was found.
    dockerfile: Option<Found>,
    time: Option<i64>,
}

#[derive(Debug)]
enum Found {
    /// In the context.
    Inside(String),
    /// Elsewhere on this machine.
    Outside(PathBuf),
}

impl Context {
    /// Opens a context. Hashes of a directory's unchanged files are remembered in `store_root`; what must be fetched or
    /// unpacked goes to `scratch`, which the caller removes when the build is over.
    ///
    /// # Errors
    /// [`FilesError::NoContext`] and whatever fetching and unpacking give.
    pub fn open(location: &Location, store_root: &Path, scratch: &Path) -> Result<Context> {
        match location {
            Location::Directory(path) => Self::directory(path, store_root),
            Location::Stdin => Self::stream(std::io::stdin().lock(), "standard input", scratch),
            Location::Git(address) => {
                let checkout = checkout(address, &GitOptions::default(), scratch)?;
                Ok(Context {
                    time: Some(checkout.time),
                    ..Self::remote(checkout.tree)
                })
            }
            Location::Url(url) => {
                let fetched = fetch(url, None, scratch)?;
                let path = fetched.dir.join(&fetched.name);
                let file = File::open(&path).map_err(|e| host("open", &path, e))?;
                Ok(Context {
                    time: fetched.last_modified,
                    ..Self::stream(file, url, scratch)?
                })
            }
        }
    }

    fn remote(tree: Tree) -> Context {
        Context {
            tree,
            local: false,
            inline: None,
            dockerfile: None,
            time: None,
        }
    }

    fn directory(path: &Path, store_root: &Path) -> Result<Context> {
        let missing = || FilesError::NoContext { path: path.into() };
        let real = path.canonicalize().map_err(|_| missing())?;
        if !real.is_dir() {
            return Err(missing());
        }
        let root = File::open(&real).map_err(|e| host("open", &real, e))?;
        let dir = store_root.join("build/hashes");
        std::fs::create_dir_all(&dir).map_err(|e| host("create", &dir, e))?;
        let name = files::hex(Sha256::new_with_prefix(real.as_os_str().as_bytes()));
        let cache = HashCache::open(&dir.join(&name[..32]));
        Ok(Context {
            local: true,
            ..Self::remote(Tree::context(root.into()).with_cache(Arc::new(cache)))
        })
    }

    /// An archive, whose files keep their owners, or a Dockerfile.
    fn stream(reader: impl Read, name: &str, scratch: &Path) -> Result<Context> {
        let broken = |e| host("read", Path::new(name), e);
        let mut reader = BufReader::with_capacity(64 << 10, reader);
        let head = peek(&mut reader).map_err(broken)?;
        let dir = tempfile::Builder::new()
            .prefix("context-")
            .tempdir_in(scratch)
            .map_err(|e| host("create a directory in", scratch, e))?
            .keep();
        let root = File::open(&dir).map_err(|e| host("open", &dir, e))?;
        let stream = std::io::Cursor::new(head.clone()).chain(reader);
        if is_archive(&head) {
            let again = root.try_clone().map_err(|e| host("open", &dir, e))?;
            let archive = open_archive(stream).map_err(broken)?;
            let archive = archive.ok_or_else(|| FilesError::Archive {
                archive: name.into(),
                member: None,
                problem: "it is packed, but no tar archive".into(),
            })?;
            unpack(archive, again.into(), None, name)?;
            return Ok(Self::remote(Tree::rootfs(root.into())));
        }
        let mut text = Vec::new();
        stream
            .take(MAX_FILE + 1)
            .read_to_end(&mut text)
            .map_err(broken)?;
        if text.len() as u64 > MAX_FILE {
            return Err(FilesError::TooLarge {
                path: name.into(),
                limit: MAX_FILE,
            });
        }
        Ok(Context {
            inline: Some(String::from_utf8_lossy(&text).into_owned()),
            ..Self::remote(Tree::rootfs(root.into()))
        })
    }

    /// The files, without those `.dockerignore` hides once [`Self::load_ignore`] has been called.
    pub fn tree(&self) -> Tree {
        self.tree.clone()
    }

    /// When the context was made, in seconds since 1970, if that is known: a commit, or `Last-Modified`.
    pub fn time(&self) -> Option<i64> {
        self.time
    }

    /// The Dockerfile's name, as a person would look for it, and its text. `.dockerignore` does not hide it.
    ///
    /// # Errors
    /// [`FilesError::NoDockerfile`], [`FilesError::TooLarge`], [`FilesError::NotAFile`].
    pub fn dockerfile(&mut self, location: &DockerfileLocation) -> Result<(String, String)> {
        match (location, &self.inline) {
            (DockerfileLocation::Text(text), _) => Ok((DOCKERFILE.into(), text.clone())),
            (_, Some(text)) => Ok((DOCKERFILE.into(), text.clone())),
            (DockerfileLocation::Default, None) => {
                for name in [DOCKERFILE, "dockerfile"] {
                    if let Some(text) = self.inside(name)? {
                        return Ok((name.into(), text));
                    }
                }
                Err(FilesError::NoDockerfile {
                    path: DOCKERFILE.into(),
                })
            }
            (DockerfileLocation::Path(path), None) => self.named(path),
        }
    }

    fn named(&mut self, path: &Path) -> Result<(String, String)> {
        let name = path.display().to_string();
        let wanted = |text: String| Ok((name.clone(), text));
        if !self.local
            && let Some(text) = self.inside(&name)?
        {
            return wanted(text);
        }
        if let Some(bytes) = outside(path)? {
            self.dockerfile = Some(Found::Outside(path.into()));
            return wanted(String::from_utf8_lossy(&bytes).into_owned());
        }
        match self.local && path.is_relative() {
            true => match self.inside(&name)? {
                Some(text) => wanted(text),
                None => Err(FilesError::NoDockerfile { path: path.into() }),
            },
            false => Err(FilesError::NoDockerfile { path: path.into() }),
        }
    }

    fn inside(&mut self, name: &str) -> Result<Option<String>> {
        let Some(bytes) = self.tree.read(name, MAX_FILE)? else {
            return Ok(None);
        };
        self.dockerfile = Some(Found::Inside(name.into()));
        Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
    }

    /// Hides what `DOCKERFILE.dockerignore`, beside the Dockerfile that was read, or else `.dockerignore` says. Only
    /// in directories of this machine: what is fetched is taken as it is. `dockerfile` is the name that
    /// [`Self::dockerfile`] gave, empty for a context whose Dockerfile nobody reads. Gives the bytes read.
    ///
    /// # Errors
    /// [`FilesError::Pattern`] with the line.
    pub fn load_ignore(&mut self, dockerfile: &str) -> Result<u64> {
        if !self.local {
            return Ok(0);
        }
        let suffixed = |name: &str| format!("{name}{DOCKERIGNORE}");
        let own = match &self.dockerfile {
            None => None,
            Some(_) if dockerfile.is_empty() => None,
            Some(Found::Inside(name)) => self.tree.read(&suffixed(name), MAX_FILE)?,
            Some(Found::Outside(path)) => {
                let mut beside = path.clone().into_os_string();
                beside.push(DOCKERIGNORE);
                outside(Path::new(&beside))?
            }
        };
        let text = match own {
            Some(own) => Some(own),
            None => self.tree.read(DOCKERIGNORE, MAX_FILE)?,
        };
        if let Some(text) = text {
            let ignore = Ignore::parse(&String::from_utf8_lossy(&text)).map_err(|e| {
                FilesError::Pattern {
                    reason: format!("{DOCKERIGNORE}: {e}"),
                }
            })?;
            self.tree = self.tree.clone().with_ignore(ignore);
            return Ok(text.len() as u64);
        }
        Ok(0)
    }
}

/// A file of this machine; `None` if there is none.
fn outside(path: &Path) -> Result<Option<Vec<u8>>> {
    let file = match File::open(path) {
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        other => other.map_err(|e| host("read", path, e))?,
    };
    let mut bytes = Vec::new();
    let read = file.take(MAX_FILE + 1).read_to_end(&mut bytes);
    read.map_err(|e| host("read", path, e))?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(FilesError::TooLarge {
            path: path.display().to_string(),
            limit: MAX_FILE,
        });
    }
    Ok(Some(bytes))
}

/// The first bytes of a stream, taken from it.
fn peek(reader: &mut impl BufRead) -> std::io::Result<Vec<u8>> {
    let mut head = Vec::with_capacity(HEAD);
    reader.take(HEAD as u64).read_to_end(&mut head)?;
    Ok(head)
}

fn host(action: &'static str, path: &Path, source: std::io::Error) -> FilesError {
    FilesError::Host {
        action,
        path: path.into(),
        source,
    }
}
