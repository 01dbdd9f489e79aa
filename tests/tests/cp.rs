//! `cp` and `export`: Docker's names for copies, owners, links, and containers that do not play fair.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, chown, symlink};
use std::path::Path;

use rctr_tests::{Env, text};

/// A container that runs until it is removed.
fn sleeper(env: &Env, flags: &[&str]) -> String {
    let args = [flags, &["busybox", "sleep", "1000"]].concat();
    env.run_detached(args)
}

/// A stopped container that has run a script.
fn stopped(env: &Env, name: &str, flags: &[&str], script: &str) {
    let args = [
        &["run", "--name", name],
        flags,
        &["busybox", "sh", "-c", script],
    ]
    .concat();
    env.rctr(args).ok();
}

fn exec(env: &Env, id: &str, script: &str) -> String {
    env.rctr(["exec", "-u", "0", id, "sh", "-c", script])
        .ok()
        .stdout()
}

fn names(archive: &[u8]) -> Vec<String> {
    let mut archive = tar::Archive::new(archive);
    let entries = archive.entries().expect("an archive");
    let name = |entry: std::io::Result<tar::Entry<'_, _>>| {
        let entry = entry.expect("a member");
        String::from_utf8_lossy(&entry.path_bytes()).into_owned()
    };
    entries.map(name).collect()
}

/// An archive of members: kind, name, link, data.
fn archive(members: &[(tar::EntryType, &str, &str, &str)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (kind, name, link, data) in members {
        let mut header = tar::Header::new_ustar();
        header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
        header.as_mut_bytes()[157..157 + link.len()].copy_from_slice(link.as_bytes());
        header.set_entry_type(*kind);
        header.set_size(data.len() as u64);
        header.set_mode(0o644);
        header.set_uid(7);
        header.set_gid(8);
        header.set_mtime(1_000_000);
        header.set_device_major(1).expect("a number");
        header.set_device_minor(3).expect("a number");
        header.set_cksum();
        bytes.extend_from_slice(header.as_bytes());
        bytes.extend_from_slice(data.as_bytes());
        bytes.resize(bytes.len().next_multiple_of(512), 0);
    }
    bytes.resize(bytes.len() + 1024, 0);
    bytes
}

#[test]
fn copies_get_the_names_that_docker_gives_them() {
    let env = Env::new();
    let id = sleeper(&env, &[]);
    let dir = env.path("src");
    fs::create_dir_all(dir.join("sub")).expect("directories");
    fs::write(dir.join("sub/f"), "deep\n").expect("a file");
    fs::write(dir.join("f"), "top\n").expect("a file");
    chown(dir.join("f"), Some(1234), Some(5678)).expect("an owner");
    let src = text(&dir);
    let cp = |from: &str, to: &str| env.rctr(["cp", from, to]);
    let inside = |path: &str| format!("{id}:{path}");

    exec(
        &env,
        &id,
        "mkdir -p /into; echo old > /file; ln -s /into /link",
    );
    cp(&src, &inside("/into")).ok().quiet();
    cp(&format!("{src}/."), &inside("/content")).ok();
    cp(&src, &inside("/renamed")).ok();
    cp(&format!("{src}/f"), &inside("/file")).ok();
    cp(&format!("{src}/f"), &inside("/link")).ok();
    cp(&format!("{src}/f"), &inside("into/relative")).ok();
    assert_eq!(
        exec(
            &env,
            &id,
            "cat /into/src/sub/f /content/sub/f /renamed/f /file /into/f /into/relative; stat -c %u:%g /file",
        ),
        "deep\ndeep\ntop\ntop\ntop\ntop\n1234:5678"
    );
    cp(&src, &inside("/file")).refused(1, "cannot copy directory");
    cp(&format!("{src}/f"), &inside("/nosuch/")).refused(1, "no such directory");
    cp(&format!("{src}/f"), &inside("/no/where"))
        .refused(1, "Could not find the file /no in container");
    cp("/nonexistent", &inside("/")).refused(1, "/nonexistent");
    cp(&format!("{src}/f"), "nosuch:/").refused(1, "No such container: nosuch");
    cp(&format!("{src}/f"), &inside("/dev/null")).refused(1, "got a device");

    let out = env.path("out");
    fs::create_dir(&out).expect("a directory");
    let to = text(&out);
    cp(&inside("/into"), &to).ok().quiet();
    cp(&inside("/into/."), &format!("{to}/content")).ok();
    cp(&inside("/file"), &format!("{to}/another")).ok();
    for path in ["into/src/sub/f", "content/relative", "another"] {
        let meta = fs::metadata(out.join(path)).expect(path);
        assert_eq!((meta.uid(), meta.gid()), (0, 0), "the caller owns {path}");
    }
    cp(&inside("/nosuch"), &to).refused(1, "Could not find the file /nosuch in container");
    cp(&inside("/file"), &format!("{to}/no/where")).refused(1, "invalid output path");
    cp("a", "b").refused(1, "must specify at least one container source");
    cp(&inside("/a"), &inside("/b")).refused(1, "copying between containers is not supported");
    env.rctr(["cp", "a"])
        .exits(1)
        .stderr_has("requires exactly 2 arguments");
}

#[test]
fn links_are_copied_or_followed_and_stay_inside() {
    let env = Env::new();
    let script = "mkdir /d; echo in > /d/f; ln -s /d/f /l; ln -s ../../../etc/hostname /up; ln -s /d /dl; ln -s f /d/rel";
    for running in [true, false] {
        let id = match running {
            true => {
                let id = sleeper(&env, &[]);
                exec(&env, &id, script);
                id
            }
            false => {
                stopped(&env, "stopped", &[], script);
                "stopped".to_owned()
            }
        };
        let out = env.path(&format!("out-{running}"));
        fs::create_dir(&out).expect("a directory");
        let to = text(&out);
        env.rctr(["cp", &format!("{id}:/l"), &to]).ok();
        assert_eq!(
            fs::read_link(out.join("l")).expect("a link"),
            Path::new("/d/f")
        );
        env.rctr(["cp", "-L", &format!("{id}:/l"), &format!("{to}/file")])
            .ok();
        assert_eq!(fs::read(out.join("file")).expect("a file"), b"in\n");
        env.rctr(["cp", "-L", &format!("{id}:/dl"), &format!("{to}/.")])
            .ok();
        assert_eq!(fs::read(out.join("dl/f")).expect("a file"), b"in\n");
        env.rctr(["cp", &format!("{id}:/dl/."), &format!("{to}/dd")])
            .ok();
        assert_eq!(
            fs::read_link(out.join("dd/rel")).expect("a link"),
            Path::new("f")
        );
        // The link leads to the container's file, whatever the host has.
        env.rctr(["cp", "-L", &format!("{id}:/up"), &format!("{to}/hostname")])
            .ok();
        let host = fs::read_to_string("/etc/hostname").unwrap_or_default();
        assert_ne!(
            fs::read_to_string(out.join("hostname")).expect("a file"),
            host
        );
        // Into a link: what it leads to in the container.
        let file = env.path("file");
        fs::write(&file, "new\n").expect("a file");
        env.rctr(["cp", &text(&file), &format!("{id}:/l")]).ok();
        env.rctr(["cp", &format!("{id}:/d/f"), &format!("{to}/f")])
            .ok();
        assert_eq!(fs::read(out.join("f")).expect("a file"), b"new\n");
    }
}

#[test]
fn archives_pass_through_standard_streams() {
    let env = Env::new();
    let id = sleeper(&env, &["-u", "1000:1000"]);
    let out = env.rctr(["cp", &format!("{id}:/etc/group"), "-"]);
    assert_eq!(names(out.ok().stdout_bytes()), ["group"]);
    let whole = env.rctr(["cp", &format!("{id}:/bin/."), "-"]);
    let whole = names(whole.ok().stdout_bytes());
    assert!(
        whole[0] == "./" && whole.contains(&"./busybox".to_owned()),
        "{:?}",
        &whole[..2]
    );

    use tar::EntryType as T;
    let tar = archive(&[
        (T::Directory, "made/", "", ""),
        (T::Regular, "made/f", "", "hi\n"),
        (T::Link, "made/g", "made/f", ""),
        (T::Symlink, "made/l", "/etc/passwd", ""),
        (T::Fifo, "made/fifo", "", ""),
        (T::Char, "made/null", "", ""),
        (T::Regular, ".wh.f", "", "no whiteout"),
    ]);
    let put = |to: &str, tar: &[u8], flags: &[&str]| {
        let to = format!("{id}:{to}");
        env.rctr_with_input([&["cp"], flags, &["-", &to]].concat(), tar)
    };
    put("/tmp", &tar, &[]).ok();
    let listed = "cd /tmp; stat -c '%u:%g %F %h' made/f made/l made/fifo made/null; cat made/g; ls -a . | grep wh";
    assert_eq!(
        exec(&env, &id, listed),
        "7:8 regular file 2\n7:8 symbolic link 1\n7:8 fifo 1\n7:8 character special file 1\nhi\n.wh.f"
    );
    // -a: for the user that the container runs as.
    put("/tmp", &archive(&[(T::Regular, "own", "", "x")]), &["-a"]).ok();
    assert_eq!(exec(&env, &id, "stat -c %u:%g /tmp/own"), "1000:1000");
    put("/etc/group", &tar, &[]).refused(1, "must be a directory");
    put("/tmp", b"no archive", &[]).refused(1, "malformed archive");
    put("/tmp", &archive(&[(T::Regular, "made", "", "x")]), &[]).refused(
        1,
        "cannot overwrite directory \"/tmp/made\" with non-directory \"/tmp\"",
    );
}

#[test]
fn hostile_archives_lead_nowhere() {
    let env = Env::new();
    let id = sleeper(&env, &[]);
    let outside = env.path("outside");
    fs::create_dir(&outside).expect("a directory");
    let target = text(&outside);
    use tar::EntryType as T;
    let put = |members: &[(T, &str, &str, &str)]| {
        let tar = archive(members);
        env.rctr_with_input(["cp", "-", &format!("{id}:/tmp")], &tar)
    };
    put(&[(T::Regular, "../x", "", "x")]).refused(1, "\"../x\" is outside of \"/tmp\"");
    put(&[(T::Link, "h", "../../etc/passwd", "")]).refused(1, "invalid hardlink");
    // A link to a directory of the host is one to a directory of the container, which has none such.
    put(&[
        (T::Symlink, "l", &target, ""),
        (T::Regular, "l/planted", "", "x"),
    ])
    .exits(1);
    put(&[
        (T::Symlink, "r", "/", ""),
        (T::Regular, "r/planted", "", "x"),
    ])
    .ok();
    assert_eq!(exec(&env, &id, "cat /planted"), "x");
    assert_eq!(fs::read_dir(&outside).expect("a directory").count(), 0);
    assert!(!Path::new("/planted").exists());
}

#[test]
fn a_container_that_swaps_directories_for_links_gains_nothing() {
    let env = Env::new();
    let outside = env.path("outside");
    fs::create_dir(&outside).expect("a directory");
    fs::write(outside.join("secret"), "secret\n").expect("a file");
    let target = text(&outside);
    let id = sleeper(&env, &[]);
    exec(
        &env,
        &id,
        &format!("mkdir -p /race{target} /race/d; echo mine > /race/d/secret"),
    );
    let swap = format!(
        "while :; do mv /race/d /race/real; ln -s {target} /race/d; rm /race/d; mv /race/real /race/d; done"
    );
    env.rctr(["exec", "-d", &id, "sh", "-c", &swap]).ok();
    let file = env.path("planted");
    fs::write(&file, "x").expect("a file");
    let file = text(&file);
    for round in 0..30 {
        // Either is fine, as long as it happens in the container.
        env.rctr(["cp", &file, &format!("{id}:/race/d/planted")]);
        let out = env.rctr(["cp", &format!("{id}:/race/d/secret"), "-"]);
        assert!(
            !out.stdout().contains("secret\n"),
            "round {round}: a file of the host"
        );
    }
    let left: Vec<_> = fs::read_dir(&outside).expect("a directory").collect();
    assert_eq!(left.len(), 1, "written on the host: {left:?}");
}

#[test]
fn volumes_and_binds_are_where_the_container_has_them() {
    let env = Env::new();
    let host = env.path("host");
    fs::create_dir(&host).expect("a directory");
    fs::write(host.join("f"), "host\n").expect("a file");
    let file = env.path("new");
    fs::write(&file, "new\n").expect("a file");
    let file = text(&file);
    let bind = format!("{}:/bind", text(&host));
    let read_only = format!("{}:/ro:ro", text(&host));
    let flags = ["-v", "data:/data", "-v", &bind, "-v", &read_only];
    for running in [true, false] {
        let name = format!("c-{running}");
        let args = [
            &["run", "-d", "--name", &name],
            &flags[..],
            &["busybox", "sleep", "1000"],
        ]
        .concat();
        env.rctr(args).ok();
        if !running {
            env.rctr(["kill", &name]).ok();
            env.rctr(["wait", &name]).ok();
        }
        env.rctr(["cp", &file, &format!("{name}:/data/{name}")])
            .ok();
        env.rctr(["cp", &file, &format!("{name}:/bind/{name}")])
            .ok();
        assert!(host.join(&name).is_file());
        env.sh(&["-v", "data:/d"], &format!("cat /d/{name}"))
            .ok()
            .stdout_is("new");
        let out = env.rctr(["cp", &format!("{name}:/bind/f"), "-"]);
        assert_eq!(names(out.ok().stdout_bytes()), ["f"]);
        env.rctr(["cp", &file, &format!("{name}:/ro/x")])
            .refused(1, "mounted volume is marked read-only");
        let hosts = env.rctr(["cp", &format!("{name}:/etc/hosts"), "-"]);
        assert!(
            hosts.ok().stdout().contains("localhost"),
            "running: {running}"
        );
    }
    env.rctr([
        "create",
        "--name",
        "sealed",
        "--read-only",
        "-v",
        "data:/data",
        "busybox",
    ])
    .ok();
    env.rctr(["cp", &file, "sealed:/x"])
        .refused(1, "container rootfs is marked read-only");
    env.rctr(["cp", &file, "sealed:/data/x"]).ok();
}

#[test]
fn what_is_copied_keeps_modes_times_attributes_and_is_whole() {
    let env = Env::new();
    let id = sleeper(&env, &[]);
    let src = env.path("src");
    fs::create_dir(&src).expect("a directory");
    let sparse = fs::File::create(src.join("sparse")).expect("a file");
    sparse.set_len(64 << 20).expect("a size");
    fs::write(src.join("setuid"), "x").expect("a file");
    fs::set_permissions(src.join("setuid"), fs::Permissions::from_mode(0o4755)).expect("a mode");
    fs::write(src.join("attributes"), "x").expect("a file");
    let value = vec![b'v'; 3000];
    rustix::fs::setxattr(
        src.join("attributes"),
        "user.large",
        &value,
        rustix::fs::XattrFlags::empty(),
    )
    .expect("an attribute");
    symlink("nowhere", src.join("dangling")).expect("a link");
    let _socket = std::os::unix::net::UnixListener::bind(src.join("socket")).expect("a socket");
    env.rctr(["cp", &text(&src), &format!("{id}:/")]).ok();
    assert_eq!(
        exec(
            &env,
            &id,
            "cd /src; stat -c '%a %s' setuid sparse; readlink dangling; ls | wc -l"
        ),
        "4755 1\n644 67108864\nnowhere\n4"
    );
    let out = env.path("out");
    env.rctr(["cp", &format!("{id}:/src"), &text(&out)]).ok();
    let meta = fs::metadata(out.join("sparse")).expect("a file");
    assert!(
        meta.len() == 64 << 20 && meta.blocks() < 2048,
        "{} blocks",
        meta.blocks()
    );
    let mut found = vec![0; 4000];
    let length = rustix::fs::getxattr(out.join("attributes"), "user.large", &mut found[..]);
    assert_eq!(length.expect("an attribute"), 3000);
    assert!(!out.join("socket").exists());
    // A device that the container made comes out as what it is, and opens nothing.
    exec(&env, &id, "mknod /tmp/null c 1 3");
    env.rctr(["cp", &format!("{id}:/tmp/null"), &text(&env.path("null"))])
        .ok();
    let kind = fs::symlink_metadata(env.path("null"))
        .expect("a device")
        .file_type();
    assert!(kind.is_char_device());
    fs::remove_file(env.path("null")).expect("it goes");
}

/// What the kernel makes up is no file of a container's: it has no size before it is read, and another content each time.
#[test]
fn a_running_container_is_copied_whole() {
    let env = Env::new();
    let flags = ["--name", "cc", "-v", "data:/data", "--tmpfs", "/memory"];
    let id = sleeper(&env, &flags);
    exec(&env, &id, "echo d > /data/d; echo m > /memory/m");
    let archive = env.rctr(["cp", "cc:/", "-"]);
    let listed = names(archive.ok().stdout_bytes());
    let has = |end: &str| listed.iter().any(|name| name.ends_with(end));
    for there in [
        "/data/d",
        "/memory/m",
        "/bin/busybox",
        "/proc/",
        "/dev/",
        "/sys/",
    ] {
        assert!(has(there), "{there} in {listed:?}");
    }
    let places = ["/proc/", "/dev/", "/sys/"];
    let within = |name: &&String| {
        places
            .iter()
            .any(|place| name.contains(place) && !name.ends_with(place))
    };
    assert_eq!(listed.iter().find(within), None);
    for (from, to) in [("cc:/", "whole"), ("cc:/.", "content")] {
        let to = env.path(to);
        env.rctr(["cp", from, &text(&to)]).ok().quiet();
        assert_eq!(fs::read(to.join("data/d")).expect("a file"), b"d\n");
        assert_eq!(
            fs::read_dir(to.join("proc")).expect("a directory").count(),
            0
        );
    }
    let to = text(&env.path("made-up"));
    for from in ["/proc/version", "/sys/kernel"] {
        env.rctr(["cp", &format!("cc:{from}"), &to]).refused(
            1,
            &format!("Could not find the file {from} in container cc"),
        );
    }
    // A path that was forgotten is not the root.
    env.rctr(["cp", "cc:", &to]).refused(1, "can not be empty");
    env.rctr(["cp", "/etc/hostname", "cc:"])
        .refused(1, "no such directory");
    exec(&env, &id, "ln -s loop /loop");
    env.rctr(["cp", "-L", "cc:/loop", &to])
        .refused(1, "too many symlinks in /loop");
}

#[test]
fn export_writes_the_containers_own_files() {
    let env = Env::new();
    let script = "echo mine > /made; rm /bin/vi; echo seen > /vol/f";
    stopped(&env, "done", &["-v", "data:/vol"], script);
    let id = sleeper(&env, &["-v", "data:/vol"]);
    exec(&env, &id, "echo mine > /made; rm /bin/vi");
    for name in ["done", &id] {
        let out = env.rctr(["export", name]);
        let listed = names(out.ok().stdout_bytes());
        let has = |path: &str| listed.contains(&path.to_owned());
        assert!(
            has("made") && has("bin/busybox") && has("vol/"),
            "{listed:?}"
        );
        assert!(
            !has("bin/vi") && !has("vol/f"),
            "nothing that is mounted, nothing removed"
        );
        let kernel = |name: &&String| {
            ["proc/", "sys/", "dev/"]
                .iter()
                .any(|dir| name.starts_with(dir))
        };
        let kernel: Vec<&String> = listed.iter().filter(kernel).collect();
        assert_eq!(kernel, ["dev/", "proc/", "sys/"], "empty, as in the image");
    }
    let file = env.path("export.tar");
    env.rctr(["export", "-o", &text(&file), "done"])
        .ok()
        .quiet();
    assert!(names(&fs::read(&file).expect("a file")).contains(&"made".to_owned()));
    env.rctr(["export", "-o", &text(&env.path("no/where")), "done"])
        .refused(1, "invalid output path");
    env.rctr(["export", "nosuch"])
        .refused(1, "No such container: nosuch");
}
