//! Writing a container that nobody watches to a directory, and making one from there.

use std::fs;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use oci_spec::runtime::{ContainerState as Status, Spec};

use super::super::adapt::adapt;
use super::super::hooks::Round;
use super::super::mounts::make_mount_points;
use super::super::rootfs;
use super::super::runtime::adopt;
use super::create::{complete, make_directory, new_record, take_cgroup, undo, write};
use super::record::Record;
use super::{Container, Made, SPEC_FILE, Stdio, check};
use crate::cgroup::{Cgroup, CgroupDriver, Hierarchies};
use crate::checkpoint::{self, Dump, Settings, Step};
use crate::client::set_window_size;
use crate::error::{Error, Result, StartError};
use crate::spec::WindowSize;
use crate::state::ProcessId;

/// Where a restored container's root filesystem is mounted on its way, in the container's directory.
const MOUNT_POINT: &str = "rootfs";

/// A container to be made from a checkpoint.
#[derive(Clone, Debug)]
pub struct Restore<'a> {
    /// Its id, which need not be the one that it had.
    pub id: &'a str,
    /// The directory below which its own is made; made if it is missing.
    pub root: &'a Path,
    /// The directory with its config.json, the one that it was made of.
    pub bundle: &'a Path,
    /// Who makes its cgroup.
    pub cgroup: CgroupDriver,
    /// Its terminal, if it has one. Standard streams that were pipes are the caller's own.
    pub stdio: Stdio,
    /// Where the checkpoint is, and how it is read.
    pub settings: &'a Settings,
}

impl Container {
    /// Writes its processes to a directory; they end by that, or with `leave_running` go on.
    ///
    /// # Errors
    /// [`Error::WrongStatus`], or as [`checkpoint::dump`].
    pub fn checkpoint(&self, settings: &Settings, leave_running: bool) -> Result<()> {
        let _lock = self.lock()?;
        if self.status() != Status::Running {
            return Err(self.wrong("checkpoint"));
        }
        let dump = Dump {
            settings,
            pid: self.record.init.pid,
            spec: &self.spec()?,
            cgroup: &self.cgroup()?,
            leave_running,
        };
        checkpoint::dump(&dump, &mut || true)
    }
}

/// Makes a container from a checkpoint; it runs then, its init a child of the caller's. Its prestart and createRuntime
/// hooks are run on the way.
///
/// # Errors
/// As [`create`](super::create()), or [`Error::MissingCriu`], [`Error::Checkpoint`]; nothing of it is left then.
pub fn restore(request: &Restore<'_>) -> Result<Made> {
    let console = matches!(request.stdio, Stdio::Console(_)).then_some(true);
    let (bundle, original, mut warnings) = check::bundle(request.id, request.bundle, console)?;
    let images = &request.settings.images;
    if let Err(error) = fs::read_dir(images) {
        return Err(Error::file("open", images, error));
    }
    let dir = make_directory(request.root, request.id)?;
    let mut cgroup = None;
    let made = bring_back(request, &dir, bundle, original, &mut cgroup);
    if made.is_err() {
        undo(&dir, cgroup);
    }
    let mut made = made?;
    warnings.append(&mut made.warnings);
    made.warnings = warnings;
    Ok(made)
}

fn bring_back(
    request: &Restore<'_>,
    dir: &Path,
    bundle: PathBuf,
    original: Spec,
    cgroup_made: &mut Option<Cgroup>,
) -> Result<Made> {
    let mut record = new_record(request.id, request.cgroup, bundle, &original);
    let mut spec = original.clone();
    let hooks = spec.hooks().clone().unwrap_or_default();
    spec.set_hooks(None);
    complete(&mut spec, &mut record)?;
    write(dir, SPEC_FILE, &original)?;
    let hierarchies = Hierarchies::detect()?;
    let cgroup = take_cgroup(&hierarchies, &record, dir)?;
    *cgroup_made = Some(cgroup.clone());

    let root = rootfs::open_root(&record.rootfs)?;
    rootfs::check_image(root.as_fd())?;
    make_mount_points(root.as_fd(), &original)?;
    let mount_point = dir.join(MOUNT_POINT);
    fs::create_dir(&mount_point).map_err(|e| Error::file("create", &mount_point, e))?;
    let linux = spec.linux().as_ref();
    let resources = linux.and_then(|linux| linux.resources().clone());

    let state = record.state(Status::Creating);
    #[allow(deprecated)] // Docker's network is made by one.
    let rounds = [
        Round::new("prestart", hooks.prestart().as_ref(), &state),
        Round::new("createRuntime", hooks.create_runtime().as_ref(), &state),
    ];
    let mut terminal = None;
    let receiver = Receiver::of(&request.stdio)?;
    let adapted = adapt(spec, &record.rootfs, &hierarchies)?;
    let mut told = |step: Step| -> Result<()> {
        match step {
            // CRIU needs some that the container may not have.
            Step::Processes => cgroup.limit_devices(&adapted.device_rules)?,
            Step::Terminal(master) => terminal = Some(master),
            Step::Namespaces(pid) => {
                for round in rounds.iter().flatten() {
                    let failed = |reason| StartError::Hook { reason };
                    round.run(pid, &[]).map_err(failed)?;
                }
            }
        }
        Ok(())
    };
    let (pid, mut warnings) = checkpoint::restore(
        &checkpoint::Restore {
            settings: request.settings,
            spec: &original,
            rootfs: &record.rootfs,
            mount_point: &mount_point,
            cgroup: &cgroup,
            resources: &resources.unwrap_or_default(),
        },
        &mut told,
    )?;
    write(dir, "config.json", &adapted.spec)?;
    adopt(dir, &adapted.spec, pid, request.cgroup)?;
    warnings.extend(adapted.warnings);
    let terminal = receiver.take(terminal)?;
    keep(&mut record, pid, dir)?;
    Ok(Made {
        pid,
        terminal,
        warnings,
    })
}

fn keep(record: &mut Record, pid: i32, dir: &Path) -> Result<()> {
    let stat = format!("/proc/{pid}/stat");
    let init = ProcessId::of(pid);
    record.init = init.map_err(|e| Error::file("read", Path::new(&stat), e))?;
    record.save(dir)
}

/// Who gets a terminal's master side.
enum Receiver<'a> {
    Nobody,
    Caller(WindowSize),
    /// Connected before anything is restored: nobody would have the terminal otherwise.
    Socket(UnixStream, &'a Path),
}

impl<'a> Receiver<'a> {
    fn of(stdio: &'a Stdio) -> Result<Self> {
        Ok(match stdio {
            Stdio::Own => Self::Nobody,
            Stdio::Terminal(size) => Self::Caller(*size),
            Stdio::Console(path) => {
                let stream = UnixStream::connect(path);
                let stream = stream.map_err(|e| Error::file("connect to", path, e))?;
                Self::Socket(stream, path)
            }
        })
    }

    /// The terminal if it is the caller's.
    fn take(self, terminal: Option<OwnedFd>) -> Result<Option<OwnedFd>> {
        let Some(terminal) = terminal else {
            return Ok(None);
        };
        match self {
            Self::Nobody => Ok(None),
            Self::Caller(size) => {
                // A size is not worth failing for.
                let _ = set_window_size(terminal.as_fd(), size);
                Ok(Some(terminal))
            }
            Self::Socket(stream, path) => {
                let fds = [terminal.as_raw_fd()];
                let rights = [ControlMessage::ScmRights(&fds)];
                let name = [std::io::IoSlice::new(b"/dev/ptmx")];
                sendmsg::<()>(stream.as_raw_fd(), &name, &rights, MsgFlags::empty(), None)
                    .map_err(|e| Error::file("send a terminal to", path, e))?;
                Ok(None)
            }
        }
    }
}
