//! Archives that want out.

use super::*;

#[test]
fn names_that_lead_out_are_refused_and_absolute_ones_stay_in() {
    for name in [
        "../outside/x",
        "a/../../outside/x",
        "..",
        "/../outside/x",
        "/..",
    ] {
        assert_eq!(
            Place::refused(Archive::new().file(name, b"")),
            MemberProblem::Escapes,
            "{name}"
        );
    }
    let place = Place::new();
    place
        .unpack(
            Archive::new()
                .file("/etc/passwd", b"mine")
                .file("a/../b", b""),
        )
        .unwrap();
    assert_eq!(place.read("etc/passwd"), b"mine");
    assert!(place.path("b").exists());
    assert!(!place.path("a").exists());
}

#[test]
fn a_link_among_the_parents_leads_where_a_chroot_would_lead() {
    let place = Place::new();
    place
        .unpack(
            Archive::new()
                .symlink("up", "../outside")
                .file("up/x", b"up")
                .symlink("abs", "/usr/lib")
                .file("abs/lib.so", b"abs")
                .dir("d/")
                .symlink("d/rel", "../d2/./e")
                .file("d/rel/f", b"rel")
                .symlink("more", "../../../../../../outside")
                .file("more/y", b"")
                .symlink("magic", "/proc/self/root")
                .file("magic/z", b""),
        )
        .unwrap();
    assert_eq!(place.read("outside/x"), b"up");
    assert_eq!(place.read("usr/lib/lib.so"), b"abs");
    assert_eq!(place.read("d2/e/f"), b"rel");
    assert!(place.path("outside/y").exists());
    assert!(place.path("proc/self/root/z").exists());
    assert!(place.path("outside").is_dir());
}

#[test]
fn a_link_as_the_last_component_is_replaced_not_followed() {
    let place = Place::new();
    let target = place.dir.path().join("outside/secret");
    place
        .unpack(
            Archive::new()
                .symlink("l", target.to_str().unwrap())
                .file("l", b"overwritten?")
                .with(|m| m.mode(0o777).owner(5, 5))
                .symlink("m", target.to_str().unwrap())
                .with(|m| m.owner(6, 6).time(5)),
        )
        .unwrap();
    assert_eq!(place.read("l"), b"overwritten?");
    assert_eq!(std::fs::read(&target).unwrap(), b"secret");
    let stat = std::fs::metadata(&target).unwrap();
    assert_eq!((stat.uid(), stat.mode() & 0o777 == 0o777), (0, false));
}

#[test]
fn hard_links_stay_in() {
    assert_eq!(
        Place::refused(Archive::new().hard_link("h", "../outside/secret")),
        MemberProblem::LinkEscapes
    );
    let dangling = [
        Archive::new().hard_link("h", "/outside/secret"),
        Archive::new().hard_link("h", "nothing"),
        Archive::new()
            .symlink("l", "/outside")
            .hard_link("h", "l/secret"),
        Archive::new()
            .symlink("l", "../outside")
            .hard_link("h", "l/secret"),
    ];
    for archive in dangling {
        assert_eq!(Place::refused(archive), MemberProblem::LinkDangling);
    }
    // A link to a symbolic link is one more name of the link.
    let place = Place::new();
    place
        .unpack(
            Archive::new()
                .symlink("l", "../outside/secret")
                .hard_link("h", "l"),
        )
        .unwrap();
    assert!(place.stat("h").is_symlink());
    assert!(matches!(
        Place::new().unpack(Archive::new().dir("d").hard_link("h", "d")),
        Err(UntarError::Write { action: "link", .. })
    ));
}

#[test]
fn parents_that_are_no_directories_are_refused() {
    assert_eq!(
        Place::refused(Archive::new().file("f", b"").file("f/x", b"")),
        MemberProblem::NotADirectory
    );
    let circle = Archive::new()
        .symlink("a", "b")
        .symlink("b", "a")
        .file("a/x", b"");
    assert_eq!(Place::refused(circle), MemberProblem::NotADirectory);
}

#[test]
fn hostile_whiteouts_and_names_are_refused() {
    for name in [".wh.", ".wh..", "d/.wh..."] {
        assert_eq!(
            Place::refused(Archive::new().file(name, b"")),
            MemberProblem::InvalidName,
            "{name}"
        );
    }
    assert_eq!(
        Place::refused(Archive::new().file("/", b"").with(|m| {
            m.header.as_old_mut().linkflag = [b'2'];
            m
        })),
        MemberProblem::InvalidName
    );
    let nul = Archive::new().pax(&[("path", b"a\0b")]).file("x", b"");
    assert_eq!(Place::refused(nul), MemberProblem::InvalidName);
    let long = Archive::new()
        .pax(&[("path", "n".repeat(300).as_bytes())])
        .file("x", b"");
    assert_eq!(Place::refused(long), MemberProblem::NameTooLong);
    let deep = Archive::new()
        .pax(&[("path", "d/".repeat(1100).as_bytes())])
        .file("x", b"");
    assert_eq!(Place::refused(deep), MemberProblem::NameTooLong);
}

#[test]
fn paths_beyond_path_max_work() {
    let place = Place::new();
    let deep = format!("{}f", "directory/".repeat(900));
    let pax = [("path", deep.as_bytes())];
    let unpacked = place
        .unpack(
            Archive::new()
                .pax(&pax)
                .file("x", b"deep")
                .pax(&pax)
                .file("x", b"again"),
        )
        .unwrap();
    assert_eq!(unpacked.implied.len(), 901);
    let parent = open_dir(place.dir.path()).unwrap();
    // The standard library's clean-up would do it, too, but ours is the one to test.
    crate::fs::remove_all(&parent, b"layer", &place.path("")).unwrap();
}
