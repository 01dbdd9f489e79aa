use tar::{Builder, EntryType, Header};

use super::*;

/// One member of an archive.
fn add(tar: &mut Builder<Vec<u8>>, kind: EntryType, name: &str, data: &str) {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(0o640);
    header.set_uid(7);
    header.set_gid(8);
    header.set_mtime(1_000_000_000);
    let raw = &mut header.as_old_mut().name;
    raw[..name.len()].copy_from_slice(name.as_bytes());
    if matches!(kind, EntryType::Link | EntryType::Symlink) {
        header.set_link_name_literal(data).unwrap();
        header.set_size(0);
        header.set_cksum();
        tar.append(&header, &b""[..]).unwrap();
        return;
    }
    header.set_size(data.len() as u64);
    header.set_cksum();
    tar.append(&header, data.as_bytes()).unwrap();
}

fn archive(members: &[(EntryType, &str, &str)]) -> Vec<u8> {
    let mut tar = Builder::new(Vec::new());
    for (kind, name, data) in members {
        add(&mut tar, *kind, name, data);
    }
    tar.into_inner().unwrap()
}

fn add_archive(lab: &Lab, bytes: &[u8], change: impl FnOnce(&mut CopyRequest<'_>)) -> Result<()> {
    fs::write(lab.at("from/a"), bytes).unwrap();
    lab.run(&lab.context(), &["a"], "/x/", |r| {
        r.unpack = true;
        change(r);
    })
}

use EntryType::{Directory, Link, Regular, Symlink};

#[test]
fn archives_of_every_kind_are_unpacked_whatever_their_names() {
    let tar = archive(&[(Directory, "dir/", ""), (Regular, "dir/file", "hello")]);
    for program in ["cat", "gzip", "bzip2", "xz", "zstd"] {
        let lab = Lab::new();
        let packed = match program {
            "cat" => tar.clone(),
            program => archive::tests::pipe(program, &tar),
        };
        add_archive(&lab, &packed, |_| {}).unwrap();
        assert_eq!(
            lab.seen(),
            ["x/ 755 0:0", "x/dir/ 640 7:8", "x/dir/file 640 7:8 hello"],
            "{program}"
        );
        assert_eq!(modified(&lab.at("to/x/dir/file")), 1_000_000_000);
        assert_eq!(modified(&lab.at("to/x/dir")), 1_000_000_000);
    }
    let lab = Lab::new();
    lab.file("from/plain.tar.gz", "no archive");
    let run = |word: &str, unpack| lab.run(&lab.context(), &[word], "/x/", |r| r.unpack = unpack);
    run("plain.tar.gz", true).unwrap();
    fs::write(lab.at("from/b.tar"), &tar).unwrap();
    run("b.tar", false).unwrap();
    assert!(
        lab.seen()
            .contains(&"x/plain.tar.gz 644 0:0 no archive".to_owned())
    );
    assert!(fs::read(lab.at("to/x/b.tar")).unwrap() == tar);
    lab.file("from/d/in.tar", "").file("from/d/t", "t");
    fs::write(lab.at("from/d/in.tar"), &tar).unwrap();
    run("d", true).unwrap();
    assert!(
        lab.at("to/x/in.tar").is_file(),
        "archives in a directory are left as they are"
    );
}

#[test]
fn chown_touches_what_is_unpacked_and_chmod_does_not() {
    let lab = Lab::new();
    let tar = archive(&[
        (Regular, "f", "1"),
        (Symlink, "l", "f"),
        (Regular, "new/g", "2"),
    ]);
    let chmod = leaked("777");
    add_archive(&lab, &tar, |r| {
        r.chown = Some((24, 25));
        r.chmod = Some(chmod);
    })
    .unwrap();
    assert_eq!(
        lab.seen(),
        [
            "x/ 755 24:25",
            "x/f 640 24:25 1",
            "x/l -> f 24:25",
            "x/new/ 755 24:25",
            "x/new/g 640 24:25 2"
        ]
    );
}

#[test]
fn capabilities_in_an_archive_are_kept() {
    let lab = Lab::new();
    let mut tar = Builder::new(Vec::new());
    let records: [(&str, &[u8]); 3] = [
        ("SCHILY.xattr.security.capability", CAPABILITY),
        ("SCHILY.xattr.trusted.overlay.opaque", b"y"),
        ("mtime", b"1234567890.5"),
    ];
    tar.append_pax_extensions(records).unwrap();
    add(&mut tar, Regular, "ping", "p");
    add_archive(&lab, &tar.into_inner().unwrap(), |_| {}).unwrap();
    assert!(lab.has_capability("to/x/ping"));
    let mut value = [0; 8];
    assert!(lgetxattr(lab.at("to/x/ping"), "trusted.overlay.opaque", &mut value).is_err());
    let meta = fs::metadata(lab.at("to/x/ping")).unwrap();
    assert_eq!(
        (meta.mtime(), meta.mtime_nsec()),
        (1_234_567_890, 500_000_000)
    );
}

#[test]
fn members_replace_what_is_there_and_directories_merge() {
    let lab = Lab::new();
    lab.file("to/x/f/deep/er", "old")
        .file("to/x/d/kept", "k")
        .link("to/x/l", "/etc")
        .file("to/x/dir", "file");
    let tar = archive(&[
        (Regular, "f", "new"),
        (Directory, "d/", ""),
        (Regular, "l", "no link"),
        (Directory, "dir", ""),
        (Regular, "g", "1"),
        (Link, "h", "g"),
        (Regular, "g", "2"),
    ]);
    add_archive(&lab, &tar, |_| {}).unwrap();
    assert_eq!(
        lab.seen(),
        [
            "x/ 755 0:0",
            "x/d/ 640 7:8",
            "x/d/kept 644 0:0 k",
            "x/dir/ 640 7:8",
            "x/f 640 7:8 new",
            "x/g 640 7:8 2",
            "x/h 640 7:8 1",
            "x/l 640 7:8 no link",
        ]
    );
}

#[test]
fn nothing_escapes() {
    let outside = |lab: &Lab| {
        lab.file("outside/f", "safe").dir("to/x");
        lab.at("outside")
    };
    for (what, members, says) in [
        (
            "dots",
            vec![(Regular, "../../outside/f", "evil")],
            Some("leads out of the archive"),
        ),
        (
            "hard link",
            vec![(Link, "l", "../../outside/f")],
            Some("leads out of the archive"),
        ),
        (
            "hard link to nothing",
            vec![(Link, "l", "none")],
            Some("a link to what is not there"),
        ),
        (
            "hard link below nothing",
            vec![(Link, "l", "a/b")],
            Some("a link to what is not there"),
        ),
        ("absolute name", vec![(Regular, "/f", "fine")], None),
        (
            "through a link",
            vec![(Symlink, "l", "../../../outside"), (Regular, "l/f", "evil")],
            None,
        ),
        (
            "through an absolute link",
            vec![(Symlink, "l", "/outside"), (Regular, "l/f", "evil")],
            None,
        ),
        (
            "over a link",
            vec![(Symlink, "l", "../../outside/f"), (Regular, "l", "evil")],
            None,
        ),
        (
            "hard link through a link",
            vec![(Symlink, "l", "../../outside"), (Link, "h", "l/f")],
            Some("a link to what is not there"),
        ),
        (
            "loop",
            vec![(Symlink, "l", "l"), (Regular, "l/f", "evil")],
            Some("too many levels"),
        ),
        (
            "odd type",
            vec![(EntryType::new(b'Z'), "z", "")],
            Some("type 'Z' is not supported"),
        ),
    ] {
        let lab = Lab::new();
        let dir = outside(&lab);
        let result = add_archive(&lab, &archive(&members), |_| {});
        match says {
            Some(says) => {
                let error = message(result);
                assert!(error.contains(says), "{what}: {error}");
                assert!(
                    error.starts_with("a: ") || error.starts_with('"'),
                    "{what}: {error}"
                );
            }
            None => result.unwrap_or_else(|e| panic!("{what}: {e}")),
        }
        assert_eq!(fs::read_to_string(dir.join("f")).unwrap(), "safe", "{what}");
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 1, "{what}");
    }
}

#[test]
fn a_truncated_archive_is_an_error() {
    let lab = Lab::new();
    let tar = archive(&[(Regular, "f", &"x".repeat(5000))]);
    let error = message(add_archive(&lab, &tar[..2000], |_| {}));
    assert!(error.starts_with("a: "), "{error}");
    let packed = archive::tests::pipe("gzip", &archive(&[(Regular, "f", &"xyz".repeat(500_000))]));
    let error = message(add_archive(&lab, &packed[..packed.len() - 20], |_| {}));
    assert!(error.starts_with("a: "), "{error}");
}

#[test]
fn headers_are_not_read_without_end() {
    let lab = Lab::new();
    let mut tar = Builder::new(Vec::new());
    let big = "x".repeat(5 << 20);
    tar.append_pax_extensions([("comment", big.as_bytes())])
        .unwrap();
    add(&mut tar, Regular, "f", "1");
    let error = message(add_archive(&lab, &tar.into_inner().unwrap(), |_| {}));
    assert_eq!(error, "a: archive: an extended header is too large");

    let global = (EntryType::XGlobalHeader, "g", &*big);
    let old = (Directory, "d/", &*big);
    let tar = archive(&[global, old, (Regular, "f", "after")]);
    add_archive(&lab, &tar, |_| {}).unwrap();
    assert_eq!(lab.read("to/x/f"), "after");
}

#[test]
fn times_out_of_range_are_left_out() {
    let lab = Lab::new();
    let mut tar = Builder::new(Vec::new());
    let least = format!("{}.5", i64::MIN);
    tar.append_pax_extensions([("mtime", least.as_bytes())])
        .unwrap();
    add(&mut tar, Regular, "f", "1");
    add_archive(&lab, &tar.into_inner().unwrap(), |_| {}).unwrap();
    assert_eq!(modified(&lab.at("to/x/f")), 1_000_000_000);
}

#[test]
fn what_tar_writes_is_read() {
    let lab = Lab::new();
    let long = format!("from/t/{}/{}", "d".repeat(120), "f".repeat(200));
    lab.file(&long, "long")
        .file("from/t/sparse", "")
        .link("from/t/l", &"t".repeat(150));
    fs::File::options()
        .write(true)
        .open(lab.at("from/t/sparse"))
        .unwrap()
        .set_len(1 << 20)
        .unwrap();
    fifo(&lab);
    for format in ["gnu", "pax", "ustar"] {
        let mut command = std::process::Command::new("tar");
        command
            .arg(format!("--format={format}"))
            .arg("-C")
            .arg(lab.at("from/t"));
        if format == "gnu" {
            command.arg("-S");
        }
        // ustar has no room for such a target.
        let names = if format == "ustar" {
            vec!["--exclude=./l", "."]
        } else {
            vec!["."]
        };
        let output = command.args(["-cf", "-"]).args(names).output().unwrap();
        add_archive(&lab, &output.stdout, |r| r.destination = "/out/").unwrap();
        let name = format!("{}/{} 644 0:0 long", "d".repeat(120), "f".repeat(200));
        let seen = lab.list("to/out");
        assert!(seen.contains(&name), "{format}");
        assert!(seen.contains(&"p other 600 0:0".to_owned()), "{format}");
        assert_eq!(
            fs::metadata(lab.at("to/out/sparse")).unwrap().len(),
            1 << 20
        );
    }
}

fn fifo(lab: &Lab) {
    hostile::fifo(&lab.at("from/t/p"));
    lab.mode("from/t/p", 0o600);
}
