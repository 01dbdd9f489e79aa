//! Git repositories, through the `git` program.
//!
//! It runs with an environment of its own: no configuration of the host, no hooks, no prompts, no credentials but
//! those that are handed in. A repository's submodules may not name files of this machine, and what it calls a
//! directory is opened without following links.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::fs::{AtFlags, FileType, Mode, openat, unlinkat, utimensat};

use super::error::{At, FilesError, Result};
use super::git_address::GitAddress;
use super::path::{DIRECTORY, Last, walk};
use super::target::times;
use super::tree::Tree;
use super::walk::names;

/// What of the host's environment git needs.
const KEPT: [&str; 9] = [
    "PATH",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "ALL_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "all_proxy",
];
/// Settings no repository may do without.
const SETTINGS: [&str; 8] = [
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "core.symlinks=true",
    "protocol.file.allow=user",
    "protocol.ext.allow=never",
    "init.defaultBranch=master",
    "advice.detachedHead=false",
    "gc.auto=0",
];
/// Of git's words, in an error.
const MAX_OUTPUT: usize = 4 << 10;

/// How to get a repository.
#[derive(Debug, Clone, Default)]
pub struct GitOptions {
    /// Keep `.git`, unless the address says otherwise.
    pub keep_git_dir: bool,
    /// `--checksum`: the commit that is expected, or how it begins.
    pub checksum: Option<String>,
    /// Files get the time of the commit.
    pub commit_times: bool,
    /// Socket of an SSH agent.
    pub ssh_agent: Option<PathBuf>,
    /// The secret `GIT_AUTH_HEADER`, or one made of `GIT_AUTH_TOKEN`: value of the header `Authorization`.
    pub authorization: Option<String>,
}

/// A commit that was checked out.
#[derive(Debug)]
pub struct Checkout {
    /// Its files.
    pub tree: Tree,
    /// The commit.
    pub commit: String,
    /// When it was made, in seconds since 1970.
    pub time: i64,
}

/// The commit an address means at the moment, without fetching it: what a cached step depends on.
///
/// # Errors
/// [`FilesError::Git`], [`FilesError::Checksum`].
pub fn resolve(address: &GitAddress, options: &GitOptions) -> Result<String> {
    let git = Git::new(address, options);
    let wanted = git.wanted()?;
    Ok(wanted.commit)
}

/// Checks out a repository into a new directory of `scratch`.
///
/// # Errors
/// [`FilesError::Git`] with git's words, [`FilesError::Checksum`], [`FilesError::NotFound`] for a missing subdirectory.
pub fn checkout(address: &GitAddress, options: &GitOptions, scratch: &Path) -> Result<Checkout> {
    let git = Git::new(address, options);
    let host = |action, path: &Path| {
        let path = path.to_path_buf();
        move |source| FilesError::Host {
            action,
            path,
            source,
        }
    };
    let dir = tempfile::Builder::new()
        .prefix("git-")
        .tempdir_in(scratch)
        .map_err(host("create a directory in", scratch))?
        .keep();
    let files = dir.join("files");
    std::fs::create_dir(&files).map_err(host("create", &files))?;
    let keep = address.keep_git_dir.unwrap_or(options.keep_git_dir) && address.subdir.is_none();
    let place = Place {
        git_dir: if keep {
            files.join(".git")
        } else {
            dir.join("repository")
        },
        files: files.clone(),
    };
    let wanted = git.wanted()?;
    git.fetch(&place, &wanted)?;
    git.run(
        &place,
        "check out the commit",
        &["checkout", "--force", "--detach", &wanted.commit],
    )?;
    if address.submodules.unwrap_or(true) && files.join(".gitmodules").symlink_metadata().is_ok() {
        let update = ["submodule", "update", "--init", "--recursive", "--depth=1"];
        git.run(&place, "update submodules", &update)?;
    }
    let format = ["log", "-1", "--format=%ct", &wanted.commit];
    let time = git.run(&place, "read the commit", &format)?;
    let time: i64 = time.trim().parse().unwrap_or(0);
    let root: OwnedFd = File::open(&files).map_err(host("open", &files))?.into();
    if !keep {
        remove_links_to_git_dirs(&root, true)?;
    }
    let root = match &address.subdir {
        None => root,
        Some(subdir) => open_subdir(&root, subdir)?,
    };
    if address.commit_times || options.commit_times {
        set_times(&root, time)?;
    }
    let tree = Tree::context(root);
    Ok(Checkout {
        tree: match keep {
            // What git keeps there is not the same twice.
            true => tree.with_identity(&format!("{} .git {}", wanted.commit, wanted.name)),
            false => tree,
        },
        commit: wanted.commit,
        time,
    })
}

struct Git<'a> {
    address: &'a GitAddress,
    options: &'a GitOptions,
}

struct Place {
    git_dir: PathBuf,
    files: PathBuf,
}

/// A commit, and the full name it goes by: `refs/heads/main`, or the commit itself.
struct Wanted {
    commit: String,
    name: String,
}

impl<'a> Git<'a> {
    fn new(address: &'a GitAddress, options: &'a GitOptions) -> Git<'a> {
        Git { address, options }
    }

    fn checksum(&self) -> Option<&str> {
        let given = self
            .options
            .checksum
            .as_ref()
            .or(self.address.checksum.as_ref());
        given.map(String::as_str)
    }

    fn wanted(&self) -> Result<Wanted> {
        let reference = self.address.reference.as_deref();
        if let (true, Some(commit)) = (self.address.fetch_by_commit, self.checksum()) {
            return Ok(Wanted {
                commit: commit.into(),
                name: commit.into(),
            });
        }
        if let Some(commit) = reference.filter(|r| is_commit(r)) {
            self.check(&[commit])?;
            return Ok(Wanted {
                commit: commit.into(),
                name: commit.into(),
            });
        }
        let reference = match reference {
            Some(reference) => reference.to_owned(),
            None => self.default_branch()?,
        };
        let peeled = format!("{reference}^{{}}");
        let remote = &self.address.remote;
        let list = ["ls-remote", "--", remote, &reference, &peeled];
        let output = self.run_anywhere("list the references of the remote", &list)?;
        let find = |name: &str| {
            let mut lines = output.lines().filter_map(|line| line.split_once('\t'));
            lines.find(|(_, n)| *n == name).map(|(id, _)| id.to_owned())
        };
        let bare = |prefix| reference.strip_prefix(prefix).unwrap_or(&reference);
        let names = [
            format!("refs/{}", bare("refs/")),
            format!("refs/heads/{}", bare("refs/heads/")),
            format!("refs/tags/{}", bare("refs/tags/")),
        ];
        for name in names {
            if let Some(id) = find(&name).filter(|id| is_commit(id)) {
                let commit = find(&format!("{name}^{{}}"));
                self.check(&[&id, commit.as_deref().unwrap_or_default()])?;
                return Ok(Wanted {
                    commit: commit.unwrap_or(id),
                    name,
                });
            }
        }
        Err(self.failed(
            "resolve the reference",
            format!("repository does not contain ref {reference}"),
        ))
    }

    fn default_branch(&self) -> Result<String> {
        let list = ["ls-remote", "--symref", "--", &self.address.remote, "HEAD"];
        let output = self.run_anywhere("find the default branch of the remote", &list)?;
        let mut heads = output
            .lines()
            .filter_map(|line| line.strip_prefix("ref: ")?.strip_suffix("\tHEAD"));
        match heads.next() {
            Some(head) => Ok(head.to_owned()),
            None => Err(self.failed(
                "find the default branch of the remote",
                "it does not name one".into(),
            )),
        }
    }

    fn check(&self, ids: &[&str]) -> Result<()> {
        match self.checksum() {
            Some(expected) if !ids.iter().any(|id| id.starts_with(expected)) => {
                Err(FilesError::Checksum {
                    url: self.address.shown(),
                    expected: expected.into(),
                    actual: ids[0].into(),
                })
            }
            _ => Ok(()),
        }
    }

    fn fetch(&self, place: &Place, wanted: &Wanted) -> Result<()> {
        let bare = place.git_dir.parent() != Some(&place.files);
        let mut init = vec!["init", "--quiet", "--template="];
        if bare {
            init.push("--bare");
        }
        if wanted.commit.len() == 64 {
            init.push("--object-format=sha256");
        }
        self.run(place, "make a repository", &init)?;
        let shown = self.address.shown();
        self.run(
            place,
            "make a repository",
            &["remote", "add", "origin", &shown],
        )?;
        let spec = match is_commit(&wanted.name) {
            true => wanted.commit.clone(),
            false => format!("{0}:{0}", wanted.name),
        };
        let remote = &self.address.remote;
        let fetch = |arguments: &[&str]| {
            let mut all = vec!["fetch", "--quiet", "-u", "--force"];
            all.extend_from_slice(arguments);
            self.run(place, "fetch from the remote", &all)
        };
        let shallow = fetch(&["--depth=1", "--no-tags", "--", remote, &spec]);
        // Some servers serve no part of a history, some no commit by its id.
        if shallow.is_err() {
            let all = fetch(&[
                "--tags",
                "--",
                remote,
                "+refs/heads/*:refs/remotes/origin/*",
            ]);
            all.or(shallow)?;
        }
        let commit = format!("{}^{{commit}}", wanted.commit);
        let known = self.run(place, "find the commit", &["cat-file", "-e", &commit]);
        // The reference has moved since it was looked up.
        if known.is_err() {
            fetch(&["--depth=1", "--no-tags", "--", remote, &wanted.commit])?;
        }
        Ok(())
    }

    fn run(&self, place: &Place, action: &'static str, arguments: &[&str]) -> Result<String> {
        let mut command = self.command();
        command.arg("--git-dir").arg(&place.git_dir);
        if arguments.first() != Some(&"init") {
            command.arg("--work-tree").arg(&place.files);
        }
        command.current_dir(&place.files);
        self.finish(command, action, arguments)
    }

    fn run_anywhere(&self, action: &'static str, arguments: &[&str]) -> Result<String> {
        let mut command = self.command();
        command.current_dir("/");
        self.finish(command, action, arguments)
    }

    fn command(&self) -> Command {
        let mut command = Command::new("git");
        command.env_clear().stdin(Stdio::null());
        for name in KEPT {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        command
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("HOME", "/dev/null")
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("LC_ALL", "C")
            .env("GIT_SSH_COMMAND", ssh_command());
        if let Some(agent) = &self.options.ssh_agent {
            command.env("SSH_AUTH_SOCK", agent);
        }
        if let Some(header) = &self.options.authorization {
            // Not on the command line, which everybody can read.
            let scope = self
                .address
                .remote
                .split(['?', '#'])
                .next()
                .unwrap_or_default();
            command
                .env("GIT_CONFIG_COUNT", "1")
                .env("GIT_CONFIG_KEY_0", format!("http.{scope}.extraheader"))
                .env("GIT_CONFIG_VALUE_0", format!("Authorization: {header}"));
        }
        for setting in SETTINGS {
            command.arg("-c").arg(setting);
        }
        // SAFETY: umask(2) is async-signal-safe and touches nothing but the child's mask.
        unsafe {
            command.pre_exec(|| {
                rustix::process::umask(Mode::WGRP | Mode::WOTH);
                Ok(())
            });
        }
        command
    }

    fn finish(
        &self,
        mut command: Command,
        action: &'static str,
        arguments: &[&str],
    ) -> Result<String> {
        let output = match command.args(arguments).output() {
            Ok(output) => output,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                return Err(self.failed(action, "the program git is not installed".into()));
            }
            Err(e) => return Err(self.failed(action, e.to_string())),
        };
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let words = String::from_utf8_lossy(&output.stderr);
        let mut words = words
            .trim()
            .replace(&self.address.remote, &self.address.shown());
        if words.len() > MAX_OUTPUT {
            words = words.chars().take(MAX_OUTPUT).collect();
        }
        Err(self.failed(action, words))
    }

    fn failed(&self, action: &'static str, output: String) -> FilesError {
        FilesError::Git {
            repository: self.address.shown(),
            action,
            output,
        }
    }
}

/// Known hosts are the person's own; hosts nobody has seen are believed, and remembered nowhere.
fn ssh_command() -> String {
    let known = std::env::var_os("HOME")
        .map(|home| Path::new(&home).join(".ssh/known_hosts"))
        .filter(|path| path.is_file())
        .and_then(|path| path.to_str().map(str::to_owned))
        .filter(|path| !path.contains([' ', '\'', '"', '%', '$']));
    match known {
        Some(path) => format!(
            "ssh -F /dev/null -o BatchMode=yes -o UserKnownHostsFile='/dev/null {path}' -o StrictHostKeyChecking=accept-new"
        ),
        None => "ssh -F /dev/null -o BatchMode=yes -o UserKnownHostsFile=/dev/null -o StrictHostKeyChecking=accept-new".into(),
    }
}

fn is_commit(id: &str) -> bool {
    matches!(id.len(), 40 | 64)
        && id
            .bytes()
            .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

/// A directory of a repository, which must be one itself and lie in nothing but directories.
fn open_subdir(root: &OwnedFd, subdir: &str) -> Result<OwnedFd> {
    let not_found = || FilesError::NotFound {
        path: subdir.into(),
        ignored: false,
        nearest: None,
    };
    let place = walk(root.as_fd(), subdir.as_bytes(), Last::Keep, None)?;
    if place.stat.is_none() {
        return Err(not_found());
    }
    if !place.links.is_empty() || !place.is_dir() {
        return Err(FilesError::NotADirectory {
            path: subdir.into(),
        });
    }
    openat(&place.dir, &place.name[..], DIRECTORY, Mode::empty()).at("open", subdir.as_bytes())
}

/// Submodules have a file `.git` that says where on this machine their repository is.
fn remove_links_to_git_dirs(dir: &OwnedFd, top: bool) -> Result<()> {
    for entry in names(dir.as_fd()).at("read", b"")? {
        if entry.name.as_bytes() == b".git" && !top {
            unlinkat(dir, &entry.name, AtFlags::empty()).at("remove", b".git")?;
        } else if entry.kind == FileType::Directory {
            let below = openat(dir, &entry.name, DIRECTORY, Mode::empty());
            remove_links_to_git_dirs(&below.at("open", entry.name.as_bytes())?, false)?;
        }
    }
    Ok(())
}

fn set_times(dir: &OwnedFd, time: i64) -> Result<()> {
    let times = times((time, 0));
    for entry in names(dir.as_fd()).at("read", b"")? {
        let path = entry.name.as_bytes();
        if entry.kind == FileType::Directory {
            set_times(
                &openat(dir, &entry.name, DIRECTORY, Mode::empty()).at("open", path)?,
                time,
            )?;
        }
        utimensat(dir, &entry.name, &times, AtFlags::SYMLINK_NOFOLLOW)
            .at("set the time of", path)?;
    }
    utimensat(dir, c".", &times, AtFlags::empty()).at("set the time of", b"")
}
