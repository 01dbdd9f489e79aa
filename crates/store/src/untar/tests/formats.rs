//! The dialects of tar.

use super::*;
use std::os::unix::fs::FileExt;

#[test]
fn long_names_of_gnu_and_pax() {
    let long = "n".repeat(200);
    let nested = format!("{}/{}/file", "a".repeat(150), "b".repeat(150));
    let place = Place::new();
    place
        .unpack(
            Archive::new()
                .member(
                    b"././@LongLink",
                    b'L',
                    b"",
                    format!("{nested}\0").as_bytes(),
                )
                .file("short", b"gnu")
                .member(b"././@LongLink", b'K', b"", long.as_bytes())
                .symlink("link", "short")
                .pax(&[("path", long.as_bytes()), ("linkpath", b"ignored here")])
                .file("short", b"pax")
                .pax(&[("linkpath", nested.as_bytes())])
                .hard_link("hard", "short"),
        )
        .unwrap();
    assert_eq!(place.read(&nested), b"gnu");
    assert_eq!(place.read(&long), b"pax");
    assert_eq!(
        std::fs::read_link(place.path("link")).unwrap(),
        Path::new(&long)
    );
    assert_eq!(place.stat("hard").ino(), place.stat(&nested).ino());
}

#[test]
fn pax_numbers_override_the_header() {
    let place = Place::new();
    place
        .unpack(
            Archive::new()
                .member(b"global", b'g', b"", b"13 path=evil\n")
                .pax(&[("size", b"5"), ("uid", b"100000"), ("gid", b"4294967294")])
                .file("f", b"12345")
                .with(|m| {
                    m.size = Some(0);
                    m
                })
                .file("next", b"n"),
        )
        .unwrap();
    assert_eq!(place.read("f"), b"12345");
    let stat = place.stat("f");
    assert_eq!((stat.uid(), stat.gid()), (100_000, 4_294_967_294));
    assert_eq!(place.read("next"), b"n");
    for uid in ["4294967295", "4294967296", "-1"] {
        let archive = Archive::new()
            .pax(&[("uid", uid.as_bytes())])
            .file("f", b"");
        assert_eq!(Place::refused(archive), MemberProblem::BadNumber, "{uid}");
    }
    let mut huge = Archive::new().file("f", b"");
    huge = huge.with(|m| m.owner(1 << 40, 0));
    assert_eq!(Place::refused(huge), MemberProblem::BadNumber);
}

#[test]
fn ustar_prefixes_and_pre_posix_archives() {
    let place = Place::new();
    let mut ustar = tar::Header::new_ustar();
    ustar
        .set_path(format!("{}/{}", "p".repeat(120), "n".repeat(90)))
        .unwrap();
    ustar.set_mode(0o600);
    ustar.set_size(2);
    ustar.set_mtime(0);
    ustar.set_uid(0);
    ustar.set_gid(0);
    ustar.set_cksum();
    let mut data = ustar.as_bytes().to_vec();
    data.extend(b"us");
    data.resize(1024, 0);
    let mut old = tar::Header::new_old();
    old.as_old_mut().name[..4].copy_from_slice(b"dir/");
    old.as_old_mut().mode = *b"000755 \0";
    old.set_size(0);
    old.set_cksum();
    data.extend(old.as_bytes());
    place.unpack(Archive::new().raw(&data)).unwrap();
    assert_eq!(
        place.read(&format!("{}/{}", "p".repeat(120), "n".repeat(90))),
        b"us"
    );
    assert!(place.stat("dir").is_dir());
}

#[test]
fn what_the_tar_crate_writes() {
    let source = tempfile::tempdir().unwrap();
    let inner = source.path().join("a").join("long".repeat(40));
    std::fs::create_dir_all(&inner).unwrap();
    std::fs::write(inner.join("file"), "content").unwrap();
    std::os::unix::fs::symlink("x".repeat(180), inner.join("link")).unwrap();
    let place = Place::new();
    place.unpack(Archive::of_dir(source.path())).unwrap();
    let unpacked = place.path("a").join("long".repeat(40));
    assert_eq!(std::fs::read(unpacked.join("file")).unwrap(), b"content");
    assert_eq!(
        std::fs::read_link(unpacked.join("link")).unwrap(),
        Path::new(&"x".repeat(180))
    );
}

/// 1 MiB of nothing, "ab", 1 MiB of nothing, "cd", and nothing up to 3 MiB.
fn check_sparse(place: &Place, name: &str) {
    const M: u64 = 1 << 20;
    let file = std::fs::File::open(place.path(name)).unwrap();
    let stat = file.metadata().unwrap();
    assert_eq!(stat.len(), 3 * M);
    assert!(stat.blocks() * 512 <= 64 << 10, "{} blocks", stat.blocks());
    let mut bytes = [0; 4];
    file.read_exact_at(&mut bytes, M - 1).unwrap();
    assert_eq!(&bytes, b"\0ab\0");
    file.read_exact_at(&mut bytes, 2 * M + 1).unwrap();
    assert_eq!(&bytes, b"\0cd\0");
}

const PAIRS: [(u64, u64); 3] = [(1 << 20, 2), ((2 << 20) + 2, 2), (3 << 20, 0)];

#[test]
fn sparse_files_of_old_gnu() {
    let set = |entry: &mut tar::GnuSparseHeader, (offset, length)| {
        entry.set_offset(offset);
        entry.set_length(length);
    };
    let place = Place::new();
    let mut extension = tar::GnuExtSparseHeader::new();
    set(&mut extension.sparse_mut()[0], PAIRS[1]);
    set(&mut extension.sparse_mut()[1], PAIRS[2]);
    let mut data = extension.as_bytes().to_vec();
    data.extend(b"abcd");
    place
        .unpack(
            Archive::new()
                .member(b"s", b'S', b"", &data)
                .with(|m| {
                    m.size = Some(4);
                    let gnu = m.header.as_gnu_mut().unwrap();
                    for slot in 0..4 {
                        set(&mut gnu.sparse[slot], (slot as u64, 0));
                    }
                    set(&mut gnu.sparse[3], PAIRS[0]);
                    gnu.set_real_size(3 << 20);
                    gnu.set_is_extended(true);
                    m
                })
                .file("after", b"x"),
        )
        .unwrap();
    check_sparse(&place, "s");
    assert_eq!(place.read("after"), b"x");
}

#[test]
fn sparse_files_of_pax() {
    let size = (3u64 << 20).to_string();
    let place = Place::new();
    let text: Vec<String> = PAIRS
        .iter()
        .flat_map(|(offset, length)| [offset.to_string(), length.to_string()])
        .collect();
    let mut v00 = vec![("GNU.sparse.size", size.as_bytes())];
    for pair in text.chunks(2) {
        v00.push(("GNU.sparse.offset", pair[0].as_bytes()));
        v00.push(("GNU.sparse.numbytes", pair[1].as_bytes()));
    }
    let map = text.join(",");
    let v01 = [
        ("GNU.sparse.size", size.as_bytes()),
        ("GNU.sparse.map", map.as_bytes()),
        ("GNU.sparse.name", b"v01"),
    ];
    let v10 = [
        ("GNU.sparse.major", &b"1"[..]),
        ("GNU.sparse.minor", b"0"),
        ("GNU.sparse.name", b"v10"),
        ("GNU.sparse.realsize", size.as_bytes()),
    ];
    let mut data = format!("3\n{}\n", text.join("\n")).into_bytes();
    data.resize(512, 0);
    data.extend(b"abcd");
    place
        .unpack(
            Archive::new()
                .pax(&v00)
                .file("v00", b"abcd")
                .pax(&v01)
                .file("GNUSparseFile.0/v01", b"abcd")
                .pax(&v10)
                .file("GNUSparseFile.0/v10", &data)
                .file("after", b"x"),
        )
        .unwrap();
    for name in ["v00", "v01", "v10"] {
        check_sparse(&place, name);
    }
    assert_eq!(place.read("after"), b"x");
    assert!(!place.path("GNUSparseFile.0").exists());

    for map in [
        "0,4",
        "0,2,1,2",
        "0,5",
        "5,1,0,3",
        "0,4,18446744073709551615,2",
        "0",
    ] {
        let bad = [
            ("GNU.sparse.size", &b"10"[..]),
            ("GNU.sparse.map", map.as_bytes()),
        ];
        let result = Place::new().unpack(Archive::new().pax(&bad).file("f", b"abcd"));
        assert_eq!(result.is_ok(), map == "0,4", "{map}: {result:?}");
    }
}

#[test]
fn long_runs_of_zeros_take_no_space() {
    let mut data = vec![0; 4 << 20];
    data[0] = 1;
    data[(2 << 20) + 5] = 2;
    let place = Place::new();
    place.unpack(Archive::new().file("f", &data)).unwrap();
    assert!(place.read("f") == data);
    // The reads of this test are 700 bytes each: nothing is skipped. Through one large buffer it is.
    let place = Place::new();
    let archive = Archive::new().file("f", &data).finish();
    let root = open_dir(&place.path("")).unwrap();
    std::thread::scope(|s| s.spawn(|| untar(&archive[..], root)).join().unwrap()).unwrap();
    assert!(place.read("f") == data);
    assert!(place.stat("f").blocks() * 512 <= 256 << 10);
}

#[test]
fn broken_archives_are_errors() {
    let broken = |data: &[u8]| {
        let place = Place::new();
        let root = open_dir(&place.path("")).unwrap();
        let reader = std::io::BufReader::new(data);
        std::thread::scope(|s| s.spawn(|| untar(reader, root)).join().unwrap())
    };
    let good = Archive::new().file("f", &[7; 1000]).unfinished();
    assert!(broken(&good).is_ok(), "an end mark may be missing");
    assert!(broken(&[]).is_ok());
    let cut = broken(&good[..900]);
    assert!(
        matches!(cut, Err(UntarError::Archive { offset: 900, .. })),
        "{cut:?}"
    );
    assert!(matches!(
        broken(&good[..100]),
        Err(UntarError::Archive { .. })
    ));
    let mut flipped = good.clone();
    flipped[3] ^= 1;
    assert!(matches!(broken(&flipped), Err(UntarError::Archive { .. })));
    let huge = Archive::new().member(b"x", b'x', b"", b"").with(|m| {
        m.size = Some(1 << 30);
        m
    });
    assert!(matches!(
        broken(&huge.finish()),
        Err(UntarError::Archive { .. })
    ));
    let odd = Archive::new().member(b"m", b'M', b"", b"");
    assert_eq!(Place::refused(odd), MemberProblem::UnsupportedType);
    let bad = Archive::new()
        .member(b"x", b'x', b"", b"9 bad\n")
        .file("f", b"");
    assert!(Place::new().unpack(bad).is_err());
    let large = Archive::new()
        .pax(&[("SCHILY.xattr.user.big", &[b'x'; 70_000])])
        .file("f", b"");
    assert_eq!(Place::refused(large), MemberProblem::ExtensionTooLarge);
}
