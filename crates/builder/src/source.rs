//! Contexts as a build uses them: opened, the Dockerfile and `.dockerignore` found.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::files::{HashCache, Tree};
use crate::ignore::Ignore;
use crate::options::DockerfileLocation;
use crate::{BuildError, Result};

/// No Dockerfile and no list of patterns is larger.
const MAX_TEXT: u64 = 16 << 20;

/// Where files of a context come from, as the command line says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// A directory.
    Directory(PathBuf),
    /// An archive or Dockerfile from standard input.
    Stdin,
    /// A URL or git repository.
    Remote(String),
}

impl Location {
    /// What a word on the command line means.
    pub fn parse(text: &str) -> Location {
        let remote = [
            "http://",
            "https://",
            "git://",
            "ssh://",
            "git@",
            "github.com/",
        ];
        if text == "-" {
            Location::Stdin
        } else if remote.iter().any(|prefix| text.starts_with(prefix)) {
            Location::Remote(text.to_owned())
        } else {
            Location::Directory(text.into())
        }
    }
}

/// An opened context.
#[derive(Debug)]
pub(crate) struct Context {
    tree: Tree,
    /// Of a directory of the user's own.
    directory: Option<PathBuf>,
    hashes: Option<Arc<HashCache>>,
}

impl Context {
    /// Opens a context. `root` is the store's directory, where hashes of files are kept between builds.
    pub(crate) fn open(location: &Location, root: &Path) -> Result<Context> {
        let Location::Directory(path) = location else {
            return Err(BuildError::Instruction {
                span: None,
                reason: "only directories can be contexts yet".into(),
            });
        };
        let dir = File::open(path).map_err(|source| BuildError::ContextMissing {
            path: path.clone(),
            source,
        })?;
        if !dir.metadata().is_ok_and(|m| m.is_dir()) {
            return Err(BuildError::ContextMissing {
                path: path.clone(),
                source: std::io::ErrorKind::NotADirectory.into(),
            });
        }
        let absolute = std::fs::canonicalize(path).map_err(BuildError::io("find", path))?;
        let hashes = hash_cache(root, &absolute)?;
        Ok(Context {
            tree: Tree::context(OwnedFd::from(dir)).with_cache(Arc::clone(&hashes)),
            directory: Some(absolute),
            hashes: Some(hashes),
        })
    }

    /// The Dockerfile: its name and its text.
    pub(crate) fn dockerfile(&self, location: &DockerfileLocation) -> Result<(String, String)> {
        let (name, bytes) = match location {
            DockerfileLocation::Text(text) => return Ok(("Dockerfile".into(), text.clone())),
            DockerfileLocation::Default => (
                "Dockerfile".to_owned(),
                self.tree.read("Dockerfile", MAX_TEXT)?,
            ),
            DockerfileLocation::Path(path) => {
                let name = path.to_string_lossy().into_owned();
                match (&self.directory, path.is_file()) {
                    (Some(_), true) => (
                        name,
                        Some(std::fs::read(path).map_err(BuildError::io("read", path))?),
                    ),
                    _ => {
                        let bytes = self.tree.read(&name, MAX_TEXT)?;
                        (name, bytes)
                    }
                }
            }
        };
        let bytes = bytes.ok_or_else(|| BuildError::NoDockerfile {
            path: PathBuf::from(&name),
        })?;
        let text = String::from_utf8(bytes).map_err(|e| BuildError::Instruction {
            span: None,
            reason: format!("{name}: not UTF-8 at byte {}", e.utf8_error().valid_up_to()),
        })?;
        Ok((name, text))
    }

    /// Leaves out what `.dockerignore` says, or `<Dockerfile>.dockerignore` where there is one.
    pub(crate) fn load_ignore(&mut self, dockerfile: &str) -> Result<()> {
        let beside = PathBuf::from(format!("{dockerfile}.dockerignore"));
        let own = match self.directory.is_some() && beside.is_file() {
            true => Some(std::fs::read(&beside).map_err(BuildError::io("read", &beside))?),
            false if dockerfile.is_empty() => None,
            false => self
                .tree
                .read(&beside.to_string_lossy(), MAX_TEXT)
                .unwrap_or_default(),
        };
        let bytes = match own {
            Some(bytes) => Some(bytes),
            None => self.tree.read(".dockerignore", MAX_TEXT)?,
        };
        if let Some(bytes) = bytes {
            let ignore = Ignore::parse(&String::from_utf8_lossy(&bytes));
            let ignore = ignore.map_err(|e| BuildError::Instruction {
                span: None,
                reason: format!(".dockerignore: {e}"),
            })?;
            self.tree = self.tree.clone().with_ignore(ignore);
        }
        Ok(())
    }

    pub(crate) fn tree(&self) -> Tree {
        self.tree.clone()
    }

    /// Keeps hashes of files for the next build.
    pub(crate) fn remember(&self) {
        if let Some(Err(error)) = self.hashes.as_ref().map(|hashes| hashes.save()) {
            tracing::debug!(%error, "hashes of the context's files are not kept");
        }
    }
}

/// `<root>/context-hashes/<hash of the directory's path>`.
fn hash_cache(root: &Path, directory: &Path) -> Result<Arc<HashCache>> {
    let all = root.join("context-hashes");
    match std::fs::create_dir(&all) {
        Err(e) if e.kind() != std::io::ErrorKind::AlreadyExists => {
            return Err(BuildError::io("create", &all)(e));
        }
        _ => {}
    }
    let name = rctr_store::sha256(directory.as_os_str().as_encoded_bytes()).to_string();
    Ok(Arc::new(HashCache::open(
        &all.join(name.trim_start_matches("sha256:")),
    )))
}
