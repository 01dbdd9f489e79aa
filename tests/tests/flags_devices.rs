//! `--device`, `--device-cgroup-rule`, `--gpus`, limits on block devices: what the container sees.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;

use nix::sys::stat::{Mode, SFlag, major, makedev, minor, mknod};
use rctr_tests::{Env, Output};

fn sh(env: &Env, flags: &[&str], script: &str) -> Output {
    env.sh(&[&["--network", "none"], flags].concat(), script)
}

#[test]
fn a_device_is_there_with_its_permissions() {
    let env = Env::new();
    let open = |path: &str| {
        format!("(: < {path}) 2>/dev/null && echo read; (: > {path}) 2>/dev/null && echo written")
    };
    // Whoever may can open it for both; it is not among a container's own devices.
    sh(
        &env,
        &["--device", "/dev/fuse:/dev/box:r"],
        &open("/dev/box"),
    )
    .stdout_is("read");
    sh(&env, &["--device", "/dev/fuse:/dev/box"], &open("/dev/box"))
        .ok()
        .stdout_is("read\nwritten");
    sh(
        &env,
        &["--device", "/dev/fuse:/dev/box"],
        "stat -c %t:%T /dev/box",
    )
    .ok()
    .stdout_is("a:e5");
    sh(
        &env,
        &["--device", "/dev/fuse:/sub/dir/box:r"],
        &open("/sub/dir/box"),
    )
    .stdout_is("read");
    sh(&env, &[], "test -e /dev/fuse").exits(1);
    let own = format!("mknod /k c 10 229; {}", open("/k"));
    sh(&env, &[], &own).stdout_is("");
    sh(&env, &["--device-cgroup-rule", "c 10:229 r"], &own).stdout_is("read");
    sh(&env, &["--device-cgroup-rule", "c *:* rw"], &own)
        .ok()
        .stdout_is("read\nwritten");
    env.rctr([
        "create",
        "--name",
        "dev",
        "--device",
        "/dev/kmsg:/dev/l:rw",
        "--device-cgroup-rule",
        "c 1:11 r",
        "busybox",
    ])
    .ok();
    let config = env.inspect("dev")["HostConfig"].take();
    assert_eq!(
        config["Devices"],
        serde_json::json!([{"PathOnHost": "/dev/kmsg", "PathInContainer": "/dev/l", "CgroupPermissions": "rw"}])
    );
    assert_eq!(config["DeviceCgroupRules"], serde_json::json!(["c 1:11 r"]));
}

#[test]
fn directories_and_links_of_devices() {
    let env = Env::new();
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    fs::create_dir(path("sub")).unwrap();
    for name in ["a", "sub/b"] {
        let mode = Mode::from_bits_truncate(0o640);
        mknod(&path(name), SFlag::S_IFCHR, mode, makedev(1, 3)).unwrap();
    }
    fs::write(path("sub/file"), "").unwrap();
    symlink(path("a"), path("link")).unwrap();
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    let directory = format!("{}:/dev/many", text(dir.path()));
    sh(
        &env,
        &["--device", &directory],
        "cd /dev/many; find . -type c | sort; stat -c %a a",
    )
    .ok()
    .stdout_is("./a\n./sub/b\n640");
    let link = format!("{}:/dev/one", text(&path("link")));
    sh(&env, &["--device", &link], "stat -c '%F %t:%T' /dev/one")
        .ok()
        .stdout_is("character special file 1:3");
    for (device, named) in [
        (text(&path("sub/file")), "not a device node"),
        (
            "/dev/nosuch".to_owned(),
            "error gathering device information while adding custom device \"/dev/nosuch\"",
        ),
        ("null".to_owned(), "null is not an absolute path"),
        ("/dev/null:/x:q".to_owned(), "bad mode specified: q"),
        ("/a:/b:r:w".to_owned(), "bad format for path"),
    ] {
        sh(&env, &["--device", &device], "true")
            .exits(125)
            .stderr_has(named);
    }
    sh(&env, &["--device-cgroup-rule", "x"], "true")
        .exits(125)
        .stderr_has("invalid device cgroup format 'x'");
}

#[test]
fn a_privileged_container_gets_the_devices_of_others_under_their_names_too() {
    let env = Env::new();
    sh(
        &env,
        &["--privileged", "--device", "/dev/null:/dev/nothing"],
        "stat -c %t:%T /dev/nothing; test -e /dev/kmsg",
    )
    .ok()
    .stdout_is("1:3");
}

#[test]
fn devices_by_name() {
    let env = Env::new();
    sh(&env, &["--device", "vendor.com/class=nosuch"], "true")
        .exits(125)
        .stderr_has("CDI device vendor.com/class=nosuch is not known");
    sh(&env, &["--gpus", "device=nosuch"], "true")
        .exits(125)
        .stderr_has("nvidia.com/gpu=nosuch");
    sh(&env, &["--gpus", "lots"], "true")
        .exits(125)
        .stderr_has("invalid count (lots)");
    env.rctr(["ps", "-aq"]).ok().stdout_is("");

    // Both ways of writing a description; the third as a host with GPUs of NVIDIA's has it.
    let dir = Path::new("/etc/cdi");
    let before = dir.exists();
    fs::create_dir_all(dir).unwrap();
    let class = format!("test{}", std::process::id());
    let gpu = |name: &str| {
        format!(
            "{{\"name\":\"{name}\",\"containerEdits\":{{\"deviceNodes\":\
             [{{\"path\":\"/dev/nvidia-{name}\",\"hostPath\":\"/dev/null\"}}]}}}}"
        )
    };
    let files = [
        (
            dir.join(format!("rctr-{class}-nvidia.json")),
            format!(
                "{{\"cdiVersion\":\"0.6.0\",\"kind\":\"nvidia.com/gpu\",\"devices\":[{}]}}",
                ["0", "1", "all"].map(gpu).join(",")
            ),
        ),
        (
            dir.join(format!("rctr-{class}.yaml")),
            format!(
                "cdiVersion: \"0.6.0\"\nkind: vendor.com/{class}\ndevices:\n  - name: \"0\"\n    containerEdits:\n\
                 \x20     env: [ONE=1]\n      deviceNodes:\n        - path: /dev/one\n          hostPath: /dev/null\n\
                 containerEdits:\n  env:\n    - ALL=\"all\"\n"
            ),
        ),
        (
            dir.join(format!("rctr-{class}.json")),
            format!(
                "{{\"cdiVersion\":\"0.6.0\",\"kind\":\"vendor.com/{class}j\",\"devices\":\
                 [{{\"name\":\"x\",\"containerEdits\":{{\"env\":[\"JSON=1\"]}}}}]}}"
            ),
        ),
    ];
    for (path, text) in &files {
        fs::write(path, text).unwrap();
    }
    let flags = [
        format!("--device=vendor.com/{class}=0"),
        format!("--device=vendor.com/{class}j=x"),
    ];
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let output = sh(&env, &flags, "echo $ONE $ALL $JSON; stat -c %t:%T /dev/one");
    let gpus = ["1", "2", "all", "device=1", "\"device=0,1\""];
    let gpus = gpus.map(|gpus| sh(&env, &["--gpus", gpus], "ls /dev | grep nvidia | xargs"));
    for (path, _) in &files {
        fs::remove_file(path).unwrap();
    }
    if !before {
        let _ = fs::remove_dir(dir);
    }
    output.ok().stdout_is("1 \"all\" 1\n1:3");
    let [one, two] = ["nvidia-0", "nvidia-1"];
    let both = format!("{one} {two}");
    for (output, seen) in gpus.iter().zip([one, &both, "nvidia-all", two, &both]) {
        output.ok().stdout_is(seen);
    }
}

/// A block device of this machine, as path and numbers.
fn disk() -> Option<(String, String)> {
    let entries = fs::read_dir("/sys/block").ok()?;
    let names = entries
        .flatten()
        .filter_map(|e| e.file_name().into_string().ok());
    let name = names
        .into_iter()
        .find(|name| name.starts_with("vd") || name.starts_with("sd"))?;
    let path = format!("/dev/{name}");
    let number = fs::metadata(&path).ok()?.rdev();
    Some((path, format!("{}:{}", major(number), minor(number))))
}

#[test]
fn limits_on_block_devices_are_in_the_cgroup() {
    let env = Env::new();
    let Some((path, numbers)) = disk() else {
        return;
    };
    let v2 = fs::exists("/sys/fs/cgroup/cgroup.controllers").unwrap_or_default();
    let flag = |name: &str, value: &str| format!("--device-{name}={path}:{value}");
    let flags = [
        flag("read-bps", "1mb"),
        flag("write-bps", "2mb"),
        flag("read-iops", "3"),
        flag("write-iops", "4"),
    ];
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    if v2 {
        sh(&env, &flags, "cat /sys/fs/cgroup/io.max")
            .ok()
            .stdout_is(&format!(
                "{numbers} rbps=1048576 wbps=2097152 riops=3 wiops=4"
            ));
    } else {
        let script = "cd /sys/fs/cgroup/blkio; for f in read_bps write_bps read_iops write_iops; do cat blkio.throttle.${f}_device; done";
        sh(&env, &flags, script).ok().stdout_is(&format!(
            "{numbers} 1048576\n{numbers} 2097152\n{numbers} 3\n{numbers} 4"
        ));
    }
    // Schedulers with weights are there or not; where there is none that is said.
    let script = "cd /sys/fs/cgroup; cat blkio/blkio.bfq.weight blkio/blkio.weight io.bfq.weight io.weight 2>/dev/null; true";
    let weighted = sh(&env, &["--blkio-weight", "300"], script);
    match weighted.ok().stdout().contains("300") {
        true => drop(weighted.quiet()),
        false => drop(weighted.stderr_has(
            "WARNING: Your kernel does not support Block I/O weight or the cgroup is not mounted. Weight discarded.",
        )),
    }
    let device = format!("--blkio-weight-device={path}:200");
    let script = "cd /sys/fs/cgroup; cat blkio/blkio.bfq.weight_device blkio/blkio.weight_device io.bfq.weight 2>/dev/null; true";
    let weighted = sh(&env, &[&device], script);
    match weighted.ok().stdout().contains(&format!("{numbers} 200")) {
        true => drop(weighted.quiet()),
        false => drop(weighted.stderr_has("Block I/O weight_device")),
    }
    for (flags, named) in [
        (
            &["--blkio-weight", "5"][..],
            "Range of blkio weight is from 10 to 1000",
        ),
        (
            &["--device-read-bps", "/tmp:1"],
            "bad format for device path: /tmp:1",
        ),
        (
            &["--device-read-bps", "/dev/nosuch:1"],
            "stat /dev/nosuch: No such file or directory",
        ),
        (
            &["--device-write-iops", "/dev/null:1k"],
            "invalid rate for device: /dev/null:1k",
        ),
        (
            &["--blkio-weight-device", "/dev/null:1"],
            "invalid weight for device: /dev/null:1",
        ),
    ] {
        sh(&env, flags, "true").exits(125).stderr_has(named);
    }
}
