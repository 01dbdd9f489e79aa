//! `volume …`, options of the local driver, and what takes space.

use std::fs;

use rctr_tests::{Env, text};

/// What is mounted on the host of this test's.
fn mounts(env: &Env) -> Vec<String> {
    let table = fs::read_to_string("/proc/self/mountinfo").expect("the mounts");
    let dir = text(&env.path(""));
    let ours = table.lines().filter(|line| line.contains(&dir));
    ours.map(str::to_owned).collect()
}

#[test]
fn volumes_are_made_looked_at_and_removed() {
    let env = Env::new();
    env.rctr(["volume", "create", "--label", "tier=db", "data"])
        .ok()
        .stdout_is("data");
    env.rctr(["volume", "create", "data"])
        .ok()
        .stdout_is("data");
    let anonymous = env.rctr(["volume", "create"]).ok().stdout();
    assert_eq!(anonymous.len(), 64, "{anonymous}");
    let volume = env.rctr(["volume", "inspect", "data"]).ok().json()[0].take();
    let mountpoint = text(&env.root().join("volumes/data/_data"));
    assert_eq!(
        (
            &volume["Name"],
            &volume["Driver"],
            &volume["Scope"],
            &volume["Mountpoint"]
        ),
        (
            &"data".into(),
            &"local".into(),
            &"local".into(),
            &mountpoint.as_str().into()
        )
    );
    assert_eq!(
        (&volume["Labels"]["tier"], &volume["Options"]),
        (&"db".into(), &().into()),
        "{volume}"
    );
    env.rctr(["volume", "inspect", "-f", "{{.Name}} {{.Labels}}", "data"])
        .ok()
        .stdout_is("data map[tier:db]");
    let table = env.rctr(["volume", "ls"]);
    assert_eq!(table.ok().lines()[0], "DRIVER    VOLUME NAME");
    assert!(table.lines().contains(&"local     data".to_owned()));
    env.rctr(["volume", "ls", "-q", "-f", "label=tier", "-f", "name=^da"])
        .ok()
        .stdout_is("data");
    env.rctr([
        "volume",
        "ls",
        "--format",
        "{{.Name}} {{.Label \"tier\"}}",
        "-f",
        "name=data",
    ])
    .ok()
    .stdout_is("data db");

    env.rctr(["create", "--name", "c1", "-v", "data:/d", "busybox"])
        .ok();
    let id = env.inspect("c1")["Id"].as_str().expect("an id").to_owned();
    env.rctr(["volume", "ls", "-q", "-f", "dangling=true"])
        .ok()
        .stdout_is(&anonymous);
    let in_use = format!("remove data: volume is in use - [{id}]");
    env.rctr(["volume", "rm", "data"]).refused(1, &in_use);
    env.rctr(["volume", "rm", "-f", "data"]).refused(1, &in_use);
    env.rctr(["rm", "c1"]).ok();
    env.rctr(["volume", "rm", "data", "nosuch"])
        .exits(1)
        .stdout_is("data")
        .stderr_has("get nosuch: no such volume");
    env.rctr(["volume", "rm", "-f", "nosuch"])
        .ok()
        .stdout_is("nosuch");
    env.rctr(["volume", "inspect", "nosuch"])
        .exits(1)
        .stdout_is("[]")
        .stderr_has("no such volume");
    for (args, words) in [
        (
            &["bad name"][..],
            "includes invalid characters for a local volume name",
        ),
        (&["-d", "nfs4", "v2"], "plugin \"nfs4\" not found"),
        (&["-o", "colour=red", "v2"], "invalid option: \"colour\""),
        (
            &["-o", "type=nfs", "v2"],
            "missing required option: \"device\"",
        ),
        (&["--name", "a1", "b1"], "conflicting options"),
    ] {
        env.rctr([&["volume", "create"], args].concat())
            .refused(1, words);
    }
    env.rctr(["volume", "update", &anonymous])
        .refused(1, "can only update cluster volumes");
}

#[test]
fn prune_takes_anonymous_volumes_unless_it_is_told_otherwise() {
    let env = Env::new();
    env.rctr(["volume", "create", "named"]).ok();
    env.rctr(["volume", "create", "--label", "keep", "kept"])
        .ok();
    env.rctr([
        "create",
        "--name",
        "c1",
        "-v",
        "/anonymous",
        "-v",
        "used:/u",
        "busybox",
    ])
    .ok();
    let anonymous = env.rctr(["volume", "create"]).ok().stdout();
    env.sh(&["-v", "named:/d"], "head -c 5000 /dev/zero > /d/f")
        .ok();
    env.rctr_with_input(["volume", "prune"], b"n\n")
        .exits(0)
        .stdout_has(
            "WARNING! This will remove anonymous local volumes not used by at least one container.",
        );
    env.rctr(["volume", "prune", "-f"]).ok().stdout_is(&format!(
        "Deleted Volumes:\n{anonymous}\n\nTotal reclaimed space: 0B"
    ));
    env.rctr(["volume", "prune", "-f", "-a", "--filter", "label!=keep"])
        .ok()
        .stdout_is("Deleted Volumes:\nnamed\n\nTotal reclaimed space: 5kB");
    let left = env.rctr(["volume", "ls", "-q"]).ok().lines();
    assert_eq!(
        left.len(),
        3,
        "kept, used and the container's own: {left:?}"
    );
    env.rctr(["rm", "-v", "c1"]).ok();
    assert_eq!(
        env.rctr(["volume", "ls", "-q"]).ok().lines(),
        ["kept", "used"]
    );
}

#[test]
fn a_volume_goes_through_an_archive() {
    let env = Env::new();
    env.sh(
        &["-v", "from:/d"],
        "mkdir /d/s; echo x > /d/s/f; ln -s s/f /d/l; chown 5:6 /d/s/f",
    )
    .ok();
    let file = env.path("a.tar");
    env.rctr(["volume", "export", "from", "-o", &text(&file)])
        .ok()
        .quiet();
    env.rctr(["volume", "create", "into"]).ok();
    env.rctr(["volume", "import", "into", &text(&file)])
        .ok()
        .quiet();
    env.sh(&["-v", "into:/d"], "cat /d/l; stat -c %u:%g /d/s/f")
        .ok()
        .stdout_is("x\n5:6");
    let tar = env.rctr(["volume", "export", "from"]);
    env.rctr(["volume", "create", "c3"]).ok();
    env.rctr_with_input(["volume", "import", "c3", "-"], tar.ok().stdout_bytes())
        .ok();
    env.sh(&["-v", "c3:/d"], "cat /d/s/f").ok().stdout_is("x");
    env.rctr(["volume", "export", "nosuch"])
        .refused(1, "no such volume");
    env.rctr_with_input(["volume", "import", "into", "-"], b"no archive")
        .exits(1);
}

#[test]
fn options_of_the_local_driver_are_mounted_where_nobody_else_sees_it() {
    let env = Env::new();
    let before = mounts(&env);
    let create = |name: &str, kind: &str, device: &str, words: &str| {
        let (kind, device, words) = (
            format!("type={kind}"),
            format!("device={device}"),
            format!("o={words}"),
        );
        env.rctr([
            "volume", "create", "-o", &kind, "-o", &device, "-o", &words, name,
        ])
        .ok();
    };
    create("memory", "tmpfs", "tmpfs", "size=1m,uid=1000");
    let one = env.run_detached(["-v", "memory:/m", "busybox", "sleep", "1000"]);
    let exec = |id: &str, script: &str| env.rctr(["exec", id, "sh", "-c", script]).ok().stdout();
    assert_eq!(
        exec(
            &one,
            "stat -c %u /m; df -k /m | tail -1 | awk '{print $2}'; echo x > /m/f"
        ),
        "1000\n1024"
    );
    // As long as a container has it, others have the same.
    let two = env.run_detached(["-v", "memory:/n:ro", "busybox", "sleep", "1000"]);
    assert_eq!(exec(&two, "cat /n/f"), "x");
    assert_eq!(mounts(&env), before, "the host sees nothing of it");
    assert_eq!(
        fs::read_dir(env.root().join("volumes/memory/_data"))
            .expect("a directory")
            .count(),
        0
    );
    env.rctr(["cp", "/etc/hostname", &format!("{one}:/m/h")])
        .ok();
    assert_eq!(exec(&two, "ls /n"), "f\nh");
    env.rctr(["rm", "-f", &one]).ok();
    assert_eq!(exec(&two, "ls /n"), "f\nh");
    let three = env.run_detached(["-v", "memory:/m", "busybox", "sleep", "1000"]);
    assert_eq!(
        exec(&three, "touch /m/w; ls /m"),
        "f\nh\nw",
        "writable, although the other's is not"
    );
    env.rctr(["rm", "-f", &two, &three]).ok();
    env.sh(&["-v", "memory:/m"], "ls /m").ok().stdout_is("");

    let host = env.path("host");
    fs::create_dir_all(host.join("sub")).expect("directories");
    create("bound", "none", &text(&host), "bind");
    env.sh(&["-v", "bound:/b"], "echo y > /b/sub/f").ok();
    assert_eq!(fs::read(host.join("sub/f")).expect("a file"), b"y\n");
    env.sh(
        &["--mount", "src=bound,dst=/b,volume-subpath=sub"],
        "cat /b/f",
    )
    .ok()
    .stdout_is("y");
    env.rctr(["volume", "export", "bound"]).ok();
    create("broken", "none", "/nonexistent", "bind");
    env.sh(&["-v", "broken:/b"], "true")
        .exits(125)
        .stderr_has("failed to mount local volume: mount /nonexistent:");
    // A monitor that is killed leaves nothing.
    let killed = env.run_detached(["-v", "memory:/m", "busybox", "sleep", "1000"]);
    let monitor = env.monitor_of(&killed).expect("a monitor");
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(monitor),
        nix::sys::signal::Signal::SIGKILL,
    )
    .expect("a signal");
    rctr_tests::wait_for("the end to be noticed", || {
        env.inspect(&killed)["State"]["Running"] == false
    });
    assert_eq!(mounts(&env), before);
    env.rctr(["rm", "-f", &killed]).ok();
    env.rctr(["volume", "rm", "memory", "bound", "broken"]).ok();
}

#[test]
fn what_takes_space_is_told_one_by_one() {
    let env = Env::new();
    env.sh(&["-v", "data:/d"], "head -c 5000 /dev/zero > /d/f")
        .ok();
    env.rctr([
        "run",
        "--name",
        "c1",
        "-v",
        "data:/d",
        "busybox",
        "sh",
        "-c",
        "head -c 3000 /dev/zero > /f",
    ])
    .ok();
    let out = env.rctr(["system", "df", "-v"]);
    let lines = out.ok().lines();
    let has = |start: &str| lines.iter().any(|line| line.starts_with(start));
    assert_eq!(lines[0], "Images space usage:");
    assert!(has("REPOSITORY   TAG") && has("busybox"), "{lines:?}");
    assert!(
        has("CONTAINER ID   IMAGE") && has("VOLUME NAME   LINKS     SIZE"),
        "{lines:?}"
    );
    assert!(has("data          1         5kB"), "{lines:?}");
    assert!(
        lines
            .iter()
            .any(|line| line.contains("3kB") && line.ends_with("c1")),
        "{lines:?}"
    );
    assert!(has("Build cache usage: 0B"), "{lines:?}");
    let json = env
        .rctr(["system", "df", "-v", "--format", "json"])
        .ok()
        .json();
    assert_eq!(
        (&json["Volumes"][0]["Name"], &json["Volumes"][0]["Links"]),
        (&"data".into(), &"1".into())
    );
}
