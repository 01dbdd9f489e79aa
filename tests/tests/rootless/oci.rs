//! `rctr-oci` as an ordinary user: what `spec --rootless` writes runs without anything around it.

use std::fs;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::process::Stdio;

use rctr_tests::{Output, Terminal, wait_for};
use serde_json::{Value, json};

use super::user::{User, View, uid_of};

const PROGRAMS: &[&str] = &[
    "sh", "cat", "echo", "id", "ls", "sleep", "stat", "touch", "true", "tty",
];

/// A user with a bundle in the directory `bundle`.
struct Owner {
    user: User,
    config: Value,
}

impl Owner {
    fn new(args: &[&str]) -> Self {
        Self::of(User::new(), args)
    }

    fn of(user: User, args: &[&str]) -> Self {
        let bin = user.path("home/bundle/rootfs/bin");
        fs::create_dir_all(&bin).unwrap();
        fs::copy("/bin/busybox", bin.join("busybox")).unwrap();
        for name in PROGRAMS {
            std::os::unix::fs::symlink("busybox", bin.join(name)).unwrap();
        }
        for own in ["home/bundle", "home/bundle/rootfs"] {
            chown(user.path(own), Some(user.uid), Some(user.uid)).unwrap();
        }
        let mut owner = Self {
            user,
            config: Value::Null,
        };
        owner.oci(&["spec", "--rootless", "-b", "bundle"]).ok();
        let written = fs::read(owner.user.path("home/bundle/config.json")).unwrap();
        owner.config = serde_json::from_slice(&written).unwrap();
        owner.config["process"]["terminal"] = false.into();
        owner.config["process"]["args"] = args.into();
        owner.config["root"]["readonly"] = false.into();
        owner
    }

    fn command(&self, words: &[&str]) -> std::process::Command {
        self.user.command(VIEW, words)
    }

    fn oci(&self, words: &[&str]) -> Output {
        self.oci_with(VIEW, words)
    }

    fn oci_with(&self, view: View, words: &[&str]) -> Output {
        if !self.config.is_null() {
            self.user
                .write("bundle/config.json", &self.config.to_string());
        }
        self.user.rctr_with(view, words)
    }

    /// Makes what lives on, with nothing of ours as its streams.
    fn make(&self, words: &[&str]) {
        self.oci(&["list"]).ok();
        let words = [&["--log", "said"], words].concat();
        let mut command = self.command(&words);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let done = command.stderr(Stdio::null()).status().unwrap().success();
        let said = fs::read_to_string(self.user.path("home/said"));
        assert!(done, "{words:?}: {}", said.unwrap_or_default());
    }

    fn status(&self) -> String {
        let state = self.oci(&["state", "one"]).ok().json();
        state["status"].as_str().unwrap().to_owned()
    }

    /// `linux.uidMappings` and `linux.gidMappings`.
    fn map(&mut self, maps: &[(u32, u32, u32)]) {
        let one = |&(inside, host, size): &(u32, u32, u32)| json!({"containerID": inside, "hostID": host, "size": size});
        let maps: Vec<Value> = maps.iter().map(one).collect();
        self.config["linux"]["uidMappings"] = json!(maps);
        self.config["linux"]["gidMappings"] = json!(maps);
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.oci(&["delete", "--force", "one"]);
    }
}

const VIEW: View = View {
    without: &[],
    powerless: &[],
    no_tunnel: false,
    within: "",
    program: "rctr-oci",
};

#[test]
fn a_user_s_bundle_lives_as_root_s_does() {
    let owner = Owner::new(&[
        "sh",
        "-c",
        "trap 'exit 3' TERM; while true; do sleep 0.05; done",
    ]);
    let uid = owner.user.uid;
    owner.make(&["create", "-b", "bundle", "--pid-file", "pid", "one"]);
    assert_eq!(owner.status(), "created");
    let pid = fs::read_to_string(owner.user.path("home/pid")).unwrap();
    assert_eq!(uid_of(pid.parse().unwrap()), uid);
    // Where the user's state is, and not in /run.
    assert!(owner.user.path("runtime/rctr-oci/one").is_dir());
    owner
        .oci(&["create", "-b", "bundle", "one"])
        .exits(1)
        .stderr_has("already exists");
    owner.oci(&["start", "one"]).ok();
    assert_eq!(owner.status(), "running");
    let row = owner.oci(&["list"]).ok().lines()[1].clone();
    assert!(row.ends_with(owner.user.name()), "{row}");

    let exec = |words: &[&str]| owner.oci(&[&["exec", "one"], words].concat());
    exec(&["sh", "-c", "id; cat /proc/1/comm; exit 5"])
        .exits(5)
        .stdout_has("uid=0 gid=0")
        .stdout_has("\nsh");
    exec(&["nosuch"])
        .exits(255)
        .stderr_has("executable file not found");
    owner
        .oci(&["exec", "--user", "7", "one", "true"])
        .exits(255)
        .stderr_has("user");
    let mut terminal = Terminal::start(owner.command(&["exec", "-t", "one", "sh"]), 24, 80);
    terminal.type_in("tty; exit 6\n");
    terminal.wait_shown("/dev/pts/0");
    assert_eq!(terminal.finish(), 6);
    owner.make(&["exec", "-d", "--pid-file", "second", "one", "sleep", "1000"]);
    let second = fs::read_to_string(owner.user.path("home/second")).unwrap();
    let listed = owner.oci(&["ps", "-f", "json", "one"]).ok().json();
    for one in [&pid, &second] {
        let one: Value = one.parse::<i32>().unwrap().into();
        assert!(listed.as_array().unwrap().contains(&one), "{listed}");
    }
    // Without a cgroup there is nothing to freeze it by.
    for words in [
        &["pause", "one"][..],
        &["update", "--pids-limit", "9", "one"],
        &["events", "--stats", "one"],
    ] {
        owner.oci(words).exits(1).stderr_has("without a cgroup");
    }
    owner.oci(&["delete", "one"]).exits(1).stderr_has("running");
    owner.oci(&["kill", "one"]).ok();
    wait_for("the end", || owner.status() == "stopped");
    owner.oci(&["delete", "one"]).ok();
    owner.oci(&["list", "-q"]).ok().stdout_is("");
    // What it has started has ended with it.
    wait_for("nothing to be left", || owner.user.processes().is_empty());
}

#[test]
fn a_user_s_run_has_its_code_its_network_and_its_terminal() {
    let look = "cat /proc/self/uid_map; cat /sys/class/net/lo/flags; touch /made; exit 9";
    let mut owner = Owner::new(&["sh", "-c", look]);
    let namespaces = owner.config["linux"]["namespaces"].as_array_mut().unwrap();
    namespaces.push(json!({"type": "network"}));
    let seen = owner.oci(&["run", "-b", "bundle", "one"]);
    let words: Vec<String> = seen
        .exits(9)
        .stdout()
        .split_whitespace()
        .map(str::to_owned)
        .collect();
    assert_eq!(words, ["0", &owner.user.uid.to_string(), "1", "0x9"]);
    let made = owner.user.path("home/bundle/rootfs/made");
    assert_eq!(
        std::os::unix::fs::MetadataExt::uid(&fs::metadata(made).unwrap()),
        owner.user.uid
    );
    owner.config["process"]["terminal"] = true.into();
    owner.config["process"]["args"] = json!(["sh", "-c", "tty; exit 4"]);
    owner.oci(&["list"]).ok();
    let terminal = Terminal::start(owner.command(&["run", "-b", "bundle", "one"]), 24, 80);
    terminal.wait_shown("/dev/pts/0");
    assert_eq!(terminal.finish(), 4);
    // A limit that nobody keeps is told of.
    owner.config["process"]["terminal"] = false.into();
    owner.config["process"]["args"] = json!(["true"]);
    owner.config["linux"]["resources"]["memory"] = json!({"limit": 64 << 20});
    owner
        .oci(&["run", "-b", "bundle", "one"])
        .ok()
        .stderr_has("limits of linux.resources are not kept");
    owner.oci(&["list", "-q"]).ok().stdout_is("");
}

#[test]
fn a_user_s_hooks_run_as_the_user() {
    let mut owner = Owner::new(&["true"]);
    let log = owner.user.path("home/log");
    let hook = |point: &str, end: &str| {
        let say = format!(
            "(echo {point} $(id -u) $(grep -c 4294967295 /proc/self/uid_map); cat; echo) >> {}; {end}",
            log.display()
        );
        json!([{"path": "/bin/sh", "args": ["sh", "-c", say], "env": ["PATH=/usr/bin:/bin"]}])
    };
    let points = ["prestart", "createRuntime", "poststart", "poststop"];
    for point in points {
        owner.config["hooks"][point] = hook(point, "true");
    }
    owner.oci(&["run", "-b", "bundle", "one"]).ok();
    let said = fs::read_to_string(&log).unwrap();
    let lines: Vec<&str> = said.lines().filter(|line| !line.starts_with('{')).collect();
    let uid = owner.user.uid;
    assert_eq!(
        lines,
        points.map(|point| format!("{point} {uid} 1")),
        "{said}"
    );
    let states = said.lines().filter(|line| line.starts_with('{'));
    let states: Vec<Value> = states
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(states[0]["pid"], states[2]["pid"]);
    assert!(states[0]["pid"].as_i64() > Some(1), "{said}");
    // Commands by themselves, too.
    fs::remove_file(&log).unwrap();
    owner.make(&["create", "-b", "bundle", "one"]);
    owner.oci(&["start", "one"]).ok();
    wait_for("the end", || owner.status() == "stopped");
    owner.oci(&["delete", "one"]).ok();
    let said = fs::read_to_string(&log).unwrap();
    assert_eq!(said.matches(&format!(" {uid} 1\n")).count(), 4, "{said}");
    owner.config["hooks"] =
        json!({"createRuntime": hook("createRuntime", "echo not today; exit 4")});
    owner
        .oci(&["create", "-b", "bundle", "one"])
        .exits(1)
        .stderr_has("createRuntime hook #0: exit status 4, output: not today");
    owner.oci(&["state", "one"]).exits(1);
}

#[test]
fn what_a_terminal_sends_takes_no_hooks_away() {
    let wait = "trap 'exit 3' INT; touch /up; while true; do sleep 0.05; done";
    let mut owner = Owner::new(&["sh", "-c", wait]);
    let (log, up) = (
        owner.user.path("home/log"),
        owner.user.path("home/bundle/rootfs/up"),
    );
    // Descriptors that are kept are the container's, and none that hooks have.
    let say = format!(
        "ls /proc/self/fd >> {0}; echo stopped >> {0}",
        log.display()
    );
    owner.config["hooks"]["poststop"] =
        json!([{"path": "/bin/sh", "args": ["sh", "-c", say], "env": ["PATH=/usr/bin:/bin"]}]);
    owner.oci(&["list"]).ok();
    let view = View {
        within: "sh -c 'exec \"$@\" 3<&0 4<&0 5<&0' sh",
        ..VIEW
    };
    let words = ["run", "--preserve-fds", "3", "-b", "bundle", "one"];
    let mut command = owner.user.command(view, words);
    command.stdin(Stdio::null()).process_group(0);
    let mut running = command.spawn().unwrap();
    wait_for("the container", || up.exists());
    let group = nix::unistd::Pid::from_raw(running.id() as i32);
    nix::sys::signal::killpg(group, nix::sys::signal::Signal::SIGINT).unwrap();
    assert_eq!(running.wait().unwrap().code(), Some(3));
    let said = fs::read_to_string(&log).unwrap();
    assert!(said.ends_with("stopped\n"), "{said}");
    assert!(!said.lines().any(|fd| fd == "5"), "{said}");
}

#[test]
fn a_user_s_subordinate_ids_are_the_container_s() {
    let mut owner = Owner::new(&["sleep", "1000"]);
    let (uid, first) = (owner.user.uid, owner.user.first_id.unwrap());
    owner.map(&[(0, uid, 1), (1, first, 1000)]);
    owner.config["process"]["user"] = json!({"uid": 7, "gid": 8, "additionalGids": [9]});
    owner.make(&["run", "-d", "-b", "bundle", "one"]);
    let pid = owner.oci(&["state", "one"]).ok().json()["pid"]
        .as_i64()
        .unwrap();
    assert_eq!(uid_of(pid as i32), first + 6);
    owner
        .oci(&["exec", "one", "id"])
        .ok()
        .stdout_is("uid=7 gid=8 groups=9");
    owner.oci(&["kill", "one", "KILL"]).ok();
    wait_for("the end", || owner.status() == "stopped");
    owner.oci(&["delete", "one"]).ok();

    // The container's root is none of the user's own ids: its state is the user's all the same.
    owner.map(&[(0, first, 1000), (1000, uid, 1)]);
    owner.config["process"]["user"] = json!({"uid": 0, "gid": 0});
    chown(
        owner.user.path("home/bundle/rootfs"),
        Some(first),
        Some(first),
    )
    .unwrap();
    owner.make(&["create", "-b", "bundle", "one"]);
    owner.oci(&["start", "one"]).ok();
    let pid = owner.oci(&["state", "one"]).ok().json()["pid"]
        .as_i64()
        .unwrap();
    assert_eq!(uid_of(pid as i32), first);
    let map = fs::read_to_string(format!("/proc/{pid}/uid_map")).unwrap();
    let rows: Vec<Vec<&str>> = map
        .lines()
        .map(|row| row.split_whitespace().collect())
        .collect();
    let (first, uid) = (first.to_string(), uid.to_string());
    assert_eq!(rows, [["0", &first, "1000"], ["1000", &uid, "1"]]);
    let look = "id -u; touch /made; stat -c %u /made /proc/1";
    owner
        .oci(&["exec", "one", "sh", "-c", look])
        .ok()
        .stdout_is("0\n0\n0");
    owner
        .oci(&["exec", "--user", "1000:1000", "one", "id", "-u"])
        .ok()
        .stdout_is("1000");
    owner.oci(&["delete", "--force", "one"]).ok();
    owner.oci(&["list", "-q"]).ok().stdout_is("");
}

#[test]
fn what_a_user_cannot_have_is_said() {
    let mut owner = Owner::new(&["true"]);
    let good = owner.config.clone();
    let run = |owner: &Owner| owner.oci(&["run", "-b", "bundle", "one"]);
    let namespaces = owner.config["linux"]["namespaces"].as_array_mut().unwrap();
    namespaces.retain(|one| one["type"] != "user");
    run(&owner)
        .exits(1)
        .stderr_has("rootless container requires user namespaces");
    owner.config = good.clone();
    owner.config["linux"]["uidMappings"] = Value::Null;
    run(&owner).exits(1).stderr_has("no uid or gid mappings");
    owner.config = good.clone();
    owner.config["process"]["user"]["additionalGids"] = json!([7]);
    run(&owner).exits(1).stderr_has("additional groups");
    owner.config = good.clone();
    let mounts = owner.config["mounts"].as_array_mut().unwrap();
    let pts = mounts
        .iter_mut()
        .find(|one| one["type"] == "devpts")
        .unwrap();
    pts["options"].as_array_mut().unwrap().push("gid=5".into());
    run(&owner)
        .exits(1)
        .stderr_has("mount /dev/pts: gid=5 is not mapped");
    owner.config = good;
    owner.map(&[(0, 0, 1)]);
    run(&owner).exits(1).stderr_has("newuidmap: ");
    let first = owner.user.first_id.unwrap();
    owner.map(&[(0, owner.user.uid, 1), (1, first, 10)]);
    let missing = View {
        without: &["newuidmap"],
        ..VIEW
    };
    owner
        .oci_with(missing, &["run", "-b", "bundle", "one"])
        .exits(1)
        .stderr_has("apt-get install uidmap");
    owner
        .oci(&["restore", "-b", "bundle", "one"])
        .exits(1)
        .stderr_has("only root can restore");
    owner.oci(&["list", "-q"]).ok().stdout_is("");
    assert!(!owner.user.path("runtime/rctr-oci/one").exists());
}

#[test]
fn whether_cgroups_may_be_lacking_is_said_by_a_flag() {
    let owner = Owner::of(User::without_ids(), &["true"]);
    let run = |flag: &str| owner.oci(&[flag, "run", "-b", "bundle", "one"]);
    for flag in ["--rootless", "--rootless=true", "--rootless=auto"] {
        run(flag).ok();
    }
    run("--rootless=false")
        .exits(1)
        .stderr_has("cgroup")
        .stderr_has("ermission denied");
    owner.oci(&["list", "-q"]).ok().stdout_is("");
    run("--rootless=perhaps").exits(1).stderr_has("perhaps");
}

#[test]
fn rctr_oci_serves_root_of_a_user_namespace() {
    let owner = Owner::new(&["echo", "here"]);
    let view = View {
        within: "-U --map-auto --map-root-user -m",
        ..VIEW
    };
    let mut owner = owner;
    let namespaces = owner.config["linux"]["namespaces"].as_array_mut().unwrap();
    namespaces.retain(|one| one["type"] != "user");
    for name in ["uidMappings", "gidMappings"] {
        owner.config["linux"][name] = Value::Null;
    }
    owner
        .oci_with(view, &["run", "-b", "bundle", "one"])
        .ok()
        .stdout_is("here");
    // And one below that.
    let mapping = json!([{"containerID": 0, "hostID": 0, "size": 1}]);
    let namespaces = owner.config["linux"]["namespaces"].as_array_mut().unwrap();
    namespaces.push(json!({"type": "user"}));
    for name in ["uidMappings", "gidMappings"] {
        owner.config["linux"][name] = mapping.clone();
    }
    owner
        .oci_with(view, &["run", "-b", "bundle", "one"])
        .ok()
        .stdout_is("here");
    owner.oci_with(view, &["list", "-q"]).ok().stdout_is("");
    // Where the user's state is, and not in /run.
    assert!(owner.user.path("runtime/rctr-oci").is_dir());
}
