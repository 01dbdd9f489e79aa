//! Places and devices of the host in a container: what passes between the two, and what can be written.

mod support;

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use oci_spec::runtime::{
    Capability, LinuxDeviceBuilder, LinuxDeviceCgroupBuilder, LinuxDeviceType,
};
use rctr_runtime::SeccompPolicy;
use support::pod::await_that;
use support::{Bundle, EVERYTHING, reap};

/// A shared mount of a directory, with a filesystem mounted below it.
struct Shared {
    dir: tempfile::TempDir,
}

impl Shared {
    fn new() -> Self {
        let shared = Self {
            dir: tempfile::tempdir().unwrap(),
        };
        let path = shared.dir.path();
        let none = None::<&str>;
        mount(Some(path), path, none, MsFlags::MS_BIND, none).unwrap();
        mount(none, path, none, MsFlags::MS_SHARED, none).unwrap();
        for name in ["below", "late", "inside"] {
            fs::create_dir(path.join(name)).unwrap();
        }
        shared.mount("below");
        shared
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn mount(&self, name: &str) {
        let target = self.path().join(name);
        mount(
            Some("t"),
            &target,
            Some("tmpfs"),
            MsFlags::empty(),
            None::<&str>,
        )
        .unwrap();
    }

    fn has_mount(&self, name: &str) -> bool {
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let path = self.path().join(name);
        mounts.contains(&format!(" {} ", path.display()))
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        for name in ["late", "inside", "below", ""] {
            let _ = umount2(&self.path().join(name), MntFlags::MNT_DETACH);
        }
    }
}

/// Runs a container that says what it sees of a late mount, having made one itself.
fn exchange(shared: &Shared, propagation: &str) -> (bool, bool) {
    let script = "mount -t tmpfs t /v/inside && echo mounted; read x; grep -c ' /v/late ' /proc/self/mountinfo";
    let mut bundle = Bundle::new(&["sh", "-c", script]);
    bundle.bind(shared.path(), "/v", &["rbind", propagation]);
    bundle.launch.seccomp = SeccompPolicy::Unconfined;
    bundle.launch.stdio.open_stdin = true;
    bundle.process(|p| {
        let mut caps = p.capabilities().clone().unwrap();
        let mut set = caps.bounding().clone().unwrap();
        set.insert(Capability::SysAdmin);
        caps.set_bounding(Some(set.clone()))
            .set_effective(Some(set.clone()))
            .set_permitted(Some(set));
        p.set_capabilities(Some(caps));
    });
    let mut launched = bundle.attached(EVERYTHING);
    let stream = launched.attach.as_mut().unwrap();
    support::read_until(stream, "mounted\n");
    let out = shared.has_mount("inside");
    shared.mount("late");
    stream.send_stdin(b"go\n").unwrap();
    let seen = support::read_until(stream, "\n");
    reap(launched.monitor_pid);
    umount2(&shared.path().join("late"), MntFlags::MNT_DETACH).unwrap();
    (seen.trim() != "0", out)
}

#[test]
fn mounts_pass_as_the_propagation_says() {
    let shared = Shared::new();
    assert_eq!(exchange(&shared, "rprivate"), (false, false));
    assert_eq!(exchange(&shared, "rslave"), (true, false));
    assert_eq!(exchange(&shared, "rshared"), (true, true));
    // What it has mounted there stays, as with every runtime: the directory is the host's.
    assert!(shared.has_mount("inside"));
    assert!(
        shared.has_mount("below"),
        "the end of the container takes nothing along"
    );
}

#[test]
fn read_only_reaches_below_only_where_it_says_so() {
    let shared = Shared::new();
    let run = |options: &[&str]| {
        let script =
            "touch /v/x 2>/dev/null && echo top; touch /v/below/x 2>/dev/null && echo below; true";
        let mut bundle = Bundle::new(&["sh", "-c", script]);
        bundle.bind(shared.path(), "/v", options);
        bundle.run().0
    };
    assert_eq!(run(&["rbind", "rw"]), "top\nbelow\n");
    assert_eq!(run(&["rbind", "ro"]), "below\n");
    assert_eq!(run(&["rbind", "ro", "rro"]), "");
    assert_eq!(run(&["rbind", "ro", "rro", "rslave"]), "");
    // Without what is mounted below, there is a directory of the same filesystem.
    assert_eq!(run(&["bind", "ro"]), "");
}

#[test]
fn a_device_can_be_used_as_far_as_its_permissions_go() {
    let Some((kind, major, minor)) = device() else {
        return;
    };
    let run = |access: Option<&str>| {
        let script = "stat -c '%u:%g %a' /dev/sub/own; (: < /dev/sub/own) 2>/dev/null && echo read; \
                      (: >> /dev/sub/own) 2>/dev/null && echo write; true";
        let mut bundle = Bundle::new(&["sh", "-c", script]);
        bundle.linux(|linux| {
            let device = LinuxDeviceBuilder::default()
                .path("/dev/sub/own")
                .typ(kind)
                .major(major)
                .minor(minor)
                .file_mode(0o660u32)
                .uid(1u32)
                .gid(2u32);
            linux.set_devices(Some(vec![device.build().unwrap()]));
            let mut resources = linux.resources().clone().unwrap();
            let mut rules = resources.devices().clone().unwrap();
            if let Some(access) = access {
                let rule = LinuxDeviceCgroupBuilder::default()
                    .allow(true)
                    .typ(kind)
                    .major(major)
                    .minor(minor)
                    .access(access);
                rules.push(rule.build().unwrap());
            }
            resources.set_devices(Some(rules));
            linux.set_resources(Some(resources));
        });
        let (out, err, _) = bundle.run();
        assert_eq!(err, "");
        out
    };
    assert_eq!(run(None), "1:2 660\n");
    assert_eq!(run(Some("r")), "1:2 660\nread\n");
    assert_eq!(run(Some("w")), "1:2 660\nwrite\n");
    assert_eq!(run(Some("rw")), "1:2 660\nread\nwrite\n");
}

/// One that an ordinary container may not open and we may; opened and never written.
fn device() -> Option<(LinuxDeviceType, i64, i64)> {
    let paths = ["/dev/net/tun", "/dev/fuse", "/dev/loop-control", "/dev/vda"];
    paths.iter().find_map(|path| {
        let metadata = fs::metadata(path).ok()?;
        fs::File::options().read(true).write(true).open(path).ok()?;
        let kind = match metadata.file_type().is_block_device() {
            true => LinuxDeviceType::B,
            false => LinuxDeviceType::C,
        };
        let number = metadata.rdev();
        Some((kind, libc::major(number).into(), libc::minor(number).into()))
    })
}

#[test]
fn a_file_of_the_host_behind_links_is_the_file_itself() {
    // As a kubelet projects a ConfigMap: ..data is renamed over, the file is a link through it.
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("..1")).unwrap();
    fs::write(dir.path().join("..1/key"), "one").unwrap();
    std::os::unix::fs::symlink("..1", dir.path().join("..data")).unwrap();
    std::os::unix::fs::symlink("..data/key", dir.path().join("key")).unwrap();
    let mut bundle = Bundle::new(&["sh", "-c", "cat /v/key /file; read x; cat /v/key /file"]);
    bundle.launch.stdio.open_stdin = true;
    bundle.bind(dir.path(), "/v", &["rbind", "ro"]);
    bundle.bind(&dir.path().join("key"), "/file", &["rbind", "ro"]);
    let mut launched = bundle.attached(EVERYTHING);
    let stream = launched.attach.as_mut().unwrap();
    support::read_until(stream, "oneone");
    fs::create_dir(dir.path().join("..2")).unwrap();
    fs::write(dir.path().join("..2/key"), "two").unwrap();
    std::os::unix::fs::symlink("..2", dir.path().join("new")).unwrap();
    fs::rename(dir.path().join("new"), dir.path().join("..data")).unwrap();
    stream.send_stdin(b"go\n").unwrap();
    support::read_until(stream, "twoone");
    reap(launched.monitor_pid);
    await_that("no end", || {
        matches!(bundle.status(), rctr_runtime::Status::Exited(_))
    });
}
