//! Waiting for the time at which a container is to be started again, in as little memory as a process can have.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use super::memory;
use crate::launch::CONFIG_FD;
use crate::restart::name_timer;

/// Leaves a process behind that waits so many milliseconds and becomes a command; `words` are the state directory that
/// tells of it, the time and the command. Gives the exit code of whoever asked for it.
pub(super) fn main(words: Vec<OsString>) -> i32 {
    let mut words = words.into_iter();
    let state_dir = words.next().map(PathBuf::from);
    let millis = words.next().and_then(|text| text.to_str()?.parse().ok());
    let (Some(state_dir), Some(millis), Some(program)) = (state_dir, millis, words.next()) else {
        return 125;
    };
    // SAFETY: system calls on integers, in a process with one thread; nothing here uses another descriptor.
    let child = unsafe {
        libc::setsid();
        libc::syscall(libc::SYS_close_range, CONFIG_FD, u32::MAX, 0);
        // For the time between this container's two lives.
        crate::rootless::join(state_dir.parent().unwrap_or(&state_dir));
        libc::fork()
    };
    match child {
        0 => {
            memory::release();
            std::thread::sleep(Duration::from_millis(millis));
            // If it cannot be started, the next rctr command that looks at the container finds no timer.
            let _ = Command::new(program).args(words).exec();
            125
        }
        // One whom nobody knows does no harm: at its time there is nothing to do, or it does it.
        pid if pid > 0 => i32::from(name_timer(&state_dir, pid).is_err()),
        _ => 1,
    }
}
