//! Hooks that belong where the runtime was started, when the runtime has gone into a user namespace (an ordinary user's):
//! a copy of it stays behind, runs them there when it is told to, and ends with it.

use std::io::{self, BufRead, BufReader, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::OnceLock;

use serde::{Deserialize, Serialize};

use super::hooks::Round;

/// The way to the copy that stays behind.
static OUTSIDE: OnceLock<OwnedFd> = OnceLock::new();

/// What it is to run, a line of JSON; it answers with another, what has failed.
#[derive(Serialize, Deserialize)]
struct Request {
    rounds: Vec<Round>,
    pid: i32,
}

/// Leaves a copy of this process behind. To be called while it has one thread.
///
/// # Errors
/// The kernel's.
pub(super) fn stay_behind() -> io::Result<()> {
    let (ours, theirs) = UnixStream::pair()?;
    let parent = std::process::id() as libc::pid_t;
    // Without a signal to tell of its end: nobody waits for it.
    // SAFETY: a fork of a process with one thread.
    match unsafe { libc::syscall(libc::SYS_clone, 0, 0, 0, 0, 0) } {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            drop(ours);
            // SAFETY: system calls on integers.
            unsafe {
                // Others may have the other end, and for longer.
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0);
                // What a terminal's user sends is the container's; hooks are still to be run after its end.
                libc::setpgid(0, 0);
                // What the container is to inherit is not the hooks'.
                let flags = libc::CLOSE_RANGE_CLOEXEC as libc::c_int;
                libc::syscall(libc::SYS_close_range, 3, u32::MAX, flags);
                if libc::getppid() == parent {
                    let _ = serve(&theirs);
                }
                libc::_exit(0)
            }
        }
        _ => {
            // Nobody else sets it.
            let _ = OUTSIDE.set(ours.into());
            Ok(())
        }
    }
}

fn serve(socket: &UnixStream) -> io::Result<()> {
    let mut lines = BufReader::new(socket).lines();
    while let Some(line) = lines.next().transpose()? {
        let request: Request = serde_json::from_str(&line)?;
        let failed = request.rounds.iter().find_map(|round| {
            // As with runc, where it can be reached.
            let _ = rustix::process::chdir(round.state().bundle());
            round.run(request.pid, &[]).err()
        });
        let answer = serde_json::to_string(&failed)?;
        writeln!(&mut &*socket, "{answer}")?;
    }
    Ok(())
}

/// The way to the copy of this process that has stayed behind, if one has.
pub(super) fn way() -> Option<BorrowedFd<'static>> {
    OUTSIDE.get().map(AsFd::as_fd)
}

/// Has it run these; says what has failed.
pub(super) fn run(way: BorrowedFd<'_>, rounds: &[Round], pid: i32) -> Result<(), String> {
    let ask = || -> io::Result<Option<String>> {
        let mut socket = UnixStream::from(way.try_clone_to_owned()?);
        let request = Request {
            rounds: rounds.to_vec(),
            pid,
        };
        let request = serde_json::to_string(&request)?;
        writeln!(socket, "{request}")?;
        let mut answer = String::new();
        BufReader::new(socket).read_line(&mut answer)?;
        Ok(serde_json::from_str(&answer)?)
    };
    match ask() {
        Ok(None) => Ok(()),
        Ok(Some(failed)) => Err(failed),
        Err(error) => Err(format!("run hooks outside of the user namespace: {error}")),
    }
}
