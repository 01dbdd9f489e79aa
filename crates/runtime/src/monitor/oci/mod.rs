//! Containers without a monitor, as the OCI runtime specification has them: one process makes a container and ends,
//! another starts it, a third deletes it. What they know of it lies in a directory of its own below a common root.
//!
//! The way into the container is the monitor's: the same mounts, the same last steps before the program. Call all of
//! this from a process with one thread, which must not have changed its mount namespace for anything else.

mod check;
mod checkpoint;
mod create;
mod exec;
mod record;

use std::ffi::CString;
use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use oci_spec::runtime::{ContainerState as Status, LinuxResources, Process, Spec, State};
use rustix::fs::{FlockOperation, Mode, OFlags};

use super::hooks::Round;
use super::process::{Keyring, read_report};
use super::runtime::{ProcessStdio, release_created};
use crate::cgroup::{self, Cgroup, CgroupDriver};
use crate::error::{Error, Result};
use crate::rootless;

pub use self::check::SPEC_VERSION;
pub use self::checkpoint::{Restore, restore};
pub use self::create::{Create, create};
pub use self::exec::Exec;
use self::record::Record;
pub use super::hooks::{ARGUMENT as HOOKS_ARGUMENT, main as hooks_main};

/// What a new process gets as its standard streams.
#[derive(Clone, Debug)]
pub enum Stdio {
    /// The calling process's own.
    Own,
    /// A new pseudo terminal of this size, whose master side is given to the caller.
    Terminal(crate::WindowSize),
    /// A new pseudo terminal, whose master side is sent to whoever listens on this socket.
    Console(PathBuf),
}

impl Stdio {
    fn of(&self, process: &Process) -> ProcessStdio {
        let size = create::console_size(process);
        match self {
            Self::Own => ProcessStdio::Own,
            Self::Terminal(own) => ProcessStdio::Terminal(size.unwrap_or(*own)),
            Self::Console(socket) => ProcessStdio::Console(socket.clone(), size),
        }
    }
}

/// A process that has been made: a child of the caller's.
#[derive(Debug)]
pub struct Made {
    /// Its pid here.
    pub pid: i32,
    /// The master side of its terminal, for [`Stdio::Terminal`].
    pub terminal: Option<OwnedFd>,
    /// What was asked for and could not be done in full, a line each.
    pub warnings: Vec<String>,
}

/// Where init waits and reports; gone once the container has been started.
const FIFO: &str = "exec.fifo";
/// The bundle's configuration as it was.
const SPEC_FILE: &str = "spec.json";
/// A container that is being made, as its record will be: whose cgroup it is.
const UNFINISHED: &str = "unfinished.json";
/// Compiled system call filters of all containers below one root.
const SECCOMP_CACHE: &str = ".seccomp";

/// How long what is killed may take to be gone.
const PATIENCE: Duration = Duration::from_secs(10);

/// A container below a root directory.
pub struct Container {
    dir: PathBuf,
    record: Record,
}

/// The names of all containers below a root directory, half-made ones left out; none if there is no such directory.
///
/// # Errors
/// [`Error::File`].
pub fn list(root: &Path) -> Result<Vec<String>> {
    let entries = match fs::read_dir(root) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(Error::file("read", root, e)),
    };
    let mut names: Vec<String> = entries
        .flatten()
        .filter(|entry| Record::exists(&entry.path()))
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    names.sort();
    Ok(names)
}

/// Removes what a `create` that was killed has left under a name that [`Container::load`] does not know, and ends what it
/// has started.
///
/// # Errors
/// [`Error::InvalidId`], [`Error::File`], [`Error::Corrupt`].
pub fn remove_unfinished(root: &Path, id: &str) -> Result<()> {
    check::id(id)?;
    let dir = root.join(id);
    if let Some(record) = crate::state::load::<Record>(&dir.join(UNFINISHED))? {
        cgroup::clear(record.cgroup_driver, &record.cgroup_path)?;
    }
    match fs::remove_dir_all(&dir) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(Error::file("remove", &dir, e)),
        _ => Ok(()),
    }
}

impl Container {
    /// Finds a container by its id.
    ///
    /// # Errors
    /// [`Error::InvalidId`], [`Error::NoSuchContainer`], [`Error::Corrupt`], [`Error::File`].
    pub fn load(root: &Path, id: &str) -> Result<Self> {
        check::id(id)?;
        let dir = root.join(id);
        match Record::load(&dir)? {
            Some(record) => Ok(Self { dir, record }),
            None => Err(Error::NoSuchContainer { id: id.to_owned() }),
        }
    }

    /// Its state as the specification words it: `pid` only while it lives.
    pub fn state(&self) -> State {
        self.record.state(self.status())
    }

    /// Where it is in its life; `paused` is told by [`is_paused`](Self::is_paused).
    pub fn status(&self) -> Status {
        if !self.record.init.is_alive() {
            return Status::Stopped;
        }
        match self.dir.join(FIFO).exists() {
            true => Status::Created,
            false => Status::Running,
        }
    }

    /// Whether it lives and its processes are frozen.
    pub fn is_paused(&self) -> bool {
        self.status() != Status::Stopped && self.cgroup().is_ok_and(|c| c.is_frozen())
    }

    /// Its root filesystem.
    pub fn rootfs(&self) -> &Path {
        &self.record.rootfs
    }

    /// When it was made, RFC 3339.
    pub fn created(&self) -> &str {
        &self.record.created
    }

    /// The user who made it.
    pub fn owner(&self) -> u32 {
        self.record.owner
    }

    /// The pid of its init; 0 if that has ended.
    pub fn pid(&self) -> i32 {
        match self.status() {
            Status::Stopped => 0,
            _ => self.record.init.pid,
        }
    }

    /// Its configuration as its bundle had it when it was made.
    ///
    /// # Errors
    /// [`Error::File`], [`Error::Corrupt`].
    pub fn spec(&self) -> Result<Spec> {
        check::load_spec(&self.dir.join(SPEC_FILE)).map(|(spec, _)| spec)
    }

    fn cgroup(&self) -> Result<Cgroup> {
        Cgroup::open(self.record.cgroup_driver, &self.record.cgroup_path)
    }

    fn wrong(&self, action: &'static str) -> Error {
        let status = match self.is_paused() {
            true => "paused".to_owned(),
            false => self.status().to_string(),
        };
        Error::WrongStatus { action, status }
    }

    /// What has failed because it ended in that moment is told as that.
    fn unless_stopped(&self, error: Error, action: &'static str) -> Error {
        match self.status() {
            Status::Stopped => self.wrong(action),
            _ => error,
        }
    }

    /// Nobody else changes it meanwhile.
    fn lock(&self) -> Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let lock = rustix::fs::open(&self.dir, flags, Mode::empty())
            .map_err(|_| Error::NoSuchContainer { id: self.id() })?;
        rustix::fs::flock(&lock, FlockOperation::LockExclusive)
            .map_err(|e| Error::file("lock", &self.dir, e))?;
        Ok(lock)
    }

    fn id(&self) -> String {
        self.record.id.clone()
    }

    /// Lets a created container's init execute its program, and waits until it has; then runs the poststart hooks, of
    /// which each that fails gives a line.
    ///
    /// # Errors
    /// [`Error::WrongStatus`]; [`Error::Start`] if the program cannot be executed: the container has stopped then.
    pub fn start(&self) -> Result<Vec<String>> {
        let lock = self.lock()?;
        if self.status() != Status::Created || self.is_paused() {
            return Err(self.wrong("start"));
        }
        let spec = self.spec()?;
        let path = self.dir.join(FIFO);
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let fifo = rustix::fs::open(&path, flags, Mode::empty())
            .map_err(|e| Error::file("open", &path, e))?;
        rustix::io::ioctl_fionbio(&fifo, false).map_err(|e| Error::file("open", &path, e))?;
        release_created(&self.dir)?;
        let command = spec.process().as_ref().and_then(|p| p.args().as_ref());
        let command = command.and_then(|args| args.first()).cloned();
        let report = read_report(File::from(fifo), &command.unwrap_or_default());
        let _ = fs::remove_file(&path);
        report.map_err(|e| Error::file("read", &path, e))??;
        // Hooks may take as long as they like.
        drop(lock);
        let hooks = spec
            .hooks()
            .as_ref()
            .and_then(|hooks| hooks.poststart().as_ref());
        Ok(self.after(hooks, "poststart", Status::Running))
    }

    fn after(
        &self,
        hooks: Option<&Vec<oci_spec::runtime::Hook>>,
        point: &str,
        status: Status,
    ) -> Vec<String> {
        let pid = if status == Status::Running {
            self.record.init.pid
        } else {
            0
        };
        let round = Round::new(point, hooks, &self.record.state(status));
        round.map_or_else(Vec::new, |round| round.run_all(pid))
    }

    /// Sends a signal to init, or with `all` to every process of the container.
    ///
    /// # Errors
    /// [`Error::NotAlive`] (not with `all`), [`Error::File`], [`Error::System`].
    pub fn kill(&self, signal: i32, all: bool) -> Result<()> {
        let cgroup = self.cgroup()?;
        if all && signal == libc::SIGKILL && self.has_cgroup() {
            // What is forked meanwhile dies, too.
            cgroup.kill_all()?;
        } else if all {
            for pid in self.processes()? {
                // SAFETY: kill takes integers. One that has ended meanwhile needs no signal.
                unsafe { libc::kill(pid, signal) };
            }
        } else {
            let sent = self.record.init.signal(signal);
            if !sent.map_err(|e| Error::system("pidfd_send_signal", e))? {
                return Err(Error::NotAlive);
            }
            if signal == libc::SIGKILL && !self.record.own_pid_namespace {
                // What init has started would outlive it.
                cgroup.kill_all()?;
            }
        }
        if signal == libc::SIGKILL && cgroup.is_frozen() {
            cgroup.freeze(false)?;
        }
        Ok(())
    }

    /// Removes a container that has stopped, or has only been created, with `force` any. Gives a line for each poststop
    /// hook that failed.
    ///
    /// # Errors
    /// [`Error::WrongStatus`], [`Error::File`] if something of it stays.
    pub fn delete(self, force: bool) -> Result<Vec<String>> {
        if force {
            // Whoever starts it has the lock, and waits as long as it is frozen. What is left is told below.
            let _ = self.kill(libc::SIGKILL, false);
        }
        let _lock = self.lock()?;
        if self.status() == Status::Running && !force {
            return Err(self.wrong("delete"));
        }
        let spec = self.spec();
        let (driver, path) = (self.record.cgroup_driver, &self.record.cgroup_path);
        // It may be ending by itself in this moment.
        let _ = self.record.init.signal(libc::SIGKILL);
        cgroup::clear(driver, path)?;
        let deadline = Instant::now() + PATIENCE;
        while self.record.init.is_alive() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(1));
        }
        if self.record.init.is_alive() {
            // It would be a container that nobody can find.
            return Err(self.wrong("delete"));
        }
        match fs::remove_dir_all(&self.dir) {
            // Whoever waited for its end may do the same.
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                return Err(Error::file("remove", &self.dir, e));
            }
            _ => {}
        }
        let hooks = spec.ok().and_then(|spec| spec.hooks().clone());
        let hooks = hooks.as_ref().and_then(|hooks| hooks.poststop().as_ref());
        Ok(self.after(hooks, "poststop", Status::Stopped))
    }

    /// Freezes all its processes.
    ///
    /// # Errors
    /// [`Error::WrongStatus`], [`Error::NoCgroup`], or as [`Cgroup::freeze`].
    pub fn pause(&self) -> Result<()> {
        if self.status() == Status::Stopped || self.is_paused() {
            return Err(self.wrong("pause"));
        }
        self.needs_cgroup("pause")?;
        let frozen = self.cgroup()?.freeze(true);
        frozen.map_err(|error| self.unless_stopped(error, "pause"))
    }

    /// Lets them go on.
    ///
    /// # Errors
    /// [`Error::WrongStatus`], or as [`Cgroup::freeze`].
    pub fn resume(&self) -> Result<()> {
        if !self.is_paused() {
            return Err(self.wrong("resume"));
        }
        self.cgroup()?.freeze(false)
    }

    /// The pids of all its processes; without a cgroup those in its PID namespace, if it has one of its own.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn processes(&self) -> Result<Vec<i32>> {
        let init = self.record.init;
        match (self.has_cgroup(), self.record.own_pid_namespace) {
            (true, _) => self.cgroup()?.processes(),
            (false, _) if !init.is_alive() => Ok(Vec::new()),
            (false, true) => Ok(rootless::processes_beside(init.pid)),
            (false, false) => Ok(vec![init.pid]),
        }
    }

    fn has_cgroup(&self) -> bool {
        self.record.cgroup_driver != CgroupDriver::None
    }

    fn needs_cgroup(&self, action: &'static str) -> Result<()> {
        match self.has_cgroup() {
            true => Ok(()),
            false => Err(Error::NoCgroup { action }),
        }
    }

    /// What its processes use.
    ///
    /// # Errors
    /// [`Error::NotAlive`], [`Error::NoCgroup`], [`Error::File`].
    pub fn stats(&self) -> Result<cgroup::Stats> {
        match self.status() {
            Status::Stopped => Err(Error::NotAlive),
            _ => {
                self.needs_cgroup("measure")?;
                self.cgroup()?.stats()
            }
        }
    }

    /// Changes its limits; those not named stay. Gives a line for each that this host cannot keep.
    ///
    /// # Errors
    /// [`Error::NotAlive`], [`Error::NoCgroup`], or as [`Cgroup::update`].
    pub fn update(&self, resources: &LinuxResources) -> Result<Vec<String>> {
        match self.status() {
            Status::Stopped => Err(Error::NotAlive),
            _ => {
                self.needs_cgroup("limit")?;
                let updated = self.cgroup()?.update(resources);
                updated.map_err(|error| self.unless_stopped(error, "update"))
            }
        }
    }
}

/// A container's session keyring, named as runc's.
fn keyring(id: &str, other_users: bool) -> Option<Keyring> {
    let name = CString::new(format!("_ses.{id}")).ok()?;
    Some(Keyring { name, other_users })
}
