//! What `rctr-oci`'s commands and options do, beyond a container's plain life ([`oci_runtime`](../oci_runtime.rs)).

mod caller;
mod ends;
mod exec;
mod handed_over;
mod limits;
mod shown;

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
fn without_a_pivot_the_root_is_the_container_s_all_the_same() {
    let bundle = Bundle::new(&["sh", "-c", "ls /; ls /.. | grep -c rootfs"]);
    bundle
        .oci(&["run", "--no-pivot", "one"])
        .exits(1)
        .stdout_is("bin\ndev\nproc\nsys\n0");
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
