//! What containers of a pod share: namespaces that are kept without a process, and a PID namespace with one.

mod support;

use std::fs;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use oci_spec::runtime::LinuxNamespaceType;
use rctr_runtime::namespaces::{PinRequest, is_pinned, pin, unpin};
use rctr_runtime::{Error, Rootfs, Status, reap_ended};
use support::pod::{Pod, await_that};
use support::{Bundle, reap};

fn everything() -> PinRequest<'static> {
    PinRequest {
        new_net: true,
        ipc: true,
        uts: true,
        hostname: Some("pod-0".to_owned()),
        sysctls: [
            ("kernel.msgmax", "4096"),
            ("net.ipv4.ip_unprivileged_port_start", "0"),
            ("fs.mqueue.msg_max", "7"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into(),
        shm_size: Some(1 << 20),
        ..PinRequest::default()
    }
}

fn mounts() -> String {
    fs::read_to_string("/proc/self/mountinfo").unwrap()
}

#[test]
fn containers_find_what_was_set_for_the_pod() {
    let pod = Pod::new(&everything());
    let run = |script: &str| {
        let mut bundle = Bundle::new(&["sh", "-c", script]);
        pod.take_in(&mut bundle);
        let (out, err, code) = bundle.run();
        assert_eq!((err.as_str(), code), ("", 0));
        bundle.assert_nothing_left();
        out
    };
    let out = run(
        "hostname; cat /proc/sys/kernel/msgmax /proc/sys/net/ipv4/ip_unprivileged_port_start \
         /proc/sys/fs/mqueue/msg_max; stat -c %a /dev/shm; echo shared > /dev/shm/file; \
         touch /dev/mqueue/queue; for n in net ipc uts; do readlink /proc/self/ns/$n; done",
    );
    assert!(out.starts_with("pod-0\n4096\n0\n7\n1777\n"), "{out}");
    let again = run(
        "cat /dev/shm/file; ls /dev/mqueue; grep -c . /proc/net/dev; \
         dd if=/dev/zero of=/dev/shm/big bs=1M count=2 2>/dev/null || echo full; rm -f /dev/shm/big; \
         hostname; for n in net ipc uts; do readlink /proc/self/ns/$n; done",
    );
    assert!(
        again.starts_with("shared\nqueue\n3\nfull\npod-0\n"),
        "{again}"
    );
    let last = |text: &str| text.lines().rev().take(3).collect::<String>();
    assert_eq!(last(&out), last(&again));
    // Nothing of it is the host's.
    let host = fs::read_link("/proc/self/ns/ipc").unwrap();
    assert!(!out.contains(host.to_str().unwrap()));
}

#[test]
fn a_container_s_own_parameters_are_set_in_the_pod() {
    let pod = Pod::new(&everything());
    let mut bundle = Bundle::new(&["cat", "/proc/sys/net/ipv4/ip_forward"]);
    pod.take_in(&mut bundle);
    bundle.linux(|linux| {
        let sysctl = [("net.ipv4.ip_forward".to_owned(), "1".to_owned())];
        linux.set_sysctl(Some(sysctl.into()));
    });
    assert_eq!(bundle.run().0, "1\n");
}

#[test]
fn what_is_pinned_lasts_until_it_is_let_go_and_nothing_is_left() {
    let dir = tempfile::tempdir().unwrap();
    let pods = dir.path().join("pods");
    fs::create_dir(&pods).unwrap();
    let (one, two) = (pods.join("one"), pods.join("two"));
    let pinned = pin(&one, &everything()).unwrap();
    let net = fs::File::open(pinned.net.as_ref().unwrap()).unwrap();
    let given = PinRequest {
        net: Some(net.as_fd()),
        ..PinRequest::default()
    };
    let other = pin(&two, &given).unwrap();
    use std::os::unix::fs::MetadataExt;
    let inode = |path: &Option<PathBuf>| fs::metadata(path.as_ref().unwrap()).unwrap().ino();
    assert_eq!(inode(&pinned.net), inode(&other.net));
    assert_eq!((&other.ipc, &other.uts, &other.shm), (&None, &None, &None));
    assert!(is_pinned(pinned.uts.as_ref().unwrap()) && !is_pinned(&one));
    // Once, also where the directory lies on a shared mount.
    let place = format!(" {} ", pinned.uts.as_ref().unwrap().display());
    assert_eq!(mounts().matches(&place).count(), 1);
    assert!(
        matches!(pin(&one, &given), Err(Error::File { .. })),
        "twice"
    );
    assert!(is_pinned(pinned.uts.as_ref().unwrap()), "the first stays");

    unpin(&one).unwrap();
    assert!(!one.exists() && is_pinned(other.net.as_ref().unwrap()));
    unpin(&one).unwrap();
    unpin(&two).unwrap();
    assert!(
        !mounts().contains(dir.path().to_str().unwrap()),
        "a mount is left"
    );
    assert_eq!(fs::read_dir(&pods).unwrap().count(), 0);
}

#[test]
fn a_pin_that_fails_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let pod = dir.path().join("pod");
    let with = |name: &str, value: &str| PinRequest {
        sysctls: [(name.to_owned(), value.to_owned())].into(),
        ..everything()
    };
    let host = pin(&pod, &with("vm.swappiness", "1")).unwrap_err();
    assert!(matches!(host, Error::HostSysctl { .. }), "{host}");
    let bad = pin(&pod, &with("kernel.msgmax", "much")).unwrap_err();
    assert!(matches!(bad, Error::Sysctl { .. }), "{bad}");
    assert!(!pod.exists());
    assert!(
        !mounts().contains(dir.path().to_str().unwrap()),
        "a mount is left"
    );
}

/// A crash half-way leaves files without mounts, mounts without the rest.
#[test]
fn half_of_a_pod_is_cleared_too() {
    let dir = tempfile::tempdir().unwrap();
    let pod = dir.path().join("pod");
    fs::create_dir(&pod).unwrap();
    fs::write(pod.join("net"), "").unwrap();
    fs::create_dir(pod.join("shm")).unwrap();
    unpin(&pod).unwrap();
    assert!(!pod.exists());
}

/// Monitors have mount namespaces of their own: a namespace must not live on in them.
#[test]
fn a_pod_s_end_is_seen_by_the_monitors_of_others() {
    let pod = Pod::new(&everything());
    let run = |inside: bool| {
        let mut bundle = Bundle::new(&["sleep", "1000"]);
        bundle.launch.state_dir = pod.path.parent().unwrap().with_file_name(&bundle.launch.id);
        fs::create_dir(&bundle.launch.state_dir).unwrap();
        if inside {
            pod.take_in(&mut bundle);
        }
        let launched = bundle.launch();
        (bundle, launched)
    };
    let (member, stranger) = (run(true), run(false));
    let sees = |monitor: i32, path: &Path| {
        let mounts = fs::read_to_string(format!("/proc/{monitor}/mountinfo")).unwrap();
        let mut places = mounts.lines().filter_map(|line| line.split(' ').nth(4));
        places.any(|place| Path::new(place).starts_with(path))
    };
    let sibling = pod.path.with_file_name("sibling");
    pin(&sibling, &everything()).unwrap();
    assert!(
        sees(stranger.1.monitor_pid, &sibling),
        "as all that is mounted"
    );
    unpin(&sibling).unwrap();
    assert!(!sees(stranger.1.monitor_pid, &sibling));
    assert!(sees(stranger.1.monitor_pid, &pod.path));
    let pods = pod.path.parent().unwrap();
    await_that("it keeps what it has no use for", || {
        !sees(member.1.monitor_pid, pods)
    });
    for (bundle, launched) in [member, stranger] {
        rctr_runtime::signal(bundle.state_dir(), libc::SIGKILL, None).unwrap();
        reap(launched.monitor_pid);
    }
}

/// The pause container, its PID namespace, and a container in it.
fn pause() -> Bundle {
    let mut bundle = Bundle::new(&["/pause"]);
    let binary = Path::new(env!("CARGO_BIN_EXE_rctr-monitor"));
    bundle.bind(binary, "/pause", &["bind", "ro"]);
    bundle.launch.rootfs = Rootfs::Empty;
    bundle
}

fn in_namespace_of(pid: i32, args: &[&str]) -> Bundle {
    let mut bundle = Bundle::new(args);
    let path = PathBuf::from(format!("/proc/{pid}/ns/pid"));
    bundle.join(LinuxNamespaceType::Pid, Some(&path));
    bundle
}

fn is_gone(pid: i32) -> bool {
    !Path::new(&format!("/proc/{pid}")).exists()
}

#[test]
fn a_shared_pid_namespace_is_held_and_swept_by_pause() {
    let pause = pause();
    let held = pause.launch();
    let pid = held.container_pid;

    let script = "echo $$; ps -o pid,args | grep -c '[p]ause'; (sleep 0.1 & ); exit 3";
    let one = in_namespace_of(pid, &["sh", "-c", script]);
    let (out, err, code) = one.run();
    assert!(
        out.ends_with("\n1\n") && !out.starts_with("1\n"),
        "{out}{err}"
    );
    assert_eq!(code, 3);
    one.assert_nothing_left();
    // What it left behind has become pause's child, and is no zombie.
    await_that("a zombie stays", || {
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
        children.unwrap().trim().is_empty()
    });

    // Small: what is not the program itself, of which all that are alike have one copy.
    let memory = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    let own = memory
        .lines()
        .find_map(|line| line.strip_prefix("Private_Dirty:"));
    let kilobytes = own.unwrap().trim().trim_end_matches(" kB").parse::<u32>();
    assert!(kilobytes.unwrap() < 150, "{memory}");

    rctr_runtime::signal(pause.state_dir(), libc::SIGTERM, None).unwrap();
    reap(held.monitor_pid);
    assert!(matches!(pause.status(), Status::Exited(exit) if exit.code == 0));
    pause.assert_nothing_left();
}

#[test]
fn the_end_of_a_container_in_a_shared_pid_namespace_is_the_end_of_all_its_processes() {
    let pause = pause();
    let held = pause.launch();
    let pid = held.container_pid;
    let script =
        "for n in 1 2 3; do (setsid sh -c 'while :; do sleep 1; done' &); done; sleep 1000";
    let one = in_namespace_of(pid, &["sh", "-c", script]);
    let other = in_namespace_of(pid, &["sleep", "1000"]);
    let (first, second) = (one.launch(), other.launch());
    await_that("no children", || {
        one.cgroup().processes().unwrap().len() >= 7
    });
    let all = one.cgroup().processes().unwrap();

    rctr_runtime::signal(one.state_dir(), libc::SIGKILL, None).unwrap();
    reap(first.monitor_pid);
    assert!(matches!(one.status(), Status::Exited(exit) if exit.code == 137));
    one.assert_nothing_left();
    await_that("a process lives on", || all.iter().all(|&pid| is_gone(pid)));
    assert!(
        matches!(other.status(), Status::Running { .. }),
        "the neighbour"
    );

    // With the namespace's first process all of them go.
    rctr_runtime::signal(pause.state_dir(), libc::SIGKILL, None).unwrap();
    reap(held.monitor_pid);
    reap(second.monitor_pid);
    assert!(matches!(other.status(), Status::Exited(exit) if exit.code == 137));
    pause.assert_nothing_left();
    other.assert_nothing_left();
}

#[test]
fn monitors_are_reaped_by_who_launched_them() {
    let bundle = Bundle::new(&["true"]);
    let launched = bundle.launch();
    let mut seen = Vec::new();
    await_that("not reaped", || {
        seen.extend(reap_ended());
        seen.contains(&launched.monitor_pid)
    });
    let error = nix::sys::wait::waitpid(nix::unistd::Pid::from_raw(launched.monitor_pid), None);
    assert_eq!(error, Err(nix::Error::ECHILD));
}
