//! OCI image-spec, layer.md, "Whiteouts".

use super::*;

#[test]
fn whiteouts_become_devices_and_marks() {
    let place = Place::new();
    let unpacked = place
        .unpack(
            Archive::new()
                .file("etc/.wh.motd", b"")
                .file("d/kept", b"")
                .file("d/.wh..wh..opq", b"")
                .file(".wh..wh.plnk/1.2", b"")
                .file(".wh..wh.aufs", b""),
        )
        .unwrap();
    assert!(place.is_whiteout("etc/motd"));
    assert!(place.is_opaque("d"));
    assert!(place.path("d/kept").exists());
    assert!(!place.path(".wh..wh.aufs").exists());
    assert!(!unpacked.opaque_root);
}

#[test]
fn a_whiteout_hides_what_is_below_not_what_is_beside() {
    let place = Place::new();
    place
        .unpack(
            Archive::new()
                // Made anew after the whiteout: as a directory, listed or implied, and as a file.
                .file(".wh.a", b"")
                .dir("a")
                .file("a/x", b"")
                .file(".wh.b", b"")
                .file("b/x", b"")
                .file(".wh.c", b"")
                .file("c", b"new")
                // And before.
                .dir("d")
                .file("d/x", b"")
                .file(".wh.d", b"")
                .file("e", b"new")
                .file(".wh.e", b"")
                .file(".wh.f", b"")
                .file(".wh.f", b""),
        )
        .unwrap();
    for name in ["a", "b", "d"] {
        assert!(place.is_opaque(name), "{name}");
        assert!(place.path(name).join("x").exists());
    }
    assert_eq!(place.read("c"), b"new");
    assert_eq!(place.read("e"), b"new");
    assert!(place.is_whiteout("f"));
}

#[test]
fn an_opaque_root_is_told() {
    let unpacked = Place::new()
        .unpack(Archive::new().file(".wh..wh..opq", b"").file("x", b""))
        .unwrap();
    assert!(unpacked.opaque_root);
}
