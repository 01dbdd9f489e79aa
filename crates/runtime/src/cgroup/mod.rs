//! A container's or pod's cgroup, seen from outside: where it is, what it uses, its limits, freezing, killing, removing.
//! A container's is made by libcgroups, inside the monitor.

mod cleanup;
mod device;
mod driver;
mod hierarchies;
mod limits;
mod oom;
mod stats;
mod tree;

use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::error::{Error, Result};
use crate::rootless;

pub use cleanup::{await_release, clean_up_dead, clean_up_ended, clear, is_abandoned};
pub(crate) use device::attach_device_filter;
use driver::expand_slice;
pub use driver::{CgroupDriver, cgroups_path, detect_driver};
pub use hierarchies::Hierarchies;
pub(crate) use limits::{V1_CONTROLLERS, fit};
pub(crate) use oom::OomWatch;
pub use stats::{BlockIo, HugePages, Pressure, Stall, Stats};
use tree::{collect_processes, is_gone, remove_tree};

/// One container's cgroup, or a pod's.
#[derive(Clone, Debug)]
pub struct Cgroup {
    hierarchies: Hierarchies,
    driver: CgroupDriver,
    /// As libcgroups wants it: a path, or `slice:prefix:name`.
    name: PathBuf,
    /// Below each hierarchy's mount point; relative.
    path: PathBuf,
}

impl Cgroup {
    /// The cgroup named by `linux.cgroupsPath`, or with the systemd driver also that of a slice; it need not exist.
    ///
    /// # Errors
    /// As [`Hierarchies::detect`]; [`Error::Corrupt`] for a path that climbs.
    pub fn open(driver: CgroupDriver, cgroups_path: &Path) -> Result<Self> {
        Self::within(Hierarchies::of_host()?, driver, cgroups_path)
    }

    /// The same below hierarchies that are known already.
    pub(crate) fn within(
        hierarchies: Hierarchies,
        driver: CgroupDriver,
        cgroups_path: &Path,
    ) -> Result<Self> {
        let hierarchies = match driver {
            CgroupDriver::None => Hierarchies::V1 { mounts: Vec::new() },
            _ => hierarchies,
        };
        let text = cgroups_path.to_string_lossy();
        let parts: Vec<&str> = text.split(':').collect();
        let (path, name) = match (driver, parts.as_slice()) {
            (CgroupDriver::Systemd, [slice, prefix, name]) => {
                let manager = rootless::manager_cgroup();
                let slice = match (*slice, &manager) {
                    ("", None) => "system.slice",
                    ("", Some(_)) => "user.slice",
                    (named, _) => named,
                };
                let path = expand_slice(slice).join(format!("{prefix}-{name}.scope"));
                let path = manager.unwrap_or_default().join(path);
                (path, cgroups_path.to_owned())
            }
            (CgroupDriver::Systemd, [slice]) if slice.ends_with(".slice") => {
                let path = expand_slice(slice);
                let above = path.parent().and_then(Path::file_name);
                let above = above.map_or("-.slice".into(), |name| name.to_string_lossy());
                let name = PathBuf::from(format!("{above}::{slice}"));
                (path, name)
            }
            _ => {
                let path = PathBuf::from(text.trim_start_matches('/'));
                (path, cgroups_path.to_owned())
            }
        };
        let climbs = path
            .components()
            .any(|c| !matches!(c, std::path::Component::Normal(_)));
        if climbs || path.as_os_str().is_empty() {
            return Err(Error::Corrupt {
                path: cgroups_path.to_owned(),
                reason: "not a cgroup path".to_owned(),
            });
        }
        Ok(Self {
            hierarchies,
            driver,
            name,
            path,
        })
    }

    /// The cgroup's directory in the hierarchy that has a controller (v1 names), if the host has one.
    pub fn directory(&self, controller: &str) -> Option<PathBuf> {
        self.hierarchies
            .mount_of(controller)
            .map(|mount| mount.join(&self.path))
    }

    /// Who makes it.
    pub(crate) fn driver(&self) -> CgroupDriver {
        self.driver
    }

    /// The cgroup below it that a process of the container's is in, if it has been divided: one that has given its
    /// controllers on takes no process itself. A container's own systemd does that.
    pub(crate) fn division_of(&self, pid: i32) -> Option<String> {
        let Hierarchies::V2 { root } = &self.hierarchies else {
            return None;
        };
        let given = fs::read_to_string(root.join(&self.path).join("cgroup.subtree_control"));
        given.ok().filter(|given| !given.trim().is_empty())?;
        let own = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
        let own = own.lines().find_map(|line| line.strip_prefix("0::/"))?;
        let below = Path::new(own).strip_prefix(&self.path).ok()?.to_str()?;
        (!below.is_empty()).then(|| below.to_owned())
    }

    /// A cgroup below it that a process is to join must be there, in each hierarchy that it is in itself.
    ///
    /// # Errors
    /// [`Error::File`].
    pub(crate) fn find_part(&self, part: &Path) -> Result<()> {
        let parts = self.process_directories().into_iter();
        match parts.map(|own| own.join(part)).find(|path| !path.is_dir()) {
            Some(path) => {
                let missing = io::Error::from(io::ErrorKind::NotFound);
                Err(Error::file("join", &path, missing))
            }
            None => Ok(()),
        }
    }

    /// Whether systemd has to be asked for each process that is to be in it: an ordinary user may not move one out of the
    /// cgroup of a login.
    pub(crate) fn is_joined_by_request(&self) -> bool {
        self.driver == CgroupDriver::Systemd && !rootless::in_initial_namespace()
    }

    /// What a process with one thread writes `0` to so that it moves into the cgroup, or into one below it, in each
    /// hierarchy. However many processes there may be, that is allowed: only a fork is refused.
    ///
    /// # Errors
    /// [`Error::File`].
    pub(crate) fn doors(&self, part: Option<&str>) -> Result<Vec<OwnedFd>> {
        let file = match &self.hierarchies {
            Hierarchies::V2 { .. } => "cgroup.procs",
            // Without the lock that cgroup.procs takes, for which the kernel may need 10 ms.
            Hierarchies::V1 { .. } => "tasks",
        };
        let own = self.process_directories().into_iter();
        let paths = own.map(|own| own.join(part.unwrap_or_default()).join(file));
        let open = |path: PathBuf| {
            let opened = File::options().write(true).open(&path);
            let opened = opened.map_err(|e| Error::file("open", &path, e))?;
            Ok(opened.into())
        };
        paths.map(open).collect()
    }

    /// Whether this is a v2 cgroup.
    pub fn is_v2(&self) -> bool {
        matches!(self.hierarchies, Hierarchies::V2 { .. })
    }

    /// Whether it is a slice of systemd's: a container's is a scope.
    fn is_slice(&self) -> bool {
        let suffix = self.path.extension();
        self.driver == CgroupDriver::Systemd && suffix.is_some_and(|s| s == "slice")
    }

    /// The cgroup's directories in all hierarchies.
    fn directories(&self) -> Vec<PathBuf> {
        match &self.hierarchies {
            Hierarchies::V2 { root } => vec![root.join(&self.path)],
            Hierarchies::V1 { mounts } => mounts.iter().map(|(_, m)| m.join(&self.path)).collect(),
        }
    }

    /// Whether it exists in any hierarchy.
    pub fn exists(&self) -> bool {
        self.directories().iter().any(|d| d.exists())
    }

    /// What it uses now.
    ///
    /// # Errors
    /// [`Error::File`] if it does not exist (any more).
    pub fn stats(&self) -> Result<Stats> {
        stats::read(self)
    }

    /// The processes in it and in cgroups below it.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn processes(&self) -> Result<Vec<i32>> {
        let mut pids = Vec::new();
        for directory in self.process_directories() {
            collect_processes(&directory, &mut pids)
                .map_err(|e| Error::file("read", &directory, e))?;
        }
        pids.sort_unstable();
        pids.dedup();
        Ok(pids)
    }

    /// All processes of a container are in every hierarchy; those a privileged one has moved are not.
    fn process_directories(&self) -> Vec<PathBuf> {
        self.directories()
            .into_iter()
            .filter(|d| d.is_dir())
            .collect()
    }

    /// How many processes are in it and in cgroups below it; reads less than [`processes`](Self::processes).
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn process_count(&self) -> Result<usize> {
        let mut pids = Vec::new();
        if let Some(directory) = self.directory("pids").or_else(|| self.directory("memory")) {
            collect_processes(&directory, &mut pids)
                .map_err(|e| Error::file("read", &directory, e))?;
        }
        Ok(pids.len())
    }

    /// Whether there is a process in it, one that is ending included.
    pub(crate) fn has_processes(&self) -> bool {
        self.process_count().is_ok_and(|count| count > 0)
    }

    /// Freezes (true) or thaws it and waits until that has happened, at most a few seconds.
    ///
    /// # Errors
    /// [`Error::MissingController`] on v1 without a freezer; [`Error::File`].
    pub fn freeze(&self, frozen: bool) -> Result<()> {
        let missing = || Error::MissingController {
            controller: "freezer".to_owned(),
        };
        let directory = self.directory("freezer").ok_or_else(missing)?;
        let (file, word, probe, want) = match (self.is_v2(), frozen) {
            (true, true) => ("cgroup.freeze", "1", "cgroup.events", "frozen 1"),
            (true, false) => ("cgroup.freeze", "0", "cgroup.events", "frozen 0"),
            (false, true) => ("freezer.state", "FROZEN", "freezer.state", "FROZEN"),
            (false, false) => ("freezer.state", "THAWED", "freezer.state", "THAWED"),
        };
        let file = directory.join(file);
        let probe = directory.join(probe);
        let deadline = Instant::now() + Duration::from_secs(5);
        loop {
            // Written again each time: v1 drops processes that fork at the wrong moment.
            let written = fs::write(&file, word).map_err(|e| (&file, e));
            let now =
                match written.and_then(|()| fs::read_to_string(&probe).map_err(|e| (&probe, e))) {
                    // What was killed while it was frozen dies of it now.
                    Err((_, e)) if !frozen && is_gone(&e) => return Ok(()),
                    Err((path, e)) => return Err(Error::file("access", path, e)),
                    Ok(now) => now,
                };
            if now.lines().any(|line| line.trim() == want) {
                return Ok(());
            }
            if Instant::now() > deadline {
                let late = io::Error::from(io::ErrorKind::TimedOut);
                return Err(Error::file("write", &file, late));
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Whether it is frozen, or is to be: some of its processes may still be on their way.
    pub fn is_frozen(&self) -> bool {
        let (file, line) = if self.is_v2() {
            ("cgroup.freeze", "1")
        } else {
            ("freezer.self_freezing", "1")
        };
        self.directory("freezer")
            .and_then(|d| fs::read_to_string(d.join(file)).ok())
            .is_some_and(|text| text.trim() == line)
    }

    /// Kills every process in it, thawing it if needed. Does not wait for them to be gone.
    ///
    /// # Errors
    /// [`Error::File`] if the processes cannot be listed.
    pub fn kill_all(&self) -> Result<()> {
        if self.is_v2() {
            let killed = self
                .directories()
                .iter()
                .all(|d| fs::write(d.join("cgroup.kill"), "1").is_ok());
            if killed {
                return Ok(());
            }
        }
        for pid in self.processes()? {
            // It may be gone by now; that is what we want.
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        if self.is_frozen() {
            self.freeze(false)?;
        }
        Ok(())
    }

    /// Removes it from all hierarchies, with the cgroups below it. Its processes must have ended;
    /// the kernel may need a moment to notice, which is waited for.
    ///
    /// # Errors
    /// [`Error::File`] if one of its directories stays busy for two seconds.
    pub fn remove(&self) -> Result<()> {
        if self.is_slice() && self.exists() {
            // systemd's own: it removes the directory.
            self.stop_slice()?;
        }
        let deadline = Instant::now() + Duration::from_secs(2);
        let mut failed = None;
        for directory in self.directories() {
            while let Err(error) = remove_tree(&directory) {
                if error.kind() != io::ErrorKind::ResourceBusy || Instant::now() > deadline {
                    failed.get_or_insert(Error::file("remove", &directory, error));
                    break;
                }
                std::thread::sleep(Duration::from_micros(500));
            }
        }
        match failed {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn systemd_paths_are_expanded_as_systemd_does() {
        assert_eq!(
            expand_slice("kubepods-pod1.slice"),
            Path::new("kubepods.slice/kubepods-pod1.slice")
        );
        assert_eq!(expand_slice("-.slice"), Path::new(""));
        let path = cgroups_path(CgroupDriver::Systemd, None, "abc");
        let cgroup = Cgroup::open(CgroupDriver::Systemd, &path).unwrap();
        assert_eq!(cgroup.path, Path::new("system.slice/rctr-abc.scope"));
        let slice = |name: &str| Cgroup::open(CgroupDriver::Systemd, Path::new(name)).unwrap();
        let pod = slice("kubepods-pod1.slice");
        let path = "kubepods.slice/kubepods-pod1.slice";
        assert_eq!(pod.path, Path::new(path));
        assert_eq!(pod.name, Path::new("kubepods.slice::kubepods-pod1.slice"));
        assert_eq!(slice("a.slice").name, Path::new("-.slice::a.slice"));
    }

    #[test]
    fn a_climbing_path_is_refused() {
        for bad in ["/a/../../b", "/", ""] {
            assert!(Cgroup::open(CgroupDriver::Cgroupfs, Path::new(bad)).is_err());
        }
        assert_eq!(
            cgroups_path(CgroupDriver::Cgroupfs, Some("/a/b/"), "x"),
            Path::new("/a/b/x")
        );
    }
}
