//! What a container may do: capabilities, seccomp, masked paths, descriptors.

use std::fs;

use rctr_tests::{Env, KEYRING, Running, among_keys};

/// Docker's fourteen.
const DEFAULT_CAPS: u64 = 0xa804_25fb;
const NET_ADMIN: u64 = 1 << 12;
const CHOWN: u64 = 1;

/// Capability sets of a process: inheritable, permitted, effective, bounding, ambient.
fn caps(env: &Env, flags: &[&str]) -> [u64; 5] {
    let out = env.sh(flags, "grep ^Cap /proc/self/status");
    masks(&out.ok().stdout())
}

fn masks(status: &str) -> [u64; 5] {
    ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"].map(|name| {
        let line = status.lines().find(|line| line.starts_with(name));
        let mask = line.and_then(|line| line.split_whitespace().nth(1));
        u64::from_str_radix(mask.expect("a mask"), 16).expect("a number")
    })
}

/// What system calls answer: `result errno` for each, made by the host's perl.
fn syscalls(env: &Env, flags: &[&str], calls: &[&str]) -> Vec<String> {
    let script: String = calls
        .iter()
        .map(|call| {
            format!("$! = 0; my $r = syscall({call}); print $r < 0 ? $!+0 : 'ok', \"\\n\";")
        })
        .collect();
    let library = "/usr/lib/x86_64-linux-gnu";
    let loader = format!("{library}/ld-linux-x86-64.so.2");
    let perl = [
        &loader[..],
        "--library-path",
        library,
        "/usr/bin/perl",
        "-e",
        &script,
    ];
    let words = [
        &["run", "--rm", "-v", "/usr:/usr:ro"],
        flags,
        &["busybox"],
        &perl,
    ]
    .concat();
    env.rctr(words).ok().lines()
}

#[test]
fn capabilities_are_dockers() {
    let env = Env::new();
    let all = DEFAULT_CAPS;
    assert_eq!(caps(&env, &[]), [0, all, all, all, 0]);
    assert_eq!(caps(&env, &["-u", "1000"]), [0, 0, 0, all, 0]);
    let more = all | NET_ADMIN;
    assert_eq!(
        caps(&env, &["--cap-add", "NET_ADMIN"]),
        [0, more, more, more, 0]
    );
    assert_eq!(caps(&env, &["--cap-add", "cap_net_admin"])[2], more);
    let host = masks(&fs::read_to_string("/proc/self/status").expect("a status"))[3];
    assert_eq!(caps(&env, &["--cap-add", "ALL"])[2], host);
    let less = all & !CHOWN;
    assert_eq!(
        caps(&env, &["--cap-drop", "CHOWN"]),
        [0, less, less, less, 0]
    );
    assert_eq!(caps(&env, &["--cap-drop", "ALL"]), [0; 5]);
    let one = ["--cap-drop", "ALL", "--cap-add", "CHOWN"];
    assert_eq!(caps(&env, &one), [0, CHOWN, CHOWN, CHOWN, 0]);
    env.sh(&["--cap-add", "FLY"], "true")
        .exits(125)
        .stderr_has("FLY");
    env.sh(&["--cap-drop", "FLY"], "true")
        .exits(125)
        .stderr_has("FLY");
}

#[test]
fn privileged_has_all_of_the_hosts_capabilities_and_devices() {
    let env = Env::new();
    let host = masks(&fs::read_to_string("/proc/self/status").expect("a status"));
    let own = caps(&env, &["--privileged"]);
    assert_eq!([own[1], own[2], own[3]], [host[3]; 3]);
    env.sh(&["--privileged"], "grep Seccomp: /proc/self/status; ls /dev/kmsg; mount -t tmpfs x /mnt 2>&1 || mkdir /mnt && mount -t tmpfs x /mnt && echo mounted; grep -c . /proc/keys >/dev/null; echo $?")
        .ok()
        .stdout_has("Seccomp:\t0")
        .stdout_has("/dev/kmsg")
        .stdout_has("mounted");
    env.sh(&[], "mkdir /mnt; mount -t tmpfs x /mnt").exits(1);
    env.sh(&[], "ls /dev/kmsg").exits(1);
}

#[test]
fn exec_has_the_containers_capabilities_unless_privileged() {
    let env = Env::new();
    let id = env.run_detached(["--cap-drop", "ALL", "busybox", "sleep", "1000"]);
    let status = ["grep", "^Cap", "/proc/self/status"];
    let plain = env.rctr([&["exec", &id][..], &status].concat());
    assert_eq!(masks(&plain.ok().stdout()), [0; 5]);
    let privileged = env.rctr([&["exec", "--privileged", &id][..], &status].concat());
    let host = masks(&fs::read_to_string("/proc/self/status").expect("a status"));
    assert_eq!(masks(&privileged.ok().stdout())[2], host[3]);
}

#[test]
fn seccomp_refuses_what_dockers_profile_refuses() {
    let env = Env::new();
    env.sh(&[], "grep -E '^(Seccomp|NoNewPrivs):' /proc/self/status")
        .ok()
        .stdout_is("NoNewPrivs:\t0\nSeccomp:\t2");
    let denied = [
        "272, 0x10000000",    // unshare(CLONE_NEWUSER)
        "272, 0x00020000",    // unshare(CLONE_NEWNS)
        "41, 38, 5, 0",       // socket(AF_ALG)
        "41, 40, 1, 0",       // socket(AF_VSOCK)
        "250, 0, 0, 0",       // keyctl
        "248, 0, 0, 0, 0, 0", // add_key
        "321, 0, 0, 0",       // bpf
        "165, 0, 0, 0, 0, 0", // mount
        "246, 0, 0, 0, 0",    // kexec_load
        "425, 1, 0",          // io_uring_setup
    ];
    let answers = syscalls(&env, &[], &denied);
    assert_eq!(answers, ["1"; 10], "EPERM for {denied:?}");
    // clone3 answers ENOSYS, so that libraries fall back to clone; a plain socket works.
    assert_eq!(
        syscalls(&env, &[], &["435, 0, 0", "41, 2, 1, 0"]),
        ["38", "ok"]
    );
    // So does a call that is newer than the profile: it may be there tomorrow, and libraries then try it first.
    assert_eq!(syscalls(&env, &[], &["5000, 0"]), ["38"]);
}

#[test]
fn seccomp_unconfined_and_profiles() {
    let env = Env::new();
    let unconfined = ["--security-opt", "seccomp=unconfined"];
    env.sh(&unconfined, "grep ^Seccomp: /proc/self/status")
        .ok()
        .stdout_is("Seccomp:\t0");
    assert_eq!(syscalls(&env, &unconfined, &["272, 0x10000000"]), ["ok"]);
    let file = env.path("profile.json");
    let profile = r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
        {"names": ["getpriority"], "action": "SCMP_ACT_ERRNO", "errnoRet": 77}]}"#;
    fs::write(&file, profile).expect("a file");
    let own = format!("seccomp={}", file.display());
    assert_eq!(
        syscalls(
            &env,
            &["--security-opt", &own],
            &["140, 0, 0", "272, 0x10000000"]
        ),
        ["77", "ok"]
    );
    fs::write(&file, "{nonsense").expect("a file");
    env.sh(&["--security-opt", &own], "true")
        .exits(125)
        .stderr_has("profile.json");
    env.sh(&["--security-opt", "seccomp=/no/such"], "true")
        .exits(125)
        .stderr_has("/no/such");
    env.sh(&["--security-opt", "nonsense=1"], "true")
        .exits(125)
        .stderr_has("nonsense");
}

#[test]
fn apparmor_profiles_are_taken_or_their_absence_is_told() {
    let env = Env::new();
    let enabled = fs::read_to_string("/sys/module/apparmor/parameters/enabled")
        .is_ok_and(|text| text.starts_with('Y'));
    let run = |profile: &str| {
        let option = format!("apparmor={profile}");
        env.sh(&["--security-opt", &option], "echo ran")
    };
    run("unconfined").ok().stdout_is("ran");
    let named = run("no-such-profile");
    if enabled {
        named.refused(125, "no-such-profile");
    } else {
        named
            .ok()
            .stdout_is("ran")
            .stderr_has("WARNING: AppArmor is not enabled on this host")
            .stderr_has("no-such-profile");
    }
}

#[test]
fn no_new_privileges_is_set_when_asked_for() {
    let env = Env::new();
    for option in ["no-new-privileges", "no-new-privileges:true"] {
        env.sh(
            &["--security-opt", option],
            "grep ^NoNewPrivs: /proc/self/status",
        )
        .ok()
        .stdout_is("NoNewPrivs:\t1");
    }
    env.sh(&["-u", "1000"], "grep ^NoNewPrivs: /proc/self/status")
        .ok()
        .stdout_is("NoNewPrivs:\t0");
}

#[test]
fn masked_and_read_only_paths_are_dockers() {
    let env = Env::new();
    let script = "for f in /proc/kcore /proc/keys /proc/timer_list /proc/sched_debug /proc/latency_stats \
                  /proc/timer_stats; do [ -e $f ] && head -c 1 $f; done; \
                  ls /proc/acpi /proc/scsi /sys/firmware /sys/devices/virtual/powercap 2>/dev/null | grep -v :; echo end";
    assert_eq!(env.sh(&[], script).ok().stdout().trim_start(), "end");
    for path in [
        "/proc/sys/kernel/hostname",
        "/proc/sysrq-trigger",
        "/proc/irq/default_smp_affinity",
        "/sys/kernel/uevent_helper",
    ] {
        let out = env.sh(&[], &format!("[ ! -e {path} ] || echo x > {path}"));
        assert!(
            out.status() != 0 || !fs::exists(path).expect("a path"),
            "{path} is writable"
        );
    }
    env.sh(&[], "touch /proc/bus/x /proc/fs/x").exits(1);
    env.sh(
        &["--security-opt", "systempaths=unconfined"],
        "head -c 1 /proc/timer_list | wc -c; mount | grep -c ' /proc/'",
    )
    .stdout_is("1\n0");
}

#[test]
fn nothing_of_the_host_is_open_or_seen() {
    let env = Env::new();
    env.sh(&[], "ls /proc/self/fd").ok().stdout_is("0\n1\n2\n3");
    env.sh(&[], "echo /proc/[0-9]*").ok().stdout_is("/proc/1");
    let out = env.sh(&[], "cat /proc/self/mountinfo");
    out.ok().stdout_lacks("/sys/fs/cgroup/memory/rctr");
    env.sh(&[], "cat /proc/self/cgroup")
        .ok()
        .stdout_lacks("rctr-test");
    env.sh(&["-i"], "readlink /proc/self/fd/0")
        .ok()
        .stdout_has("pipe:");
    env.sh(&[], "readlink /proc/self/fd/0")
        .ok()
        .stdout_is("/dev/null");
    let id = env.run_detached(["busybox", "sleep", "1000"]);
    env.rctr(["exec", &id, "ls", "/proc/self/fd"])
        .ok()
        .stdout_is("0\n1\n2\n3");
}

#[test]
fn the_usual_devices_and_no_others() {
    let env = Env::new();
    env.sh(&[], "ls /dev | grep -v core").ok().stdout_is(
        "fd\nfull\nmqueue\nnull\nptmx\npts\nrandom\nshm\nstderr\nstdin\nstdout\ntty\nurandom\nzero",
    );
    env.sh(
        &[],
        "mknod /dev/sda b 8 0 && dd if=/dev/sda of=/dev/null count=1",
    )
    .exits(1)
    .stderr_has("Operation not permitted");
}

#[test]
fn keys_of_whoever_starts_a_container_are_not_its_own() {
    let env = Env::new();
    env.rctr(["pull", "--quiet", "python"]).ok();
    let run = env.command([
        "run",
        "-d",
        "--privileged",
        "--network",
        "none",
        "--name",
        "keys",
        "python",
        "sleep",
        "100",
    ]);
    Running::start(among_keys(run, c"rctr-test-caller"), None)
        .finish()
        .ok();
    let asked = || {
        let exec = env.command(["exec", "--privileged", "keys", "python3", "-c", KEYRING]);
        let said = Running::start(among_keys(exec, c"rctr-test-other"), None).finish();
        said.ok().stdout()
    };
    let first = asked();
    assert!(!first.contains("rctr-test"), "{first}");
    assert_eq!(asked(), first, "one for all of the container");
}
