//! The harness of the integration tests: each test gets an rctr of its own and drives it as a user would.
//!
//! ```no_run
//! let env = rctr_tests::Env::new();
//! let out = env.rctr(["run", "--rm", "busybox", "echo", "hello"]);
//! out.ok().stdout_is("hello");
//! ```
//!
//! An [`Env`] has its own root, state and configuration, bridge, subnet and cgroup. When it is dropped it removes
//! what the test made, also after a failure, and fails the test if anything is left. Images come from a registry on
//! loopback that stands in for Docker Hub ([`registry()`]); [`Proxy`] puts faults between rctr and that registry.
#![deny(missing_docs)]

mod context;
pub mod cri;
mod env;
mod http;
mod keys;
mod leaks;
mod machine;
mod mounted;
mod oci;
mod output;
mod peers;
mod proxy;
mod registry;
mod secure;
mod terminal;
mod tools;
mod truth;
mod wait;

pub use context::Context;
pub use env::{Env, EnvBuilder, Slot};
pub use http::{Response, healthz, http_get};
pub use keys::{KEYRING, among_keys};
pub use leaks::processes_naming;
pub use machine::Machine;
pub use mounted::{Mounted, unseen};
pub use oci::{Bundle, oci_binary, receive, shown_by};
pub use output::{Output, Running};
pub use peers::{Docker, Podman, said};
pub use proxy::{Proxy, Request, Verdict};
pub use registry::{OwnRegistry, registry};
pub use secure::{Certificates, TlsRegistry, Tunnel};
pub use terminal::Terminal;
pub use tools::{Daemon, installed, parsed, run, skopeo_inspect, skopeo_raw, text, tool};
pub use wait::{LIMIT, wait_for, wait_for_some, wait_still};

use std::path::{Path, PathBuf};

/// The directory of the workspace.
pub fn workspace() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests
        .parent()
        .expect("tests/ is in the workspace")
        .to_owned()
}

/// Names in a directory; none if it is not there.
pub fn entries(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect()
}

/// The `rctr` under test: `$RCTR_BIN`, or the one built beside this test program.
pub fn rctr_binary() -> PathBuf {
    if let Some(path) = std::env::var_os("RCTR_BIN") {
        return path.into();
    }
    let own = std::env::current_exe().expect("the test program has a path");
    let built = own
        .ancestors()
        .skip(1)
        .map(|dir| dir.join("rctr"))
        .take(2)
        .find(|path| path.is_file());
    built.expect("no rctr beside the test program: run `make test`, or `cargo build --bins` first")
}
