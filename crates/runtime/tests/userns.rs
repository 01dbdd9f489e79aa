//! Containers in a user namespace: who root inside is outside, and whose files are shown as whose.

mod support;

use std::fs;
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::Path;

use oci_spec::runtime::{
    LinuxDeviceBuilder, LinuxDeviceCgroupBuilder, LinuxDeviceType, LinuxNamespaceType, UserBuilder,
};
use rctr_runtime::namespaces::{IdMap, IdMappings, PinRequest};
use rctr_runtime::{ExecRequest, ExecStdio, MonitorClient, Rootfs, WindowSize};
use support::pod::Pod;
use support::{Bundle, process, reap};

const ROOT: u32 = 200_000;

fn mappings() -> IdMappings {
    let maps = vec![IdMap {
        container: 0,
        host: ROOT,
        length: 65_536,
    }];
    IdMappings {
        uids: maps.clone(),
        gids: maps,
    }
}

fn pod() -> Pod {
    Pod::new(&PinRequest {
        new_net: true,
        ipc: true,
        uts: true,
        hostname: Some("mapped".to_owned()),
        shm_size: Some(1 << 20),
        user: Some(mappings()),
        sysctls: [("net.ipv4.ip_forward".to_owned(), "1".to_owned())].into(),
        ..PinRequest::default()
    })
}

fn shell(pod: &Pod, script: &str) -> Bundle {
    let mut bundle = Bundle::new(&["sh", "-c", script]);
    pod.take_in(&mut bundle);
    bundle
}

fn succeeds(bundle: &Bundle) -> String {
    let (out, err, code) = bundle.run();
    assert_eq!((err.as_str(), code), ("", 0), "{out}");
    bundle.assert_nothing_left();
    out
}

#[test]
fn root_inside_is_nobody_outside_and_the_image_s_files_are_its_own() {
    let pod = pod();
    let script = "id -u; hostname; cat /proc/sys/net/ipv4/ip_forward; stat -c '%u:%g %n' / /bin /bin/busybox /etc \
                  /dev /dev/shm /proc/1; touch /new /etc/made /dev/shm/x; rm /bin/yes; \
                  ls -d /sys/class/net /dev/mqueue /sys/fs/cgroup; echo ok > /dev/null; head -c 3 /dev/zero | wc -c; \
                  cat /proc/self/uid_map; touch /dev/mqueue/q; mount -t tmpfs none /tmp 2>/dev/null || echo no-mount";
    let bundle = shell(&pod, script);
    let out = succeeds(&bundle);
    assert!(out.starts_with("0\nmapped\n1\n"), "{out}");
    for path in [
        "/",
        "/bin",
        "/bin/busybox",
        "/etc",
        "/dev",
        "/dev/shm",
        "/proc/1",
    ] {
        assert!(out.contains(&format!("0:0 {path}\n")), "{path}: {out}");
    }
    assert!(
        out.contains("\n3\n") && out.contains("200000      65536\n"),
        "{out}"
    );
    assert!(
        out.ends_with("no-mount\n"),
        "the ordinary capabilities: {out}"
    );

    let owner = |path: &str| {
        fs::symlink_metadata(bundle.dir.path().join(path))
            .unwrap()
            .uid()
    };
    assert_eq!(owner("lower/bin/busybox"), 0);
    assert_eq!((owner("upper/new"), owner("upper/etc/made")), (ROOT, ROOT));
    // The same writable layer again.
    let again = bundle.run().1;
    assert!(again.contains("/bin/yes"), "it has gone: {again}");
}

#[test]
fn the_process_is_the_mapped_user_s_on_the_host() {
    let pod = pod();
    let mut bundle = Bundle::new(&["sleep", "1000"]);
    pod.take_in(&mut bundle);
    bundle.process(|p| {
        let user = UserBuilder::default().uid(7u32).gid(8u32).build().unwrap();
        p.set_user(user);
    });
    let launched = bundle.launch();
    let status = format!("/proc/{}/status", launched.container_pid);
    let status = fs::read_to_string(status).unwrap();
    let ids = format!("\nUid:\t{0}\t{0}\t{0}\t{0}\n", ROOT + 7);
    assert!(status.contains(&ids), "{status}");
    rctr_runtime::signal(bundle.state_dir(), libc::SIGKILL, None).unwrap();
    reap(launched.monitor_pid);
    bundle.assert_nothing_left();
}

#[test]
fn volumes_show_the_owners_they_have_on_the_disk_if_they_are_mapped() {
    let pod = pod();
    let volume = tempfile::tempdir().unwrap();
    fs::write(volume.path().join("root"), "").unwrap();
    fs::write(volume.path().join("other"), "").unwrap();
    chown(volume.path().join("other"), Some(33), Some(44)).unwrap();
    chown(volume.path(), Some(0), Some(0)).unwrap();

    let mut bundle = shell(
        &pod,
        "stat -c %u:%g /v/root /v/other /plain/root; touch /v/new; touch /plain/x || echo denied",
    );
    bundle.bind(volume.path(), "/plain", &["rbind", "rw"]);
    bundle.bind(volume.path(), "/v", &["rbind", "rw"]);
    bundle.map_last_mount(&IdMap::listed(&mappings().uids));
    let (out, err, code) = bundle.run();
    assert_eq!(out, "0:0\n33:44\n65534:65534\ndenied\n", "{err}");
    assert_eq!(code, 0);
    assert_eq!(fs::metadata(volume.path().join("new")).unwrap().uid(), 0);

    // With mappings of its own.
    let mut bundle = shell(&pod, "stat -c %u:%g /v/other");
    bundle.bind(volume.path(), "/v", &["rbind", "rw", "idmap"]);
    bundle.map_last_mount(&IdMap::listed(&[IdMap {
        container: 30,
        host: ROOT,
        length: 100,
    }]));
    assert_eq!(succeeds(&bundle), "3:14\n");
}

#[test]
fn what_cannot_be_mapped_is_said() {
    let pod = pod();
    let mut bundle = shell(&pod, "true");
    bundle.bind(Path::new("/sys/kernel"), "/v", &["bind", "idmap"]);
    let (message, code) = bundle.fails();
    assert_eq!(code, 125);
    assert_eq!(
        message,
        "root filesystem: take /sys/kernel with mapped owners: \
         its filesystem does not support that in this kernel"
    );
    let mut bundle = Bundle::new(&["true"]);
    bundle.own(LinuxNamespaceType::User);
    let (message, _) = bundle.fails();
    assert!(
        message.contains("needs mappings of user and group 0"),
        "{message}"
    );
}

/// Without a pod: everything is made for the container alone.
#[test]
fn a_container_can_have_a_user_namespace_of_its_own() {
    let mut bundle = Bundle::new(&[
        "sh",
        "-c",
        "cat /proc/self/uid_map; hostname; stat -c %u /bin",
    ]);
    bundle.own(LinuxNamespaceType::User);
    bundle.linux(|linux| {
        linux
            .set_uid_mappings(Some(IdMap::listed(&mappings().uids)))
            .set_gid_mappings(Some(IdMap::listed(&mappings().gids)));
    });
    let out = succeeds(&bundle);
    assert!(out.contains("200000"), "{out}");
    assert!(out.ends_with("box\n0\n"), "{out}");
}

#[test]
fn streams_can_be_opened_again_and_a_terminal_is_the_user_s() {
    let pod = pod();
    let mut bundle = shell(
        &pod,
        "echo again > /dev/stdout; echo error > /proc/self/fd/2; id -u",
    );
    bundle.process(|p| {
        let user = UserBuilder::default().uid(1000u32).gid(1000u32).build();
        p.set_user(user.unwrap());
    });
    assert_eq!(bundle.run(), ("again\n1000\n".into(), "error\n".into(), 0));

    let mut bundle = shell(&pod, "tty; stty size; stat -c %u:%g /dev/pts/0");
    bundle.launch.stdio.terminal = Some(WindowSize { rows: 9, cols: 99 });
    bundle.process(|p| _ = p.set_terminal(Some(true)));
    let (out, _, code) = bundle.run();
    assert_eq!((out.as_str(), code), ("/dev/pts/0\r\n9 99\r\n0:5\r\n", 0));
}

#[test]
fn processes_are_executed_in_the_same_namespace() {
    let pod = pod();
    let mut bundle = Bundle::new(&["sleep", "1000"]);
    pod.take_in(&mut bundle);
    let launched = bundle.launch();
    let null = fs::File::open("/dev/null").unwrap();
    let (reader, writer) = rustix::pipe::pipe().unwrap();
    let stdio = ExecStdio {
        stdin: null.as_fd(),
        stdout: writer.as_fd(),
        stderr: writer.as_fd(),
    };
    let mut process = process(&[
        "sh",
        "-c",
        "id -u; cat /proc/self/uid_map; echo out > /dev/stdout; kill -0 1",
    ]);
    process.set_user(UserBuilder::default().uid(0u32).gid(0u32).build().unwrap());
    let request = ExecRequest {
        process,
        tty: None,
        end_command: Vec::new(),
    };
    let client = MonitorClient::connect(bundle.state_dir()).unwrap();
    let mut handle = client.exec(request, Some(stdio)).unwrap();
    drop(writer);
    let out = std::io::read_to_string(fs::File::from(reader)).unwrap();
    assert_eq!(handle.wait().unwrap(), 0, "{out}");
    assert!(out.starts_with("0\n") && out.contains("200000"), "{out}");
    assert!(out.ends_with("out\n"), "{out}");
    rctr_runtime::signal(bundle.state_dir(), libc::SIGKILL, None).unwrap();
    reap(launched.monitor_pid);
    bundle.assert_nothing_left();
}

#[test]
fn a_pid_namespace_is_shared_there_too() {
    let pod = pod();
    let mut pause = Bundle::new(&["/pause"]);
    pod.take_in(&mut pause);
    pause.launch.rootfs = Rootfs::Empty;
    let binary = Path::new(env!("CARGO_BIN_EXE_rctr-monitor"));
    pause.bind(binary, "/pause", &["bind", "ro"]);
    // What the namespace's mappings are it says itself.
    pause.linux(|linux| _ = linux.set_uid_mappings(None).set_gid_mappings(None));
    let held = pause.launch();
    let mut bundle = shell(
        &pod,
        "ps -o pid,args | grep -c '^ *1 .*[p]ause'; kill -0 1 && echo own",
    );
    let path = format!("/proc/{}/ns/pid", held.container_pid);
    bundle.join(LinuxNamespaceType::Pid, Some(Path::new(&path)));
    assert_eq!(succeeds(&bundle), "1\nown\n");
    rctr_runtime::signal(pause.state_dir(), libc::SIGTERM, None).unwrap();
    reap(held.monitor_pid);
    pause.assert_nothing_left();
}

#[test]
fn devices_are_made_although_nobody_inside_could() {
    let pod = pod();
    let mut bundle = shell(
        &pod,
        "stat -c '%u:%g %a %t:%T' /dev/sub/mine; head -c 2 /dev/sub/mine | wc -c; mknod /x c 1 5 2>/dev/null || echo no",
    );
    bundle.linux(|linux| {
        let device = LinuxDeviceBuilder::default()
            .path("/dev/sub/mine")
            .typ(LinuxDeviceType::C)
            .major(1)
            .minor(5)
            .file_mode(0o640u32)
            .uid(3u32)
            .gid(0u32)
            .build()
            .unwrap();
        linux.set_devices(Some(vec![device]));
        let mut resources = linux.resources().clone().unwrap();
        let mut rules = resources.devices().clone().unwrap();
        rules.push(
            LinuxDeviceCgroupBuilder::default()
                .allow(true)
                .build()
                .unwrap(),
        );
        resources.set_devices(Some(rules));
        linux.set_resources(Some(resources));
    });
    assert_eq!(bundle.run().0, "3:0 640 1:5\n2\nno\n");
}
