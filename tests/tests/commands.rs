//! Commands as such: groups have what the plain ones have, shells complete them.

use std::process::Command;

use rctr_tests::Env;

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
