use std::path::{Path, PathBuf};
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

/// An empty registry of one test, which may want a password. It ends when dropped.
pub struct OwnRegistry {
    dir: PathBuf,
    url: String,
}

impl OwnRegistry {
    /// The account of one that wants a password.
    pub const USER: &str = "user";
    /// Its password.
    pub const PASSWORD: &str = "secret";

    /// Starts one that keeps its things in `dir`, open to everybody.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start(dir: &Path) -> Self {
        Self::run(dir, None)
    }

    /// One that answers [`Self::USER`] with [`Self::PASSWORD`] only.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn with_password(dir: &Path) -> Self {
        const HASH: &str = "$2b$04$rsrorGK3E.wPfDDc0C5eM.JU3Rmgli/w4Me8hIyPpu/HGirHDNrIO";
        std::fs::create_dir_all(dir).expect("a new directory");
        let file = dir.join("htpasswd");
        std::fs::write(&file, format!("{}:{HASH}\n", Self::USER)).expect("a new file");
        Self::run(dir, Some(&file))
    }

    fn run(dir: &Path, htpasswd: Option<&Path>) -> Self {
        let mut command = Command::new(workspace().join("fixtures/registry.sh"));
        command.arg("start").arg(dir).stderr(Stdio::inherit());
        if let Some(file) = htpasswd {
            command.env("REGISTRY_HTPASSWD", file);
        }
        let started = command.output().expect("fixtures/registry.sh runs");
        assert!(started.status.success(), "a registry: {}", started.status);
        Self {
            dir: dir.to_owned(),
            url: String::from_utf8_lossy(&started.stdout).trim().to_owned(),
        }
    }

    /// Its address, such as `http://127.0.0.1:35123`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Its host and port.
    pub fn host(&self) -> &str {
        self.url.trim_start_matches("http://")
    }
}

impl Drop for OwnRegistry {
    fn drop(&mut self) {
        let mut command = Command::new(workspace().join("fixtures/registry.sh"));
        // If it is gone already there is nothing to stop.
        let _ = command.arg("stop").arg(&self.dir).status();
    }
}
