//! Typing that is not shown.

use std::io::{self, Read};

use nix::sys::termios::{LocalFlags, SetArg, Termios, tcgetattr, tcsetattr};

use crate::failure::{Failure, GENERAL, Result};

const CTRL_C: u8 = 3;
const CTRL_D: u8 = 4;
const BACKSPACE: [u8; 2] = [8, 127];

/// Asks for a line at the terminal that is not shown. Ctrl-C ends the command, and the terminal is as before in any
/// case.
pub fn read_hidden(prompt: &str) -> Result<String> {
    // Who sees the prompt can type: nothing of it is shown by then.
    let _quiet = Quiet::begin()?;
    eprint!("{prompt}");
    let mut line = Vec::new();
    for byte in io::stdin().lock().bytes() {
        match byte? {
            b'\n' | b'\r' | CTRL_D => break,
            CTRL_C => return Err(Failure::silent(128 + libc::SIGINT as u8)),
            byte if BACKSPACE.contains(&byte) => {
                // A character may have several bytes.
                while line.pop().is_some_and(|byte| byte & 0xc0 == 0x80) {}
            }
            byte => line.push(byte),
        }
    }
    String::from_utf8(line).map_err(|_| Failure::new(GENERAL, "the password is not UTF-8"))
}

/// Keys are read one by one and not shown while it lives; signals come as keys, so that none ends the program with the
/// terminal like that.
struct Quiet(Termios);

impl Quiet {
    fn begin() -> Result<Quiet> {
        let failed = |errno| Failure::new(GENERAL, format!("cannot hide what is typed: {errno}"));
        let before = tcgetattr(io::stdin()).map_err(failed)?;
        let mut quiet = before.clone();
        quiet
            .local_flags
            .remove(LocalFlags::ECHO | LocalFlags::ICANON | LocalFlags::ISIG);
        tcsetattr(io::stdin(), SetArg::TCSAFLUSH, &quiet).map_err(failed)?;
        Ok(Quiet(before))
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        // The terminal may be gone by now, and then there is nothing to restore.
        let _ = tcsetattr(io::stdin(), SetArg::TCSANOW, &self.0);
    }
}
