//! What of its caller's a container gets, and what it does not.

use rctr_tests::{KEYRING, among_keys};

use super::*;

/// A container that asks for its own in the file /own.
fn asking() -> Bundle {
    let mut bundle = Bundle::default();
    bundle.with_usr();
    bundle.config["process"]["args"] = json!([
        "sh",
        "-c",
        "/usr/bin/python3 -c \"$0\" > /own; echo > /ready; exec sleep 1000",
        KEYRING,
    ]);
    bundle
}

/// The keyrings of init and of what is executed later, by another caller.
fn keyrings(bundle: &Bundle, options: &[&str]) -> [(String, String); 2] {
    let words = [&["run", "--detach"], options, &["one"]].concat();
    quietly(among_keys(bundle.command(&words), c"rctr-test-first"));
    wait_for("it to be ready", || bundle.path("rootfs/ready").exists());
    let words = ["exec", "one", "/usr/bin/python3", "-c", KEYRING];
    let executed = among_keys(bundle.command(&words), c"rctr-test-second");
    let executed = Running::start(executed, None).finish();
    let both = [read(bundle, "own"), executed.ok().stdout()];
    both.map(|said| {
        let (number, name) = said.trim().split_once(' ').expect("a number and a name");
        (number.to_owned(), name.to_owned())
    })
}

#[test]
fn keys_of_the_caller_are_the_container_s_only_if_it_is_asked_for() {
    let bundle = asking();
    let [own, executed] = keyrings(&bundle, &[]);
    assert_eq!(own.1, "_ses.one");
    assert_eq!(executed, own, "one keyring for all of the container");
    bundle.oci(&["delete", "--force", "one"]).ok();
    fs::remove_file(bundle.path("rootfs/ready")).expect("a file");
    let [own, executed] = keyrings(&bundle, &["--no-new-keyring"]);
    assert_eq!(
        (own.1.as_str(), executed.1.as_str()),
        ("rctr-test-first", "rctr-test-second")
    );
}

#[test]
fn a_user_namespace_has_one_keyring_too() {
    let mut bundle = asking();
    bundle.in_user_namespace(300_000);
    let [own, executed] = keyrings(&bundle, &[]);
    assert_eq!(own.1, "_ses.one");
    assert_eq!(executed, own);
}

/// The parent of a process.
fn parent(pid: &str) -> i32 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("it runs");
    let fields = stat.rsplit(')').next().expect("fields after the name");
    let parent = fields.split_whitespace().nth(1).expect("a parent");
    parent.parse().expect("a number")
}

/// Whether a command becomes the parent of what its container, which shares the host's process ids, leaves behind.
fn adopts(bundle: &Bundle, words: &[&str]) -> bool {
    let script = "(sleep 1000 & echo $! > /orphan); echo > /left; exec sleep 1000";
    let file = bundle.path("rootfs/left");
    let _ = fs::remove_file(&file);
    let command = bundle.command(&[words, &["sh", "-c", script]].concat());
    let command = Running::start(command, None);
    wait_for("an orphan", || file.exists());
    let orphan = read(bundle, "orphan");
    let adopted = parent(orphan.trim()) == command.pid();
    command.signal(Signal::SIGKILL);
    adopted
}

#[test]
fn orphans_come_to_the_command_unless_it_will_not_have_them() {
    let mut bundle = Bundle::new(&["sleep", "1000"]);
    let list = bundle.config["linux"]["namespaces"].as_array_mut();
    list.expect("a list").retain(|one| one["type"] != "pid");
    quietly(bundle.command(&["run", "--detach", "one"]));
    assert!(adopts(&bundle, &["exec", "one"]));
    assert!(!adopts(&bundle, &["exec", "--no-subreaper", "one"]));
    bundle.oci(&["delete", "--force", "one"]).ok();
    let script = "(sleep 1000 & echo $! > /orphan); echo > /left; exec sleep 1000";
    bundle.config["process"]["args"] = json!(["sh", "-c", script]);
    for (options, adopted) in [(&[][..], true), (&["--no-subreaper"], false)] {
        let _ = fs::remove_file(bundle.path("rootfs/left"));
        let command = bundle.command(&[&["run"], options, &["one"]].concat());
        let command = Running::start(command, None);
        wait_for("an orphan", || bundle.path("rootfs/left").exists());
        let orphan = read(&bundle, "orphan");
        assert_eq!(
            parent(orphan.trim()) == command.pid(),
            adopted,
            "{options:?}"
        );
        bundle.oci(&["kill", "one", "KILL"]).ok();
        command.finish();
    }
}
