//! Global flags, and what the configuration file changes (mistakes in it: bad_disk; registries: registry_tls, pull).

use std::fs;
use std::path::Path;

use rctr_tests::{Env, Running};

const TRUE: [&str; 6] = ["run", "--rm", "--network", "none", "busybox", "true"];

#[test]
fn flags_come_before_the_environment() {
    let env = Env::new();
    let (root, state) = (env.path("other-root"), env.path("other-state"));
    let config = env.path("other.toml");
    fs::copy(env.config_file(), &config).expect("a copy");
    let mut command = env.command::<&Path>([]);
    command
        .env("RCTR_CONFIG", "/no/such/file")
        .arg("--root")
        .arg(&root)
        .arg("--state")
        .arg(&state)
        .arg("--config")
        .arg(&config)
        .args(TRUE);
    Running::start(command, Some(b"")).finish().ok();
    assert!(root.join("store.db").exists() && state.is_dir());
    env.rctr(["images", "--quiet"]).ok().stdout_is("");
}

#[test]
fn debug_and_log_level_log_to_standard_error() {
    let env = Env::new();
    env.rctr(["pull", "--quiet", "busybox"]).ok().quiet();
    for flags in [&["--debug"][..], &["-D"], &["--log-level", "debug"]] {
        let pull = env.rctr([flags, &["pull", "--quiet", "busybox"]].concat());
        pull.ok().stderr_has("DEBUG");
        pull.stdout_is("docker.io/library/busybox:latest");
    }
    env.rctr(["--log-level", "error", "pull", "--quiet", "busybox"])
        .ok()
        .quiet();
    env.rctr(["--log-level", "loud", "ps"]).refused(1, "loud");
}

#[test]
fn without_a_log_driver_nothing_is_kept() {
    let env = Env::builder().config("[log]\ndriver = \"none\"\n").build();
    env.rctr(["run", "--name", "mute", "busybox", "echo", "heard"])
        .ok()
        .stdout_is("heard");
    env.rctr(["inspect", "-f", "{{.HostConfig.LogConfig.Type}}", "mute"])
        .ok()
        .stdout_is("none");
    env.rctr(["logs", "mute"]).stdout_is("");
}
