//! AppArmor profiles: the default one, named ones and none, of containers, steps of builds and pods. Only where the
//! kernel enforces profiles; the guest's does.

use std::io::Write;
use std::process::{Command, Stdio};

use rctr_cri::api::{self, security_profile::ProfileType};
use rctr_tests::cri::{Pod, secured, shell};
use rctr_tests::{Env, Output};
use tonic::Code;

const DEFAULT: &str = "rctr-default (enforce)";
const CURRENT: &str = "cat /proc/self/attr/current";
/// Writes to a parameter of the host what it is already.
const TOUCH_HOST: &str =
    "cp /proc/sys/vm/swappiness /tmp/old && cat /tmp/old > /proc/sys/vm/swappiness && echo written";

fn enforced() -> bool {
    let enabled = std::fs::read_to_string("/sys/module/apparmor/parameters/enabled");
    let enforced = enabled.is_ok_and(|answer| answer.starts_with('Y'));
    if !enforced {
        eprintln!("this kernel does not enforce AppArmor profiles");
    }
    enforced
}

/// A profile that forbids writing to /denied, loaded while this lives.
struct Profile {
    name: String,
}

impl Profile {
    fn load() -> Profile {
        let profile = Profile {
            name: format!("rctr-test-{}", std::process::id()),
        };
        profile.parse("--replace");
        profile
    }

    fn parse(&self, action: &str) {
        let mut parser = Command::new("apparmor_parser")
            .args(["--skip-cache", action])
            .stdin(Stdio::piped())
            .spawn()
            .expect("apparmor_parser");
        let text = format!(
            "profile {} flags=(attach_disconnected) {{ file, network, capability, signal, ptrace, deny /denied w, }}",
            self.name
        );
        let mut stdin = parser.stdin.take().expect("a pipe");
        stdin.write_all(text.as_bytes()).expect("it reads");
        drop(stdin);
        assert!(parser.wait().expect("it ends").success());
    }
}

impl Drop for Profile {
    fn drop(&mut self) {
        self.parse("--remove");
    }
}

fn denied(output: &Output) {
    output.exits(1).stderr_has("Permission denied");
}

#[test]
fn containers_have_the_default_profile() {
    if !enforced() {
        return;
    }
    let env = Env::new();
    env.sh(&[], CURRENT).ok().stdout_is(DEFAULT);
    // What keeps the host's parameters safe otherwise is taken away.
    let open = ["--security-opt", "systempaths=unconfined"];
    denied(&env.sh(&open, TOUCH_HOST));
    let unconfined = [&open[..], &["--security-opt", "apparmor=unconfined"]].concat();
    env.sh(&unconfined, TOUCH_HOST).ok().stdout_is("written");
    let mount = "mkdir /m && mount -t tmpfs none /m && echo mounted";
    let admin = ["--cap-add", "SYS_ADMIN"];
    env.sh(&admin, mount)
        .stderr_has("ermission denied")
        .stdout_lacks("mounted");
    let unconfined = [&admin[..], &["--security-opt", "apparmor=unconfined"]].concat();
    env.sh(&unconfined, mount).ok().stdout_is("mounted");
    env.sh(&["--privileged"], CURRENT)
        .ok()
        .stdout_is("unconfined");
    // What the profile is for does not get in the way.
    env.sh(
        &[],
        "sleep 100 & kill $!; wait $!; echo $?; echo x > /tmp/x && cat /tmp/x",
    )
    .ok()
    .stdout_is("143\nx");
    assert!(
        env.rctr(["info"])
            .ok()
            .stdout()
            .lines()
            .any(|line| line.trim() == "apparmor")
    );
}

#[test]
fn other_processes_join_and_inspect_tells() {
    if !enforced() {
        return;
    }
    let env = Env::new();
    let profile_of = |name: &str| env.inspect(name)["AppArmorProfile"].clone();
    env.rctr(["create", "--name", "plain", "busybox", "sleep", "1000"])
        .ok();
    assert_eq!(profile_of("plain"), "");
    env.rctr(["start", "plain"]).ok();
    assert_eq!(profile_of("plain"), "rctr-default");
    for flags in [&[][..], &["--privileged"]] {
        let words = [&["exec"], flags, &["plain", "sh", "-c", CURRENT]].concat();
        env.rctr(words).ok().stdout_is(DEFAULT);
    }
    env.rctr(["kill", "plain"]).ok();
    env.run_detached(["--name", "all", "--privileged", "busybox", "sleep", "1000"]);
    assert_eq!(profile_of("all"), "unconfined");
    env.rctr(["exec", "all", "sh", "-c", CURRENT])
        .ok()
        .stdout_is("unconfined");
    env.rctr(["rm", "-f", "plain", "all"]).ok();
}

#[test]
fn named_profiles_are_set_and_missing_ones_refused() {
    if !enforced() {
        return;
    }
    let env = Env::new();
    let profile = Profile::load();
    let option = format!("apparmor={}", profile.name);
    let named = ["--security-opt", &option];
    let current = format!("{} (enforce)", profile.name);
    env.sh(&named, CURRENT).ok().stdout_is(&current);
    denied(&env.sh(&named, "echo > /denied"));
    env.sh(&named, "echo > /other").ok();
    env.sh(&["--security-opt", "apparmor=no-such-profile"], "true")
        .refused(125, "AppArmor profile no-such-profile is not loaded");
}

#[test]
fn steps_of_builds_have_it_too() {
    if !enforced() {
        return;
    }
    let env = Env::new();
    let context = env.dockerfile(&format!("FROM busybox\nRUN {CURRENT}\n"));
    env.build(&["--progress", "plain"], &context)
        .ok()
        .stderr_has(DEFAULT);
}

#[test]
fn containers_of_pods_have_what_a_kubelet_says() {
    if !enforced() {
        return;
    }
    let pod = Pod::new("profiles");
    let local = Profile::load();
    let with = |name: &str, kind: Option<ProfileType>, script: &str| api::ContainerConfig {
        linux: Some(secured(|c| {
            c.apparmor = kind.map(|kind| api::SecurityProfile {
                profile_type: kind.into(),
                localhost_ref: match kind {
                    ProfileType::Localhost => local.name.clone(),
                    _ => String::new(),
                },
            });
        })),
        ..shell(name, script)
    };
    use ProfileType::{Localhost, RuntimeDefault, Unconfined};
    let named = format!("{} (enforce)", local.name);
    for (name, kind, expected) in [
        ("unnamed", None, DEFAULT),
        ("default", Some(RuntimeDefault), DEFAULT),
        ("local", Some(Localhost), &named),
        ("unconfined", Some(Unconfined), "unconfined"),
    ] {
        let told = pod.output(with(name, kind, CURRENT));
        assert_eq!(told.trim_end_matches(['\n', '\0']), expected, "{name}");
    }
    let script = "echo > /denied || echo refused";
    let said = pod.output(with("denied", Some(Localhost), script));
    assert!(
        said.contains("Permission denied") && said.contains("refused"),
        "{said}"
    );
    let sleeper = pod.run(with("exec", Some(RuntimeDefault), "sleep 1000"));
    assert_eq!(pod.cri.sh(&sleeper, CURRENT).trim(), DEFAULT);
    let mut old = with("old", None, CURRENT);
    if let Some(context) = old.linux.as_mut().and_then(|l| l.security_context.as_mut()) {
        context.privileged = true;
    }
    assert_eq!(pod.output(old).trim(), "unconfined");
    let mut missing = with("missing", Some(Localhost), CURRENT);
    if let Some(context) = missing
        .linux
        .as_mut()
        .and_then(|l| l.security_context.as_mut())
    {
        context.apparmor = Some(api::SecurityProfile {
            profile_type: Localhost.into(),
            localhost_ref: "no-such-profile".into(),
        });
    }
    pod.refused_as(missing, Code::InvalidArgument);
}
