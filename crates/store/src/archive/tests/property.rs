//! Whatever is done to a tree: the layer of it, applied to what was below, gives the tree.

use std::os::unix::fs::{PermissionsExt, lchown, symlink};

use proptest::prelude::*;
use rustix::fs::{AtFlags, CWD, FileType, Timespec, Timestamps, makedev, mknodat, utimensat};

use super::merged::{content, merged, paths, step, view};
use super::*;
use crate::tests::store;
use crate::{BuiltLayer, CommitOptions, Store};

/// Something that is done to a tree. What cannot be done in its present state is not.
#[derive(Debug, Clone)]
enum Op {
    File(PathBuf, usize),
    Append(PathBuf),
    Dir(PathBuf),
    Symlink(PathBuf, PathBuf),
    Link(PathBuf, PathBuf),
    Node(PathBuf, FileType),
    Remove(PathBuf),
    /// Removes a directory and makes it again.
    Renew(PathBuf),
    Rename(PathBuf, PathBuf),
    Mode(PathBuf, u32),
    Owner(PathBuf, u32, u32),
    Time(PathBuf, i64, i64),
    Xattr(PathBuf, u8),
}

fn path() -> impl Strategy<Value = PathBuf> {
    let long = "l".repeat(120);
    let name = prop_oneof![
        8 => prop::sample::select(vec!["a", "b", "c", "d"]).prop_map(str::to_owned),
        1 => Just("ä".to_owned()),
        1 => Just(long),
    ];
    prop::collection::vec(name, 1..4).prop_map(PathBuf::from_iter)
}

fn anything() -> impl Strategy<Value = PathBuf> {
    prop_oneof![9 => path(), 1 => Just(PathBuf::new())]
}

fn op() -> impl Strategy<Value = Op> {
    let kind = prop::sample::select(vec![
        FileType::Fifo,
        FileType::Socket,
        FileType::CharacterDevice,
        FileType::BlockDevice,
    ]);
    let size = prop_oneof![0..2000usize, 200_000..400_000usize];
    let seconds = prop_oneof![-5..5i64, 0..1i64 << 34];
    prop_oneof![
        6 => (path(), size).prop_map(|(p, s)| Op::File(p, s)),
        2 => path().prop_map(Op::Append),
        6 => path().prop_map(Op::Dir),
        2 => (path(), path()).prop_map(|(p, t)| Op::Symlink(p, t)),
        3 => (path(), path()).prop_map(|(p, t)| Op::Link(p, t)),
        2 => (path(), kind).prop_map(|(p, k)| Op::Node(p, k)),
        4 => path().prop_map(Op::Remove),
        3 => path().prop_map(Op::Renew),
        3 => (path(), path()).prop_map(|(p, t)| Op::Rename(p, t)),
        2 => (anything(), 0..0o10000u32).prop_map(|(p, m)| Op::Mode(p, m)),
        2 => (anything(), any::<u32>(), 0..5_000_000u32).prop_map(|(p, u, g)| Op::Owner(p, u >> 1, g)),
        2 => (anything(), seconds, 0..1_000_000_000i64).prop_map(|(p, s, n)| Op::Time(p, s, n)),
        2 => (anything(), any::<u8>()).prop_map(|(p, v)| Op::Xattr(p, v)),
    ]
}

fn apply(root: &Path, op: &Op) {
    let at = |path: &Path| root.join(path);
    let remove = |path: &Path| match std::fs::symlink_metadata(at(path)) {
        Ok(stat) if stat.is_dir() => std::fs::remove_dir_all(at(path)),
        Ok(_) => std::fs::remove_file(at(path)),
        Err(e) => Err(e),
    };
    let is_link =
        |path: &Path| std::fs::symlink_metadata(at(path)).is_ok_and(|stat| stat.is_symlink());
    // Whether it could be done does not matter.
    let _ = match op {
        Op::File(path, size) => {
            let content: Vec<u8> = (0..*size).map(|i| (i / 3) as u8).collect();
            match std::fs::symlink_metadata(at(path)) {
                Ok(stat) if !stat.is_file() => Ok(()),
                _ => std::fs::write(at(path), content),
            }
        }
        Op::Append(path) => match std::fs::symlink_metadata(at(path)) {
            Ok(stat) if stat.is_file() => std::fs::OpenOptions::new()
                .append(true)
                .open(at(path))
                .and_then(|mut file| std::io::Write::write_all(&mut file, b"more")),
            _ => Ok(()),
        },
        Op::Dir(path) => std::fs::create_dir_all(at(path)),
        Op::Symlink(path, target) => symlink(target, at(path)),
        Op::Link(path, target) => std::fs::hard_link(at(target), at(path)),
        Op::Node(path, kind) => {
            let device = match kind {
                FileType::Fifo | FileType::Socket => 0,
                _ => makedev(4, 700),
            };
            mknodat(CWD, at(path), *kind, Mode::from_raw_mode(0o604), device).map_err(Into::into)
        }
        Op::Remove(path) => remove(path),
        Op::Renew(path) => remove(path).and_then(|()| std::fs::create_dir(at(path))),
        Op::Rename(path, to) => std::fs::rename(at(path), at(to)),
        Op::Mode(path, _) if is_link(path) => Ok(()),
        Op::Mode(path, mode) => {
            std::fs::set_permissions(at(path), std::fs::Permissions::from_mode(*mode))
        }
        Op::Owner(path, uid, gid) => lchown(at(path), Some(*uid), Some(*gid)),
        Op::Time(path, seconds, nanos) => {
            let time = Timespec {
                tv_sec: *seconds,
                tv_nsec: *nanos,
            };
            let times = Timestamps {
                last_access: time,
                last_modification: time,
            };
            utimensat(CWD, at(path), &times, AtFlags::SYMLINK_NOFOLLOW).map_err(Into::into)
        }
        Op::Xattr(path, value) => rustix::fs::lsetxattr(
            at(path),
            c"user.test",
            &[*value],
            rustix::fs::XattrFlags::empty(),
        )
        .map_err(Into::into),
    };
}

fn run(store: &Store, below: &[&BuiltLayer], ops: &[Op]) -> (BuiltLayer, BTreeMap<PathBuf, Seen>) {
    step(store, below, |root| {
        for op in ops {
            apply(root, op);
        }
    })
}

fn check(first: &[Op], second: &[Op], third: &[Op]) {
    let (dir, store) = store();
    let (a, _) = run(&store, &[], first);
    let (b, seen_b) = run(&store, &[&a], second);
    let (c, seen_c) = run(&store, &[&a, &b], third);
    assert_eq!(merged(&store, &[&a, &b]), seen_b);
    assert_eq!(merged(&store, &[&a, &b, &c]), seen_c);

    // Elsewhere.
    let mut lowers: Vec<PathBuf> = Vec::new();
    for (i, layer) in [&a, &b, &c].into_iter().enumerate() {
        let archived = content(&store, layer);
        let place = dir.path().join(i.to_string());
        let unpacked = unpack(&archived, &place, &lowers);
        assert_eq!(unpacked.size, layer.size);
        let listed = !unpacked.implied.iter().any(Vec::is_empty);
        assert!(bytes(&place, listed) == archived, "not the same archive");
        lowers.insert(0, place);
    }
    assert_eq!(view(&store, &lowers), seen_c);

    // Upon another base: as if its archive were unpacked there.
    let base = store
        .layer_paths(std::slice::from_ref(&c.chain_id))
        .unwrap();
    let linked = store
        .relink_layer(&b.chain_id, Some(&c.chain_id), CommitOptions::default())
        .unwrap();
    assert_eq!(linked.diff_id, b.diff_id);
    assert_eq!(content(&store, &linked), content(&store, &b));
    let place = dir.path().join("relinked");
    unpack(&content(&store, &b), &place, &base);
    let expected = [&[place], &paths(&store, &[&a, &b, &c])[..]].concat();
    assert_eq!(
        merged(&store, &[&a, &b, &c, &linked]),
        view(&store, &expected)
    );
}

proptest! {
    // A case takes some mounts, so a fifth of the usual number, or of PROPTEST_CASES.
    #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases / 5))]

    #[test]
    fn the_layer_applied_to_its_base_is_the_tree(
        first in prop::collection::vec(op(), 0..30),
        second in prop::collection::vec(op(), 0..30),
        third in prop::collection::vec(op(), 0..15),
    ) {
        check(&first, &second, &third);
    }
}
