use std::sync::Arc;

use super::*;

/// What is changed, and how.
type Change<'a> = (&'a str, &'a dyn Fn(&Lab));

fn digest(tree: &Tree, word: &str) -> String {
    let selection = tree.select(&[word], &SelectOptions::default()).unwrap();
    selection.digest().unwrap()
}

fn of_context(lab: &Lab) -> String {
    digest(&lab.context(), ".")
}

#[test]
fn what_counts_and_what_does_not() {
    let lab = Lab::new();
    lab.file("from/a/f", "1")
        .file("from/g", "2")
        .link("from/l", "g");
    let first = of_context(&lab);
    lab.time("from/a/f", 1).time("from/a", 2);
    assert_eq!(of_context(&lab), first, "times");
    lab.own("from/a/f", 1000, 1000)
        .own("from/l", 5, 5)
        .own("from/a", 5, 5);
    assert_eq!(of_context(&lab), first, "owners");
    lab.capable("from/a/f");
    assert_eq!(of_context(&lab), first, "file capabilities");
    lab.file("from/a/f", "1");
    assert_eq!(of_context(&lab), first, "the same file written again");

    let changes: [Change<'_>; 8] = [
        ("content", &|lab| {
            lab.file("from/a/f", "3");
        }),
        ("a file's mode", &|lab| {
            lab.mode("from/a/f", 0o755);
        }),
        ("a directory's mode", &|lab| {
            lab.mode("from/a", 0o700);
        }),
        ("a new empty directory", &|lab| {
            lab.dir("from/new");
        }),
        ("a new empty file", &|lab| {
            lab.file("from/empty", "");
        }),
        ("a link's target", &|lab| {
            fs::remove_file(lab.at("from/l")).unwrap();
            lab.link("from/l", "a");
        }),
        ("a name", &|lab| {
            fs::rename(lab.at("from/g"), lab.at("from/h")).unwrap()
        }),
        ("a link in place of a file", &|lab| {
            fs::remove_file(lab.at("from/g")).unwrap();
            lab.link("from/g", "2");
        }),
    ];
    for (what, change) in changes {
        let lab = Lab::new();
        lab.file("from/a/f", "1")
            .file("from/g", "2")
            .link("from/l", "g");
        assert_eq!(of_context(&lab), first);
        change(&lab);
        assert_ne!(of_context(&lab), first, "{what}");
    }
}

#[test]
fn of_a_stage_owners_and_attributes_count_too() {
    let lab = Lab::new();
    lab.file("from/f", "1").dir("from/d");
    let seen = || digest(&lab.stage(), ".");
    let first = seen();
    lab.own("from/f", 1, 0);
    let second = seen();
    assert_ne!(first, second);
    lab.capable("from/f");
    let third = seen();
    assert_ne!(second, third);
    setxattr(lab.at("from/d"), "user.x", b"1", XattrFlags::empty()).unwrap();
    assert_ne!(third, seen());
}

#[test]
fn a_files_name_counts_and_a_directorys_does_not() {
    let lab = Lab::new();
    lab.file("from/a/f", "1")
        .file("from/b/f", "1")
        .file("from/b2", "")
        .file("from/c2", "");
    assert_eq!(digest(&lab.context(), "a"), digest(&lab.context(), "b"));
    assert_ne!(digest(&lab.context(), "b2"), digest(&lab.context(), "c2"));
}

#[test]
fn a_change_that_keeps_size_and_time_is_seen_through_the_cache() {
    let lab = Lab::new();
    lab.file("from/f", "one").time("from/f", 1000);
    let tree = || {
        let cache = HashCache::open(&lab.at("cache"));
        lab.context().with_cache(Arc::new(cache))
    };
    settle();
    let first = digest(&tree(), ".");
    assert!(lab.at("cache").exists(), "hashes are kept");
    assert_eq!(digest(&tree(), "."), first);
    // In place: device, inode, size and mtime stay.
    fs::write(lab.at("from/f"), "two").unwrap();
    lab.time("from/f", 1000);
    assert_ne!(digest(&tree(), "."), first);
}

#[test]
fn a_file_changed_just_now_is_not_remembered() {
    let lab = Lab::new();
    lab.file("from/f", "one");
    let cache = Arc::new(HashCache::open(&lab.at("cache")));
    let tree = lab.context().with_cache(Arc::clone(&cache));
    let before = fs::metadata(lab.at("from/f")).unwrap();
    let selection = tree.select(&["."], &SelectOptions::default()).unwrap();
    let age = selection.since
        - i128::from(before.ctime()) * 1_000_000_000
        - i128::from(before.ctime_nsec());
    selection.digest().unwrap();
    if age < 20_000_000 {
        assert!(!lab.at("cache").exists());
    }
    settle();
    digest(&tree, ".");
    assert!(lab.at("cache").exists());
}

/// Waits until what was changed is old enough for its ctime to tell it from a later change.
fn settle() {
    let start = std::time::Instant::now();
    while start.elapsed() < Duration::from_millis(40) {
        std::thread::yield_now();
    }
}

#[test]
fn the_cache_is_believed_only_while_it_is_whole() {
    let lab = Lab::new();
    lab.file("from/f", "one");
    settle();
    let tree = || {
        lab.context()
            .with_cache(Arc::new(HashCache::open(&lab.at("cache"))))
    };
    let first = digest(&tree(), ".");
    let mut bytes = fs::read(lab.at("cache")).unwrap();
    let at = bytes.len() - 40;
    bytes[at] ^= 0xff;
    fs::write(lab.at("cache"), bytes).unwrap();
    assert_eq!(digest(&tree(), "."), first);
}

#[test]
fn a_file_that_changes_after_it_was_hashed_fails_the_copy() {
    let changes: [Change<'_>; 6] = [
        ("appended", &|lab| append(&lab.at("from/d/f"), "x")),
        ("rewritten", &|lab| {
            fs::write(lab.at("from/d/f"), "two").unwrap()
        }),
        ("removed", &|lab| {
            fs::remove_file(lab.at("from/d/f")).unwrap()
        }),
        ("made executable", &|lab| {
            lab.mode("from/d/f", 0o755);
        }),
        ("now a fifo", &|lab| {
            fs::remove_file(lab.at("from/d/f")).unwrap();
            hostile::fifo(&lab.at("from/d/f"));
        }),
        ("now a link", &|lab| {
            fs::remove_file(lab.at("from/d/f")).unwrap();
            lab.link("from/d/f", "/etc/passwd");
        }),
    ];
    for (what, change) in changes {
        for word in ["d", "d/f"] {
            let lab = Lab::new();
            lab.file("from/d/f", "one");
            let selection = lab
                .context()
                .select(&[word], &SelectOptions::default())
                .unwrap();
            selection.digest().unwrap();
            change(&lab);
            let error = message(lab.place(selection, "/x", |_| {}));
            assert!(
                error.starts_with("\"/d/f\" changed while it was being read"),
                "{what}: {error}"
            );
        }
    }
    // What only looks changed is no reason to fail.
    let lab = Lab::new();
    lab.file("from/d/f", "one");
    let selection = lab
        .context()
        .select(&["d"], &SelectOptions::default())
        .unwrap();
    selection.digest().unwrap();
    lab.file("from/d/f", "one");
    lab.place(selection, "/x", |_| {}).unwrap();
    assert_eq!(lab.read("to/x/f"), "one");
}

#[test]
fn an_identity_stands_for_content() {
    let lab = Lab::new();
    lab.file("from/f", "1");
    let of = |identity: &str| digest(&lab.context().with_identity(identity), ".");
    let first = of("commit a");
    lab.file("from/f", "2");
    assert_eq!(of("commit a"), first);
    assert_ne!(of("commit b"), first);
}

#[test]
fn many_files_are_hashed_by_several_threads_alike() {
    let lab = Lab::new();
    for number in 0..300 {
        lab.file(
            &format!("from/d{}/f{number}", number % 7),
            &number.to_string(),
        );
    }
    let first = of_context(&lab);
    assert_eq!(of_context(&lab), first);
    lab.file("from/d3/f150", "other");
    assert_ne!(of_context(&lab), first);
}

#[test]
fn a_coarse_clock_needs_a_longer_rest() {
    let lab = Lab::new();
    let mut selection = lab
        .context()
        .select(&["."], &SelectOptions::default())
        .unwrap();
    selection.since = 100_000_000_000;
    let changed = |seconds, nanoseconds| entry::Meta {
        ctime: (seconds, nanoseconds),
        ..entry::Meta::default()
    };
    for (meta, racy) in [
        (changed(99, 970_000_000), false),
        (changed(99, 990_000_000), true),
        (changed(101, 1), true),
        (changed(98, 0), true),
        (changed(97, 0), false),
    ] {
        assert_eq!(selection.is_racy(&meta), racy, "{meta:?}");
    }
}
