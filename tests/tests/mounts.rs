//! Volumes, binds, tmpfs, the read-only root and /dev/shm.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::Path;

use nix::mount::{MntFlags, umount2};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rctr_tests::{Env, Mounted};

/// A directory of the host's with one file.
fn host_dir(env: &Env) -> String {
    let dir = env.path("host");
    fs::create_dir_all(&dir).expect("a directory");
    fs::write(dir.join("file"), "from the host\n").expect("a file");
    dir.to_str().expect("a path in UTF-8").to_owned()
}

#[test]
fn a_bind_shows_the_hosts_directory_and_writes_to_it() {
    let env = Env::new();
    let dir = host_dir(&env);
    env.sh(
        &["-v", &format!("{dir}:/in")],
        "cat /in/file; echo back > /in/new",
    )
    .ok()
    .stdout_is("from the host");
    let new = fs::read_to_string(format!("{dir}/new")).expect("a file");
    assert_eq!(new, "back\n");
    env.sh(
        &["-v", &format!("{dir}/file:/one/file:ro")],
        "cat /one/file",
    )
    .ok()
    .stdout_is("from the host");
}

#[test]
fn a_read_only_bind_cannot_be_written() {
    let env = Env::new();
    let dir = host_dir(&env);
    let mount = format!("type=bind,source={dir},target=/in,readonly");
    for flags in [["-v", &format!("{dir}:/in:ro")], ["--mount", &mount]] {
        env.sh(&flags, "touch /in/x")
            .exits(1)
            .stderr_has("Read-only file system");
    }
    assert!(!fs::exists(format!("{dir}/x")).expect("a path"));
}

#[test]
fn a_missing_source_is_made_for_v_and_refused_for_mount() {
    let env = Env::new();
    let missing = env.path("missing/deep");
    let path = missing.to_str().expect("a path in UTF-8");
    env.sh(
        &["--mount", &format!("type=bind,src={path},dst=/m")],
        "true",
    )
    .refused(125, path);
    assert!(!missing.exists());
    env.sh(&["-v", &format!("{path}:/m")], "ls /m")
        .ok()
        .stdout_is("");
    assert!(missing.is_dir());
    env.sh(&["-v", "relative/path:/m"], "true")
        .exits(125)
        .stderr_has("relative/path");
    env.sh(&["-v", &format!("{path}:not-absolute")], "true")
        .exits(125)
        .stderr_has("not-absolute");
}

#[test]
fn a_named_volume_lives_on_and_is_shared() {
    let env = Env::new();
    env.sh(&["-v", "data:/d"], "echo kept > /d/f").ok();
    env.sh(
        &["-v", "data:/elsewhere:ro"],
        "cat /elsewhere/f; touch /elsewhere/g",
    )
    .exits(1)
    .stdout_is("kept");
    env.sh(&["--mount", "type=volume,src=data,dst=/d"], "cat /d/f")
        .ok()
        .stdout_is("kept");
    env.rctr(["create", "--name", "one", "-v", "data:/d", "busybox"])
        .ok();
    let mount = env.inspect("one")["Mounts"][0].take();
    assert_eq!(
        (&mount["Type"], &mount["Name"], &mount["RW"]),
        (&"volume".into(), &"data".into(), &true.into()),
        "{mount}"
    );
    env.sh(&["-v", "bad name:/d"], "true")
        .exits(125)
        .stderr_has("bad name");
}

#[test]
fn a_new_volume_takes_the_images_content_with_owner_mode_and_links() {
    let env = Env::new();
    let script = "stat -c '%u:%g %a' /data /data/seed; cat /data/seed; readlink /data/link";
    let seen = "1000:1000 750\n1000:1000 640\nseed\nseed";
    let run = |flags: &[&str], script: &str| {
        env.rctr([&["run", "--rm"], flags, &["volume", "sh", "-c", script]].concat())
    };
    run(&[], script).ok().stdout_is(seen);
    run(&["-v", "named:/data"], script).ok().stdout_is(seen);
    // What is in the volume by now stays.
    run(
        &["-v", "named:/data"],
        "rm /data/seed; echo mine > /data/own",
    )
    .ok();
    run(&["-v", "named:/data"], "ls /data")
        .ok()
        .stdout_is("link\nown");
    run(&["-v", "bare:/data:nocopy"], "ls /data")
        .ok()
        .stdout_is("");
    // A bind hides, and takes nothing.
    let dir = host_dir(&env);
    run(&["-v", &format!("{dir}:/data")], "ls /data")
        .ok()
        .stdout_is("file");
}

#[test]
fn a_volume_of_the_image_is_anonymous_and_goes_with_rm() {
    let env = Env::new();
    env.rctr(["run", "--name", "vol", "volume", "true"]).ok();
    let mount = env.inspect("vol")["Mounts"][0].take();
    assert_eq!(mount["Destination"], "/data", "{mount}");
    assert_eq!(mount["Name"].as_str().map(str::len), Some(64), "{mount}");
    let source = mount["Source"].as_str().expect("a path").to_owned();
    assert!(fs::exists(&source).expect("a path"));
    env.rctr(["rm", "-v", "vol"]).ok();
    assert!(!fs::exists(&source).expect("a path"));
    env.rctr(["run", "--rm", "volume", "true"]).ok();
    let volumes = fs::read_dir(env.root().join("volumes")).map_or(0, Iterator::count);
    assert_eq!(volumes, 0, "--rm takes anonymous volumes with it");
}

#[test]
fn propagation_that_cannot_be_is_refused() {
    let env = Env::new();
    let dir = host_dir(&env);
    // A mount of its own, shared with nobody.
    let _mount = Mounted::tmpfs(Path::new(&dir), "1m");
    let plain = env.sh(
        &["-v", &format!("{dir}:/in")],
        "grep ' /in ' /proc/self/mountinfo",
    );
    plain.ok().stdout_lacks("shared:").stdout_lacks("master:");
    for (flag, word) in [("rshared", "shared"), ("slave", "shared or slave")] {
        let text = format!("path {dir} is mounted on {dir} but it is not a {word} mount");
        let run = env.sh(&["-v", &format!("{dir}:/in:{flag}")], "true");
        run.refused(125, &text);
    }
    env.sh(&["-v", &format!("{dir}:/in:sideways")], "true")
        .exits(125)
        .stderr_has("sideways");
}

#[test]
fn mounts_made_later_pass_as_asked() {
    let env = Env::new();
    let dir = env.path("shared");
    let (late, out) = (dir.join("late"), dir.join("out"));
    for dir in [&late, &out] {
        fs::create_dir_all(dir).expect("a directory");
    }
    let _mount = Mounted::shared(&dir);
    let run = |flag: &str| {
        let volume = format!("{}:/in{flag}", dir.display());
        let script = "sleep 1000 & wait";
        env.run_detached(["--privileged", "-v", &volume, "busybox", "sh", "-c", script])
    };
    let [shared, slave, private] = [":rshared", ":rslave", ""].map(run);
    // Inwards.
    let _later = Mounted::tmpfs(&late, "1m");
    fs::write(late.join("host"), "").expect("a file");
    let seen = |id: &str, dir: &str| env.rctr(["exec", id, "ls", dir]).ok().stdout();
    let inside = [&shared, &slave, &private].map(|id| seen(id, "/in/late"));
    assert_eq!(inside, ["host", "host", ""]);
    // Outwards.
    let mount = |id: &str| {
        let script = "mount -t tmpfs x /in/out && touch /in/out/$HOSTNAME";
        env.rctr(["exec", id, "sh", "-c", script]).ok();
    };
    mount(&private);
    mount(&slave);
    assert_eq!(fs::read_dir(&out).expect("a directory").count(), 0);
    mount(&shared);
    let found = fs::read_dir(&out).expect("a directory").next();
    let found = found.expect("a file").expect("a file").file_name();
    assert!(shared.starts_with(found.to_str().expect("an id")));
    // The kernel keeps it when its maker is gone, as with Docker; nothing else is left of a killed monitor.
    let monitor = env.monitor_of(&shared).expect("a monitor");
    kill(Pid::from_raw(monitor), Signal::SIGKILL).expect("it lives");
    env.wait_status(&shared, "exited");
    umount2(&out, MntFlags::MNT_DETACH).expect("it is mounted");
    let points = || fs::read_to_string("/proc/self/mountinfo").expect("a table");
    let below = format!(" {}/", env.root().display());
    assert!(!points().contains(&below), "{}", points());
}

#[test]
fn nothing_covers_a_part_of_proc() {
    let env = Env::new();
    let dir = host_dir(&env);
    for target in ["/proc/sys", "/proc/1/attr", "/proc/nosuch"] {
        env.sh(&["-v", &format!("{dir}:{target}")], "true")
            .exits(125)
            .stderr_has("rctr: ");
    }
    env.sh(&["-v", &format!("{dir}:/proc/sys")], "true")
        .refused(
            125,
            "/proc/sys cannot be mounted because it is inside /proc",
        );
    env.sh(&["-v", &format!("{dir}:/proc")], "true").refused(
        125,
        "/proc cannot be mounted because it is not of type proc",
    );
    let load = format!("{dir}/file:/proc/loadavg");
    env.sh(&["-v", &load], "cat /proc/loadavg")
        .ok()
        .stdout_is("from the host");
}

#[test]
fn labels_are_not_missed_where_there_are_none() {
    let env = Env::new();
    env.rctr(["pull", "-q", "busybox"]).ok();
    let dir = host_dir(&env);
    for option in ["z", "Z", "ro,z"] {
        let out = env.sh(&["-v", &format!("{dir}:/in:{option}")], "cat /in/file");
        out.ok().quiet().stdout_is("from the host");
    }
}

#[test]
fn tmpfs_has_its_options_and_forgets() {
    let env = Env::new();
    let flags = ["--tmpfs", "/t:size=1m,mode=1700", "--tmpfs", "/plain"];
    env.sh(
        &flags,
        "stat -c %a /t; df -k /t | tail -1 | awk '{print $2}'; grep ' /plain ' /proc/mounts",
    )
    .ok()
    .stdout_has("1700\n1024\n")
    .stdout_has("tmpfs /plain tmpfs rw,nosuid,nodev,noexec");
    env.sh(
        &["--mount", "type=tmpfs,dst=/m,tmpfs-size=2m"],
        "df -k /m | tail -1 | awk '{print $2}'",
    )
    .ok()
    .stdout_is("2048");
    env.sh(
        &["--tmpfs", "/t:size=1m"],
        "dd if=/dev/zero of=/t/x bs=64k count=32 2>&1",
    )
    .exits(1)
    .stdout_has("No space left");
}

#[test]
fn a_read_only_root_leaves_shm_and_mounts_writable() {
    let env = Env::new();
    let script = "for d in / /etc /root; do touch $d/x 2>&1; done; touch /dev/shm/x /t/x /v/x && echo fine; \
                  echo x >> /etc/hosts";
    let out = env.sh(&["--read-only", "--tmpfs", "/t", "-v", "vol:/v"], script);
    out.exits(1).stdout_has("touch: //x: Read-only file system");
    out.stdout_has("touch: /etc/x: Read-only")
        .stdout_has("fine");
    out.stderr_has("/etc/hosts: Read-only file system");
    env.sh(&[], "echo '1.2.3.4 x' >> /etc/hosts && tail -1 /etc/hosts")
        .ok()
        .stdout_is("1.2.3.4 x");
}

#[test]
fn shm_is_64_mb_or_as_asked() {
    let env = Env::new();
    let size = "df -k /dev/shm | tail -1 | awk '{print $2}'";
    env.sh(&[], size).ok().stdout_is("65536");
    env.sh(&["--shm-size", "8m"], size).ok().stdout_is("8192");
    // As with Docker, 0 is what is usual.
    env.sh(&["--shm-size", "0"], size).ok().stdout_is("65536");
    env.sh(&["--shm-size", "much"], "true")
        .exits(125)
        .stderr_has("much");
}

#[test]
fn nested_mounts_come_in_the_right_order_and_duplicates_are_refused() {
    let env = Env::new();
    let dir = host_dir(&env);
    let flags = ["-v", &format!("{dir}:/a/b"), "--tmpfs", "/a"];
    env.sh(&flags, "cat /a/b/file")
        .ok()
        .stdout_is("from the host");
    env.sh(&["-v", &format!("{dir}:/a"), "--tmpfs", "/a"], "true")
        .exits(125)
        .stderr_has("/a");
}

#[test]
fn an_anonymous_volume_gives_way_and_the_last_tmpfs_counts() {
    let env = Env::new();
    let script = "grep ' /t ' /proc/mounts";
    let named = env.sh(&["-v", "/t", "-v", "named:/t", "-v", "/t"], "touch /t/kept");
    named.ok();
    let twice = ["-v", "named:/t", "-v", "named:/t"];
    env.sh(&twice, "ls /t").ok().stdout_is("kept");
    env.sh(
        &["--tmpfs", "/t:size=1m", "-v", "/t", "--tmpfs", "/t:size=2m"],
        script,
    )
    .ok()
    .stdout_has("size=2048k")
    .stdout_lacks("size=1024k");
    env.sh(&["-v", "named:/t", "-v", "other:/t"], "true")
        .refused(125, "Duplicate mount point: /t");
}

#[test]
fn mount_targets_stay_inside_the_container() {
    let env = Env::new();
    let dir = host_dir(&env);
    let volume = env.path("evil");
    fs::create_dir(&volume).expect("a directory");
    let outside = env.path("outside");
    fs::create_dir(&outside).expect("a directory");
    symlink(&outside, volume.join("link")).expect("a link");
    let flags = [
        "-v",
        &format!("{}:/evil", volume.display()),
        "-v",
        &format!("{dir}:/evil/link/deep"),
    ];
    // Refused or made inside: never on the host's side of the link.
    env.sh(&flags, "true");
    assert_eq!(fs::read_dir(&outside).expect("a directory").count(), 0);
}

#[test]
fn owners_and_modes_of_a_bind_are_the_hosts() {
    let env = Env::new();
    let dir = host_dir(&env);
    let file = format!("{dir}/file");
    chown(&file, Some(1234), Some(70_000)).expect("root may");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o4750)).expect("root may");
    env.sh(
        &["-v", &format!("{dir}:/in")],
        "stat -c '%u:%g %a' /in/file",
    )
    .ok()
    .stdout_is("1234:70000 4750");
}
