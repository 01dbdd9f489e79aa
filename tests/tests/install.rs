//! `make place`, the half of `make install` that puts files: where they go, and that what was installed works there.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use rctr_tests::{Env, Running, rctr_binary, workspace};

/// Installs the binaries under test; false if they are installed already.
fn place(variables: &[(&str, &Path)]) -> bool {
    let binary = rctr_binary();
    let built = binary.parent().expect("a directory");
    if !built.join("rctr-monitor").exists() {
        eprintln!("skipped: {} is not as built", binary.display());
        return false;
    }
    let mut make = Command::new("make");
    make.current_dir(workspace())
        .env_remove("MAKEFLAGS")
        .arg("place")
        .arg(format!("BUILT={}", built.display()));
    for (name, value) in variables {
        make.arg(format!("{name}={}", value.display()));
    }
    let made = make.output().expect("make runs");
    assert!(
        made.status.success(),
        "{}",
        String::from_utf8_lossy(&made.stderr)
    );
    true
}

/// Every file below `dir`, as paths relative to it, but for the pages of subcommands.
fn files(dir: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut todo = vec![dir.to_owned()];
    while let Some(next) = todo.pop() {
        for entry in fs::read_dir(next).expect("a directory").flatten() {
            let path: PathBuf = entry.path();
            if path.is_dir() {
                todo.push(path);
            } else {
                let name = path.strip_prefix(dir).expect("below").to_string_lossy();
                if !name.contains("man1/rctr-") {
                    found.push(name.into_owned());
                }
            }
        }
    }
    found.sort();
    found
}

#[test]
fn a_staged_installation_is_all_below_destdir_and_names_its_prefix_only() {
    let env = Env::new();
    let stage = env.path("stage");
    if !place(&[("DESTDIR", &stage), ("PREFIX", Path::new("/opt/rctr"))]) {
        return;
    }
    assert_eq!(
        files(&stage),
        [
            "opt/rctr/bin/rctr",
            "opt/rctr/bin/rctr-oci",
            "opt/rctr/lib/systemd/system/rctr-cri.service",
            "opt/rctr/lib/systemd/system/rctr-cri.socket",
            "opt/rctr/lib/systemd/system/rctr-restart.service",
            "opt/rctr/lib/systemd/system/rctr.service",
            "opt/rctr/lib/systemd/system/rctr@.service",
            "opt/rctr/libexec/rctr/rctr-monitor",
            "opt/rctr/share/bash-completion/completions/rctr",
            "opt/rctr/share/fish/vendor_completions.d/rctr.fish",
            "opt/rctr/share/man/man1/rctr.1",
            "opt/rctr/share/zsh/site-functions/_rctr",
        ]
    );
    let text = |name: &str| fs::read_to_string(stage.join("opt/rctr").join(name)).expect("a file");
    for unit in [
        "rctr.service",
        "rctr@.service",
        "rctr-restart.service",
        "rctr-cri.service",
    ] {
        let unit = text(&format!("lib/systemd/system/{unit}"));
        assert!(unit.contains("/opt/rctr/bin/rctr "), "{unit}");
        assert!(!unit.contains("@PREFIX@"), "{unit}");
    }
    assert!(text("share/zsh/site-functions/_rctr").starts_with("#compdef rctr"));
    assert!(text("share/fish/vendor_completions.d/rctr.fish").contains("complete -c rctr"));
    assert!(text("share/man/man1/rctr-run.1").contains("\\-\\-publish"));
}

#[test]
fn what_is_installed_finds_its_monitor_and_its_units_are_sound() {
    let env = Env::new();
    let (prefix, units) = (env.path("usr"), env.path("units"));
    if !place(&[("PREFIX", &prefix), ("SYSTEMD_UNIT_DIR", &units)]) {
        return;
    }
    let mut run = Command::new(prefix.join("bin/rctr"));
    let base = env.command(["run"]);
    run.env_clear()
        .envs(
            base.get_envs()
                .filter_map(|(name, value)| Some((name, value?))),
        )
        .args(["run", "-d", "busybox", "sleep", "1000"]);
    let id = Running::start(run, Some(b"")).finish().ok().stdout();
    // The monitor runs from a sealed copy, which has no path; its name tells that it is ours, its parameters which.
    let monitor = env.monitor_of(&id).expect("a monitor");
    assert_eq!(
        fs::read(format!("/proc/{monitor}/exe")).expect("a program"),
        fs::read(prefix.join("libexec/rctr/rctr-monitor")).expect("a program"),
    );
    let completion = prefix.join("share/bash-completion/completions/rctr");
    let bash = Command::new("bash")
        .args(["-c", "source \"$1\" && complete -p rctr", "bash"])
        .arg(completion)
        .output()
        .expect("bash runs");
    assert!(bash.status.success(), "{bash:?}");
    let verify = Command::new("systemd-analyze")
        .args(["verify", "--man=no"])
        .args(
            [
                "rctr.service",
                "rctr@one.service",
                "rctr-cri.service",
                "rctr-cri.socket",
            ]
            .map(|unit| units.join(unit)),
        )
        .output()
        .expect("systemd-analyze runs");
    assert!(
        verify.status.success() && verify.stderr.is_empty(),
        "{}",
        String::from_utf8_lossy(&verify.stderr)
    );
}
