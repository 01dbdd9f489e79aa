//! `rctr system install-node`: the files of a node, and the very commands that minikube runs on it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rctr_cri::api;
use rctr_tests::cri::{Cri, shell};
use rctr_tests::{Env, Output, wait_for};

fn sh(script: &str) {
    let status = Command::new("sh").args(["-ec", script]).status();
    assert!(status.expect("sh runs").success(), "{script}");
}

/// What minikube does to the file in this directory before it starts the service.
fn edit_as_minikube(dir: &Path, cgroup_manager: &str) {
    sh(&format!(
        r#"cd {}
        sed -i 's|^.*pause_image = .*$|pause_image = "registry.k8s.io/pause:3.10"|' 02-crio.conf
        sed -i 's|^.*cgroup_manager = .*$|cgroup_manager = "{cgroup_manager}"|' 02-crio.conf
        sed -i '/conmon_cgroup = .*/d' 02-crio.conf
        sed -i '/cgroup_manager = .*/a conmon_cgroup = "pod"' 02-crio.conf
        sed -i '/^ *"net.ipv4.ip_unprivileged_port_start=.*"/d' 02-crio.conf
        grep -q "^ *default_sysctls" 02-crio.conf || sed -i '/conmon_cgroup = .*/a default_sysctls = \[\n\]' 02-crio.conf
        sed -i -r 's|^default_sysctls *= *\[|&\n  "net.ipv4.ip_unprivileged_port_start=0",|' 02-crio.conf"#,
        dir.display()
    ));
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

    let conf = node.join("etc/crio/crio.conf.d/02-crio.conf");
    edit_as_minikube(conf.parent().expect("a directory"), "cgroupfs");
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

/// A command of the node's: the installed script, where only this test sees the node's /etc and /run.
fn on_node(env: &Env, node: &Path, program: &str, words: &[&str]) -> Command {
    let setup = r#"mount -t overlay -o lowerdir=/etc,upperdir="$0/etc",workdir="$0/etc.work" overlay /etc
        mount -t tmpfs tmpfs /run
        exec "$@""#;
    fs::create_dir_all(node.join("etc.work")).expect("a directory");
    let script = node.join("usr/local/bin").join(program);
    let mut command = Command::new("unshare");
    command
        .args(["--mount", "sh", "-ec", setup])
        .arg(node)
        .arg(script)
        .args(words)
        .env_clear()
        .envs(
            env.command([""; 0])
                .get_envs()
                .filter_map(|(k, v)| Some((k, v?))),
        );
    command
}

#[test]
fn the_node_s_own_programs_do_what_minikube_asks_and_its_service_runs_a_pod() {
    let cri = Cri::new();
    cri.pull("busybox");
    // The node's takes its place.
    cri.end(Signal::SIGTERM);
    let env = cri.env();
    let node = env.path("node");
    env.rctr([
        "system",
        "install-node",
        "--as",
        "crio",
        "--destdir",
        node.to_str().expect("UTF-8"),
    ])
    .ok();
    let conf = node.join("etc/crio/crio.conf.d");
    let run = |program: &str, words: &[&str]| {
        let done = on_node(env, &node, program, words)
            .output()
            .expect("unshare runs");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
        assert!(
            done.status.success(),
            "{program} {words:?}: {}",
            text(done.stderr)
        );
        text(done.stdout)
    };
    edit_as_minikube(&conf, "systemd");
    assert!(run("crio", &["config"]).contains("cgroup_manager = \"systemd\""));
    edit_as_minikube(&conf, "cgroupfs");
    assert!(run("crio", &["config"]).contains("cgroup_manager = \"cgroupfs\""));
    assert!(run("crio", &["--version"]).starts_with("crio version "));
    assert!(
        !run("podman", &["version", "--format", "{{.Version}}"])
            .trim()
            .is_empty()
    );
    let archive = env.path("image.tar");
    let archive = archive.to_str().expect("UTF-8");
    run(
        "podman",
        &["tag", "docker.io/library/busybox", "registry.k8s.io/mine:1"],
    );
    run("podman", &["save", "registry.k8s.io/mine:1", "-o", archive]);
    env.rctr(["rmi", "registry.k8s.io/mine:1"]).ok();
    run("podman", &["load", "-i", archive]);
    sh(&format!(
        r#"sed -i 's|^default_sysctls *= *\[|&\n  "net.ipv4.tcp_keepalive_time=123",|' {}"#,
        conf.join("02-crio.conf").display()
    ));

    let mut server = on_node(env, &node, "crio", &[])
        .spawn()
        .expect("unshare runs");
    let pid = server.id();
    let socket = Path::new("/proc")
        .join(pid.to_string())
        .join("root/run/crio/crio.sock");
    wait_for("the node's socket", || {
        std::os::unix::net::UnixStream::connect(&socket).is_ok()
    });
    std::os::unix::fs::symlink(&socket, cri.socket()).expect("a link");
    let told = cri.runtime(async |c| c.runtime_config(api::RuntimeConfigRequest {}).await);
    let told = told.expect("RuntimeConfig").linux.expect("linux");
    assert_eq!(told.cgroup_driver(), api::CgroupDriver::Cgroupfs);
    let images = cri.images(async |c| c.list_images(api::ListImagesRequest::default()).await);
    let tags: Vec<_> = images
        .expect("ListImages")
        .images
        .into_iter()
        .flat_map(|i| i.repo_tags)
        .collect();
    for tag in ["docker.io/library/busybox:latest", "registry.k8s.io/mine:1"] {
        assert!(tags.iter().any(|there| there == tag), "{tags:?}");
    }
    let config = cri.pod_config("node");
    let pod = cri.run_pod(&config);
    let id = cri.run(&pod, &config, shell("c", "sleep 1000"));
    let sysctl = |name: &str| cri.sh(&id, &format!("cat /proc/sys/net/ipv4/{name}"));
    assert_eq!(sysctl("ip_unprivileged_port_start"), "0");
    assert_eq!(sysctl("tcp_keepalive_time"), "123");
    let status = || {
        let list: serde_json::Value =
            serde_json::from_str(&run("runc", &["list", "-f", "json"])).expect("JSON");
        let mut containers = list.as_array().expect("a list").iter();
        containers.find(|c| c["id"] == id.as_str()).expect("listed")["status"].clone()
    };
    assert_eq!(status(), "running");
    run("runc", &["--root", "/run/runc", "pause", &id]);
    assert_eq!(status(), "paused");
    run("runc", &["resume", &id]);
    assert_eq!(cri.sh(&id, "echo goes on"), "goes on");
    cri.remove_pod(&pod);
    kill(
        Pid::from_raw(i32::try_from(pid).expect("a pid")),
        Signal::SIGTERM,
    )
    .expect("it lives");
    assert!(server.wait().expect("a child").success());
    fs::remove_file(cri.socket()).expect("the link");
}
