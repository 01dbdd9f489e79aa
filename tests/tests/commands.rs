//! Commands as such: groups have what the plain ones have, shells complete them.

use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use rctr_tests::{Env, Running};

/// The options that a command's help names, and what it takes.
fn options(env: &Env, words: &[&str]) -> Vec<String> {
    let help = env.rctr([words, &["--help"]].concat());
    let lines = help.ok().lines();
    let mut options: Vec<String> = lines
        .iter()
        .flat_map(|line| line.split([' ', ',']))
        .filter(|word| word.starts_with("--"))
        .map(str::to_owned)
        .collect();
    options.sort();
    options.dedup();
    assert!(!options.is_empty(), "{words:?}");
    options
}

#[test]
fn groups_have_what_the_plain_commands_have() {
    let env = Env::new();
    let on_containers = "attach commit cp create diff exec export kill logs pause port rename restart rm run start \
        stats stop top unpause update wait";
    let on_images = "build history import load pull push save tag";
    let same = on_containers
        .split_whitespace()
        .map(|verb| ("container", verb, verb));
    let same = same.chain(
        on_images
            .split_whitespace()
            .map(|verb| ("image", verb, verb)),
    );
    let others = [
        ("container", "ls", "ps"),
        ("container", "list", "ps"),
        ("image", "ls", "images"),
        ("image", "rm", "rmi"),
        ("system", "events", "events"),
        ("system", "info", "info"),
    ];
    for (group, verb, plain) in same.chain(others) {
        assert_eq!(
            options(&env, &[group, verb]),
            options(&env, &[plain]),
            "{group} {verb}"
        );
    }
    for group in ["container", "image", "network", "volume", "system"] {
        env.rctr([group]).stdout_lacks("panicked");
        env.rctr([group, "nosuch"]).exits(1).stderr_has("nosuch");
    }
    // And do the same.
    env.rctr(["container", "create", "--name", "cc", "busybox", "true"])
        .ok();
    env.rctr(["container", "start", "-a", "cc"]).ok();
    env.rctr(["container", "wait", "cc"]).ok().stdout_is("0");
    env.rctr(["container", "rename", "cc", "dd"]).ok();
    env.rctr(["container", "ls", "-a", "--format", "{{.Names}}"])
        .ok()
        .stdout_is("dd");
    env.rctr(["image", "tag", "busybox", "mine"]).ok();
    env.rctr(["image", "rm", "mine"])
        .ok()
        .stdout_has("Untagged: mine:latest");
    env.rctr(["container", "rm", "dd"]).ok().stdout_is("dd");
}

#[test]
fn what_the_caller_s_umask_is_makes_no_difference_to_containers() {
    let env = Env::new();
    let under = |mask: &str, words: &str| {
        let mut command = env.command(["true"]);
        let rctr = command.get_program().to_owned();
        let mut shell = Command::new("sh");
        let script = format!("umask {mask}; exec \"$0\" {words}");
        shell.args(["-c", &script]).arg(rctr);
        shell.current_dir(env.path(""));
        for (name, value) in command.get_envs() {
            shell.env(name, value.unwrap_or_default());
        }
        command = shell;
        Running::start(command, None).finish()
    };
    let look = "cat /etc/hosts /etc/hostname /etc/resolv.conf > /dev/null; stat -c %a /v /made /tmp; umask";
    under(
        "0777",
        &format!("run --rm -u 1000 -v vol:/v -v ./made:/made busybox sh -c '{look}'"),
    )
    .ok()
    .stdout_is("755\n755\n1777\n0022");
    // What the user gets is private where Docker has it so, and elsewhere as the user has it.
    under("0", "create --name box busybox").ok();
    under("0", "export -o box.tar box").ok();
    under("027", "copy rctr:busybox oci:layout").ok();
    under("027", "copy rctr:busybox oci-archive:archive.tar").ok();
    let mode = |name: &str| {
        let meta = env.path(name).metadata().expect("a file");
        meta.permissions().mode() & 0o777
    };
    assert_eq!(
        ["box.tar", "layout", "archive.tar"].map(mode),
        [0o600, 0o750, 0o640]
    );
}

#[test]
fn who_reads_only_the_beginning_of_an_answer_breaks_nothing() {
    let env = Env::new();
    env.rctr(["create", "--name", "box", "busybox"]).ok();
    let rctr = env.command(["true"]).get_program().to_owned();
    for words in [
        "inspect box",
        "ps -a",
        "version",
        "info",
        "inspect -f json box",
    ] {
        let script = format!(
            "set -o pipefail; for i in 1 2 3 4 5 6 7 8; do \"$0\" {words} 2>&1 | head -c 1 || exit; done"
        );
        let mut shell = Command::new("bash");
        shell.args(["-c", &script]).arg(&rctr);
        for (name, value) in env.command(["true"]).get_envs() {
            shell.env(name, value.unwrap_or_default());
        }
        Running::start(shell, None).finish().ok();
    }
}

#[test]
fn shells_complete_commands_and_flags() {
    let env = Env::new();
    for (shell, sign) in [
        ("bash", "complete -F"),
        ("zsh", "#compdef rctr"),
        ("fish", "complete -c rctr"),
    ] {
        let script = env.rctr(["completion", shell]);
        script.ok().quiet().stdout_has(sign);
        assert!(script.stdout().contains("unpause"), "{shell}");
    }
    env.rctr(["completion", "nosuch"]).exits(125);
    let script = env.path("completion");
    std::fs::write(&script, env.rctr(["completion", "bash"]).stdout_bytes()).expect("a file");
    let complete = |words: &[&str]| {
        let typed = "source \"$1\"; shift; COMP_WORDS=(\"$@\"); COMP_CWORD=$(($# - 1)); \
            _rctr rctr \"${COMP_WORDS[$COMP_CWORD]}\" \"${COMP_WORDS[$COMP_CWORD-1]}\"; echo \"${COMPREPLY[@]}\"";
        let mut bash = Command::new("bash");
        bash.args(["-c", typed, "bash"]).arg(&script).args(words);
        let output = bash.output().expect("bash runs");
        assert!(output.status.success(), "{output:?}");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    };
    assert_eq!(complete(&["rctr", "unp"]), "unpause");
    assert_eq!(complete(&["rctr", "network", "disc"]), "disconnect");
    let flags = complete(&["rctr", "run", "--net"]);
    assert!(
        flags.contains("--network") && flags.contains("--network-alias"),
        "{flags}"
    );
}
