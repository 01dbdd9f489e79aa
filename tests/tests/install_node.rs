//! `rctr system install-node`: the files of a node, and the very commands that minikube runs on it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use rctr_tests::{Env, Output};

fn sh(script: &str) {
    let status = Command::new("sh").args(["-ec", script]).status();
    assert!(status.expect("sh runs").success(), "{script}");
}

#[test]
fn a_node_gets_what_minikube_looks_for_and_keeps_what_it_writes() {
    let env = Env::new();
    let node = env.path("node");
    let destdir = node.to_str().expect("UTF-8");
    let install = || {
        env.rctr([
            "system",
            "install-node",
            "--as",
            "crio",
            "--destdir",
            destdir,
        ])
    };
    install().ok();
    for program in ["crio", "podman", "runc"] {
        let path = node.join("usr/local/bin").join(program);
        let mode = fs::metadata(&path)
            .expect("the script")
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o755, "{program}");
    }
    let units = node.join("etc/systemd/system");
    assert_eq!(
        fs::read_link(units.join("crio.service")).expect("the alias"),
        Path::new("/etc/systemd/system/rctr-node.service")
    );
    let unit = fs::read_to_string(units.join("rctr-node.service")).expect("the unit");
    assert!(unit.contains("internal stand-in crio -- serve"), "{unit}");

    // What minikube does to the file before it starts the service.
    let conf = node.join("etc/crio/crio.conf.d/02-crio.conf");
    sh(&format!(
        r#"cd {}
        sed -i 's|^.*pause_image = .*$|pause_image = "registry.k8s.io/pause:3.10"|' 02-crio.conf
        sed -i 's|^.*cgroup_manager = .*$|cgroup_manager = "cgroupfs"|' 02-crio.conf
        sed -i '/conmon_cgroup = .*/d' 02-crio.conf
        sed -i '/cgroup_manager = .*/a conmon_cgroup = "pod"' 02-crio.conf
        sed -i '/^ *"net.ipv4.ip_unprivileged_port_start=.*"/d' 02-crio.conf
        grep -q "^ *default_sysctls" 02-crio.conf || sed -i '/conmon_cgroup = .*/a default_sysctls = \[\n\]' 02-crio.conf
        sed -i -r 's|^default_sysctls *= *\[|&\n  "net.ipv4.ip_unprivileged_port_start=0",|' 02-crio.conf"#,
        conf.parent().expect("a directory").display()
    ));
    let edited = fs::read_to_string(&conf).expect("the configuration");
    install().ok();
    assert_eq!(
        fs::read_to_string(&conf).expect("the configuration"),
        edited
    );

    // Somebody's own runc is not overwritten, and nothing else is written then.
    fs::write(node.join("usr/local/bin/runc"), "the real one").expect("written");
    fs::remove_file(node.join("etc/crictl.yaml")).expect("removed");
    install()
        .exits(1)
        .stderr_has("usr/local/bin/runc is there already");
    assert!(!node.join("etc/crictl.yaml").exists());

    env.rctr(["system", "install-node", "--as", "docker"])
        .exits(125)
        .stderr_has("only crio");
}

#[test]
fn the_commands_that_minikube_runs_on_its_node() {
    let env = Env::new();
    let stand_in = |program: &str, args: &[&str]| -> Output {
        let words = ["internal", "stand-in", program, "--"];
        env.rctr(words.into_iter().chain(args.iter().copied()))
    };
    let crio = stand_in("crio", &["--version"]);
    assert!(crio.ok().stdout().starts_with("crio version "));
    let config = stand_in("crio", &["config"]);
    let driver = |line: &String| {
        let name = line.strip_prefix("cgroup_manager = ");
        name.is_some_and(|name| ["\"cgroupfs\"", "\"systemd\""].contains(&name))
    };
    assert!(config.ok().lines().iter().any(driver));

    let context = env.path("context");
    fs::create_dir(&context).expect("a directory");
    let dockerfile = "FROM busybox\nCMD [\"sleep\", \"1000\"]\n";
    fs::write(context.join("Dockerfile"), dockerfile).expect("written");
    let context = context.to_str().expect("UTF-8");
    let name = "docker.io/library/mine:1";
    stand_in(
        "podman",
        &["build", "-t", name, context, "--cgroup-manager=cgroupfs"],
    )
    .ok();
    let id_of = |name: &str| {
        let told = stand_in("podman", &["image", "inspect", "--format", "{{.Id}}", name]);
        told.ok().stdout()
    };
    let id = id_of(name);
    assert!(id.trim().len() >= 64, "{id}");
    stand_in("podman", &["tag", name, "docker.io/library/mine:2"]).ok();
    let archive = env.path("mine.tar");
    let archive = archive.to_str().expect("UTF-8");
    stand_in(
        "podman",
        &["save", "docker.io/library/mine:2", "-o", archive],
    )
    .ok();
    env.rctr(["rmi", "-f", "mine:1", "mine:2"]).ok();
    stand_in("podman", &["load", "-i", archive]).ok();
    assert_eq!(id_of("mine:2"), id);
    let version = stand_in("podman", &["version", "--format", "{{.Version}}"]);
    assert!(!version.ok().stdout().trim().is_empty());

    let container = env.run_detached(["--network", "none", "mine:2"]);
    let status = || {
        let list = stand_in("runc", &["list", "-f", "json"]).ok().json();
        let mut containers = list.as_array().expect("a list").iter();
        let found = containers.find(|c| c["id"] == container.as_str());
        found.expect("listed")["status"].clone()
    };
    assert_eq!(status(), "running");
    stand_in("runc", &["--root", "/run/runc", "pause", &container]).ok();
    assert_eq!(status(), "paused");
    env.wait_status(&container, "paused");
    stand_in("runc", &["resume", &container]).ok();
    assert_eq!(status(), "running");

    for (program, args) in [
        ("podman", &["run", "busybox"][..]),
        ("runc", &["spec"]),
        ("crio", &["wipe"]),
    ] {
        stand_in(program, args)
            .exits(125)
            .stderr_has("can be had from rctr");
    }
}
