use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};
use std::sync::{Arc, Mutex};
use std::thread;

use nix::pty::{Winsize, openpty};
use nix::sys::termios::{Termios, cfmakeraw, tcgetattr};

use crate::wait_for;

/// A command on a terminal of its own, driven as a person would. Dropped before it ended, it is killed.
pub struct Terminal {
    child: Child,
    master: File,
    slave: OwnedFd,
    shown: Arc<Mutex<Vec<u8>>>,
    before: Termios,
}

impl Terminal {
    /// Starts `command` with a terminal of this size as its standard streams and controlling terminal.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start(mut command: Command, rows: u16, columns: u16) -> Self {
        let pty = openpty(&size(rows, columns), None).expect("a terminal");
        let before = tcgetattr(&pty.slave).expect("a terminal has settings");
        let end = || pty.slave.try_clone().expect("a descriptor");
        command.stdin(end()).stdout(end()).stderr(end());
        // SAFETY: only system calls on integers between fork and exec.
        unsafe {
            command.pre_exec(|| {
                nix::unistd::setsid()?;
                match nix::libc::ioctl(0, nix::libc::TIOCSCTTY, 0) {
                    0 => Ok(()),
                    _ => Err(std::io::Error::last_os_error()),
                }
            });
        }
        let child = command.spawn().expect("the command starts");
        // The command holds copies of the terminal that must go with the child.
        drop(command);
        let shown = Arc::new(Mutex::new(Vec::new()));
        let master = File::from(pty.master);
        let mut screen = master.try_clone().expect("a descriptor");
        let sink = shown.clone();
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = screen.read(&mut buffer) {
                let mut sink = sink.lock().expect("no thread panics with the lock");
                sink.extend_from_slice(&buffer[..count]);
            }
        });
        Self {
            child,
            master,
            slave: pty.slave,
            shown,
            before,
        }
    }

    /// Types these characters.
    pub fn type_in(&mut self, keys: &str) {
        self.master
            .write_all(keys.as_bytes())
            .expect("a terminal takes what is typed");
    }

    /// Everything shown so far.
    pub fn shown(&self) -> String {
        let shown = self.shown.lock().expect("no thread panics with the lock");
        String::from_utf8_lossy(&shown).into_owned()
    }

    /// Waits until `text` is shown.
    ///
    /// # Panics
    /// When it does not come, with what came instead.
    pub fn wait_shown(&self, text: &str) {
        let waited = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            wait_for(&format!("{text:?}"), || self.shown().contains(text));
        }));
        assert!(
            waited.is_ok(),
            "no {text:?} on the terminal:\n{}",
            self.shown()
        );
    }

    /// Changes the terminal's size; the kernel tells the command.
    pub fn resize(&self, rows: u16, columns: u16) {
        // SAFETY: reads one winsize, which lives until the call returns.
        let result = unsafe {
            nix::libc::ioctl(
                self.master.as_raw_fd(),
                nix::libc::TIOCSWINSZ,
                &size(rows, columns),
            )
        };
        assert_eq!(result, 0, "a terminal can be resized");
    }

    /// True while characters are passed as they are typed.
    pub fn is_raw(&self) -> bool {
        let now = tcgetattr(&self.slave).expect("a terminal has settings");
        let mut raw = now.clone();
        cfmakeraw(&mut raw);
        raw.local_flags == now.local_flags
    }

    /// Waits until the command ends, checks that the terminal is as it was before, and gives the exit code.
    ///
    /// # Panics
    /// When it does not end, or left the terminal changed.
    pub fn finish(mut self) -> i32 {
        let mut status = None;
        let waited = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            wait_for("the command on the terminal to end", || {
                status = self.child.try_wait().expect("a child can be waited for");
                status.is_some()
            });
        }));
        assert!(
            waited.is_ok(),
            "the command goes on; shown:\n{}",
            self.shown()
        );
        let now = tcgetattr(self.slave.as_fd()).expect("a terminal has settings");
        assert_eq!(now, self.before, "the terminal is as before");

        status.and_then(|status| status.code()).unwrap_or(-1)
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // Both fail only for a process that is gone.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn size(rows: u16, columns: u16) -> Winsize {
    Winsize {
        ws_row: rows,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    }
}
