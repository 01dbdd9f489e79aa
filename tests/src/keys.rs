//! Session keyrings: whose keys a container sees.

use std::ffi::CStr;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::libc;

/// Asks the kernel, in Python, for the number and the description of the session keyring.
pub const KEYRING: &str = "import ctypes; call = ctypes.CDLL(None).syscall; b = ctypes.create_string_buffer(256); \
    print(call(250, 0, -3, 0), b.value.decode() if call(250, 6, -3, b, 256) < 0 else b.value.decode().split(';')[-1])";

/// The command with a session keyring of this name.
pub fn among_keys(mut command: Command, name: &'static CStr) -> Command {
    // SAFETY: one system call on a C string between fork and exec.
    unsafe {
        command.pre_exec(
            move || match libc::syscall(libc::SYS_keyctl, 1, name.as_ptr()) {
                -1 => Err(io::Error::last_os_error()),
                _ => Ok(()),
            },
        );
    }
    command
}
