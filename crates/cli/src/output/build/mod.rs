//! What a build shows: its steps and what they print, as BuildKit's users know it.

mod frame;
mod plain;
mod rawjson;
mod trace;
mod tty;
mod warnings;

use std::io::IsTerminal;
use std::sync::Arc;

use rctr_builder::progress::Progress;

use crate::commands::ProgressKind;
use crate::failure::{Failure, GENERAL, Result};

pub use warnings::{checked, excerpt, summary};

/// A view of a build.
pub struct View {
    shown: Arc<dyn Shown>,
}

/// What every view can do.
trait Shown: Progress {
    /// The build has ended.
    fn finish(&self);
    /// The step that failed, if what it printed is worth repeating.
    fn failed_step(&self) -> Option<Failed>;
}

/// A step that failed.
pub struct Failed {
    pub name: String,
    /// The last lines it printed.
    pub lines: Vec<String>,
}

impl Failed {
    fn of(step: &trace::Step) -> Failed {
        Failed {
            name: step.name.clone(),
            lines: step.tail.iter().map(ToString::to_string).collect(),
        }
    }
}

impl View {
    /// Where the builder reports to.
    pub fn progress(&self) -> &dyn Progress {
        &*self.shown as &dyn Progress
    }

    /// Ends the view.
    pub fn finish(&self) {
        self.shown.finish();
    }

    /// The step that failed.
    pub fn failed_step(&self) -> Option<Failed> {
        self.shown.failed_step()
    }
}

/// The view that was asked for.
///
/// # Errors
/// `tty` needs a terminal.
pub fn view(kind: ProgressKind) -> Result<View> {
    let terminal = std::io::stderr().is_terminal();
    let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
    let shown: Arc<dyn Shown> = match kind {
        ProgressKind::Quiet => Arc::new(plain::Plain::quiet()),
        ProgressKind::Rawjson => Arc::new(rawjson::RawJson::new()),
        ProgressKind::Tty if !terminal => {
            let message = "--progress tty: standard error is not a terminal";
            return Err(Failure::new(GENERAL, message));
        }
        ProgressKind::Tty => Arc::new(tty::Tty::new()),
        ProgressKind::Auto if terminal && !dumb => Arc::new(tty::Tty::new()),
        ProgressKind::Auto | ProgressKind::Plain => Arc::new(plain::Plain::new()),
    };
    Ok(View { shown })
}
