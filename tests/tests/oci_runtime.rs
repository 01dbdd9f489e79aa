//! `rctr-oci` by itself: the life of a container by the OCI runtime specification, in runc's words.

use std::fs;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;

use rctr_tests::{Bundle, Terminal, installed, text, wait_for};
use serde_json::{Value, json};

fn hook(script: &str) -> Value {
    json!([{"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/usr/bin:/bin"]}])
}

#[test]
fn a_container_is_created_started_used_and_deleted() {
    let script = "trap 'exit 3' TERM; echo ready; while true; do sleep 0.05; done";
    let mut bundle = Bundle::new(&["sh", "-c", script]);
    bundle.config["annotations"] = json!({"a": "b"});
    let pid_file = bundle.path("pid");
    let out = fs::File::create(bundle.path("out")).expect("a file");
    let mut create = bundle.command(&["create", "--pid-file", text(&pid_file).as_str(), "one"]);
    assert!(create.stdout(out).status().expect("a status").success());
    let state = bundle.oci(&["state", "one"]).ok().json();
    assert_eq!(state["status"], "created");
    assert_eq!(state["id"], "one");
    assert_eq!(state["annotations"]["a"], "b");
    let pid = fs::read_to_string(&pid_file).expect("a pid file");
    assert_eq!(state["pid"].to_string(), pid);
    assert_eq!(fs::read(bundle.path("out")).expect("a file"), b"");
    bundle
        .oci(&["create", "one"])
        .exits(1)
        .stderr_has("already exists");
    bundle
        .oci(&["exec", "none", "true"])
        .exits(255)
        .stderr_has("container does not exist");

    bundle.oci(&["start", "one"]).ok();
    bundle
        .oci(&["start", "one"])
        .exits(1)
        .stderr_has("cannot start an already running container");
    wait_for("output", || {
        fs::read(bundle.path("out")).expect("a file") == b"ready\n"
    });
    assert_eq!(bundle.status("one"), "running");
    let exec = |words: &[&str]| bundle.oci(&[&["exec"], words].concat());
    exec(&["one", "sh", "-c", "exit 7"]).exits(7);
    exec(&[
        "--user",
        "5:6",
        "--cwd",
        "/bin",
        "-e",
        "A=b",
        "one",
        "sh",
        "-c",
        "id; pwd; echo $A $HOME",
    ])
    .ok()
    .stdout_is("uid=5 gid=6\n/bin\nb /");
    exec(&["one", "nosuch"])
        .exits(255)
        .stderr_has("executable file not found in $PATH");
    let listed = bundle.oci(&["list", "-f", "json"]).ok().json();
    assert_eq!(listed[0]["status"], "running");
    let pids = bundle.oci(&["ps", "-f", "json", "one"]).ok().json();
    assert!(
        pids.as_array()
            .expect("a list")
            .iter()
            .any(|p| p.as_i64() == pid.parse().ok())
    );

    bundle.oci(&["pause", "one"]).ok();
    assert_eq!(bundle.status("one"), "paused");
    exec(&["one", "true"]).exits(255).stderr_has("paused");
    bundle.oci(&["resume", "one"]).ok();
    bundle.oci(&["resume", "one"]).exits(1);
    bundle.oci(&["update", "--pids-limit", "77", "one"]).ok();
    let stats = bundle.oci(&["events", "--stats", "one"]).ok().json();
    assert_eq!(stats["data"]["pids"]["limit"], 77);
    assert!(stats["data"]["memory"]["usage"]["usage"].as_u64() > Some(0));

    bundle
        .oci(&["delete", "one"])
        .exits(1)
        .stderr_has("running");
    bundle.oci(&["kill", "one", "TERM"]).ok();
    wait_for("the end", || bundle.status("one") == "stopped");
    bundle
        .oci(&["kill", "one"])
        .exits(1)
        .stderr_has("container not running");
    bundle
        .oci(&["start", "one"])
        .exits(1)
        .stderr_has("that has stopped");
    bundle.oci(&["delete", "one"]).ok();
    bundle
        .oci(&["delete", "one"])
        .exits(1)
        .stderr_has("does not exist");
    bundle.oci(&["delete", "--force", "one"]).ok();
}

#[test]
fn run_gives_the_program_s_code_and_leaves_nothing() {
    let mut bundle = Bundle::new(&["sh", "-c", "echo out; echo err >&2; exit 9"]);
    bundle.oci(&["run", "one"]).exits(9).stdout_is("out");
    bundle.config["process"]["args"] = json!(["nosuch"]);
    bundle
        .oci(&["run", "one"])
        .exits(1)
        .stderr_has("executable file not found in $PATH");
    bundle.config["process"]["args"] = json!(["/bin"]);
    bundle
        .oci(&["create", "one"])
        .exits(1)
        .stderr_has("permission denied");
    bundle.config["process"]["args"] = json!(["true"]);
    bundle.oci(&["run", "--keep", "one"]).ok();
    assert_eq!(bundle.status("one"), "stopped");
    for bad in ["", "a/b", ".."] {
        bundle
            .oci(&["create", bad])
            .exits(1)
            .stderr_has("invalid container ID");
    }
}

#[test]
fn hooks_run_at_their_points_where_they_belong_with_the_state() {
    let mut bundle = Bundle::new(&["sh", "-c", "echo program >> /shared/log"]);
    let shared = bundle.path("shared");
    fs::create_dir(&shared).expect("a directory");
    fs::set_permissions(&shared, fs::Permissions::from_mode(0o777)).expect("permissions");
    bundle.bind(&shared, "/shared", &["rw"]);
    bundle.config["annotations"] = json!({"k": "v"});
    let log = shared.join("log");
    let rootfs = bundle.path("rootfs");
    let outside = |point: &str| {
        format!(
            "(echo {point} $(readlink /proc/self/ns/mnt); cat; echo) >> {}",
            log.display()
        )
    };
    for point in ["prestart", "createRuntime", "poststart", "poststop"] {
        bundle.config["hooks"][point] = hook(&outside(point));
    }
    // Inside, before the pivot: the host's paths, and what is mounted in the container.
    let sees = format!(
        "{}; test -d {}/proc/1",
        outside("createContainer"),
        rootfs.display()
    );
    bundle.config["hooks"]["createContainer"] = hook(&format!(
        "{sees} && test -e {}/shared/log",
        rootfs.display()
    ));
    bundle.config["hooks"]["startContainer"] = json!([{"path": "/bin/sh", "args": ["sh", "-c", "(echo startContainer; id; cat; echo) >> /shared/log"]}]);
    bundle.config["process"]["user"] = json!({"uid": 7, "gid": 7});
    fs::write(&log, "").expect("a file");
    fs::set_permissions(&log, fs::Permissions::from_mode(0o666)).expect("permissions");
    bundle.oci(&["run", "one"]).ok();

    let said = fs::read_to_string(&log).expect("a log");
    let own = fs::read_link("/proc/self/ns/mnt").expect("a namespace");
    let own = own.to_str().expect("text");
    let lines: Vec<&str> = said.lines().filter(|line| !line.is_empty()).collect();
    let order: Vec<&str> = lines
        .iter()
        .filter(|line| !line.starts_with(['{', 'u']))
        .map(|line| line.split(' ').next().expect("a word"))
        .collect();
    let before = [
        "prestart",
        "createRuntime",
        "createContainer",
        "startContainer",
    ];
    assert_eq!(order[..4], before, "{said}");
    assert!(
        order[4..].contains(&"program") && order[4..].contains(&"poststart"),
        "{said}"
    );
    assert_eq!(order.last(), Some(&"poststop"));
    for line in lines.iter().filter(|line| line.contains(" mnt:")) {
        assert_eq!(
            line.ends_with(own),
            !line.starts_with("createContainer"),
            "{said}"
        );
    }
    assert!(
        said.contains("uid=7 gid=7"),
        "startContainer hooks have the user's rights: {said}"
    );
    let states: Vec<Value> = lines
        .iter()
        .filter(|line| line.starts_with('{'))
        .map(|line| serde_json::from_str(line).expect("a state"))
        .collect();
    let statuses: Vec<_> = states
        .iter()
        .map(|s| s["status"].as_str().expect("text"))
        .collect();
    let wanted = [
        "creating", "creating", "creating", "created", "running", "stopped",
    ];
    assert_eq!(statuses, wanted);
    for state in &states {
        assert_eq!(
            (&state["id"], &state["annotations"]["k"]),
            (&json!("one"), &json!("v"))
        );
        assert_eq!(
            state["bundle"],
            text(bundle.path("").as_path()).trim_end_matches('/')
        );
    }
    assert_eq!(states[0]["pid"], states[2]["pid"]);
    assert_eq!(states[0]["pid"], states[4]["pid"]);
}

#[test]
fn a_hook_that_fails_ends_the_creation() {
    let mut bundle = Bundle::default();
    for point in ["prestart", "createRuntime", "createContainer"] {
        bundle.config["hooks"] = json!({point: hook("echo not today >&2; exit 4")});
        bundle.oci(&["create", "one"]).exits(1).stderr_has(&format!(
            "error running {point} hook #0: exit status 4, output: not today"
        ));
        bundle.oci(&["state", "one"]).exits(1);
    }
    bundle.config["hooks"] = json!({"startContainer": [{"path": "/bin/nosuch"}]});
    bundle
        .oci(&["run", "one"])
        .exits(1)
        .stderr_has("startContainer hook #0");
    // These are too late to undo anything.
    bundle.config["hooks"] = json!({"poststart": hook("exit 1"), "poststop": hook("exit 1")});
    bundle
        .oci(&["run", "one"])
        .ok()
        .stderr_has("poststop hook #0");
}

#[test]
fn descriptors_are_kept_that_are_asked_for_and_no_others() {
    let bundle = Bundle::new(&["sh", "-c", "ls /proc/self/fd; cat <&3"]);
    fs::write(bundle.path("given"), "through 3").expect("a file");
    let given = fs::File::open(bundle.path("given")).expect("a file");
    let run = |words: &str| {
        let mut sh = std::process::Command::new("sh");
        sh.args(["-c", words, "sh"]).arg(rctr_tests::oci_binary());
        sh.arg(bundle.path("state")).arg(bundle.path("given"));
        bundle.command(&["list"]);
        sh.current_dir(bundle.path(""));
        let out = sh.output().expect("output");
        (
            out.status.success(),
            String::from_utf8_lossy(&out.stdout).into_owned(),
        )
    };
    let (done, said) = run("exec 3<$3 7<$3; exec $1 --root $2 run --preserve-fds 1 one");
    // The last one is the directory that ls reads.
    assert!(done && said == "0\n1\n2\n3\n4\nthrough 3", "{said:?}");
    let (done, _) = run("exec 3<$3; exec $1 --root $2 run one");
    assert!(!done, "3 is not the container's");
    let (done, _) = run("exec $1 --root $2 run --preserve-fds 9 one");
    assert!(!done, "what is not open cannot be kept");
    assert!(given.as_raw_fd() > 2);
}

#[test]
fn null_streams_can_be_read_and_written() {
    let bundle = Bundle::new(&["sh", "-c", "cat && echo out && echo err >&2"]);
    let null = std::process::Stdio::null;
    let mut command = bundle.command(&["run", "one"]);
    command.stdin(null()).stdout(null()).stderr(null());
    assert!(command.status().expect("a status").success());
}

#[test]
fn a_user_namespace_and_its_owners() {
    let mut bundle = Bundle::new(&[
        "sh",
        "-c",
        "cat /proc/self/uid_map; id; stat -c %u /data /bin; touch /data/new",
    ]);
    let data = bundle.path("data");
    fs::create_dir(&data).expect("a directory");
    let mapping = json!([{"containerID": 0, "hostID": 300_000, "size": 1000}]);
    bundle.in_user_namespace(300_000);
    bundle.bind(&data, "/data", &["rw", "idmap"]);
    let mount = bundle.config["mounts"]
        .as_array_mut()
        .expect("a list")
        .last_mut()
        .expect("one");
    mount["uidMappings"] = mapping.clone();
    mount["gidMappings"] = mapping;
    let out = bundle.oci(&["run", "one"]);
    out.ok().stdout_has("300000       1000");
    out.stdout_has("uid=0 gid=0");
    // On the disk it is the host root's, in the container its root's.
    out.stdout_has("\n0\n65534");
    let made = fs::metadata(data.join("new")).expect("a file");
    assert_eq!(std::os::unix::fs::MetadataExt::uid(&made), 0);
}

#[test]
fn a_terminal_is_the_caller_s() {
    if !installed("busybox") {
        return;
    }
    let mut bundle = Bundle::new(&["sh", "-c", "tty; stty size; exit 6"]);
    bundle.config["process"]["terminal"] = true.into();
    let terminal = Terminal::start(bundle.command(&["run", "one"]), 33, 101);
    terminal.wait_shown("33 101");
    terminal.wait_shown("/dev/pts/0");
    assert_eq!(terminal.finish(), 6);
    bundle
        .oci(&["create", "one"])
        .exits(1)
        .stderr_has("console socket");
}

#[test]
fn what_cannot_be_kept_is_refused_and_unknown_capabilities_are_left_out() {
    let mut bundle = Bundle::new(&["grep", "CapBnd", "/proc/self/status"]);
    let good = bundle.config.clone();
    bundle.config["process"]["capabilities"] = json!({"bounding": ["CAP_KILL", "CAP_OF_TOMORROW"]});
    bundle
        .oci(&["run", "one"])
        .ok()
        .stdout_has("0000000000000020");
    // As in what `runc spec` writes: one that is not inheritable too cannot be ambient.
    bundle.config["process"]["args"] = json!(["grep", "CapAmb", "/proc/self/status"]);
    bundle.config["process"]["capabilities"] = json!({
        "bounding": ["CAP_KILL", "CAP_CHOWN"], "effective": ["CAP_KILL", "CAP_CHOWN"],
        "permitted": ["CAP_KILL", "CAP_CHOWN"], "inheritable": ["CAP_CHOWN"], "ambient": ["CAP_KILL", "CAP_CHOWN"],
    });
    bundle
        .oci(&["run", "one"])
        .ok()
        .stdout_has("0000000000000001")
        .stderr_has(
            "capability CAP_KILL is not permitted and inheritable, and so cannot be ambient",
        );
    for (path, value, word) in [
        ("/ociVersion", json!("2.0.0"), "ociVersion"),
        ("/process/cwd", json!("relative"), "cwd"),
        ("/linux/intelRdt", json!({}), "intelRdt"),
        (
            "/linux/rootfsPropagation",
            json!("sideways"),
            "rootfsPropagation",
        ),
        (
            "/linux/seccomp",
            json!({"defaultAction": "SCMP_ACT_NOTIFY"}),
            "NOTIFY",
        ),
    ] {
        bundle.config = good.clone();
        let (parent, name) = path.rsplit_once('/').expect("a path");
        let parent = bundle.config.pointer_mut(parent).expect("it is there");
        parent[name] = value;
        bundle.oci(&["create", "one"]).exits(1).stderr_has(word);
    }
}

#[test]
fn what_it_can_do_is_told_in_the_specification_s_words() {
    let mut bundle = Bundle::default();
    let features = bundle.oci(&["features"]).ok().json();
    assert_eq!(features["hooks"].as_array().map(Vec::len), Some(6));
    let has = |place: &str, word: &str| {
        let list = features.pointer(place).and_then(Value::as_array);
        let list = list.unwrap_or_else(|| panic!("no list {place}: {features}"));
        list.iter().any(|one| one == word)
    };
    assert!(has("/linux/capabilities", "CAP_CHECKPOINT_RESTORE"));
    assert!(has("/linux/seccomp/actions", "SCMP_ACT_ERRNO"));
    assert!(has("/linux/seccomp/archs", "SCMP_ARCH_AARCH64"));
    assert!(has("/linux/seccomp/operators", "SCMP_CMP_MASKED_EQ"));
    assert!(has(
        "/potentiallyUnsafeConfigAnnotations",
        "org.criu.config"
    ));
    assert!(has("/mountOptions", "tmpcopyup"));
    for place in [
        "cgroup/v1",
        "cgroup/v2",
        "cgroup/systemdUser",
        "seccomp/enabled",
        "netDevices/enabled",
        "selinux/enabled",
    ] {
        assert_eq!(
            features["linux"].pointer(&format!("/{place}")),
            Some(&json!(true)),
            "{place}"
        );
    }
    // What it says it knows it takes.
    bundle.config["linux"]["seccomp"] = json!({
        "defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_AARCH64"],
        "flags": features["linux"]["seccomp"]["supportedFlags"],
        "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO"}],
    });
    bundle.oci(&["run", "one"]).ok();
    bundle.config["linux"]["seccomp"] = Value::Null;
    let kinds = features["linux"]["namespaces"].as_array().expect("a list");
    let kinds = kinds.iter().filter(|kind| *kind != "user");
    bundle.config["linux"]["namespaces"] = kinds.map(|kind| json!({"type": kind})).collect();
    bundle.oci(&["run", "one"]).ok();
}
