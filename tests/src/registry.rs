use std::process::{Command, Stdio};
use std::sync::OnceLock;

use crate::workspace;

/// The address of the registry with the test images, such as `http://127.0.0.1:35123`.
///
/// `tests/run.sh` starts one and names it in `RCTR_TEST_REGISTRY`; without that, one is started here (or found
/// running) and filled, and ends by itself after two hours.
///
/// # Panics
/// When it cannot be started or an image cannot be made.
pub fn registry() -> &'static str {
    static ADDRESS: OnceLock<String> = OnceLock::new();
    ADDRESS.get_or_init(|| std::env::var("RCTR_TEST_REGISTRY").unwrap_or_else(|_| start()))
}

fn start() -> String {
    let fixtures = workspace().join("fixtures");
    let started = Command::new(fixtures.join("registry.sh"))
        .arg("start")
        .stderr(Stdio::inherit())
        .output()
        .expect("fixtures/registry.sh runs");
    assert!(
        started.status.success(),
        "fixtures/registry.sh start: {}",
        started.status
    );
    let address = String::from_utf8_lossy(&started.stdout).trim().to_owned();
    let built = Command::new(fixtures.join("images/build.py"))
        .args(["--registry", &address])
        .stdout(Stdio::null())
        .status()
        .expect("fixtures/images/build.py runs");
    assert!(built.success(), "fixtures/images/build.py: {built}");
    address
}
