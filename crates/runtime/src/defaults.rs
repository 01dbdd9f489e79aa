//! What a container gets unless it asks for something else: Docker's defaults, as data for the engine's spec.

use std::collections::HashSet;
use std::path::PathBuf;

use oci_spec::runtime::{
    Capability, LinuxDeviceCgroup, LinuxDeviceCgroupBuilder, LinuxDeviceType, Mount, MountBuilder,
};

/// The `PATH` used when neither image nor user sets one.
pub const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The capabilities of an ordinary container.
pub fn capabilities() -> HashSet<Capability> {
    HashSet::from([
        Capability::AuditWrite,
        Capability::Chown,
        Capability::DacOverride,
        Capability::Fowner,
        Capability::Fsetid,
        Capability::Kill,
        Capability::Mknod,
        Capability::NetBindService,
        Capability::NetRaw,
        Capability::Setfcap,
        Capability::Setgid,
        Capability::Setpcap,
        Capability::Setuid,
        Capability::SysChroot,
    ])
}

/// Paths hidden from an ordinary container.
pub fn masked_paths() -> Vec<String> {
    [
        "/proc/asound",
        "/proc/acpi",
        "/proc/interrupts",
        "/proc/kcore",
        "/proc/keys",
        "/proc/latency_stats",
        "/proc/timer_list",
        "/proc/timer_stats",
        "/proc/sched_debug",
        "/proc/scsi",
        "/sys/firmware",
        "/sys/devices/virtual/powercap",
    ]
    .map(String::from)
    .to_vec()
}

/// Paths an ordinary container can only read.
pub fn readonly_paths() -> Vec<String> {
    [
        "/proc/bus",
        "/proc/fs",
        "/proc/irq",
        "/proc/sys",
        "/proc/sysrq-trigger",
    ]
    .map(String::from)
    .to_vec()
}

/// The mounts of an ordinary container, in order. `shm_size` is the size of /dev/shm in bytes
/// (Docker's default is 64 MiB). A privileged container wants /sys and the cgroups writable.
pub fn mounts(shm_size: u64, privileged: bool) -> Vec<Mount> {
    let access = if privileged { "rw" } else { "ro" };
    let shm = format!("size={shm_size}");
    let table: [(&str, &str, &str, &[&str]); 7] = [
        ("/proc", "proc", "proc", &["nosuid", "noexec", "nodev"]),
        (
            "/dev",
            "tmpfs",
            "tmpfs",
            &["nosuid", "strictatime", "mode=755", "size=65536k"],
        ),
        (
            "/dev/pts",
            "devpts",
            "devpts",
            &[
                "nosuid",
                "noexec",
                "newinstance",
                "ptmxmode=0666",
                "mode=0620",
                // Group `tty` of the usual distributions, where there is more than one group.
                if crate::rootless::has_group(5) {
                    "gid=5"
                } else {
                    "gid=0"
                },
            ],
        ),
        (
            "/sys",
            "sysfs",
            "sysfs",
            &["nosuid", "noexec", "nodev", access],
        ),
        (
            "/sys/fs/cgroup",
            "cgroup",
            "cgroup",
            &["nosuid", "noexec", "nodev", "relatime", access],
        ),
        (
            "/dev/mqueue",
            "mqueue",
            "mqueue",
            &["nosuid", "noexec", "nodev"],
        ),
        (
            "/dev/shm",
            "tmpfs",
            "shm",
            &["nosuid", "noexec", "nodev", "mode=1777", &shm],
        ),
    ];
    table
        .iter()
        .filter_map(|(destination, kind, source, options)| {
            MountBuilder::default()
                .destination(*destination)
                .typ(*kind)
                .source(*source)
                .options(options.iter().map(|o| (*o).to_owned()).collect::<Vec<_>>())
                .build()
                .ok()
        })
        .collect()
}

/// The device rules of an ordinary container: nothing, except making nodes and using the harmless ones.
pub fn device_rules() -> Vec<LinuxDeviceCgroup> {
    use LinuxDeviceType::{A, B, C};
    let rule = |allow, kind, major: Option<i64>, minor: Option<i64>, access: &str| {
        let mut rule = LinuxDeviceCgroupBuilder::default()
            .allow(allow)
            .typ(kind)
            .access(access);
        if let Some(major) = major {
            rule = rule.major(major);
        }
        if let Some(minor) = minor {
            rule = rule.minor(minor);
        }
        rule.build().ok()
    };
    let usable = |major, minor| rule(true, C, Some(major), minor, "rwm");
    [
        rule(false, A, None, None, "rwm"),
        rule(true, C, None, None, "m"),
        rule(true, B, None, None, "m"),
        usable(1, Some(3)),                         // null
        usable(1, Some(5)),                         // zero
        usable(1, Some(7)),                         // full
        usable(1, Some(8)),                         // random
        usable(1, Some(9)),                         // urandom
        usable(5, Some(0)),                         // tty
        usable(5, Some(1)),                         // console
        usable(5, Some(2)),                         // ptmx
        usable(136, None),                          // pts
        rule(false, C, Some(10), Some(229), "rwm"), // fuse
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Where the engine mounts the monitor's binary, read-only, for `--init`; `args` then becomes
/// `[INIT_PATH, "--", command…]`.
pub fn init_path() -> PathBuf {
    PathBuf::from("/sbin/docker-init")
}

/// Where the engine mounts the monitor's binary, read-only, in a container that holds a PID namespace for others and is
/// otherwise empty; `args` is this path alone. It reaps the others' orphans and ends on SIGTERM.
pub fn pause_path() -> PathBuf {
    PathBuf::from("/pause")
}
