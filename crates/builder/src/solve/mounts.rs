//! `RUN --mount`: what is shown to a command besides its files, and put away after it.

use std::fs;
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use rctr_engine::StepLabels;
use rctr_engine::model::ResolvedMount;
use rctr_engine::options::{MountKind, MountSpec, Relabel};
use rctr_store::BuildStep;
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use rustix::mount::{MountFlags, MoveMountFlags, UnmountFlags, mount, move_mount, unmount};

use super::agent::Agent;
use super::{Solved, Solver};
use crate::cachemount::{CacheMount, Initial, Wanted};
use crate::dockerfile::RunMount;
use crate::options::SecretSource;
use crate::plan::{PlannedMount, Run};
use crate::{BuildError, Result};

/// The mounts of one RUN step. Mounted in the build's own mount namespace; dropping it unmounts.
pub(super) struct Mounts<'s> {
    solver: &'s Solver<'s>,
    /// For the step.
    pub(super) list: Vec<ResolvedMount>,
    /// Variables that secrets and agents bring, `NAME=value`.
    pub(super) env: Vec<String>,
    /// Room for mount points.
    dir: PathBuf,
    points: usize,
    mounted: Vec<PathBuf>,
    /// Files that `rw` mounts write to, and nobody keeps.
    scratch: Vec<BuildStep>,
    /// Held while the step runs.
    caches: Vec<CacheMount>,
    agents: Vec<Agent>,
    labels: Option<&'s StepLabels>,
}

impl<'s> Mounts<'s> {
    /// Makes everything ready. `shown` are the files of each mount's origin; `dir` is the step's own directory.
    pub(super) fn prepare(
        solver: &'s Solver<'s>,
        run: &Run,
        shown: &[Option<&Solved>],
        dir: &Path,
        labels: Option<&'s StepLabels>,
    ) -> Result<Mounts<'s>> {
        let mut mounts = Mounts {
            solver,
            list: Vec::new(),
            env: Vec::new(),
            dir: dir.join("mounts"),
            points: 0,
            mounted: Vec::new(),
            scratch: Vec::new(),
            caches: Vec::new(),
            agents: Vec::new(),
            labels,
        };
        if run.script.is_some() || !run.mounts.is_empty() {
            fs::create_dir(&mounts.dir).map_err(BuildError::io("create", &mounts.dir))?;
        }
        if let Some((name, content)) = &run.script {
            let path = mounts.dir.join("script");
            put(&path, content.as_bytes(), 0o755, (0, 0))?;
            mounts.bind(&format!("/dev/pipes/{name}"), &path, true, Relabel::Private);
        }
        for (planned, shown) in run.mounts.iter().zip(shown) {
            mounts.add(planned, *shown, &run.working_dir)?;
        }
        Ok(mounts)
    }

    /// Where mounting may leave something behind in the step's files.
    pub(super) fn targets(&self) -> Vec<String> {
        let etc = ["/etc/resolv.conf", "/etc/hostname", "/etc/hosts"].map(str::to_owned);
        let own = self.list.iter().map(|mount| mount.spec.target.clone());
        etc.into_iter().chain(own).collect()
    }

    fn add(&mut self, planned: &PlannedMount, shown: Option<&Solved>, cwd: &str) -> Result<()> {
        let at = |target: &str| place(target, cwd);
        match &planned.mount {
            RunMount::Bind {
                target,
                source,
                read_only,
                ..
            } => {
                let path = self.show(shown, source, *read_only)?;
                // What is mounted here has its label from that, and takes no other.
                let relabel = match self.mounted.last().is_some_and(|on| path.starts_with(on)) {
                    true => Relabel::Never,
                    false => Relabel::Private,
                };
                self.bind(&at(target)?, &path, *read_only, relabel);
            }
            RunMount::Cache {
                target,
                id,
                source,
                sharing,
                read_only,
                mode,
                uid,
                gid,
                ..
            } => {
                let target = at(target)?;
                let initial = match shown {
                    Some(_) => Some(self.show(shown, source, true)?),
                    None => None,
                };
                let identity = shown.map(|shown| format!("{} {source}", shown.identity()));
                let initial = initial.as_deref().zip(identity.as_deref());
                let wanted = Wanted {
                    id: id.as_deref().unwrap_or(&target),
                    sharing: *sharing,
                    initial: initial.map(|(path, identity)| Initial { path, identity }),
                    mode: *mode,
                    owner: (*uid, *gid),
                };
                let path = self.cache(&wanted)?;
                self.bind(&target, &path, *read_only, Relabel::Shared);
            }
            RunMount::Tmpfs { target, size } => {
                let mut options = vec!["exec".to_owned()];
                options.extend(size.map(|bytes| format!("size={bytes}")));
                self.list.push(resolved(
                    MountKind::Tmpfs,
                    &at(target)?,
                    PathBuf::new(),
                    false,
                    options,
                ));
            }
            RunMount::Secret { .. } => self.secret(&planned.mount, cwd)?,
            RunMount::Ssh { .. } => self.agent(&planned.mount, cwd)?,
        }
        Ok(())
    }

    /// The cache directory, taken once however often a step mounts it.
    fn cache(&mut self, wanted: &Wanted<'_>) -> Result<PathBuf> {
        if let Some(taken) = self.caches.iter().find(|cache| cache.serves(wanted)) {
            return Ok(taken.path().to_owned());
        }
        let root = self.solver.engine.store().root();
        let cache = CacheMount::take(root, wanted, self.solver.cancel)?;
        let path = cache.path().to_owned();
        self.caches.push(cache);
        Ok(path)
    }

    fn secret(&mut self, mount: &RunMount, cwd: &str) -> Result<()> {
        let RunMount::Secret {
            id,
            target,
            env,
            required,
            mode,
            uid,
            gid,
        } = mount
        else {
            return Ok(());
        };
        let missing = || BuildError::SecretMissing {
            span: None,
            id: id.clone(),
        };
        let value = match self.solver.options.secrets.get(id) {
            Some(SecretSource::File(path)) => {
                Some(fs::read(path).map_err(BuildError::io("read secret", path))?)
            }
            Some(SecretSource::Env(name)) => {
                std::env::var_os(name).map(std::os::unix::ffi::OsStringExt::into_vec)
            }
            None => None,
        };
        let Some(value) = value else {
            return if *required { Err(missing()) } else { Ok(()) };
        };
        if let Some(name) = env {
            self.env
                .push(format!("{name}={}", String::from_utf8_lossy(&value)));
        }
        if let Some(target) = target {
            let path = self.memory()?.join(self.list.len().to_string());
            put(&path, &value, *mode, (*uid, *gid))?;
            self.bind(&place(target, cwd)?, &path, true, Relabel::Private);
        }
        Ok(())
    }

    fn agent(&mut self, mount: &RunMount, cwd: &str) -> Result<()> {
        let RunMount::Ssh {
            id,
            target,
            required,
            mode,
            uid,
            gid,
        } = mount
        else {
            return Ok(());
        };
        let Some(socket) = self.solver.options.ssh.get(id) else {
            let missing = BuildError::SshMissing {
                span: None,
                id: id.clone(),
            };
            return if *required { Err(missing) } else { Ok(()) };
        };
        let target = match target {
            Some(target) => place(target, cwd)?,
            None => format!("/run/buildkit/ssh_agent.{}", self.agents.len()),
        };
        if self.agents.is_empty() {
            self.env.push(format!("SSH_AUTH_SOCK={target}"));
        }
        let path = self.dir.join(format!("agent-{}", self.agents.len()));
        let label = self.labels.and_then(StepLabels::process);
        let agent = Agent::listen(&path, (*mode, *uid, *gid), socket, label)
            .map_err(BuildError::io("listen on", &path))?;
        self.agents.push(agent);
        self.bind(&target, &path, false, Relabel::Private);
        Ok(())
    }

    /// Mounts an origin's files and gives the path of `source` in them.
    fn show(&mut self, shown: Option<&Solved>, source: &str, read_only: bool) -> Result<PathBuf> {
        if let Some(shown) = shown {
            self.solver.fetch(shown)?;
        }
        let chain_ids = shown.map(Solved::chain_ids).unwrap_or_default();
        let runner = &self.solver.runner;
        let mounted = match (read_only, runner.mount(&chain_ids, self.labels)?) {
            (true, Some(mounted)) => Some(mounted),
            (true, None) => None,
            (false, _) => {
                let step = self
                    .solver
                    .engine
                    .store()
                    .begin_build_step(chain_ids.last())?;
                let (upper, work) = (step.upper(), step.work());
                let mounted = runner.mount_writable(&chain_ids, upper, work, self.labels)?;
                self.scratch.push(step);
                Some(mounted)
            }
        };
        let path = self.mount_point()?;
        if let Some(mounted) = mounted {
            let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
            move_mount(&mounted, "", CWD, &path, flags)
                .map_err(|e| BuildError::io("mount on", &path)(e.into()))?;
            self.mounted.push(path.clone());
        }
        resolve(&path, source)
    }

    /// A directory in memory that no crash leaves behind.
    fn memory(&mut self) -> Result<PathBuf> {
        let path = self.dir.join("memory");
        if !self.mounted.contains(&path) {
            fs::create_dir(&path).map_err(BuildError::io("create", &path))?;
            mount(
                "tmpfs",
                &path,
                "tmpfs",
                MountFlags::NOSUID | MountFlags::NODEV,
                Some(c"mode=700"),
            )
            .map_err(|e| BuildError::io("mount on", &path)(e.into()))?;
            self.mounted.push(path.clone());
        }
        Ok(path)
    }

    fn mount_point(&mut self) -> Result<PathBuf> {
        let path = self.dir.join(self.points.to_string());
        fs::create_dir(&path).map_err(BuildError::io("create", &path))?;
        self.points += 1;
        Ok(path)
    }

    fn bind(&mut self, target: &str, source: &Path, read_only: bool, relabel: Relabel) {
        let mut mount = resolved(
            MountKind::Bind,
            target,
            source.into(),
            read_only,
            Vec::new(),
        );
        mount.spec.relabel = relabel;
        self.list.push(mount);
    }
}

impl Drop for Mounts<'_> {
    fn drop(&mut self) {
        for path in self.mounted.iter().rev() {
            // The namespace ends with the build, and all its mounts with it.
            let _ = unmount(path, UnmountFlags::DETACH);
        }
    }
}

fn resolved(
    kind: MountKind,
    target: &str,
    source: PathBuf,
    read_only: bool,
    tmpfs_options: Vec<String>,
) -> ResolvedMount {
    ResolvedMount {
        spec: MountSpec {
            kind,
            source: None,
            target: target.to_owned(),
            read_only,
            propagation: None,
            create_source: false,
            copy: false,
            tmpfs_options,
            mode: String::new(),
            ..MountSpec::default()
        },
        volume: None,
        anonymous: false,
        source,
    }
}

/// An absolute mount target; a relative one is below the working directory.
fn place(target: &str, cwd: &str) -> Result<String> {
    let path = crate::plan::absolute(cwd, target);
    match path.as_str() {
        "/" => Err(BuildError::Instruction {
            span: None,
            reason: format!("invalid mount target {target:?}: the root cannot be mounted over"),
        }),
        _ => Ok(path),
    }
}

/// The real path of `source` beneath a mount of ours, links in it resolved within.
fn resolve(root: &Path, source: &str) -> Result<PathBuf> {
    let missing = |e: rustix::io::Errno| BuildError::Instruction {
        span: None,
        reason: format!("failed to mount {source:?}: {}", io::Error::from(e)),
    };
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let open = |at: &OwnedFd, path: &str| {
        let within = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        rustix::fs::openat2(at, path, flags, Mode::empty(), within)
    };
    let base =
        rustix::fs::openat(CWD, root, flags | OFlags::DIRECTORY, Mode::empty()).map_err(missing)?;
    let path = if source.is_empty() { "." } else { source };
    let found = open(&base, path).map_err(missing)?;
    let link = format!("/proc/self/fd/{}", found.as_fd().as_raw_fd());
    fs::read_link(&link).map_err(BuildError::io("read", Path::new(&link)))
}

fn put(path: &Path, content: &[u8], mode: u32, owner: (u32, u32)) -> Result<()> {
    let write = || -> io::Result<()> {
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)?;
        file.write_all(content)?;
        file.set_permissions(fs::Permissions::from_mode(mode))?;
        chown(path, Some(owner.0), Some(owner.1))
    };
    write().map_err(BuildError::io("write", path))
}
