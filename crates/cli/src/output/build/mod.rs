//! What a build shows: its steps and what they print, as BuildKit's users know it.

mod plain;

use std::sync::Arc;

use rctr_builder::progress::Progress;

use crate::commands::ProgressKind;

/// A view of a build.
pub struct View {
    shown: Arc<dyn Shown>,
}

/// What every view can do.
trait Shown: Progress {
    /// The build has ended.
    fn finish(&self);
    /// The name of the step that failed and the last lines it printed, if they are worth repeating.
    fn failed_step(&self) -> Option<(String, Vec<String>)>;
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

    /// The name of the step that failed, and the last lines it printed.
    pub fn failed_step(&self) -> Option<(String, Vec<String>)> {
        self.shown.failed_step()
    }
}

/// The view that was asked for.
pub fn view(kind: ProgressKind) -> View {
    let shown: Arc<dyn Shown> = match kind {
        ProgressKind::Quiet => Arc::new(plain::Plain::quiet()),
        _ => Arc::new(plain::Plain::new()),
    };
    View { shown }
}
