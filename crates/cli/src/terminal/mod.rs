//! The user's terminal while a container has it: raw mode, size, signals, and the pump between the two.

mod hidden;
mod keys;
mod outputs;
mod pump;
mod raw;
mod session;
mod signals;

use std::io::IsTerminal;

use rctr_engine::WindowSize;

pub use hidden::read_hidden;
pub use keys::DetachKeys;
pub use pump::{End, Pump};
pub use session::{Attached, ExecPump};
pub use signals::Signals;

use crate::failure::{Failure, GENERAL, Result};

/// Docker refuses to give a container a terminal on its input when there is none.
pub fn require_tty(interactive: bool, tty: bool) -> Result<()> {
    match interactive && tty && !std::io::stdin().is_terminal() {
        true => Err(Failure::new(GENERAL, "the input device is not a TTY")),
        false => Ok(()),
    }
}

/// The size of the user's terminal, if there is one.
pub fn window_size() -> Option<WindowSize> {
    let mut size = libc::winsize {
        ws_row: 0,
        ws_col: 0,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    [libc::STDOUT_FILENO, libc::STDIN_FILENO, libc::STDERR_FILENO]
        .into_iter()
        .find_map(|fd| {
            // SAFETY: TIOCGWINSZ writes one winsize, which lives until the call returns.
            let done = unsafe { libc::ioctl(fd, libc::TIOCGWINSZ, &mut size) } == 0;
            (done && size.ws_row > 0 && size.ws_col > 0).then_some(WindowSize {
                rows: size.ws_row,
                cols: size.ws_col,
            })
        })
}
