//! Containers run for real: output, exit codes, users, what they see of the host.

mod support;

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use oci_spec::runtime::{MountBuilder, PosixRlimitBuilder, PosixRlimitType, UserBuilder};
use rctr_runtime::{LaunchFds, SeccompPolicy, Status, WindowSize};
use support::pod::await_that;
use support::{Bundle, reap};

fn shell(script: &str) -> Bundle {
    Bundle::new(&["sh", "-c", script])
}

#[test]
fn output_and_exit_codes_come_through() {
    let bundle = shell("echo out; echo err >&2; exit 3");
    let (out, err, code) = bundle.run();
    assert_eq!((out.as_str(), err.as_str(), code), ("out\n", "err\n", 3));
    let log = bundle.log();
    assert!(log.contains(" stdout F out\n"), "{log}");
    assert!(log.contains(" stderr F err\n"), "{log}");
    bundle.assert_nothing_left();
    assert_eq!(Bundle::new(&["true"]).run().2, 0);
    // A signal that ends the program shows as 128 + its number.
    let killed = Bundle::new(&["sh", "-c", "sh -c 'kill -9 $$'; exit $?"]);
    assert_eq!(killed.run().2, 137);
}

/// Unless told so its program does not run, and of one that is given up nothing is left.
#[test]
fn a_program_waits_for_its_launcher_s_word() {
    let bundle = shell("echo ran");
    drop(bundle.begin_launch(LaunchFds::default()).unwrap());
    assert_eq!(
        (bundle.status(), bundle.log()),
        (Status::Created, String::new())
    );
    bundle.assert_nothing_left();
    let launching = bundle.begin_launch(LaunchFds::default()).unwrap();
    await_that("a cgroup", || bundle.cgroup().exists());
    assert_eq!(bundle.log(), "");
    let launched = launching.finish().unwrap();
    reap(launched.monitor_pid);
    assert!(bundle.log().contains(" stdout F ran\n"), "{}", bundle.log());
}

#[test]
fn commands_that_cannot_run_are_told_apart() {
    let (message, code) = Bundle::new(&["nosuch"]).fails();
    assert_eq!(code, 127);
    assert_eq!(
        message,
        "exec: \"nosuch\": executable file not found in $PATH"
    );

    let (message, code) = Bundle::new(&["/no/such"]).fails();
    assert_eq!(code, 127);
    assert_eq!(message, "exec: \"/no/such\": no such file or directory");

    let (message, code) = Bundle::new(&["/etc"]).fails();
    assert_eq!(
        (message.as_str(), code),
        ("exec: \"/etc\": is a directory", 126)
    );

    let bundle = Bundle::new(&["/tmp/data"]);
    let data = bundle.dir.path().join("lower/tmp/data");
    fs::write(&data, "text").unwrap();
    let (message, code) = bundle.fails();
    assert_eq!(
        (message.as_str(), code),
        ("exec: \"/tmp/data\": permission denied", 126)
    );
    fs::set_permissions(&data, fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(&data, b"\x7fELF nonsense").unwrap();
    let (message, code) = bundle.fails();
    assert_eq!(
        (message.as_str(), code),
        ("exec: \"/tmp/data\": exec format error", 126)
    );
    fs::write(&data, "#!/no/interpreter\n").unwrap();
    assert_eq!(bundle.fails().1, 127);
}

#[test]
fn a_container_sees_itself_and_not_the_host() {
    let (out, err, _) = shell(
        "hostname; echo pid $$; ls /proc/self/fd; grep -c . /proc/self/mountinfo >/dev/null; \
         grep Cap /proc/self/status; grep Seccomp: /proc/self/status; env; \
         cat /proc/keys | head -c 1; touch /proc/sys/x 2>/dev/null || echo sys-ro; readlink /dev/fd; pwd",
    )
    .run();
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(&lines[..2], ["box", "pid 1"], "{out}{err}");
    // 0, 1, 2 and the one `ls` reads the directory by.
    assert_eq!(&lines[2..6], ["0", "1", "2", "3"], "{out}");
    assert!(out.contains("CapInh:\t0000000000000000"), "{out}");
    assert!(out.contains("CapEff:\t00000000a80425fb"), "{out}");
    assert!(out.contains("CapBnd:\t00000000a80425fb"), "{out}");
    assert!(out.contains("Seccomp:\t2"), "{out}");
    assert!(out.contains("\nsys-ro\n/proc/self/fd\n/\n"), "{out}");
    let variables = out.lines().filter(|l| l.contains('=')).count();
    // PATH, HOME and the shell's own PWD, SHLVL.
    assert_eq!(variables, 4, "{out}");
}

#[test]
fn cgroups_are_shown_read_only_and_from_the_container_s_own() {
    let bundle = shell(
        "for d in /sys/fs/cgroup/*/; do touch $d/x 2>/dev/null && echo writable $d; done; \
         touch /sys/fs/cgroup/x 2>/dev/null && echo writable; \
         cat /proc/self/cgroup | grep -c ':/$'; grep -c cgroup /proc/self/mountinfo",
    );
    let (out, err, _) = bundle.run();
    assert!(!out.contains("writable"), "{out}{err}");
    let counts: Vec<u32> = out.lines().map(|l| l.parse().unwrap()).collect();
    assert!(counts.iter().all(|&n| n >= 1), "{out}{err}");
}

#[test]
fn another_user_has_no_capabilities_and_only_its_groups() {
    let mut bundle =
        shell("id; grep Cap /proc/self/status; echo again > /dev/stdout; touch /x || echo denied");
    bundle.process(|process| {
        let user = UserBuilder::default().uid(1000u32).gid(1001u32);
        process.set_user(user.additional_gids(vec![7u32]).build().unwrap());
        // As Docker has it for users other than root.
        let mut caps = process.capabilities().clone().unwrap();
        caps.set_effective(Some(Default::default()))
            .set_permitted(Some(Default::default()));
        process.set_capabilities(Some(caps));
    });
    let (out, _, code) = bundle.run();
    assert_eq!(code, 0);
    assert!(out.starts_with("uid=1000 gid=1001 groups=7"), "{out}");
    for set in ["Inh", "Prm", "Eff", "Amb"] {
        assert!(
            out.contains(&format!("Cap{set}:\t0000000000000000")),
            "{out}"
        );
    }
    assert!(out.contains("CapBnd:\t00000000a80425fb"), "{out}");
    assert!(out.contains("again\ndenied\n"), "{out}");
}

#[test]
fn a_program_only_root_may_execute_runs_as_root_only() {
    let secret = || {
        let bundle = Bundle::new(&["/secret/true"]);
        let path = bundle.dir.path().join("lower/secret/true");
        fs::create_dir(path.parent().unwrap()).unwrap();
        fs::copy("/bin/busybox", &path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
        bundle
    };
    assert_eq!(secret().run().2, 0);
    let mut other = secret();
    other.process(|p| {
        p.set_user(UserBuilder::default().uid(5u32).gid(5u32).build().unwrap());
        let mut caps = p.capabilities().clone().unwrap();
        caps.set_effective(Some(Default::default()))
            .set_permitted(Some(Default::default()));
        p.set_capabilities(Some(caps));
    });
    assert_eq!(other.fails().1, 126);
}

#[test]
fn privileges_that_can_never_be_gained_again_and_no_filter_both_work() {
    let mut bundle = shell("grep -E 'NoNewPrivs|Seccomp:' /proc/self/status");
    bundle.process(|p| _ = p.set_no_new_privileges(Some(true)));
    let (out, _, _) = bundle.run();
    assert_eq!(out, "NoNewPrivs:\t1\nSeccomp:\t2\n");
    bundle.process(|p| _ = p.set_no_new_privileges(Some(false)));
    assert_eq!(bundle.run().0, "NoNewPrivs:\t0\nSeccomp:\t2\n");
    bundle.launch.seccomp = SeccompPolicy::Unconfined;
    assert_eq!(bundle.run().0, "NoNewPrivs:\t0\nSeccomp:\t0\n");
}

#[test]
fn a_missing_working_directory_is_made_for_root() {
    let mut bundle = shell("pwd; stat -c %u:%g .");
    bundle.process(|p| {
        p.set_cwd("/new/deep".into());
        p.set_user(UserBuilder::default().uid(9u32).gid(9u32).build().unwrap());
    });
    assert_eq!(bundle.run().0, "/new/deep\n0:0\n");
    // A working directory that leads out through a descriptor is no way out (CVE-2024-21626).
    for fd in 3..12 {
        bundle.process(|p| _ = p.set_cwd(format!("/proc/self/fd/{fd}").into()));
        if bundle.launch_with(Default::default()).is_ok() {
            panic!("fd {fd} was entered");
        }
    }
}

#[test]
fn hostile_images_are_refused() {
    for name in ["dev", "proc", "sys"] {
        let bundle = Bundle::new(&["true"]);
        symlink("/etc", bundle.dir.path().join("lower").join(name)).unwrap();
        let (message, code) = bundle.fails();
        assert_eq!(code, 125);
        assert_eq!(
            message,
            format!("refusing this image: /{name} is a symbolic link")
        );
    }
}

#[test]
fn volumes_follow_links_inside_the_image_only() {
    let mut bundle = shell("cat /data/file");
    let volume = tempfile::tempdir().unwrap();
    fs::write(volume.path().join("file"), "volume").unwrap();
    symlink("/etc", bundle.dir.path().join("lower/data")).unwrap();
    let mut mounts = bundle.spec.mounts().clone().unwrap();
    mounts.push(
        MountBuilder::default()
            .destination("/data")
            .typ("bind")
            .source(volume.path())
            .options(vec!["rbind".to_owned(), "ro".to_owned()])
            .build()
            .unwrap(),
    );
    bundle.spec.set_mounts(Some(mounts));
    let (out, err, _) = bundle.run();
    assert_eq!(out, "volume", "{err}");
}

#[test]
fn a_read_only_root_is_one_and_still_gets_its_working_directory() {
    let mut bundle = shell("touch /x 2>/dev/null || echo ro; pwd");
    let mut root = bundle.spec.root().clone().unwrap();
    root.set_readonly(Some(true));
    bundle.spec.set_root(Some(root));
    bundle.process(|p| _ = p.set_cwd("/made/before".into()));
    assert_eq!(bundle.run().0, "ro\n/made/before\n");
}

#[test]
fn limits_out_of_reach_are_clamped_with_a_warning() {
    let mut bundle = Bundle::new(&["true"]);
    bundle.process(|p| {
        let limit = PosixRlimitBuilder::default()
            .typ(PosixRlimitType::RlimitNofile)
            .hard(u64::MAX - 1)
            .soft(1024u64)
            .build()
            .unwrap();
        p.set_rlimits(Some(vec![limit]))
            .set_oom_score_adj(Some(-900));
    });
    let launched = bundle.launch();
    support::reap(launched.monitor_pid);
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let caps = status
        .lines()
        .find_map(|l| l.strip_prefix("CapEff:"))
        .unwrap();
    let can = u64::from_str_radix(caps.trim(), 16).unwrap() & 1 << 24 != 0;
    assert_eq!(
        launched.warnings.len(),
        if can { 1 } else { 2 },
        "{:?}",
        launched.warnings
    );
}

#[test]
fn a_terminal_is_one() {
    let mut bundle = shell("tty; stty size; ls -l /dev/console | head -c 1");
    bundle.launch.stdio.terminal = Some(WindowSize {
        rows: 40,
        cols: 132,
    });
    bundle.process(|p| _ = p.set_terminal(Some(true)));
    let (out, _, code) = bundle.run();
    assert_eq!((out.as_str(), code), ("/dev/pts/0\r\n40 132\r\nc", 0));
}

#[test]
fn an_init_reaps_and_passes_on() {
    let mut bundle = Bundle::new(&["/sbin/docker-init", "--", "sh", "-c", "echo $$; exit 7"]);
    let monitor = env!("CARGO_BIN_EXE_rctr-monitor");
    let mut mounts = bundle.spec.mounts().clone().unwrap();
    mounts.push(
        MountBuilder::default()
            .destination(rctr_runtime::defaults::init_path())
            .typ("bind")
            .source(monitor)
            .options(vec!["bind".to_owned(), "ro".to_owned()])
            .build()
            .unwrap(),
    );
    bundle.spec.set_mounts(Some(mounts));
    let (out, err, code) = bundle.run();
    assert_eq!((out.as_str(), code), ("2\n", 7), "{err}");
}

#[test]
fn the_monitor_s_binary_cannot_be_written_from_a_container() {
    // The classic way: a program that is a link to the runtime's own binary (CVE-2019-5736).
    let mut bundle = Bundle::new(&["/entry"]);
    symlink("/proc/self/exe", bundle.dir.path().join("lower/entry")).unwrap();
    bundle.process(|p| _ = p.set_args(Some(vec!["/entry".into()])));
    let before = fs::metadata(env!("CARGO_BIN_EXE_rctr-monitor"))
        .unwrap()
        .modified()
        .unwrap();
    let (_, _, code) = bundle.run();
    assert_eq!(code, 125, "the monitor's binary runs as such and refuses");
    let after = fs::metadata(env!("CARGO_BIN_EXE_rctr-monitor"))
        .unwrap()
        .modified()
        .unwrap();
    assert_eq!(before, after);
}
