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

/// Waits until `look` answers the same a few times in a row: for what has no event that tells its end.
///
/// # Panics
/// After [`LIMIT`], naming `what`.
pub fn wait_still<T: PartialEq>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let (mut last, mut same) = (None, 0);
    wait_for_some(what, || {
        let now = look();
        same = if now == last { same + 1 } else { 0 };
        last = now;
        // By then the pauses between the looks are tens of milliseconds.
        if same < 8 { None } else { last.take() }
    })
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
