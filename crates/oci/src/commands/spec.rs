//! `spec`.

use std::io::Write;

use serde_json::{Value, json};

use crate::cli::Spec;
use crate::failure::Failure;

pub fn spec(args: &Spec) -> Result<u8, Failure> {
    let path = args.bundle.join("config.json");
    let write = || -> std::io::Result<()> {
        let mut file = std::fs::File::create_new(&path)?;
        file.write_all(format!("{:#}\n", example(args.rootless)).as_bytes())
    };
    write().map_err(Failure::file("create", &path))?;
    Ok(0)
}

/// runc's: a shell on a terminal, in namespaces of its own, with three capabilities.
fn example(rootless: bool) -> Value {
    let capabilities = json!(["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]);
    let mount = |destination: &str, kind: &str, source: &str, options: &[&str]| json!({"destination": destination, "type": kind, "source": source, "options": options});
    let safe = ["nosuid", "noexec", "nodev"];
    let with = |more: &[&'static str]| -> Vec<&str> { [&safe[..], more].concat() };
    let pts = if rootless {
        vec![
            "nosuid",
            "noexec",
            "newinstance",
            "ptmxmode=0666",
            "mode=0620",
        ]
    } else {
        vec![
            "nosuid",
            "noexec",
            "newinstance",
            "ptmxmode=0666",
            "mode=0620",
            "gid=5",
        ]
    };
    let sys = match rootless {
        true => mount(
            "/sys",
            "none",
            "/sys",
            &["rbind", "nosuid", "noexec", "nodev", "ro"],
        ),
        false => mount("/sys", "sysfs", "sysfs", &with(&["ro"])),
    };
    let mut mounts = vec![
        mount("/proc", "proc", "proc", &[]),
        mount(
            "/dev",
            "tmpfs",
            "tmpfs",
            &["nosuid", "strictatime", "mode=755", "size=65536k"],
        ),
        mount("/dev/pts", "devpts", "devpts", &pts),
        mount(
            "/dev/shm",
            "tmpfs",
            "shm",
            &with(&["mode=1777", "size=65536k"]),
        ),
        mount("/dev/mqueue", "mqueue", "mqueue", &safe),
        sys,
    ];
    let mut namespaces = vec!["pid", "ipc", "uts", "mount", "cgroup"];
    let mut linux = json!({
        "maskedPaths": [
            "/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list",
            "/proc/timer_stats", "/proc/sched_debug", "/sys/firmware", "/sys/devices/virtual/powercap",
            "/proc/interrupts", "/proc/scsi",
        ],
        "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
    });
    if rootless {
        namespaces.push("user");
        // SAFETY: take nothing, give integers.
        let (uid, gid) = unsafe { (libc::geteuid(), libc::getegid()) };
        linux["uidMappings"] = json!([{"containerID": 0, "hostID": uid, "size": 1}]);
        linux["gidMappings"] = json!([{"containerID": 0, "hostID": gid, "size": 1}]);
    } else {
        namespaces.push("network");
        linux["resources"] = json!({"devices": [{"allow": false, "access": "rwm"}]});
        mounts.push(mount(
            "/sys/fs/cgroup",
            "cgroup",
            "cgroup",
            &with(&["relatime", "ro"]),
        ));
    }
    let namespaces = namespaces.iter().map(|kind| json!({"type": kind}));
    linux["namespaces"] = namespaces.collect();
    json!({
        "ociVersion": rctr_runtime::oci::SPEC_VERSION,
        "process": {
            "terminal": true,
            "user": {"uid": 0, "gid": 0},
            "args": ["sh"],
            "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"],
            "cwd": "/",
            "capabilities": {
                "bounding": capabilities, "effective": capabilities, "permitted": capabilities,
            },
            "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}],
            "noNewPrivileges": true,
        },
        "root": {"path": "rootfs", "readonly": true},
        "hostname": "rctr-oci",
        "mounts": mounts,
        "linux": linux,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_examples_are_specifications() {
        for rootless in [false, true] {
            let spec: oci_spec::runtime::Spec = serde_json::from_value(example(rootless)).unwrap();
            assert_eq!(spec.root().as_ref().unwrap().readonly(), Some(true));
            let dir = tempfile::tempdir().unwrap();
            let args = Spec {
                bundle: dir.path().to_owned(),
                rootless,
            };
            super::spec(&args).unwrap();
            // What is there is not overwritten.
            super::spec(&args).unwrap_err();
        }
    }
}
