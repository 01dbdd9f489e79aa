//! What COPY and ADD do, on real files. Most need root, as a build does.

mod copying;
mod digests;
mod hostile;
mod remote;
mod selecting;
mod unpacking;

use std::fs;
use std::io::Write as _;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use rustix::fs::{XattrFlags, lgetxattr, setxattr};

use super::*;
use crate::ignore::Ignore;

/// A capability as the kernel keeps it: cap_net_raw, effective.
const CAPABILITY: &[u8] = b"\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
const CAPABILITY_NAME: &str = "security.capability";

/// A directory `from` to copy from and a directory `to` to copy to.
struct Lab(tempfile::TempDir);

impl Lab {
    fn new() -> Lab {
        let lab = Lab(tempfile::tempdir().unwrap());
        for name in ["from", "to"] {
            fs::create_dir(lab.at(name)).unwrap();
            lab.mode(name, 0o755);
        }
        lab
    }

    fn at(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    /// A file of mode 0644, its directories of mode 0755.
    fn file(&self, path: &str, content: &str) -> &Lab {
        let full = self.at(path);
        self.dir(Path::new(path).parent().unwrap().to_str().unwrap());
        let _ = fs::remove_file(&full);
        fs::write(&full, content).unwrap();
        self.mode(path, 0o644)
    }

    fn dir(&self, path: &str) -> &Lab {
        let mut made = PathBuf::new();
        for part in Path::new(path) {
            made.push(part);
            if fs::create_dir(self.at(made.to_str().unwrap())).is_ok() {
                self.mode(made.to_str().unwrap(), 0o755);
            }
        }
        self
    }

    fn link(&self, path: &str, target: &str) -> &Lab {
        self.dir(Path::new(path).parent().unwrap().to_str().unwrap());
        symlink(target, self.at(path)).unwrap();
        self
    }

    fn mode(&self, path: &str, mode: u32) -> &Lab {
        fs::set_permissions(self.at(path), fs::Permissions::from_mode(mode)).unwrap();
        self
    }

    fn own(&self, path: &str, uid: u32, gid: u32) -> &Lab {
        std::os::unix::fs::lchown(self.at(path), Some(uid), Some(gid)).unwrap();
        self
    }

    /// Sets the time of what is there, in seconds since 1970.
    fn time(&self, path: &str, seconds: u64) -> &Lab {
        let file = fs::File::open(self.at(path)).unwrap();
        file.set_modified(UNIX_EPOCH + Duration::from_secs(seconds))
            .unwrap();
        self
    }

    fn capable(&self, path: &str) -> &Lab {
        setxattr(
            self.at(path),
            CAPABILITY_NAME,
            CAPABILITY,
            XattrFlags::empty(),
        )
        .unwrap();
        self
    }

    fn fd(&self, path: &str) -> OwnedFd {
        fs::File::open(self.at(path)).unwrap().into()
    }

    fn context(&self) -> Tree {
        Tree::context(self.fd("from"))
    }

    fn ignoring(&self, patterns: &str) -> Tree {
        self.context().with_ignore(Ignore::parse(patterns).unwrap())
    }

    fn stage(&self) -> Tree {
        Tree::rootfs(self.fd("from"))
    }

    /// Copies from the context as `COPY WORDS DESTINATION` does.
    fn copy(&self, words: &[&str], destination: &str) -> Result<()> {
        self.run(&self.context(), words, destination, |_| {})
    }

    fn run(
        &self,
        tree: &Tree,
        words: &[&str],
        destination: &str,
        change: impl FnOnce(&mut CopyRequest<'_>),
    ) -> Result<()> {
        self.run_with(tree, words, &SelectOptions::default(), destination, change)
    }

    fn run_with(
        &self,
        tree: &Tree,
        words: &[&str],
        options: &SelectOptions,
        destination: &str,
        change: impl FnOnce(&mut CopyRequest<'_>),
    ) -> Result<()> {
        let selection = tree.select(words, options)?;
        selection.digest()?;
        self.place(selection, destination, change)
    }

    fn place(
        &self,
        selection: Selection,
        destination: &str,
        change: impl FnOnce(&mut CopyRequest<'_>),
    ) -> Result<()> {
        let sources = [Source::Selection(selection)];
        let mut request = CopyRequest::new(&sources, destination);
        change(&mut request);
        copy(self.fd("to").as_fd(), &request)
    }

    /// Everything below a directory, a line each: path, kind with mode, owner, content or target.
    fn list(&self, path: &str) -> Vec<String> {
        let mut lines = Vec::new();
        let base = self.at(path);
        let mut todo = vec![base.clone()];
        while let Some(dir) = todo.pop() {
            for entry in fs::read_dir(&dir).unwrap() {
                let path = entry.unwrap().path();
                lines.push(describe(&base, &path));
                if path.symlink_metadata().unwrap().is_dir() {
                    todo.push(path);
                }
            }
        }
        lines.sort();
        lines
    }

    fn seen(&self) -> Vec<String> {
        self.list("to")
    }

    fn read(&self, path: &str) -> String {
        fs::read_to_string(self.at(path)).unwrap()
    }

    fn has_capability(&self, path: &str) -> bool {
        let mut value = [0; 64];
        lgetxattr(self.at(path), CAPABILITY_NAME, &mut value)
            .is_ok_and(|length| value[..length] == *CAPABILITY)
    }
}

fn describe(base: &Path, path: &Path) -> String {
    let meta = path.symlink_metadata().unwrap();
    let kind = meta.file_type();
    let shown = path.strip_prefix(base).unwrap().display();
    let owner = format!("{}:{}", meta.uid(), meta.gid());
    if kind.is_symlink() {
        return format!(
            "{shown} -> {} {owner}",
            fs::read_link(path).unwrap().display()
        );
    }
    let mode = meta.mode() & 0o7777;
    match () {
        () if kind.is_dir() => format!("{shown}/ {mode:o} {owner}"),
        () if kind.is_file() => {
            let content = fs::read(path).unwrap();
            format!(
                "{shown} {mode:o} {owner} {}",
                String::from_utf8_lossy(&content)
            )
        }
        () => format!("{shown} other {mode:o} {owner}"),
    }
}

fn modified(path: &Path) -> i64 {
    path.symlink_metadata().unwrap().mtime()
}

/// What something is that should have failed.
fn message<T>(result: Result<T>) -> String {
    match result {
        Ok(_) => "it did not fail".into(),
        Err(e) => match std::error::Error::source(&e) {
            Some(source) => format!("{e}: {source}"),
            None => e.to_string(),
        },
    }
}

fn append(path: &Path, text: &str) {
    let mut file = fs::File::options().append(true).open(path).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

/// A mode that lives as long as any request.
fn leaked(value: &str) -> &'static Chmod {
    Box::leak(Box::new(Chmod::parse(value).unwrap()))
}
