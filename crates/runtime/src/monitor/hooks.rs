//! Hooks: programs that a specification wants run at certain points of a container's life.
//!
//! libcontainer runs those before the pivot, and would tell them of a container with its own name and directory, in the
//! runtime's private mount namespace. So it is given one hook for each point, this program under another name
//! ([`main`]), which then runs the real ones where they belong.

use std::ffi::CString;
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use oci_spec::runtime::{Hook, HookBuilder, State};
use rustix::fs::{MemfdFlags, memfd_create};
use serde::{Deserialize, Serialize};

use super::outside;
use super::rootfs::return_to;

/// The first argument that makes this program [`main`].
pub const ARGUMENT: &str = "hooks";

/// As much of what a hook says goes into an error.
const SHOWN: usize = 1024;

/// All hooks of one point in a container's life.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Round {
    point: String,
    hooks: Vec<Hook>,
    state: State,
}

impl Round {
    /// None where there are none to run.
    pub(super) fn new(point: &str, hooks: Option<&Vec<Hook>>, state: &State) -> Option<Self> {
        let hooks = hooks.filter(|hooks| !hooks.is_empty())?.clone();
        Some(Self {
            point: point.to_owned(),
            hooks,
            state: state.clone(),
        })
    }

    pub(super) fn state(&self) -> &State {
        &self.state
    }

    /// Runs them one after the other, with the container's state and this pid on standard input, until one fails;
    /// then says which and how. `env` is for those without an environment of their own.
    pub(super) fn run(&self, pid: i32, env: &[CString]) -> Result<(), String> {
        let mut state = self.state.clone();
        state.set_pid((pid > 0).then_some(pid));
        let state = serde_json::to_vec(&state).unwrap_or_default();
        for (number, hook) in self.hooks.iter().enumerate() {
            run(hook, &state, env).map_err(|reason| {
                format!("error running {} hook #{number}: {reason}", self.point)
            })?;
        }
        Ok(())
    }

    /// Runs them all where the runtime was started, whatever comes of each; gives a line for each that failed.
    pub(super) fn run_all(&self, pid: i32) -> Vec<String> {
        let one_each = self.hooks.iter().map(|hook| Self {
            hooks: vec![hook.clone()],
            ..self.clone()
        });
        let run = |round: Self| match outside::way() {
            Some(way) => outside::run(way, &[round], pid).err(),
            None => round.run(pid, &[]).err(),
        };
        one_each.filter_map(run).collect()
    }
}

fn run(hook: &Hook, state: &[u8], env: &[CString]) -> Result<(), String> {
    let words = |e: io::Error| format!("{}: {e}", hook.path().display());
    let output = memfd_create("hook", MemfdFlags::CLOEXEC).map_err(|e| words(e.into()))?;
    let output = File::from(output);
    let mut child = spawn(hook, env, &output).map_err(words)?;
    if let Some(mut stdin) = child.stdin.take() {
        // One that does not want to know may close it.
        let _ = stdin.write_all(state);
    }
    let ended = wait(&mut child, hook.timeout()).map_err(words)?;
    match ended {
        Some(status) if status.success() => Ok(()),
        Some(status) => {
            let how = match status.code() {
                Some(code) => format!("exit status {code}"),
                None => format!("signal {}", status.signal().unwrap_or_default()),
            };
            let mut said = vec![0; SHOWN];
            let length = output.read_at(&mut said, 0).unwrap_or(0);
            let said = String::from_utf8_lossy(&said[..length]).trim().to_owned();
            Err(format!("{how}, output: {said}"))
        }
        None => Err(format!(
            "hook ran past specified timeout of {}s",
            hook.timeout().unwrap_or_default()
        )),
    }
}

fn spawn(hook: &Hook, env: &[CString], output: &File) -> io::Result<Child> {
    let mut command = Command::new(hook.path());
    let args = hook.args().as_deref().unwrap_or_default();
    if let Some((name, rest)) = args.split_first() {
        command.arg0(name).args(rest);
    }
    command.env_clear();
    let mut set = |variable: &[u8]| {
        let mut parts = variable.splitn(2, |&byte| byte == b'=');
        if let (Some(name), Some(value)) = (parts.next(), parts.next()) {
            let text = std::ffi::OsStr::from_bytes;
            command.env(text(name), text(value));
        }
    };
    match hook.env() {
        Some(own) => own.iter().for_each(|variable| set(variable.as_bytes())),
        None => env.iter().for_each(|variable| set(variable.as_bytes())),
    }
    command
        .stdin(Stdio::piped())
        .stdout(output.try_clone()?)
        .stderr(output.try_clone()?)
        .spawn()
}

/// Waits at most so many seconds; none if it had to be killed.
fn wait(child: &mut Child, seconds: Option<i64>) -> io::Result<Option<ExitStatus>> {
    let Some(seconds) = seconds
        .and_then(|s| u64::try_from(s).ok())
        .filter(|&s| s > 0)
    else {
        return child.wait().map(Some);
    };
    let pid = rustix::process::Pid::from_child(child);
    let process = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty())?;
    let timeout = PollTimeout::try_from(Duration::from_secs(seconds)).unwrap_or(PollTimeout::MAX);
    let mut fds = [PollFd::new(process.as_fd(), PollFlags::POLLIN)];
    if poll(&mut fds, timeout)? > 0 {
        return child.wait().map(Some);
    }
    child.kill()?;
    child.wait()?;
    Ok(None)
}

/// What [`main`] is to do.
#[derive(Serialize, Deserialize)]
struct Order {
    rounds: Vec<Round>,
    /// Where to run them; none for where it is started.
    mount_namespace: Option<RawFd>,
    /// Who is to run them, rather.
    outside: Option<RawFd>,
    errors: RawFd,
}

/// Descriptors that hooks of libcontainer's inherit, and where one that fails says why.
pub(super) struct Orders {
    /// Of the host's mount namespace.
    host_mounts: OwnedFd,
    outside: Option<OwnedFd>,
    errors: File,
    files: Vec<File>,
}

impl Orders {
    pub(super) fn new(host_mounts: &OwnedFd) -> io::Result<Self> {
        // Not closed on exec, as those that follow: libcontainer's child must find them.
        let inherited = |fd: BorrowedFd<'_>| -> io::Result<OwnedFd> {
            let copy = rustix::io::fcntl_dupfd_cloexec(fd, 0)?;
            rustix::io::fcntl_setfd(&copy, rustix::io::FdFlags::empty())?;
            Ok(copy)
        };
        Ok(Self {
            host_mounts: inherited(host_mounts.as_fd())?,
            outside: outside::way().map(inherited).transpose()?,
            errors: memfd_create("errors", MemfdFlags::empty())?.into(),
            files: Vec::new(),
        })
    }

    /// The hook that libcontainer is given instead of these; none where there are none.
    pub(super) fn hook(
        &mut self,
        rounds: Vec<Round>,
        on_the_host: bool,
    ) -> io::Result<Option<Vec<Hook>>> {
        if rounds.is_empty() {
            return Ok(None);
        }
        let order = Order {
            rounds,
            mount_namespace: on_the_host.then(|| self.host_mounts.as_raw_fd()),
            outside: match &self.outside {
                Some(way) if on_the_host => Some(way.as_raw_fd()),
                _ => None,
            },
            errors: self.errors.as_raw_fd(),
        };
        let mut file = File::from(memfd_create("order", MemfdFlags::empty())?);
        serde_json::to_writer(&mut file, &order)?;
        let fd = file.as_raw_fd().to_string();
        self.files.push(file);
        let hook = HookBuilder::default()
            .path("/proc/self/exe")
            .args(vec!["rctr-oci".to_owned(), ARGUMENT.to_owned(), fd])
            .env(Vec::<String>::new());
        let hook = hook.build().map_err(io::Error::other)?;
        Ok(Some(vec![hook]))
    }

    /// What a hook that failed has said.
    pub(super) fn failure(&self) -> Option<String> {
        let mut said = vec![0; 4 * SHOWN];
        let length = self.errors.read_at(&mut said, 0).ok()?;
        (length > 0).then(|| String::from_utf8_lossy(&said[..length]).into_owned())
    }
}

/// What is executed as a hook of libcontainer's, with the descriptor that says what to do; gives the exit code.
pub fn main(order: RawFd) -> i32 {
    // SAFETY: libcontainer's caller put this descriptor there for us, and this is the only place that takes it.
    let mut file = unsafe { File::from_raw_fd(order) };
    // Its position is that of whoever wrote it.
    let mut json = Vec::new();
    let read = file.rewind().and_then(|()| file.read_to_end(&mut json));
    let order: Order = match read.map(|_| serde_json::from_slice(&json)) {
        Ok(Ok(order)) => order,
        _ => return 125,
    };
    // SAFETY: as above.
    let mut errors = unsafe { File::from_raw_fd(order.errors) };
    match follow(&order) {
        Ok(()) => 0,
        Err(reason) => {
            let _ = errors.write_all(reason.as_bytes());
            1
        }
    }
}

fn follow(order: &Order) -> Result<(), String> {
    let mut given = String::new();
    let _ = io::stdin().read_to_string(&mut given);
    let given: Option<State> = serde_json::from_str(&given).ok();
    // Inside it is libcontainer's container process that runs us.
    let pid = given.and_then(|state| *state.pid());
    let pid = pid.or_else(|| Some(crate::state::parent_and_session_of_self()?.0));
    let pid = pid.unwrap_or_default();
    if let Some(way) = order.outside {
        // SAFETY: as in `main`.
        let way = unsafe { OwnedFd::from_raw_fd(way) };
        return outside::run(way.as_fd(), &order.rounds, pid);
    }
    if let Some(fd) = order.mount_namespace {
        // SAFETY: as in `main`.
        let namespace = unsafe { OwnedFd::from_raw_fd(fd) };
        return_to(&namespace).map_err(|e| format!("join the host's mount namespace: {e}"))?;
    }
    // SAFETY: a system call on integers.
    unsafe {
        let flags = libc::CLOSE_RANGE_CLOEXEC as libc::c_int;
        libc::syscall(libc::SYS_close_range, 3, u32::MAX, flags);
    }
    for round in &order.rounds {
        // As with runc, where it can be reached.
        let _ = rustix::process::chdir(round.state.bundle());
        round.run(pid, &[])?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use oci_spec::runtime::StateBuilder;

    fn round(script: &str, timeout: Option<i64>) -> Round {
        let args = ["sh", "-c", script].map(String::from).to_vec();
        let mut hook = HookBuilder::default().path("/bin/sh").args(args);
        if let Some(seconds) = timeout {
            hook = hook.timeout(seconds);
        }
        let state = StateBuilder::default().id("it").version("1.0.2");
        let hooks = vec![hook.build().unwrap()];
        Round::new("prestart", Some(&hooks), &state.build().unwrap()).unwrap()
    }

    #[test]
    fn a_hook_reads_the_state() {
        let wanted = r#"state=$(cat); echo "$state"; echo "$state" | grep -q '"id":"it".*"pid":7'"#;
        round(wanted, None).run(7, &[]).unwrap();
        let env = [CString::new("A=b c").unwrap()];
        round("[ \"$A\" = 'b c' ]", Some(9)).run(7, &env).unwrap();
    }

    #[test]
    fn one_that_fails_is_told_with_its_words() {
        let error = round("echo no >&2; exit 3", None).run(1, &[]).unwrap_err();
        assert_eq!(
            error,
            "error running prestart hook #0: exit status 3, output: no"
        );
        let error = round("sleep 9", Some(1)).run(1, &[]).unwrap_err();
        assert!(error.ends_with("past specified timeout of 1s"), "{error}");
    }
}
