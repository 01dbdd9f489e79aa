//! Mounts, and what they hide.

use super::*;

#[test]
fn dockers_mounts() {
    let spec = make(|_| {});
    assert_eq!(
        spec.targets(),
        [
            "/proc",
            "/dev",
            "/dev/pts",
            "/sys",
            "/sys/fs/cgroup",
            "/dev/mqueue",
            "/dev/shm",
            "/etc/resolv.conf",
            "/etc/hostname",
            "/etc/hosts",
        ]
    );
    assert!(spec.mount_options("/sys").contains(&"ro"));
    assert!(spec.mount_options("/sys/fs/cgroup").contains(&"ro"));
    assert!(spec.mount_options("/dev/shm").contains(&"size=67108864"));
    assert_eq!(spec.mount("/etc/hosts").unwrap()["source"], "/c/hosts");
    assert_eq!(
        spec.mount_options("/etc/hosts"),
        ["rbind", "rprivate", "rw"]
    );
}

#[test]
fn mounts_of_the_user() {
    let spec = make(|c| {
        with_mount(c, MountSpec::from_volume("/h/deep:/a/b/c:ro").unwrap());
        with_mount(c, MountSpec::from_volume("/h:/a").unwrap());
        with_mount(c, MountSpec::from_tmpfs("/run:size=64mb,exec").unwrap());
        with_mount(c, MountSpec::from_volume("/h/hosts:/etc/hosts").unwrap());
        with_mount(c, MountSpec::from_tmpfs("/dev/shm").unwrap());
    });
    let targets = spec.targets();
    let place = |t: &str| targets.iter().position(|x| *x == t).unwrap();
    assert!(place("/a") < place("/a/b/c"));
    assert_eq!(
        targets
            .iter()
            .filter(|t| **t == "/etc/hosts" || **t == "/dev/shm")
            .count(),
        2
    );
    assert_eq!(spec.mount("/etc/hosts").unwrap()["source"], "/h/hosts");
    assert_eq!(
        spec.mount_options("/a/b/c"),
        ["rbind", "rprivate", "ro", "rro"]
    );
    assert_eq!(
        spec.mount_options("/run"),
        ["nosuid", "nodev", "size=67108864", "exec"]
    );
    let dev = make(|c| with_mount(c, MountSpec::from_volume("/h:/dev").unwrap()));
    assert_eq!(
        dev.targets()
            .iter()
            .filter(|t| t.starts_with("/dev"))
            .count(),
        1
    );
    let shared = make(|c| with_mount(c, MountSpec::from_volume("/h:/c:rshared").unwrap()));
    assert!(shared.mount_options("/c").contains(&"rshared"));
}

#[test]
fn read_only_covers_the_files_under_etc() {
    let spec = make(|c| c.options.read_only = true);
    assert_eq!(spec.at("/root/readonly"), true);
    assert!(spec.mount_options("/etc/hosts").contains(&"ro"));
    assert!(!spec.mount_options("/dev/shm").contains(&"ro"));
}

#[test]
fn system_paths_may_be_opened() {
    let spec =
        make(|c| c.options.security = SecurityOptions::parse(&["systempaths=unconfined"]).unwrap());
    assert_eq!(
        (
            spec.at("/linux/maskedPaths"),
            spec.at("/linux/readonlyPaths")
        ),
        (&json!([]), &json!([]))
    );
    assert!(spec.mount_options("/sys").contains(&"ro"));
}

#[test]
fn cgroups_are_shown_where_there_are_any() {
    let spec = make(|_| {});
    assert_eq!(spec.mount("/sys/fs/cgroup").unwrap()["type"], "cgroup");
    assert!(spec.mount_options("/sys/fs/cgroup").contains(&"ro"));
    let mut without = facts();
    without.hierarchies = None;
    let spec = try_make(&container(), &identity(), &without).unwrap();
    assert!(spec.mount("/sys/fs/cgroup").is_none());
}
