//! Trees made to do harm.

use std::os::unix::net::UnixListener;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{CWD, FileType, Mode, makedev, mkdirat, mknodat, openat};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_flag,
    fsconfig_set_string, fsmount, fsopen,
};

use super::*;

pub fn fifo(path: &Path) {
    mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
}

fn node(path: &Path, device: u64) {
    mknodat(CWD, path, FileType::CharacterDevice, Mode::RUSR, device).unwrap();
}

#[test]
fn fifos_sockets_and_devices_block_nothing() {
    let lab = Lab::new();
    lab.dir("from/d");
    fifo(&lab.at("from/d/fifo"));
    let socket = UnixListener::bind(lab.at("from/d/socket")).unwrap();
    node(&lab.at("from/d/null"), makedev(1, 3));
    lab.mode("from/d/null", 0o666)
        .mode("from/d/socket", 0o640)
        .mode("from/d/fifo", 0o600);
    lab.copy(&["d"], "/x").unwrap();
    lab.copy(&["d/fifo", "d/socket"], "/y/").unwrap();
    assert_eq!(
        lab.seen(),
        [
            "x/ 755 0:0",
            "x/fifo other 600 0:0",
            "x/null other 666 0:0",
            "x/socket 640 0:0 ",
            "y/ 755 0:0",
            "y/fifo other 600 0:0",
            "y/socket 640 0:0 ",
        ]
    );
    drop(socket);
    node(&lab.at("from/whiteout"), 0);
    let error = message(lab.copy(&["whiteout"], "/"));
    assert!(
        error.starts_with("failed to copy the device 0:0 \"/whiteout\""),
        "{error}"
    );
    fifo(&lab.at("from/Dockerfile"));
    assert_eq!(
        message(lab.context().read("Dockerfile", 10)),
        "\"/Dockerfile\" is not a regular file"
    );
}

#[test]
fn destination_links_never_lead_out() {
    let lab = Lab::new();
    lab.file("from/f", "new")
        .file("from/d/f", "new")
        .dir("outside");
    lab.link("to/up", "../../../../outside")
        .link("to/abs", lab.at("outside").to_str().unwrap());
    lab.link("to/loop", "loop");
    lab.copy(&["f"], "/up/").unwrap();
    lab.copy(&["f"], "/abs/x").unwrap();
    lab.copy(&["d"], "/up/../up/dir").unwrap();
    assert!(lab.list("outside").is_empty());
    assert_eq!(lab.read("to/outside/f"), "new");
    assert!(message(lab.copy(&["f"], "/loop")).contains("too many levels of symbolic links"));
}

#[test]
fn paths_longer_than_the_kernel_takes_at_once() {
    let lab = Lab::new();
    let name = "n".repeat(250);
    let mut dir = lab.fd("from");
    for _ in 0..20 {
        mkdirat(&dir, name.as_str(), Mode::RWXU).unwrap();
        dir = openat(&dir, name.as_str(), path::DIRECTORY, Mode::empty()).unwrap();
    }
    let flags = rustix::fs::OFlags::CREATE | rustix::fs::OFlags::WRONLY;
    let file = openat(&dir, "deep", flags, Mode::RUSR).unwrap();
    rustix::io::write(&file, b"content").unwrap();
    lab.copy(&["."], "/x").unwrap();
    let mut place = lab.fd("to/x");
    for _ in 0..20 {
        place = openat(&place, name.as_str(), path::DIRECTORY, Mode::empty()).unwrap();
    }
    let mut content = [0; 16];
    let file = openat(&place, "deep", rustix::fs::OFlags::RDONLY, Mode::empty()).unwrap();
    assert_eq!(rustix::io::read(&file, &mut content).unwrap(), 7);
    let long = format!("{}/", name).repeat(20);
    let tree = lab.context();
    let hidden = tree.with_ignore(Ignore::parse("**/deep").unwrap());
    assert_eq!(
        hidden.read(&format!("{long}deep"), 10).unwrap().unwrap(),
        b"content"
    );
    assert!(message(lab.copy(&[&"x".repeat(4000)], "/")).contains("File name too long"));
    // rm -r, too, takes one name at a time.
    for side in ["from", "to"] {
        std::process::Command::new("rm")
            .arg("-rf")
            .arg(lab.at(side))
            .status()
            .unwrap();
    }
}

#[test]
fn nesting_has_an_end() {
    let lab = Lab::new();
    let mut dir = lab.fd("from");
    for _ in 0..300 {
        mkdirat(&dir, "d", Mode::RWXU).unwrap();
        dir = openat(&dir, "d", path::DIRECTORY, Mode::empty()).unwrap();
    }
    assert!(message(lab.copy(&["."], "/x")).ends_with("nested deeper than 256 directories"));
}

#[test]
fn a_directory_swapped_for_a_link_all_the_time_gives_nothing_from_outside() {
    let lab = Lab::new();
    lab.file("from/d/sub/f", "inside")
        .file("secret/f", "outside");
    lab.link("evil", lab.at("secret").to_str().unwrap());
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let (sub, aside) = (lab.at("from/d/sub"), lab.at("aside"));
            while !stop.load(Ordering::Relaxed) {
                let _ = fs::rename(&sub, &aside);
                let _ = fs::rename(lab.at("evil"), &sub);
                let _ = fs::rename(&sub, lab.at("evil"));
                let _ = fs::rename(&aside, &sub);
            }
        });
        for round in 0..300 {
            let to = format!("/{round}");
            // Either it works or it says why not; a link in the tree may be copied as one.
            let _ = lab.copy(&["d"], &to);
            let copied = lab.at("to").join(round.to_string()).join("sub");
            if copied.symlink_metadata().is_ok_and(|m| m.is_dir()) && copied.join("f").exists() {
                assert_eq!(fs::read_to_string(copied.join("f")).unwrap(), "inside");
            }
            let _ = lab.copy(&["d/sub/f"], &format!("/f{round}"));
            if let Ok(text) = fs::read_to_string(lab.at("to").join(format!("f{round}"))) {
                assert_eq!(text, "inside");
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
}

/// An overlay of `lower` and `upper` that is mounted nowhere.
fn overlay(lab: &Lab) -> OwnedFd {
    let names = ["lower", "upper", "work"];
    for name in names {
        lab.dir(name);
    }
    let fs = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC).unwrap();
    for (key, name) in ["lowerdir", "upperdir", "workdir"].into_iter().zip(names) {
        fsconfig_set_string(&fs, key, lab.at(name)).unwrap();
    }
    for (key, value) in [
        ("redirect_dir", "off"),
        ("metacopy", "off"),
        ("index", "off"),
    ] {
        fsconfig_set_string(&fs, key, value).unwrap();
    }
    fsconfig_set_flag(&fs, "volatile").unwrap();
    fsconfig_create(&fs).unwrap();
    fsmount(&fs, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty()).unwrap()
}

#[test]
fn a_detached_overlay_is_a_root_like_any_other() {
    let lab = Lab::new();
    lab.file("lower/etc/passwd", "app:x:5:6::/:\n")
        .file("lower/usr/lib/old", "o");
    lab.link("lower/lib", "usr/lib")
        .link("lower/out", "../../../../outside")
        .dir("outside");
    lab.file("from/f", "new")
        .file("from/d/sub/g", "2")
        .capable("from/d/sub/g");
    let big = "x".repeat(1 << 20);
    lab.file("from/big", &big);
    let root = overlay(&lab);
    let selection = lab
        .stage()
        .select(&["f", "d", "big"], &SelectOptions::default())
        .unwrap();
    selection.digest().unwrap();
    let sources = [Source::Selection(selection)];
    let mut request = CopyRequest {
        chown: Some(parse_owner(&Tree::rootfs(root.try_clone().unwrap()), "app").unwrap()),
        ..CopyRequest::new(&sources, "/lib/")
    };
    copy(root.as_fd(), &request).unwrap();
    request.destination = "/out/x/";
    copy(root.as_fd(), &request).unwrap();
    assert_eq!(lab.read("upper/usr/lib/f"), "new");
    assert!(lab.read("upper/usr/lib/big") == big);
    assert!(
        lab.list("upper")
            .contains(&"usr/lib/sub/g 644 5:6 2".to_owned())
    );
    assert!(lab.has_capability("upper/usr/lib/sub/g"));
    assert_eq!(lab.read("upper/outside/x/f"), "new");
    assert!(lab.list("outside").is_empty());
    let merged = Tree::rootfs(root);
    let selection = merged.select(&["/lib"], &SelectOptions::default()).unwrap();
    selection.digest().unwrap();
    lab.place(selection, "/copy", |_| {}).unwrap();
    assert_eq!(lab.read("to/copy/old"), "o");
    assert_eq!(lab.read("to/copy/f"), "new");
}
