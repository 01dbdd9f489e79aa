//! rctr as an ordinary user.
//!
//! All of a user's commands and monitors run in one user namespace, in which that user is root and the ids of
//! /etc/subuid and /etc/subgid are the others: nothing above has to know that it is not the host's root who asks. A
//! *keeper* keeps that namespace, and the network namespace with the bridges beside it, while anybody is in them:
//! whoever enters holds a shared lock on a file and hands it on to the monitors it starts; the keeper waits for the lock
//! for itself alone, and ends when it gets it. Mount namespaces are not kept: each command sees its caller's mounts, and
//! changes none of them.

mod bundle;
mod error;
mod ids;
mod keeper;
mod outside;
mod record;

use std::ffi::{CString, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, IntoRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicI32, AtomicU8, Ordering};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};
use rustix::fs::{FlockOperation, flock};

pub(crate) use bundle::{become_root_for, become_root_of, check_groups};
pub use error::RootlessError;
pub(crate) use keeper::{NAME as KEEPER, main as keep};
pub use outside::{Outside, connect, name_server};

use record::Record;

type Result<T, E = RootlessError> = std::result::Result<T, E>;

/// Who uses rctr, and where its namespaces are.
pub struct Session {
    /// The user on the host who is root here.
    pub uid: u32,
    /// Whether that user is the only one there is.
    pub single_id: bool,
    state: PathBuf,
    network: OwnedFd,
    lock: OwnedFd,
}

impl Session {
    /// The network namespace that the user's bridges are in.
    pub fn network(&self) -> BorrowedFd<'_> {
        self.network.as_fd()
    }

    /// Where the part of the cgroup hierarchy is that the user's systemd may divide further, if there is one, and it
    /// can be asked to.
    pub fn delegated_cgroup(&self) -> Option<PathBuf> {
        let mount = Path::new("/sys/fs/cgroup");
        let path = mount.join(manager_cgroup()?);
        let own = std::fs::metadata(path.join("cgroup.procs")).ok()?;
        let mine = own.uid() == nix::unistd::geteuid().as_raw();
        let bus = match std::env::var_os("DBUS_SESSION_BUS_ADDRESS") {
            Some(_) => true,
            None => {
                let directory = std::env::var_os("XDG_RUNTIME_DIR")?;
                Path::new(&directory).join("bus").exists()
            }
        };
        (mine && bus).then_some(path)
    }

    pub(crate) fn delegated(&self) -> bool {
        self.delegated_cgroup().is_some()
    }

    /// While a copy of it is open, the namespaces are kept.
    pub(crate) fn lock(&self) -> BorrowedFd<'_> {
        self.lock.as_fd()
    }
}

static SESSION: OnceLock<Session> = OnceLock::new();
/// The number of this process's descriptor of the lock; -1 if it is in no session.
static LOCK_FD: AtomicI32 = AtomicI32::new(-1);

/// The session this process has entered; none if it is an ordinary process of root's.
pub fn session() -> Option<&'static Session> {
    SESSION.get()
}

/// Whether this is the user namespace that the machine booted with. In others there are things that not even root may
/// do: make devices, set `trusted.` attributes, mount most filesystems.
pub fn in_initial_namespace() -> bool {
    match INITIAL.load(Ordering::Relaxed) {
        UNKNOWN => {
            let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
            let mut words = map.split_ascii_whitespace();
            let initial = map.is_empty() || words.nth(2) == Some("4294967295");
            INITIAL.store(initial.into(), Ordering::Relaxed);
            initial
        }
        known => known != 0,
    }
}

/// What [`in_initial_namespace`] has found.
static INITIAL: AtomicU8 = AtomicU8::new(UNKNOWN);
const UNKNOWN: u8 = u8::MAX;

/// Enters a user namespace, and a mount namespace of its own in which the host's mounts go on coming.
fn enter_user_namespace(user: impl AsFd) -> Result<()> {
    setns(user, CloneFlags::CLONE_NEWUSER).map_err(RootlessError::system("join a user"))?;
    INITIAL.store(false.into(), Ordering::Relaxed);
    unshare(CloneFlags::CLONE_NEWNS).map_err(RootlessError::system("make a mount"))?;
    let flags = MsFlags::MS_SLAVE | MsFlags::MS_REC;
    let none = None::<&str>;
    mount(none, "/", none, flags, none).map_err(RootlessError::system("detach the mount"))
}

/// Whether this user namespace knows a group.
pub(crate) fn has_group(group: u32) -> bool {
    groups().iter().any(|(first, length)| {
        group
            .checked_sub(*first)
            .is_some_and(|offset| offset < *length)
    })
}

/// The last group of this user namespace that the kernel takes for one in its parameters.
pub fn last_group() -> u32 {
    let last = |(first, length): &(u32, u32)| first.saturating_add(length.saturating_sub(1));
    groups()
        .iter()
        .map(last)
        .max()
        .unwrap_or(0)
        .min(i32::MAX as u32)
}

/// This user namespace's groups: the first, and how many.
fn groups() -> Vec<(u32, u32)> {
    let map = std::fs::read_to_string("/proc/self/gid_map").unwrap_or_default();
    let ranges = map.lines().filter_map(|line| {
        let mut numbers = line.split_ascii_whitespace().map(str::parse);
        Some((numbers.next()?.ok()?, numbers.nth(1)?.ok()?))
    });
    ranges.collect()
}

/// Below the hierarchy's root, the cgroup of the systemd of an ordinary user, or of whoever is root in this user
/// namespace; none for the host's root.
pub(crate) fn manager_cgroup() -> Option<PathBuf> {
    let user = match (in_initial_namespace(), nix::unistd::geteuid()) {
        (true, user) if user.is_root() => return None,
        (true, user) => user.as_raw(),
        (false, _) => {
            let map = std::fs::read_to_string("/proc/self/uid_map").ok()?;
            let mut words = map.split_ascii_whitespace();
            let user = (words.next() == Some("0")).then(|| words.next())??;
            user.parse().ok()?
        }
    };
    Some(format!("user.slice/user-{user}.slice/user@{user}.service").into())
}

/// Enters the user's namespaces, making them if nobody is in them; `state` is the user's own directory of what does not
/// outlive a reboot, `keeper` the monitor's binary. Does nothing for root, unless a command of the user's started this
/// process in its namespaces. Gives what the user should be told, one line each.
///
/// To be called before this process has a second thread.
///
/// # Errors
/// [`RootlessError`].
pub fn enter(state: &Path, keeper: &Path) -> Result<Vec<String>> {
    if session().is_some() {
        return Ok(Vec::new());
    }
    if nix::unistd::geteuid().is_root() {
        if !in_initial_namespace() {
            adopt(state)?;
            if session().is_none() && !owns_network() {
                return Err(RootlessError::BorrowedNetwork);
            }
        }
        return Ok(Vec::new());
    }
    own_directory(state)?;
    let lock = share(state)?;
    let (record, warnings) = match Record::of_living(state)? {
        Some(record) => (record, Vec::new()),
        None => keeper::start(state, keeper)?,
    };
    let uid = nix::unistd::getuid().as_raw();
    let user = record.namespace("user")?;
    enter_user_namespace(user)?;
    remember(state, &record, lock, uid)?;
    Ok(warnings)
}

/// Whether the network namespace belongs to this user namespace: only in such a one can others be made, and left again.
fn owns_network() -> bool {
    let own = File::open("/proc/self/ns/net");
    own.is_ok_and(|own| setns(own, CloneFlags::CLONE_NEWNET).is_ok())
}

/// A process that a user's command or monitor has started is where it should be already.
fn adopt(state: &Path) -> Result<()> {
    let Some(record) = Record::of_living(state)? else {
        return Ok(());
    };
    let inode = |path: String| std::fs::metadata(path).map(|m| (m.dev(), m.ino())).ok();
    let kept = inode(record.path("user"));
    if kept.is_none() || kept != inode("/proc/self/ns/user".to_owned()) {
        return Ok(());
    }
    let lock = share(state)?;
    remember(state, &record, lock, record.uid)
}

fn remember(state: &Path, record: &Record, lock: OwnedFd, uid: u32) -> Result<()> {
    let session = Session {
        uid,
        single_id: record.single_id,
        state: state.to_owned(),
        network: record.namespace("net")?.into(),
        lock,
    };
    hold(session.lock.as_raw_fd());
    // Somebody else's would be the same.
    let _ = SESSION.set(session);
    Ok(())
}

/// Says which descriptor is the lock. It stays open while this process lives.
pub(crate) fn hold(lock: RawFd) {
    LOCK_FD.store(lock, Ordering::Relaxed);
}

/// Between fork and execve: the new program has the lock from its beginning on, or the keeper could end in between.
pub(crate) fn pass_on() {
    let lock = LOCK_FD.load(Ordering::Relaxed);
    if lock >= 0 {
        // SAFETY: takes integers.
        unsafe { libc::fcntl(lock, libc::F_SETFD, 0) };
    }
}

/// Takes the lock of a state directory's session, if it has one, for this process and what it becomes. To be called
/// while somebody else has it.
pub(crate) fn join(state: &Path) {
    let path = state.join(record::LOCK);
    if path.exists()
        && let Ok(lock) = lock(&path, FlockOperation::NonBlockingLockShared)
    {
        hold(lock.into_raw_fd());
        pass_on();
    }
}

/// What a user's monitors need to know to find the user's systemd.
pub(crate) fn environment() -> Vec<CString> {
    let names = ["XDG_RUNTIME_DIR", "DBUS_SESSION_BUS_ADDRESS"];
    let of_session = names.into_iter().filter(|_| session().is_some());
    let variables = of_session.filter_map(|name| {
        let mut text = OsString::from(name);
        text.push("=");
        text.push(std::env::var_os(name)?);
        CString::new(text.into_vec()).ok()
    });
    variables.collect()
}

/// Makes the directory if it is missing; one that others can write to is refused.
fn own_directory(path: &Path) -> Result<()> {
    let made = std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path);
    made.map_err(RootlessError::file("create", path))?;
    let found = std::fs::symlink_metadata(path).map_err(RootlessError::file("look at", path))?;
    let own = found.is_dir() && found.uid() == nix::unistd::geteuid().as_raw();
    match own && found.mode() & 0o022 == 0 {
        true => Ok(()),
        false => Err(RootlessError::ForeignDirectory { path: path.into() }),
    }
}

/// A shared lock: the keeper stays.
fn share(state: &Path) -> Result<OwnedFd> {
    lock(&state.join(record::LOCK), FlockOperation::LockShared)
}

fn lock(path: &Path, how: FlockOperation) -> Result<OwnedFd> {
    let locked = || -> io::Result<OwnedFd> {
        let file = open_lock(path)?;
        while let Err(e) = flock(&file, how) {
            if e != rustix::io::Errno::INTR {
                return Err(e.into());
            }
        }
        Ok(file.into())
    };
    locked().map_err(RootlessError::file("lock", path))
}

fn open_lock(path: &Path) -> io::Result<File> {
    let mut options = File::options();
    let options = options.read(true).write(true).create(true).truncate(false);
    options
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW)
        .open(path)
}

/// The processes in the PID namespace of a container's first one: where there are no cgroups, all that are known to be its.
pub fn processes_beside(pid: i32) -> Vec<i32> {
    let namespace = |pid: i32| std::fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
    let Some(own) = namespace(pid) else {
        return Vec::new();
    };
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|&other| namespace(other).as_ref() == Some(&own))
        .collect()
}

/// Duplicates a descriptor onto a number, without close-on-exec.
fn place(fd: BorrowedFd<'_>, number: i32) -> io::Result<()> {
    // SAFETY: takes integers; whoever has `number` is about to be replaced.
    match unsafe { libc::dup2(fd.as_raw_fd(), number) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}
