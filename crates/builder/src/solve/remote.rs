//! What is at registries and on the web: told about first, and fetched only when it is needed.

use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use serde::{Deserialize, Serialize};

use super::work::Work;
use super::{Solved, Solver, lock};
use crate::files::{self, Fetched, GitAddress, GitOptions, Validators};
use crate::plan::{Copy, CopySource, NodeId, Op};
use crate::{BuildError, Result};

/// What a build knows of it, by node.
pub(super) struct Remotes {
    nodes: Vec<Remote>,
    files: Mutex<HashMap<WebFile, Arc<Fetched>>>,
}

/// A URL with its checksum.
type WebFile = (String, Option<String>);

#[derive(Default)]
struct Remote {
    /// An image's layers are here; false if they cannot be had.
    fetched: OnceLock<bool>,
    /// The view has a line for it.
    told: AtomicBool,
    /// What stands for repositories and files.
    identities: Mutex<Option<Vec<String>>>,
}

impl Remotes {
    pub(super) fn of(nodes: usize) -> Remotes {
        Remotes {
            nodes: std::iter::repeat_with(Remote::default)
                .take(nodes)
                .collect(),
            files: Mutex::default(),
        }
    }

    pub(super) fn told(&self, node: NodeId) -> bool {
        self.nodes[node].told.load(Ordering::Relaxed)
    }

    pub(super) fn set_told(&self, node: NodeId) {
        self.nodes[node].told.store(true, Ordering::Relaxed);
    }
}

impl Solver<'_> {
    /// Fetches the layers of the image at the bottom, if they are not here: before they are mounted or put into an image.
    pub(crate) fn fetch(&self, solved: &Solved) -> Result<()> {
        let Some(id) = solved.image else {
            return Ok(());
        };
        let node = &self.plan.nodes[id];
        let Op::Image(image) = &node.op else {
            return Ok(());
        };
        if image.remote.is_none() {
            return Ok(());
        }
        let fetched = self.remotes.nodes[id].fetched.get_or_init(|| {
            self.remotes.set_told(id);
            let work = self.work(id, &|| ());
            work.start();
            match self.images.fetch(image, work.vertex, self.cancel) {
                Ok(()) => {
                    work.done();
                    true
                }
                Err(error) => {
                    let error = match node.span {
                        Some(span) => error.at(span),
                        None => error,
                    };
                    work.failed(&error);
                    self.fail(error);
                    false
                }
            }
        });
        match fetched {
            true => Ok(()),
            false => Err(BuildError::Cancelled),
        }
    }
}

/// What is remembered of a URL from one build to the next.
#[derive(Serialize, Deserialize)]
struct Note {
    url: String,
    validators: Validators,
    /// What the file was.
    identity: String,
}

impl Work<'_> {
    /// What stands for the content of repositories and of URLs, if there is nothing else.
    pub(super) fn remote_identities(&self, copy: &Copy) -> Result<Option<Vec<String>>> {
        let is_remote =
            |source: &CopySource| matches!(source, CopySource::Git(_) | CopySource::Url(_));
        if !copy.sources.iter().all(is_remote) {
            return Ok(None);
        }
        let mut known = lock(&self.solver.remotes.nodes[self.id].identities);
        if known.is_none() {
            let mut identities = Vec::new();
            for source in &copy.sources {
                match (source, &copy.checksum) {
                    (CopySource::Git(address), _) => {
                        let (address, options) = self.git(copy, address)?;
                        identities.push(files::resolve(&address, &options)?);
                    }
                    (CopySource::Url(_), Some(checksum)) => identities.push(checksum.clone()),
                    (CopySource::Url(url), None) => identities.push(self.ask(url)?),
                    _ => return Ok(None),
                }
            }
            *known = Some(identities);
        }
        Ok(known.clone())
    }

    /// What stands for the file at a URL: what it was the last time, if its server says that it is the same.
    fn ask(&self, url: &str) -> Result<String> {
        let note = self.note(url);
        let validators = note.as_ref().map(|note| &note.validators);
        let fetched = files::fetch_if_changed(url, validators, self.solver.scratch)?;
        Ok(match (fetched, note) {
            (None, Some(note)) => note.identity,
            (None, None) => self.web_file(url, None)?.identity(),
            (Some(fetched), _) => self.keep(url, None, fetched).identity(),
        })
    }

    /// The file at a URL, fetched once.
    pub(super) fn web_file(&self, url: &str, checksum: Option<&str>) -> Result<Arc<Fetched>> {
        let key = (url.to_owned(), checksum.map(str::to_owned));
        if let Some(fetched) = lock(&self.solver.remotes.files).get(&key) {
            return Ok(Arc::clone(fetched));
        }
        let fetched = files::fetch(url, checksum, self.solver.scratch)?;
        Ok(self.keep(url, checksum, fetched))
    }

    fn keep(&self, url: &str, checksum: Option<&str>, fetched: Fetched) -> Arc<Fetched> {
        if checksum.is_none() {
            self.set_note(url, &fetched);
        }
        let fetched = Arc::new(fetched);
        let key = (url.to_owned(), checksum.map(str::to_owned));
        lock(&self.solver.remotes.files).insert(key, Arc::clone(&fetched));
        fetched
    }

    fn note_path(&self, url: &str) -> PathBuf {
        let root = self.solver.engine.store().root();
        let name = rctr_store::sha256(url.as_bytes());
        root.join("build/urls").join(name.digest())
    }

    fn note(&self, url: &str) -> Option<Note> {
        let bytes = fs::read(self.note_path(url)).ok()?;
        let note: Note = serde_json::from_slice(&bytes).ok()?;
        Some(note).filter(|note| note.url == url)
    }

    /// Nothing depends on it but that the next build need not fetch the file.
    fn set_note(&self, url: &str, fetched: &Fetched) {
        let path = self.note_path(url);
        let Some(validators) = fetched.validators.clone() else {
            let _ = fs::remove_file(&path);
            return;
        };
        let note = Note {
            url: url.to_owned(),
            validators,
            identity: fetched.identity(),
        };
        let write = || {
            let dir = path.parent()?;
            fs::create_dir_all(dir).ok()?;
            let file = tempfile::NamedTempFile::new_in(dir).ok()?;
            serde_json::to_writer(&file, &note).ok()?;
            file.persist(&path).ok()
        };
        if write().is_none() {
            tracing::debug!(%url, "not remembered");
        }
    }

    pub(super) fn git(&self, copy: &Copy, address: &str) -> Result<(GitAddress, GitOptions)> {
        let address = GitAddress::of_source(address).ok_or_else(|| BuildError::Instruction {
            span: self.node.span,
            reason: format!("{address:?} is no address of a git repository"),
        })??;
        let options = GitOptions {
            keep_git_dir: copy.keep_git_dir,
            checksum: copy.checksum.clone(),
            ssh_agent: self.solver.options.ssh.get("default").cloned(),
            ..GitOptions::default()
        };
        Ok((address, options))
    }
}
