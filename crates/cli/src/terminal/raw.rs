//! Raw mode, and out of it again whatever happens.

use std::io::IsTerminal;
use std::sync::{Mutex, Once, PoisonError};

use nix::sys::termios::{SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr};

use crate::failure::{Failure, GENERAL, Result};

/// What the terminal was before; a panic needs it too.
static BEFORE: Mutex<Option<libc::termios>> = Mutex::new(None);

/// While it lives, keys go to the container as they are typed.
#[derive(Debug)]
pub struct RawMode(());

impl RawMode {
    /// Puts standard input in raw mode; `None` if it is no terminal.
    pub fn enter() -> Result<Option<RawMode>> {
        let stdin = std::io::stdin();
        if !stdin.is_terminal() {
            return Ok(None);
        }
        let failed = |errno| {
            Failure::new(
                GENERAL,
                format!("cannot set the terminal to raw mode: {errno}"),
            )
        };
        let before = tcgetattr(&stdin).map_err(failed)?;
        let mut raw = before.clone();
        cfmakeraw(&mut raw);
        restore_on_panic();
        *BEFORE.lock().unwrap_or_else(PoisonError::into_inner) = Some(before.into());
        let mode = RawMode(());
        tcsetattr(&stdin, SetArg::TCSANOW, &raw).map_err(failed)?;
        Ok(Some(mode))
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        restore();
    }
}

fn restore() {
    let before = BEFORE.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(before) = before {
        // The terminal may be gone by now, and then there is nothing to restore.
        let _ = tcsetattr(std::io::stdin(), SetArg::TCSANOW, &Termios::from(before));
    }
}

/// A release build aborts on a panic, so that no destructor would run.
fn restore_on_panic() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let default = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            restore();
            default(info);
        }));
    });
}
