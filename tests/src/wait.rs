use std::time::{Duration, Instant};

/// How long something that should happen at once may take on a busy machine.
pub const LIMIT: Duration = Duration::from_secs(30);

/// Waits until `holds` answers true.
///
/// # Panics
/// After [`LIMIT`], naming `what`.
pub fn wait_for(what: &str, mut holds: impl FnMut() -> bool) {
    wait_for_some(what, || holds().then_some(()));
}

/// Waits until `find` answers something, and returns it.
///
/// # Panics
/// After [`LIMIT`], naming `what`.
pub fn wait_for_some<T>(what: &str, mut find: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + LIMIT;
    let mut pause = Duration::from_millis(2);
    loop {
        if let Some(found) = find() {
            return found;
        }
        assert!(
            Instant::now() < deadline,
            "waited {LIMIT:?} in vain for {what}"
        );
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(50));
    }
}
