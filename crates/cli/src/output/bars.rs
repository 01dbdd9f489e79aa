//! What the bars of pulls and pushes have in common.

use std::sync::{Mutex, MutexGuard, PoisonError};

use indicatif::ProgressStyle;

/// A layer that is on its way.
pub const BAR: &str = "{prefix}: {msg} [{bar:50}] {decimal_bytes}/{decimal_total_bytes}";
/// A layer that waits or is done.
pub const PLAIN: &str = "{prefix}: {msg}";

pub fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("=> ")
}

/// What is shown stays of use when a thread that drew it has panicked.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
