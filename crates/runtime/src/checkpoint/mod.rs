//! Checkpoints: a container's processes written to a directory, and made anew from there, by CRIU (<https://criu.org>).
//!
//! CRIU is a program of the host's. It finds processes, memory, descriptors and what of the mounts is the container's
//! alone; here it is told what of the container shows the host, which cgroup is its, and which namespaces are others'.

mod mounts;
mod service;
mod wire;

use std::fs::{self, DirBuilder, File};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use oci_spec::runtime::{LinuxNamespace, LinuxNamespaceType, LinuxResources, Spec};

use self::service::{Refusal, Service, first_error, text};
use self::wire::{CgroupRoot, Inherited, JoinedNamespace, Kind, Notification, Options};
use crate::cgroup::{Cgroup, Hierarchies};
use crate::error::{Error, Result};
use crate::monitor::PrivateMounts;

/// CRIU's logs, in the work directory.
const DUMP_LOG: &str = "dump.log";
const RESTORE_LOG: &str = "restore.log";

/// What init's standard streams were, a list of three names; runc's file.
const STREAMS: &str = "descriptors.json";

/// Names of namespaces that are not the container's own, as runc gives them.
const NETWORK: &str = "extRootNetNS";
const PIDS: &str = "extRootPidNS";

/// Everything that CRIU has to tell.
const LOG_LEVEL: i32 = 4;

/// What becomes of cgroups when a container is restored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CgroupsMode {
    /// Those that are missing are made, with what was set in them.
    #[default]
    Soft,
    /// What was set in them is set again in all.
    Full,
    /// All must be missing.
    Strict,
    /// They are left as they are.
    Ignore,
}

impl CgroupsMode {
    fn number(self) -> i32 {
        match self {
            Self::Ignore => 0,
            Self::Soft => 3,
            Self::Full => 4,
            Self::Strict => 5,
        }
    }
}

/// How CRIU is to go about it.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The program: a path, or a name to be found in `$PATH`.
    pub program: PathBuf,
    /// The directory of the checkpoint; made, for its owner alone, by a dump.
    pub images: PathBuf,
    /// The directory of CRIU's log and statistics.
    pub work: PathBuf,
    /// Established TCP connections are kept.
    pub tcp_established: bool,
    /// TCP connections that are not yet established are left out.
    pub tcp_skip_in_flight: bool,
    /// Unix sockets may be connected to others outside.
    pub external_unix_sockets: bool,
    /// Its terminal may be one that it shares with processes outside.
    pub shell_job: bool,
    /// File locks are kept.
    pub file_locks: bool,
    /// Files that have been deleted get a name for the time between.
    pub link_remap: bool,
    /// What is in its network namespace is left to others.
    pub empty_network: bool,
    /// What becomes of its cgroups.
    pub cgroups: CgroupsMode,
    /// A file with options of CRIU's, which go before these.
    pub config: Option<PathBuf>,
    /// How long its processes may take to be stopped, in whole seconds; CRIU's own limit without.
    pub patience: Option<Duration>,
}

impl Settings {
    /// The usual ones, for a checkpoint in this directory.
    pub fn new(images: &Path) -> Self {
        Self {
            program: "criu".into(),
            images: images.to_owned(),
            work: images.to_owned(),
            tcp_established: false,
            tcp_skip_in_flight: false,
            external_unix_sockets: false,
            shell_job: false,
            file_locks: false,
            link_remap: false,
            empty_network: false,
            cgroups: CgroupsMode::default(),
            config: None,
            patience: None,
        }
    }

    fn directories(&self) -> Result<[OwnedFd; 2]> {
        let open = |path: &Path| {
            let opened = File::open(path).map(OwnedFd::from);
            opened.map_err(|e| Error::file("open", path, e))
        };
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.work)
            .map_err(|e| Error::file("create", &self.work, e))?;
        Ok([open(&self.images)?, open(&self.work)?])
    }

    /// What is asked of CRIU in either direction.
    fn options(&self, directories: &[OwnedFd; 2], log: &str) -> Options {
        let [images, work] = directories;
        Options {
            images: images.as_raw_fd(),
            work: Some(work.as_raw_fd()),
            log_level: Some(LOG_LEVEL),
            log_file: Some(log.to_owned()),
            tcp_established: Some(self.tcp_established),
            tcp_skip_in_flight: Some(self.tcp_skip_in_flight),
            external_unix_sockets: Some(self.external_unix_sockets),
            shell_job: Some(self.shell_job),
            file_locks: Some(self.file_locks),
            link_remap: Some(self.link_remap),
            empty_namespaces: self.empty_network.then_some(libc::CLONE_NEWNET as u32),
            manage_cgroups: Some(true),
            cgroups_mode: Some(self.cgroups.number()),
            orphan_terminal: Some(true),
            config_file: self.config.as_ref().map(text),
            timeout: self
                .patience
                .map(|patience| u32::try_from(patience.as_secs()).unwrap_or(u32::MAX).max(1)),
            ..Options::default()
        }
    }

    fn failed(&self, action: &'static str, log: &str, refusal: Refusal) -> Error {
        let log = self.work.join(log);
        let logged = || first_error(&fs::read_to_string(&log).unwrap_or_default());
        let reason = match refusal {
            Refusal::Said(said) => logged().or(said),
            Refusal::Lost(error) => logged().or_else(|| Some(error.to_string())),
        };
        Error::Checkpoint {
            action,
            reason: reason.unwrap_or_else(|| "it gave no reason".to_owned()),
            log,
        }
    }
}

/// A running container whose processes are to be written to a directory.
#[derive(Debug)]
pub struct Dump<'a> {
    /// How.
    pub settings: &'a Settings,
    /// Its init.
    pub pid: i32,
    /// Its configuration.
    pub spec: &'a Spec,
    /// Its cgroup.
    pub cgroup: &'a Cgroup,
    /// It goes on afterwards; else its processes are killed.
    pub leave_running: bool,
}

/// Writes a container's processes to a directory. Once they are written, and still stand still, `written` is called, for
/// what belongs to the same moment, such as files; its failure, false, is CRIU's.
///
/// # Errors
/// [`Error::MissingCriu`]; [`Error::Checkpoint`] if CRIU cannot, after which the container goes on; [`Error::File`].
pub fn dump(dump: &Dump<'_>, written: &mut dyn FnMut() -> bool) -> Result<()> {
    let settings = dump.settings;
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&settings.images)
        .map_err(|e| Error::file("create", &settings.images, e))?;
    let directories = settings.directories()?;
    let path = PathBuf::from(format!("/proc/{}/mountinfo", dump.pid));
    let mountinfo = fs::read_to_string(&path).map_err(|e| Error::file("read", &path, e))?;
    let places = mounts::external(dump.spec, &mountinfo);
    let mut external: Vec<_> = places.iter().map(|p| mounts::argument(p, p)).collect();
    for (kind, word, name) in [
        (LinuxNamespaceType::Network, "net", NETWORK),
        (LinuxNamespaceType::Pid, "pid", PIDS),
    ] {
        if shared(dump.spec, kind).is_some() {
            let path = PathBuf::from(format!("/proc/{}/ns/{word}", dump.pid));
            let inode = fs::metadata(&path).map_err(|e| Error::file("open", &path, e))?;
            external.push(format!("{word}[{}]:{name}", inode.ino()));
        }
    }
    let freezer = dump.cgroup.directory("freezer").filter(|d| d.is_dir());
    let options = Options {
        pid: Some(dump.pid),
        leave_running: Some(dump.leave_running),
        notify_scripts: Some(true),
        external,
        freezer: freezer.map(text),
        ..settings.options(&directories, DUMP_LOG)
    };
    let streams: Vec<String> = (0..3)
        .map(|fd| fs::read_link(format!("/proc/{}/fd/{fd}", dump.pid)))
        .map(|name| name.map(text).unwrap_or_default())
        .collect();
    crate::state::save(&settings.images.join(STREAMS), &streams)?;
    let given: Vec<RawFd> = directories.iter().map(AsRawFd::as_raw_fd).collect();
    let mut service = Service::start(&settings.program, &given)?;
    let done = service.ask(Kind::Dump, options, &mut |step, _| {
        step.script.as_deref() != Some("post-dump") || written()
    });
    done.map_err(|refusal| settings.failed("checkpoint", DUMP_LOG, refusal))?;
    Ok(())
}

/// A container that is to be made from a directory.
pub(crate) struct Restore<'a> {
    pub settings: &'a Settings,
    pub spec: &'a Spec,
    pub rootfs: &'a Path,
    /// A directory where its root filesystem can be mounted for the time being.
    pub mount_point: &'a Path,
    pub cgroup: &'a Cgroup,
    pub resources: &'a LinuxResources,
}

/// What is known of a restored container on the way.
pub(crate) enum Step {
    /// Its namespaces are there, and its init, of this pid.
    Namespaces(i32),
    /// The master side of its terminal.
    Terminal(OwnedFd),
    /// Its processes are there, and do not run yet.
    Processes,
}

/// Makes a container's processes anew; the pid of its init, a child of the caller's. Its limits that this host cannot
/// keep give a line each.
pub(crate) fn restore(
    restore: &Restore<'_>,
    told: &mut dyn FnMut(Step) -> Result<()>,
) -> Result<(i32, Vec<String>)> {
    let mut refused = None;
    let mut heard = |step| told(step).map_err(|e| refused = Some(e)).is_ok();
    let (settings, spec) = (restore.settings, restore.spec);
    let private = PrivateMounts::with(restore.rootfs, restore.mount_point)?;
    // As that namespace has them: CRIU mounts below, which cannot be done below what is another's.
    let directories = settings.directories()?;
    let (inherited, open) = inherited(spec)?;
    let given = directories.iter().chain(&open).map(AsRawFd::as_raw_fd);
    let given: Vec<RawFd> = given.collect();
    let mut service = Service::start(&settings.program, &given)?;
    let warnings = restore.cgroup.admit(service.pid(), restore.resources)?;
    let read = |path: PathBuf| fs::read_to_string(&path).map_err(|e| Error::file("read", &path, e));
    let cgroups = read(format!("/proc/{}/cgroup", service.pid()).into())?;
    let host = read("/proc/self/mountinfo".into())?;
    let mut sources = mounts::sources(spec, &host, &Hierarchies::detect()?, &cgroups);
    mounts::follow_links(&mut sources, restore.rootfs);
    let streams: Vec<String> =
        crate::state::load(&settings.images.join(STREAMS))?.unwrap_or_default();
    let streams = streams.into_iter().zip(0..3);
    let pipes = streams.filter(|(name, _)| name.starts_with("pipe:"));
    let pipes = pipes.map(|(key, fd)| Inherited { key, fd });
    let options = Options {
        root: Some(text(restore.mount_point)),
        as_sibling: Some(true),
        evasive_devices: Some(true),
        notify_scripts: Some(true),
        external: sources
            .iter()
            .map(|(k, v)| mounts::argument(k, v))
            .collect(),
        inherited: inherited.into_iter().chain(pipes).collect(),
        joined: joined(spec),
        cgroup_roots: cgroup_roots(restore.cgroup, &cgroups),
        ..settings.options(&directories, RESTORE_LOG)
    };
    let mut step =
        |step: &Notification, terminal: Option<OwnedFd>| match (step.script.as_deref(), step.pid) {
            (Some("setup-namespaces"), Some(pid)) => {
                // Hooks are run where the caller is.
                private.leave() && heard(Step::Namespaces(pid)) && private.enter()
            }
            (Some("post-restore"), _) => heard(Step::Processes),
            (Some("orphan-pts-master"), _) => terminal.is_none_or(|t| heard(Step::Terminal(t))),
            _ => true,
        };
    let answer = service.ask(Kind::Restore, options, &mut step);
    let failed = |refusal| settings.failed("restore", RESTORE_LOG, refusal);
    if let Some(error) = refused {
        return Err(error);
    }
    let answer = answer.map_err(failed)?;
    let pid = answer.restore.map(|restored| restored.pid);
    let pid = pid.ok_or_else(|| failed(Refusal::Said(None)))?;
    Ok((pid, warnings))
}

/// A namespace of a kind that is somebody else's.
fn shared(spec: &Spec, kind: LinuxNamespaceType) -> Option<&Path> {
    shared_namespaces(spec)
        .find(|namespace| namespace.typ() == kind)
        .and_then(|namespace| namespace.path().as_deref())
}

fn shared_namespaces(spec: &Spec) -> impl Iterator<Item = &LinuxNamespace> {
    let namespaces = spec.linux().as_ref().and_then(|l| l.namespaces().as_ref());
    let has_path = |path: &PathBuf| !path.as_os_str().is_empty();
    namespaces
        .into_iter()
        .flatten()
        .filter(move |namespace| namespace.path().as_ref().is_some_and(has_path))
}

/// Namespaces that are handed over open.
fn inherited(spec: &Spec) -> Result<(Vec<Inherited>, Vec<OwnedFd>)> {
    let (mut inherited, mut open) = (Vec::new(), Vec::new());
    for (kind, name) in [
        (LinuxNamespaceType::Network, NETWORK),
        (LinuxNamespaceType::Pid, PIDS),
    ] {
        let Some(path) = shared(spec, kind) else {
            continue;
        };
        let file = File::open(path).map_err(|e| Error::file("open", path, e))?;
        inherited.push(Inherited {
            key: name.to_owned(),
            fd: file.as_raw_fd(),
        });
        open.push(file.into());
    }
    Ok((inherited, open))
}

/// Namespaces that CRIU joins by itself.
fn joined(spec: &Spec) -> Vec<JoinedNamespace> {
    let of = |namespace: &LinuxNamespace| {
        let kind = match namespace.typ() {
            LinuxNamespaceType::Ipc => "ipc",
            LinuxNamespaceType::Uts => "uts",
            LinuxNamespaceType::User => "user",
            _ => return None,
        };
        Some(JoinedNamespace {
            kind: kind.to_owned(),
            file: text(namespace.path().as_ref()?),
        })
    };
    shared_namespaces(spec).filter_map(of).collect()
}

/// In which cgroup what is restored comes, whatever it was in before; `cgroups` is a /proc/PID/cgroup.
fn cgroup_roots(cgroup: &Cgroup, cgroups: &str) -> Vec<CgroupRoot> {
    let mut roots = Vec::new();
    for line in cgroups.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else {
            continue;
        };
        let names = controllers.split(',').filter(|name| !name.is_empty());
        let names = names.map(|name| Some(name.to_owned()));
        let own = |controllers: Option<String>| CgroupRoot {
            controllers,
            path: path.to_owned(),
        };
        match cgroup.is_v2() {
            true => roots.push(own(None)),
            false => roots.extend(names.map(own)),
        }
    }
    roots
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cgroup::CgroupDriver;
    use serde_json::json;

    #[test]
    fn namespaces_of_others_are_named() {
        let spec: Spec = serde_json::from_value(json!({
            "ociVersion": "1.2.0",
            "linux": {"namespaces": [
                {"type": "network", "path": "/proc/self/ns/net"}, {"type": "pid"},
                {"type": "ipc", "path": "/x"}, {"type": "uts", "path": ""},
            ]},
        }))
        .unwrap();
        let (inherited, open) = inherited(&spec).unwrap();
        assert_eq!((inherited.len(), open.len()), (1, 1));
        assert_eq!(inherited[0].key, NETWORK);
        let joined = joined(&spec);
        assert_eq!((joined.len(), joined[0].kind.as_str()), (1, "ipc"));
        assert_eq!(shared(&spec, LinuxNamespaceType::Pid), None);
    }

    #[test]
    fn every_controller_has_its_root() {
        let cgroup = |hierarchies| {
            Cgroup::within(hierarchies, CgroupDriver::Cgroupfs, Path::new("/k")).unwrap()
        };
        let v1 = cgroup(Hierarchies::V1 { mounts: Vec::new() });
        let roots = cgroup_roots(&v1, "2:cpu,cpuacct:/k\n0::/\n");
        let names: Vec<_> = roots
            .iter()
            .filter_map(|r| r.controllers.as_deref())
            .collect();
        assert_eq!(names, ["cpu", "cpuacct"]);
        let v2 = cgroup(Hierarchies::V2 {
            root: "/sys/fs/cgroup".into(),
        });
        let roots = cgroup_roots(&v2, "0::/k\n");
        assert_eq!(
            (roots[0].controllers.as_deref(), roots[0].path.as_str()),
            (None, "/k")
        );
    }
}
