//! What `rctr-oci`'s commands and options do, beyond a container's plain life ([`oci_runtime`](../oci_runtime.rs)).

mod caller;
mod exec;
mod handed_over;

use std::fs;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Stdio};

use nix::sys::signal::Signal;
use rctr_tests::{
    Bundle, Running, Terminal, entries, oci_binary, receive, shown_by, text, wait_for,
};
use serde_json::{Value, json};

/// Says `NAME` in a file of the container's when it gets SIGTERM.
fn told(name: &str) -> String {
    format!(
        "trap 'echo {name} >> /told' TERM; echo {name} >> /ready; while true; do sleep 0.05; done"
    )
}

fn read(bundle: &Bundle, name: &str) -> String {
    fs::read_to_string(bundle.path("rootfs").join(name)).unwrap_or_default()
}

/// Without a terminal or a pipe of ours that would stay open.
fn quietly(mut command: Command) {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    assert!(command.status().expect("a status").success(), "{command:?}");
}

/// A bundle whose container runs.
fn running(args: &[&str]) -> Bundle {
    let bundle = Bundle::new(args);
    quietly(bundle.command(&["run", "--detach", "one"]));
    bundle
}

/// The next container that is made has another cgroup.
fn elsewhere(bundle: &mut Bundle) {
    let path = bundle.config["linux"]["cgroupsPath"].as_str();
    let path = format!("{}-two", path.expect("a path"));
    bundle.config["linux"]["cgroupsPath"] = path.into();
}

/// The command as `sh -c SCRIPT` starts it, with "$@" for its words.
fn by_shell(script: &str, command: &Command) -> Command {
    let mut shell = Command::new("sh");
    shell.args(["-c", script, "sh"]).arg(command.get_program());
    shell.args(command.get_args());
    shell.current_dir(command.get_current_dir().expect("the bundle"));
    shell
}

#[test]
fn parameters_of_the_host_s_kernel_cannot_be_set() {
    let mut bundle = Bundle::new(&["cat", "/proc/sys/kernel/shmmax"]);
    bundle.config["linux"]["sysctl"] = json!({"kernel.shmmax": "12345678"});
    bundle.oci(&["run", "one"]).ok().stdout_is("12345678");
    let before = fs::read_to_string("/proc/sys/vm/swappiness").expect("a parameter");
    bundle.config["linux"]["sysctl"] = json!({"vm.swappiness": "7"});
    bundle
        .oci(&["run", "one"])
        .exits(1)
        .stderr_has("is not in a separate kernel namespace");
    assert_eq!(
        fs::read_to_string("/proc/sys/vm/swappiness").expect("a parameter"),
        before
    );
    let without = |bundle: &mut Bundle, kind: &str| {
        let list = bundle.config["linux"]["namespaces"].as_array_mut();
        list.expect("a list").retain(|one| one["type"] != kind);
    };
    without(&mut bundle, "network");
    bundle.config["linux"]["sysctl"] = json!({"net.ipv4.ip_forward": "0"});
    bundle
        .oci(&["run", "one"])
        .exits(1)
        .stderr_has("not allowed in host network namespace");
    bundle.config["linux"]["sysctl"] = Value::Null;
    without(&mut bundle, "uts");
    bundle.config["hostname"] = "another".into();
    bundle
        .oci(&["run", "one"])
        .exits(1)
        .stderr_has("hostname without a private UTS namespace");
    bundle.config["hostname"] = Value::Null;
    bundle.config["linux"]["uidMappings"] =
        json!([{"containerID": 0, "hostID": 300_000, "size": 10}]);
    bundle
        .oci(&["run", "one"])
        .exits(1)
        .stderr_has("user namespace isn't enabled");
}

#[test]
fn a_new_network_has_a_loopback_that_works() {
    // Up, and a loopback.
    let mut bundle = Bundle::new(&["cat", "/sys/class/net/lo/flags"]);
    bundle.oci(&["run", "one"]).ok().stdout_is("0x9");
    // One that is joined is somebody else's to set up.
    let all = bundle.config["linux"]["namespaces"].as_array_mut();
    let network = all
        .expect("a list")
        .iter_mut()
        .find(|one| one["type"] == "network");
    network.expect("one")["path"] = "/proc/self/ns/net".into();
    let host = fs::read_to_string("/sys/class/net/lo/flags").expect("flags");
    bundle.oci(&["run", "one"]).ok().stdout_is(host.trim());
}

#[test]
fn the_caller_s_umask_is_not_the_container_s() {
    let look = "umask; stat -c %a /made/here /dev /dev/shm/..";
    let mut bundle = Bundle::new(&["sh", "-c", look]);
    let mount = json!({"destination": "/made/here", "type": "tmpfs", "source": "tmpfs", "options": ["mode=750"]});
    let mounts = bundle.config["mounts"].as_array_mut();
    mounts.expect("a list").push(mount);
    let masked = |bundle: &Bundle, words: &[&str]| {
        let shell = by_shell("umask 077; exec \"$@\"", &bundle.command(words));
        Running::start(shell, None).finish()
    };
    masked(&bundle, &["run", "one"])
        .ok()
        .stdout_is("0022\n750\n755\n755");
    // The directories that it is mounted on are for everybody, too.
    for made in ["rootfs/made", "rootfs/made/here"] {
        let mode = fs::metadata(bundle.path(made)).expect("it is made").mode();
        assert_eq!(mode & 0o777, 0o755, "{made}");
    }
    bundle.config["process"]["user"]["umask"] = 0o027.into();
    masked(&bundle, &["run", "one"]).ok().stdout_has("0027");
    bundle.config["process"]["user"]["umask"] = Value::Null;
    bundle.config["process"]["args"] = json!(["sleep", "1000"]);
    quietly(bundle.command(&["run", "--detach", "two"]));
    masked(&bundle, &["exec", "two", "sh", "-c", "umask"])
        .ok()
        .stdout_is("0022");
}

#[test]
fn sockets_of_activation_are_those_that_were_passed_to_it() {
    let bundle = Bundle::new(&["sh", "-c", "echo $LISTEN_FDS $LISTEN_PID; ls /proc/self/fd"]);
    fs::write(bundle.path("given"), "").expect("a file");
    let run = |script: &str| {
        let shell = by_shell(script, &bundle.command(&["run", "one"]));
        Running::start(shell, None).finish()
    };
    run("exec 3<given; LISTEN_FDS=1 LISTEN_PID=$$ exec \"$@\"")
        .ok()
        .stdout_is("1 1\n0\n1\n2\n3\n4");
    // Those of whoever has started us are not ours: neither asked for nor passed on.
    run("LISTEN_FDS=5 LISTEN_PID=1 exec \"$@\"")
        .ok()
        .stdout_is("\n0\n1\n2\n3");
    let too_many = by_shell(
        "exec \"$@\" 3>&-",
        &bundle.command(&["run", "--preserve-fds", "4294967295", "one"]),
    );
    Running::start(too_many, None)
        .finish()
        .exits(1)
        .stderr_has("descriptor 3");
}

#[test]
fn errors_reach_the_log_in_the_format_that_was_asked_for() {
    let mut bundle = Bundle::new(&["nosuch"]);
    let log = bundle.path("log");
    let (file, last) = (text(&log), || {
        let said = fs::read_to_string(&log).expect("a log");
        said.lines().last().expect("a line").to_owned()
    });
    let with = |format: &str, words: &[&str]| {
        let options = ["--log", &file, "--log-format", format];
        bundle.oci(&[&options, words].concat()).exits(1);
        last()
    };
    let entry = |line: &str| -> Value { serde_json::from_str(line).expect("JSON") };
    let missing = entry(&with("json", &["create", "one"]));
    assert_eq!(missing["level"], "error");
    let message = missing["msg"].as_str().expect("text");
    assert!(message.contains("executable file not found"), "{message}");
    assert!(missing["time"].as_str().is_some_and(|t| t.contains('T')));
    let line = with("text", &["state", "none"]);
    assert!(
        line.contains("level=error msg=\"container does not exist\""),
        "{line}"
    );
    let before = fs::read_to_string(&log).expect("a log");
    assert!(!before.contains("level=debug"), "{before}");
    let debugged = with("text", &["--debug", "state", "none"]);
    assert!(
        debugged.contains("level=debug msg=\"exit code 1\""),
        "{debugged}"
    );
    // Also what is wrong with its words: whoever drives it looks nowhere else.
    let unknown = entry(&with("json", &["create", "--bogus", "one"]));
    assert!(
        unknown["msg"].as_str().expect("text").contains("--bogus"),
        "{unknown}"
    );
    with("json", &["frobnicate"]);
    bundle.oci(&["start"]).exits(1).stderr_has("CONTAINER");
    bundle.config["process"]["args"] = json!(["true"]);
    bundle
        .oci(&["--version"])
        .ok()
        .stdout_has("rctr-oci version ");
    bundle
        .oci(&["create", "--help"])
        .ok()
        .stdout_has("--console-socket");
}

#[test]
fn lists_and_tables_show_what_there_is() {
    let bundle = running(&["sleep", "1000"]);
    bundle.oci(&["create", "two"]).exits(1);
    let list = bundle.oci(&["list"]).ok().lines();
    let words =
        |line: &str| -> Vec<String> { line.split_whitespace().map(str::to_owned).collect() };
    assert_eq!(
        words(&list[0]),
        ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"]
    );
    let row = words(&list[1]);
    let pid = bundle.oci(&["state", "one"]).ok().json()["pid"].to_string();
    assert_eq!((&*row[0], &row[1], &*row[2]), ("one", &pid, "running"));
    assert_eq!(
        row[3],
        text(bundle.path("").as_path()).trim_end_matches('/')
    );
    assert_eq!(row[5], "root");
    bundle.oci(&["list", "--quiet"]).ok().stdout_is("one");
    let table = bundle.oci(&["ps", "one"]).ok().lines();
    assert!(table[0].contains("PID") && table.len() == 2, "{table:?}");
    assert!(table[1].contains("sleep 1000") && table[1].contains(&pid));
    let own = bundle.oci(&["ps", "one", "-o", "pid,args"]).ok().lines();
    assert_eq!(words(&own[1]), [&*pid, "sleep", "1000"]);
    bundle
        .oci(&["ps", "one", "-o", "args"])
        .exits(1)
        .stderr_has("PID");
    // What is not there is an empty list.
    let mut elsewhere = Command::new(oci_binary());
    elsewhere.args(["--root", "/nosuch/root", "list", "-f", "json"]);
    Running::start(elsewhere, None)
        .finish()
        .ok()
        .stdout_is("null");
}

#[test]
fn a_signal_goes_to_init_or_to_all() {
    let bundle = running(&["sh", "-c", &told("init")]);
    quietly(bundle.command(&["exec", "--detach", "one", "sh", "-c", &told("second")]));
    wait_for("both to listen", || {
        read(&bundle, "ready").lines().count() == 2
    });
    // Nothing is sent: it is only asked whether it could be.
    bundle.oci(&["kill", "one", "0"]).ok();
    bundle.oci(&["kill", "one", "sigterm"]).ok();
    wait_for("init to be told", || read(&bundle, "told") == "init\n");
    bundle.oci(&["kill", "--all", "one", "15"]).ok();
    wait_for("both to be told", || {
        read(&bundle, "told").lines().count() == 3
    });
    assert!(read(&bundle, "told").contains("second"));
    bundle
        .oci(&["kill", "one", "NOSUCH"])
        .exits(1)
        .stderr_has("unknown signal");
    bundle.oci(&["kill", "--all", "one", "KILL"]).ok();
    wait_for("the end", || bundle.status("one") == "stopped");
    // With nobody left that is no error of `--all`'s.
    bundle.oci(&["kill", "--all", "one", "KILL"]).ok();
}

#[test]
fn events_go_on_until_the_end_and_tell_of_a_lack_of_memory() {
    let mut bundle = Bundle::new(&["sleep", "1000"]);
    bundle.config["linux"]["resources"]["memory"] = json!({"limit": 24 << 20, "swap": 24 << 20});
    quietly(bundle.command(&["run", "--detach", "one"]));
    let out = fs::File::create(bundle.path("events")).expect("a file");
    let mut events = bundle.command(&["events", "--interval", "50ms", "one"]);
    let mut events = events.stdout(out).spawn().expect("it runs");
    let seen = || -> Vec<Value> {
        let said = fs::read_to_string(bundle.path("events")).expect("a file");
        let whole = said
            .split_inclusive('\n')
            .filter(|line| line.ends_with('\n'));
        whole
            .map(|line| serde_json::from_str(line).expect("JSON"))
            .collect()
    };
    let count = |kind: &str| seen().iter().filter(|event| event["type"] == kind).count();
    wait_for("more than one look", || count("stats") > 2);
    assert_eq!(count("oom"), 0);
    let hog = [
        "exec",
        "one",
        "sh",
        "-c",
        "x=a; while true; do x=$x$x; done",
    ];
    bundle.oci(&hog).exits(137);
    wait_for("the lack of memory to be told", || count("oom") > 0);
    let stats = seen().into_iter().find(|event| event["type"] == "stats");
    let stats = stats.expect("some");
    assert_eq!(stats["id"], "one");
    assert_eq!(stats["data"]["memory"]["usage"]["limit"], 24 << 20);
    bundle.oci(&["kill", "one", "KILL"]).ok();
    assert!(events.wait().expect("a status").success());
    bundle
        .oci(&["events", "one"])
        .exits(1)
        .stderr_has("container not running");
    bundle
        .oci(&["events", "--interval", "0s", "one"])
        .exits(1)
        .stderr_has("interval");
}

#[test]
fn a_container_may_have_one_process() {
    let mut bundle = Bundle::new(&["sleep", "1000"]);
    bundle.config["linux"]["resources"]["pids"] = json!({"limit": 1});
    quietly(bundle.command(&["run", "--detach", "one"]));
    let stats = bundle.oci(&["events", "--stats", "one"]).ok().json();
    assert_eq!(stats["data"]["pids"]["limit"], 1);
    assert_eq!(stats["data"]["pids"]["current"], 1);
    let exec = |words: &[&str]| bundle.oci(&[&["exec", "one"], words].concat());
    exec(&["busybox", "cmp", "/proc/1/cgroup", "/proc/self/cgroup"]).ok();
    exec(&["sh", "-c", "true & wait"])
        .exits(2)
        .stderr_has("can't fork");
}

#[test]
fn limits_are_changed_by_flags_and_by_a_file() {
    let bundle = running(&["sleep", "1000"]);
    let pids = |limit: &str| {
        let stats = bundle.oci(&["events", "--stats", "one"]).ok().json();
        assert_eq!(stats["data"]["pids"]["limit"].to_string(), limit);
    };
    fs::write(
        bundle.path("limits"),
        r#"{"pids": {"limit": 41}, "cpu": null}"#,
    )
    .expect("a file");
    bundle.oci(&["update", "--resources", "limits", "one"]).ok();
    pids("41");
    let mut update = Running::start(bundle.command(&["update", "-r", "-", "one"]), None);
    update.write(br#"{"pids": {"limit": 42}}"#);
    update.close_stdin();
    update.finish().ok();
    pids("42");
    let limit = |option: &str, value: &str, wanted: u64| {
        bundle.oci(&["update", option, value, "one"]).ok();
        let stats = bundle.oci(&["events", "--stats", "one"]).ok().json();
        let memory = &stats["data"]["memory"]["usage"]["limit"];
        assert_eq!(memory, wanted, "{option} {value}");
    };
    limit("--memory", "64m", 64 << 20);
    limit("--memory", "1.5GiB", 3 << 29);
    // 0 stands for no change, as with runc.
    limit("--memory", "0", 3 << 29);
    bundle
        .oci(&["update", "--kernel-memory", "9m", "one"])
        .ok()
        .stderr_has("kernel memory");
    bundle
        .oci(&["update", "--memory", "many", "one"])
        .exits(1)
        .stderr_has("many");
    bundle
        .oci(&["update", "-r", "nosuch", "one"])
        .exits(1)
        .stderr_has("nosuch");
    pids("42");
}

#[test]
fn without_a_pivot_the_root_is_the_container_s_all_the_same() {
    let bundle = Bundle::new(&["sh", "-c", "ls /; ls /.. | grep -c rootfs"]);
    bundle
        .oci(&["run", "--no-pivot", "one"])
        .exits(1)
        .stdout_is("bin\ndev\nproc\nsys\n0");
}

#[test]
fn a_create_that_is_killed_leaves_nothing_that_cannot_be_deleted() {
    let mut bundle = Bundle::new(&["sleep", "1000"]);
    let (pid, script) = (
        bundle.path("hook"),
        "echo $$ > hook.new; mv hook.new hook; exec sleep 1000",
    );
    let hook =
        json!([{"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/usr/bin:/bin"]}]);
    bundle.config["hooks"] = json!({"createRuntime": hook});
    let create = Running::start(bundle.command(&["create", "one"]), Some(b""));
    wait_for("the hook to run", || pid.exists());
    create.signal(Signal::SIGKILL);
    bundle.oci(&["state", "one"]).exits(1);
    bundle.oci(&["list", "-q"]).ok().stdout_is("");
    let path = bundle.config["linux"]["cgroupsPath"]
        .as_str()
        .expect("a path")
        .to_owned();
    let left = || -> Vec<String> {
        let hierarchies = entries(Path::new("/sys/fs/cgroup"));
        let of = |name: &String| format!("/sys/fs/cgroup/{name}{path}");
        let all = hierarchies.iter().map(of);
        all.chain([format!("/sys/fs/cgroup{path}")])
            .filter(|place| Path::new(place).exists())
            .collect()
    };
    assert!(!left().is_empty(), "it had a cgroup");
    let hook = fs::read_to_string(&pid).expect("a pid");
    let hook = nix::unistd::Pid::from_raw(hook.trim().parse().expect("a number"));
    nix::sys::signal::kill(hook, Signal::SIGKILL).expect("the hook runs");
    bundle.oci(&["delete", "--force", "one"]).ok();
    assert_eq!(left(), Vec::<String>::new());
    create.finish();
    // And the name is free.
    bundle.config["hooks"] = Value::Null;
    bundle.config["process"]["args"] = json!(["true"]);
    bundle.oci(&["run", "one"]).ok();
}

#[test]
fn what_spec_writes_for_users_runs_in_their_namespace() {
    let mut bundle = Bundle::new(&["cat", "/proc/self/uid_map"]);
    let place = bundle.path("rootless");
    fs::create_dir(&place).expect("a directory");
    let mut spec = Command::new(oci_binary());
    spec.args(["spec", "--rootless", "--bundle"]).arg(&place);
    assert!(spec.status().expect("a status").success());
    let written = fs::read(place.join("config.json")).expect("a configuration");
    let mut written: Value = serde_json::from_slice(&written).expect("JSON");
    for name in ["args", "terminal"] {
        written["process"][name] = bundle.config["process"][name].clone();
    }
    written["linux"]["cgroupsPath"] = bundle.config["linux"]["cgroupsPath"].clone();
    bundle.config = written;
    let everybody = fs::Permissions::from_mode(0o755);
    fs::set_permissions(bundle.path(""), everybody).expect("permissions");
    let map = bundle.oci(&["run", "one"]).ok().stdout();
    let words: Vec<&str> = map.split_whitespace().collect();
    assert_eq!(words, ["0", "0", "1"]);
    let mut again = Command::new(oci_binary());
    again.args(["spec", "--bundle"]).arg(&place);
    Running::start(again, None)
        .finish()
        .exits(1)
        .stderr_has("config.json");
}

#[test]
fn read_only_paths_are_no_more_than_that() {
    let script = "touch /bin/x || echo still $A; env | grep -c ^A=";
    let mut bundle = Bundle::new(&["sh", "-c", script]);
    bundle.config["linux"]["readonlyPaths"] = json!(["/bin", "/proc/sys", "/nosuch"]);
    // Of a variable that is named twice the last one counts.
    bundle.config["process"]["env"] = json!(["PATH=/nosuch", "A=1", "PATH=/bin", "A=2"]);
    bundle
        .oci(&["run", "one"])
        .ok()
        .stdout_is("still 2\n1")
        .stderr_has("Read-only file system");
    bundle.config["process"]["oomScoreAdj"] = 1001.into();
    bundle.oci(&["run", "one"]).exits(1).stderr_has("1001");
}

#[test]
fn a_start_that_takes_long_or_cannot_be_keeps_nobody_from_deleting() {
    let mut bundle = Bundle::new(&["sleep", "1000"]);
    quietly(bundle.command(&["create", "one"]));
    bundle.oci(&["pause", "one"]).ok();
    bundle
        .oci(&["start", "one"])
        .exits(1)
        .stderr_has("cannot start a container in the paused state");
    bundle.oci(&["delete", "--force", "one"]).ok();

    let (pid, script) = (
        bundle.path("hook"),
        "echo $$ > hook.new; mv hook.new hook; exec sleep 1000",
    );
    let hook =
        json!([{"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/usr/bin:/bin"]}]);
    bundle.config["hooks"] = json!({"poststart": hook});
    quietly(bundle.command(&["create", "one"]));
    let start = Running::start(bundle.command(&["start", "one"]), Some(b""));
    wait_for("the hook to run", || pid.exists());
    bundle.oci(&["delete", "--force", "one"]).ok();
    bundle.oci(&["list", "-q"]).ok().stdout_is("");
    let hook = fs::read_to_string(&pid).expect("a pid");
    let hook = nix::unistd::Pid::from_raw(hook.trim().parse().expect("a number"));
    nix::sys::signal::kill(hook, Signal::SIGKILL).expect("the hook runs");
    start.finish();
}
