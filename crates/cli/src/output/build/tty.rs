//! All steps at once, drawn again as they come along.

use std::fmt::Write as _;
use std::io::Write as _;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rctr_builder::progress::{Event, Progress};

use super::frame::{Frame, Look, frame};
use super::trace::Trace;
use super::{Failed, Shown};
use crate::terminal::window_size;

/// How often it is drawn.
const PERIOD: Duration = Duration::from_millis(100);

/// The live view.
pub struct Tty {
    shared: Arc<Shared>,
    drawer: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    state: Mutex<State>,
    end: Condvar,
}

struct State {
    trace: Trace,
    /// Widths of the lines that are on the screen.
    drawn: Vec<usize>,
    ended: bool,
}

impl Tty {
    pub fn new() -> Tty {
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                trace: Trace::new(),
                drawn: Vec::new(),
                ended: false,
            }),
            end: Condvar::new(),
        });
        let drawing = Arc::clone(&shared);
        let drawer = std::thread::spawn(move || drawing.draw());
        Tty {
            shared,
            drawer: Mutex::new(Some(drawer)),
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Draws until the end.
    fn draw(&self) {
        let mut state = self.state();
        while !state.ended {
            let waited = self.end.wait_timeout(state, PERIOD);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
            state.redraw();
        }
    }
}

impl State {
    fn redraw(&mut self) {
        let size = window_size();
        let look = Look {
            width: size.map_or(80, |size| usize::from(size.cols)),
            height: size.map_or(10, |size| usize::from(size.rows)),
            colours: std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()),
            ended: self.ended,
        };
        let Frame { lines, widths } = frame(&self.trace, &look);
        let text = over(&self.drawn, &lines, &look);
        self.drawn = widths;
        // Nobody is left to tell if standard error is closed.
        let _ = std::io::stderr().write_all(text.as_bytes());
    }
}

/// Writes lines in place of those on the screen, which may have become more rows since the terminal is narrower.
fn over(drawn: &[usize], lines: &[String], look: &Look) -> String {
    let rows: usize = drawn
        .iter()
        .map(|width| width.div_ceil(look.width.max(1)).max(1))
        .sum();
    // The cursor is hidden only while it moves: whatever ends the process leaves it visible.
    let mut text = String::from("\x1b[?25l");
    let up = rows.min(look.height.saturating_sub(1));
    if up > 0 {
        let _ = write!(text, "\x1b[{up}A");
    }
    text.push('\r');
    for line in lines {
        let _ = writeln!(text, "{line}\x1b[K");
    }
    text + "\x1b[J\x1b[?25h"
}

impl Progress for Tty {
    fn event(&self, event: Event<'_>) {
        self.shared.state().trace.apply(&event);
    }
}

impl Shown for Tty {
    fn finish(&self) {
        self.shared.state().ended = true;
        self.shared.end.notify_all();
        let mut drawer = self.drawer.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(drawer) = drawer.take() {
            // It ends with the last drawing.
            let _ = drawer.join();
        }
    }

    fn failed_step(&self) -> Option<Failed> {
        self.shared.state().trace.failed().map(Failed::of)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_narrower_terminal_has_more_rows_to_clear() {
        let look = Look {
            width: 40,
            height: 24,
            colours: false,
            ended: false,
        };
        let text = over(&[80, 10], &["a".into()], &look);
        assert_eq!(text, "\x1b[?25l\x1b[3A\ra\x1b[K\n\x1b[J\x1b[?25h");
        assert!(over(&[], &[], &look).starts_with("\x1b[?25l\r"));
    }
}
