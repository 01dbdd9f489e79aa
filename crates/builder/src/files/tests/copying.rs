use super::*;

#[test]
fn a_file_keeps_mode_and_time_and_becomes_roots() {
    let lab = Lab::new();
    lab.file("from/run.sh", "x")
        .own("from/run.sh", 1000, 1000)
        .mode("from/run.sh", 0o4751);
    lab.time("from/run.sh", 1_234_567_890);
    lab.copy(&["run.sh"], "/app/bin/").unwrap();
    assert_eq!(
        lab.seen(),
        [
            "app/ 755 0:0",
            "app/bin/ 755 0:0",
            "app/bin/run.sh 4751 0:0 x"
        ]
    );
    assert_eq!(modified(&lab.at("to/app/bin/run.sh")), 1_234_567_890);
}

#[test]
fn a_directorys_content_is_copied_to_a_new_directory_of_roots() {
    let lab = Lab::new();
    lab.file("from/src/a", "1")
        .file("from/src/sub/b", "2")
        .dir("from/src/empty");
    lab.mode("from/src", 0o2700).own("from/src", 5, 6);
    lab.mode("from/src/sub", 0o750).own("from/src/sub", 5, 6);
    lab.copy(&["src"], "/app").unwrap();
    assert_eq!(
        lab.seen(),
        [
            "app/ 755 0:0",
            "app/a 644 0:0 1",
            "app/empty/ 755 0:0",
            "app/sub/ 750 0:0",
            "app/sub/b 644 0:0 2"
        ]
    );
}

#[test]
fn an_existing_destination_keeps_mode_and_owner_but_not_what_is_in_it() {
    let lab = Lab::new();
    lab.file("from/src/sub/b", "new")
        .mode("from/src", 0o777)
        .mode("from/src/sub", 0o711);
    lab.dir("to/app/sub")
        .mode("to/app", 0o700)
        .own("to/app", 7, 8)
        .own("to/app/sub", 7, 8);
    lab.file("to/app/sub/b", "old").file("to/app/sub/kept", "k");
    lab.copy(&["src/"], "/app").unwrap();
    assert_eq!(
        lab.seen(),
        [
            "app/ 700 7:8",
            "app/sub/ 711 0:0",
            "app/sub/b 644 0:0 new",
            "app/sub/kept 644 0:0 k"
        ]
    );
}

#[test]
fn where_a_file_goes() {
    for (destination, expected) in [
        ("/x", "x 644 0:0 1"),
        ("/x/", "x/f 644 0:0 1"),
        ("/x/.", "x/f 644 0:0 1"),
        ("/dir", "dir/f 644 0:0 1"),
        ("/dir/y", "dir/y 644 0:0 1"),
        ("/", "f 644 0:0 1"),
        ("/../../z", "z 644 0:0 1"),
    ] {
        let lab = Lab::new();
        lab.file("from/f", "1").dir("to/dir");
        lab.copy(&["f"], destination).unwrap();
        assert!(
            lab.seen().contains(&expected.to_owned()),
            "{destination}: {:?}",
            lab.seen()
        );
    }
    let lab = Lab::new();
    lab.file("from/f", "1").file("from/g", "2");
    lab.run(&lab.context(), &["f", "g"], "/x", |r| {
        r.destination_is_dir = true
    })
    .unwrap();
    assert_eq!(lab.seen(), ["x/ 755 0:0", "x/f 644 0:0 1", "x/g 644 0:0 2"]);
}

#[test]
fn a_link_that_is_the_destination_is_written_through() {
    let lab = Lab::new();
    lab.file("from/f", "new")
        .file("to/data/real", "old")
        .link("to/alias", "/data/real");
    lab.copy(&["f"], "/alias").unwrap();
    assert_eq!(lab.read("to/data/real"), "new");
    assert!(lab.seen().contains(&"alias -> /data/real 0:0".to_owned()));

    lab.link("to/dangling", "/made/up");
    lab.copy(&["f"], "/dangling").unwrap();
    assert_eq!(lab.read("to/made/up"), "new");

    lab.link("to/current", "releases/1");
    lab.copy(&["f"], "/current/").unwrap();
    assert_eq!(lab.read("to/releases/1/f"), "new");
}

#[test]
fn a_link_in_the_destination_directory_is_replaced() {
    let lab = Lab::new();
    lab.file("from/f", "new")
        .file("from/dir/f", "new")
        .file("to/real", "old");
    lab.link("to/f", "/real").link("to/d/f", "/real");
    lab.copy(&["f"], "/").unwrap();
    lab.copy(&["dir"], "/d").unwrap();
    assert_eq!(
        lab.seen(),
        [
            "d/ 755 0:0",
            "d/f 644 0:0 new",
            "f 644 0:0 new",
            "real 644 0:0 old"
        ]
    );
}

#[test]
fn links_in_a_directory_stay_links_and_named_ones_are_followed() {
    let lab = Lab::new();
    lab.file("from/real", "r")
        .link("from/dir/up", "../real")
        .link("from/alias", "real");
    lab.link("from/dirs", "dir").own("from/dir/up", 3, 3);
    lab.copy(&["dir", "alias", "dirs"], "/x/").unwrap();
    assert_eq!(
        lab.seen(),
        ["x/ 755 0:0", "x/alias 644 0:0 r", "x/up -> ../real 0:0"]
    );
}

#[test]
fn a_directory_cannot_replace_a_file_nor_a_file_a_directory() {
    let lab = Lab::new();
    lab.file("from/tree/lib/x", "1")
        .file("from/f", "2")
        .dir("to/usr/lib")
        .dir("to/d/f");
    lab.link("to/lib", "usr/lib").file("to/file", "3");
    assert_eq!(
        message(lab.copy(&["tree"], "/")),
        "cannot copy to non-directory: /lib"
    );
    assert_eq!(
        message(lab.copy(&["tree"], "/file")),
        "cannot copy to non-directory: /file"
    );
    assert_eq!(
        message(lab.copy(&["f"], "/d")),
        "cannot replace directory /d/f with a file"
    );
    assert_eq!(
        message(lab.copy(&["f"], "/file/x")),
        "\"/file\": not a directory"
    );
}

#[test]
fn chown_and_chmod_are_for_all_that_is_copied_and_made() {
    let lab = Lab::new();
    lab.file("from/src/sub/f", "1")
        .link("from/src/l", "f")
        .file("from/one", "2");
    let chmod = leaked("750");
    lab.run(&lab.context(), &["src"], "/new/app", |r| {
        r.chown = Some((24, 0));
        r.chmod = Some(chmod);
    })
    .unwrap();
    assert_eq!(
        lab.seen(),
        [
            "new/ 750 24:0",
            "new/app/ 750 24:0",
            "new/app/l -> f 24:0",
            "new/app/sub/ 750 24:0",
            "new/app/sub/f 750 24:0 1"
        ]
    );
    let lab = Lab::new();
    lab.file("from/d/one", "2").mode("from/d/one", 0o600);
    let chmod = leaked("u+x,go=rX");
    lab.run(&lab.context(), &["d"], "/a/b", |r| r.chmod = Some(chmod))
        .unwrap();
    assert_eq!(
        lab.seen(),
        ["a/ 755 0:0", "a/b/ 755 0:0", "a/b/one 755 0:0 2"]
    );
}

#[test]
fn a_stage_keeps_owners_capabilities_and_attributes_a_context_does_not() {
    let lab = Lab::new();
    lab.file("from/ping", "p")
        .own("from/ping", 5, 6)
        .mode("from/ping", 0o4755)
        .capable("from/ping");
    lab.dir("from/d/sub")
        .own("from/d/sub", 7, 7)
        .link("from/d/l", "x")
        .own("from/d/l", 8, 8);
    setxattr(lab.at("from/d/sub"), "user.note", b"n", XattrFlags::empty()).unwrap();
    lab.run(&lab.stage(), &["ping", "d"], "/s/", |_| {})
        .unwrap();
    lab.copy(&["ping", "d"], "/c/").unwrap();
    assert_eq!(
        lab.seen(),
        [
            "c/ 755 0:0",
            "c/l -> x 0:0",
            "c/ping 4755 0:0 p",
            "c/sub/ 755 0:0",
            "s/ 755 0:0",
            "s/l -> x 8:8",
            "s/ping 4755 5:6 p",
            "s/sub/ 755 7:7",
        ]
    );
    assert!(lab.has_capability("to/s/ping"));
    assert!(!lab.has_capability("to/c/ping"));
    let mut value = [0; 8];
    assert_eq!(
        lgetxattr(lab.at("to/s/sub"), "user.note", &mut value),
        Ok(1)
    );
}

#[test]
fn names_that_share_a_file_go_on_sharing_it() {
    let lab = Lab::new();
    lab.file("from/d/a", "1").dir("from/d/sub");
    fs::hard_link(lab.at("from/d/a"), lab.at("from/d/b")).unwrap();
    fs::hard_link(lab.at("from/d/a"), lab.at("from/d/sub/c")).unwrap();
    fs::hard_link(lab.at("from/d/a"), lab.at("from/outside")).unwrap();
    lab.file("to/x/b", "in the way");
    lab.copy(&["d"], "/x").unwrap();
    let inode = |path: &str| lab.at(path).metadata().unwrap().ino();
    assert_eq!(inode("to/x/a"), inode("to/x/b"));
    assert_eq!(inode("to/x/a"), inode("to/x/sub/c"));
    assert_eq!(lab.at("to/x/a").metadata().unwrap().nlink(), 3);
    assert_eq!(lab.read("to/x/sub/c"), "1");
}

#[test]
fn times_are_the_sources_or_one_that_is_given() {
    let lab = Lab::new();
    lab.file("from/d/sub/f", "1")
        .time("from/d/sub/f", 100)
        .time("from/d/sub", 200)
        .time("from/d", 300);
    lab.copy(&["d"], "/x").unwrap();
    assert_eq!(modified(&lab.at("to/x/sub/f")), 100);
    assert_eq!(modified(&lab.at("to/x/sub")), 200);
    assert_eq!(modified(&lab.at("to/x")), 300);
    lab.link("from/d/l", "f");
    lab.run(&lab.context(), &["d"], "/new/dir/y", |r| {
        r.timestamp = Some(77)
    })
    .unwrap();
    for path in [
        "new",
        "new/dir",
        "new/dir/y",
        "new/dir/y/sub",
        "new/dir/y/sub/f",
        "new/dir/y/l",
    ] {
        assert_eq!(modified(&lab.at("to").join(path)), 77, "{path}");
    }
}

#[test]
fn a_file_written_in_the_dockerfile() {
    let lab = Lab::new();
    let sources = [Source::Inline {
        name: "hello.txt".into(),
        content: b"hi\n".to_vec(),
    }];
    let request = |destination| CopyRequest {
        chown: Some((1, 2)),
        timestamp: Some(5),
        ..CopyRequest::new(&sources, destination)
    };
    let root = lab.fd("to");
    copy(root.as_fd(), &request("/etc/")).unwrap();
    copy(root.as_fd(), &request("/other")).unwrap();
    assert_eq!(
        lab.seen(),
        [
            "etc/ 755 1:2",
            "etc/hello.txt 644 1:2 hi\n",
            "other 644 1:2 hi\n"
        ]
    );
    assert_eq!(modified(&lab.at("to/other")), 5);
}

#[test]
fn large_files_arrive_whole() {
    let lab = Lab::new();
    let content = "0123456789abcdef".repeat(200_000);
    lab.file("from/big", &content)
        .file("from/edge", &content[..256 << 10]);
    lab.copy(&["big", "edge"], "/").unwrap();
    assert!(lab.read("to/big") == content);
    assert!(lab.read("to/edge") == content[..256 << 10]);
}

#[test]
fn a_directory_for_workdir() {
    let lab = Lab::new();
    lab.dir("to/srv").link("to/www", "/srv");
    make_dirs(lab.fd("to").as_fd(), "/www/app/run", (9, 9), Some(50)).unwrap();
    assert_eq!(
        lab.seen(),
        [
            "srv/ 755 0:0",
            "srv/app/ 755 9:9",
            "srv/app/run/ 755 9:9",
            "www -> /srv 0:0"
        ]
    );
    assert_eq!(modified(&lab.at("to/srv/app/run")), 50);
    lab.file("to/f", "");
    let error = make_dirs(lab.fd("to").as_fd(), "/f", (0, 0), None);
    assert_eq!(message(error), "\"/f\": not a directory");
}
