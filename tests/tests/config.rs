//! Global flags, the configuration file, and the road to a registry that they describe.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use rctr_tests::{Env, Proxy, Running, Verdict, workspace};

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
    env.rctr(["--log-level", "loud", "ps"]).refused(125, "loud");
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

/// `rctr pull --quiet NAME` with these variables in its environment.
fn pull_with(env: &Env, name: &str, variables: &[(&str, &str)]) -> rctr_tests::Output {
    let mut command = env.command(["pull", "--quiet", name]);
    command.envs(variables.iter().copied());
    Running::start(command, Some(b"")).finish()
}

#[test]
fn the_environments_proxies_are_used_but_for_no_proxy() {
    let proxy = Proxy::start(|_| Verdict::Forward);
    let env = Env::builder()
        .config("[registry.\"registry.invalid\"]\ninsecure = true\n")
        .build();
    let image = "registry.invalid/library/busybox";
    let through = [("HTTP_PROXY", &proxy.url()[..]), ("NO_PROXY", "")];
    pull_with(&env, image, &through)
        .ok()
        .stdout_is("registry.invalid/library/busybox:latest");
    assert!(
        proxy
            .requests()
            .iter()
            .any(|request| request.path.starts_with("http://registry.invalid/v2/")),
        "{:?}",
        proxy.requests()
    );
    let asked = proxy.requests().len();
    let beside = [through[0], ("NO_PROXY", "registry.invalid")];
    pull_with(&env, image, &beside).refused(1, "registry.invalid");
    // It is the proxy that refuses: the name would not resolve.
    let dead = [("https_proxy", "http://127.0.0.1:1")];
    pull_with(&env, "secure.invalid/x", &dead).refused(1, "Connection refused");
    assert_eq!(proxy.requests().len(), asked);
}

/// The shared registry's content behind TLS, with a certificate of an authority that nobody knows.
struct Secure(PathBuf);

impl Secure {
    fn start(env: &Env) -> (Self, String) {
        let dir = env.path("registry");
        let tls = workspace().join("crates/registry-client/src/tests/tls");
        let started = Command::new(workspace().join("fixtures/registry.sh"))
            .args([Path::new("start"), &dir])
            .env("REGISTRY_TLS", tls.join("server"))
            .env("REGISTRY_LIFETIME", "120")
            .output()
            .expect("fixtures/registry.sh runs");
        let url = String::from_utf8_lossy(&started.stdout).trim().to_owned();
        let host = url.strip_prefix("https://").expect("an address").to_owned();
        (Self(dir), host)
    }

    fn authority() -> PathBuf {
        workspace().join("crates/registry-client/src/tests/tls/ca.pem")
    }
}

impl Drop for Secure {
    fn drop(&mut self) {
        let stopped = Command::new(workspace().join("fixtures/registry.sh"))
            .args([Path::new("stop"), &self.0])
            .status();
        stopped.expect("fixtures/registry.sh runs");
    }
}

#[test]
fn an_authority_of_ones_own_is_trusted_where_it_is_named() {
    let env = Env::new();
    let (_server, host) = Secure::start(&env);
    let image = format!("{host}/library/busybox");
    let good = fs::read_to_string(env.config_file()).expect("the configuration");
    let configure = |line: &str| {
        let text = format!("{good}\n[registry.\"{host}\"]\n{line}\n");
        fs::write(env.config_file(), text).expect("the configuration");
    };
    let stranger = workspace().join("crates/registry-client/src/tests/tls/server.pem");
    configure(&format!("ca = \"{}\"", stranger.display()));
    env.rctr(["pull", &image])
        .refused(1, &host)
        .stderr_has("ca");
    configure("ca = \"/no/such/file.pem\"");
    env.rctr(["pull", &image]).one_error("/no/such/file.pem");
    configure(&format!("ca = \"{}\"", Secure::authority().display()));
    env.rctr(["pull", "--quiet", &image]).ok().quiet();
    env.rctr(["rmi", &image]).ok();
    configure("insecure = true");
    env.rctr(["pull", "--quiet", &image]).ok().quiet();
}
