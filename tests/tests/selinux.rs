//! SELinux labels of `run`, `create` and `exec`. Only where SELinux is enabled, as in the guest with a policy of its own;
//! what a label keeps from a container is seen only where the policy is enforced, as there, too.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use rctr_tests::{Env, Output};

const CURRENT: &str = "cat /proc/self/attr/current";
const SHARED: &str = "system_u:object_r:container_file_t:s0";

fn enabled() -> bool {
    let enabled = Path::new("/sys/fs/selinux/enforce").exists() && own().contains("_t:");
    if !enabled {
        eprintln!("SELinux is not enabled here");
    }
    enabled
}

/// What the policy makes of programs that nobody labels.
fn own() -> String {
    plain(&fs::read_to_string("/proc/self/attr/current").unwrap_or_default())
}

fn plain(text: &str) -> String {
    text.trim_end_matches(['\n', '\0']).to_owned()
}

fn label_of(file: &Path) -> String {
    let mut value = [0; 256];
    let length = rustix::fs::lgetxattr(file, "security.selinux", &mut value).expect("a label");
    plain(&String::from_utf8_lossy(&value[..length]))
}

fn current(env: &Env, flags: &[&str]) -> String {
    plain(&env.sh(flags, CURRENT).ok().stdout())
}

fn files_of(process: &str) -> String {
    let level = process.split(':').skip(3).collect::<Vec<_>>().join(":");
    format!("system_u:object_r:container_file_t:{level}")
}

/// A directory of the host with a file in it.
fn place(env: &Env, name: &str) -> PathBuf {
    let place = env.path(name);
    fs::create_dir_all(&place).expect("a directory");
    fs::write(place.join("file"), "content\n").expect("a file");
    place
}

fn denied(output: &Output) {
    output.exits(1).stderr_has("Permission denied");
}

#[test]
fn a_container_has_a_level_of_its_own_and_so_have_its_files() {
    if !enabled() {
        return;
    }
    let env = Env::new();
    let id = env.run_detached(["--name", "one", "--tmpfs", "/t", "busybox", "sleep", "1000"]);
    let exec = |flags: &[&str]| {
        let words = [&["exec"], flags, &["one", "cat", "/proc/self/attr/current"]].concat();
        plain(&env.rctr(words).ok().stdout())
    };
    let process = exec(&[]);
    let level = process.strip_prefix("system_u:system_r:container_t:s0:c");
    assert!(level.is_some_and(|level| level.contains(",c")), "{process}");
    assert_eq!(exec(&["--privileged"]), process);
    let document = env.inspect("one");
    assert_eq!(document["ProcessLabel"], process);
    assert_eq!(document["MountLabel"], files_of(&process));

    let context = format!("context=\"{}\"", files_of(&process));
    let shown = env
        .rctr(["exec", "one", "cat", "/proc/mounts"])
        .ok()
        .stdout();
    for place in ["/", "/dev", "/dev/shm", "/dev/pts", "/t"] {
        let line = shown.lines().find(|l| l.split(' ').nth(1) == Some(place));
        let line = line.unwrap_or_else(|| panic!("{place} in {shown}"));
        assert!(line.contains(&context), "{line}");
    }
    let own_files = env.root().join("containers").join(&id);
    for name in ["hostname", "hosts", "resolv.conf"] {
        assert_eq!(
            label_of(&own_files.join(name)),
            files_of(&process),
            "{name}"
        );
    }

    // It is the container's for good, and nobody else's.
    env.rctr(["restart", "-t", "0", "one"]).ok();
    assert_eq!(exec(&[]), process);
    assert_ne!(current(&env, &[]), process);
    env.rctr(["info"]).ok().stdout_has("selinux");
}

#[test]
fn labels_are_as_they_are_asked_for() {
    if !enabled() {
        return;
    }
    let env = Env::new();
    let opt = |words: &[&'static str]| -> Vec<&'static str> {
        words
            .iter()
            .flat_map(|word| ["--security-opt", word])
            .collect()
    };
    let level = "label=level:s0:c1,c2";
    assert_eq!(
        current(&env, &opt(&["label=type:spc_t", level])),
        "system_u:system_r:spc_t:s0:c1,c2"
    );
    let none = [
        opt(&["label=disable"]),
        vec!["--privileged"],
        vec!["--pid", "host"],
        vec!["--ipc", "host"],
    ];
    for flags in none {
        assert_eq!(current(&env, &flags), own(), "{flags:?}");
        // Files of theirs are for no container that has a label.
        let mounts = env.sh(&flags, "grep ' / ' /proc/mounts").ok().stdout();
        assert!(
            mounts.contains("container_file_t:s0:c1022,c1023"),
            "{mounts}"
        );
    }
    // Whoever runs under `--init` does so under what has the label, too.
    let init = ["--security-opt", level, "--init"];
    env.sh(&init, "cat /proc/1/attr/current")
        .ok()
        .stdout_has("system_u:system_r:container_t:s0:c1,c2");
    let shared = [&["--pid", "host"], &opt(&[level])[..]].concat();
    assert_eq!(
        current(&env, &shared),
        "system_u:system_r:container_t:s0:c1,c2"
    );
    let unknown = [&opt(&["label=type:no_such_t"])[..], &["busybox", "true"]].concat();
    env.run_alone(&unknown)
        .exits(125)
        .stderr_has("set the SELinux label system_u:system_r:no_such_t:s0:c");
}

#[test]
fn who_shares_processes_or_memory_shares_the_label() {
    if !enabled() {
        return;
    }
    let env = Env::new();
    env.run_detached([
        "--name",
        "one",
        "--ipc",
        "shareable",
        "busybox",
        "sleep",
        "1000",
    ]);
    env.run_detached([
        "--name",
        "two",
        "--ipc",
        "shareable",
        "busybox",
        "sleep",
        "1000",
    ]);
    let label = |name: &str| {
        env.inspect(name)["ProcessLabel"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    assert_eq!(current(&env, &["--ipc", "container:one"]), label("one"));
    assert_eq!(current(&env, &["--pid", "container:two"]), label("two"));
    assert_eq!(
        current(&env, &["--ipc", "container:one", "--pid", "container:one"]),
        label("one")
    );
    env.rctr([
        "create",
        "--name",
        "three",
        "--pid",
        "container:one",
        "busybox",
    ])
    .ok();
    let level = label("one")
        .split(':')
        .skip(3)
        .collect::<Vec<_>>()
        .join(":");
    assert_eq!(
        env.inspect("three")["HostConfig"]["SecurityOpt"][3],
        format!("label=level:{level}")
    );
    env.run_alone(&[
        "--ipc",
        "container:one",
        "--pid",
        "container:two",
        "busybox",
        "true",
    ])
    .exits(125)
    .stderr_has("labels aren't the same");
    // Files that show a network's names belong to several.
    env.sh(&["--network", "container:one"], "cat /etc/hosts")
        .ok();
    let hosts = env.inspect("one")["HostsPath"].as_str().unwrap().to_owned();
    assert_eq!(label_of(Path::new(&hosts)), SHARED);
}

#[test]
fn binds_are_relabelled_where_it_is_asked_for_and_volumes_always() {
    if !enabled() {
        return;
    }
    let env = Env::new();
    let place = place(&env, "place");
    let before = label_of(&place);
    let bind = |options: &str| format!("{}:/v{options}", place.display());
    let run = |volume: &str| current(&env, &["-v", volume]);
    run(&bind(""));
    assert_eq!(label_of(&place), before);
    run(&bind(":z"));
    assert_eq!(label_of(&place), SHARED);
    assert_eq!(label_of(&place.join("file")), SHARED);
    let process = run(&bind(":ro,Z"));
    assert_eq!(label_of(&place.join("file")), files_of(&process));

    let volume = |name: &str| {
        let shown = env.rctr(["volume", "inspect", name]).ok().json();
        PathBuf::from(shown[0]["Mountpoint"].as_str().unwrap())
    };
    env.sh(&["-v", "named:/v"], "echo content > /v/file").ok();
    assert_eq!(label_of(&volume("named")), SHARED);
    // What one container has written is others', too.
    run("named:/v");
    assert_eq!(label_of(&volume("named").join("file")), SHARED);
    let process = run("own:/v:Z");
    assert_eq!(label_of(&volume("own")), files_of(&process));
    let memory = "type=volume,src=memory,dst=/v,volume-opt=type=tmpfs,volume-opt=device=tmpfs";
    env.sh(
        &["--mount", memory],
        "cat /proc/self/attr/current; touch /v/file",
    )
    .ok();

    // The host lives in some; that it is by another name does not matter.
    let link = env.path("link");
    std::os::unix::fs::symlink("/usr", &link).expect("a link");
    for source in [Path::new("/usr"), Path::new("/bin"), &link] {
        let volume = format!("{}:/v:z", source.display());
        env.run_alone(&["-v", &volume, "busybox", "true"])
            .exits(125)
            .stderr_has("is the host's");
    }
}

#[test]
fn volumes_that_the_image_fills_are_for_all_too() {
    if !enabled() {
        return;
    }
    let env = Env::new();
    env.build_image(
        "filled",
        "FROM busybox\nRUN mkdir /data && echo content > /data/file\n",
    );
    let read = [
        "run",
        "--rm",
        "-v",
        "data:/data",
        "filled",
        "cat",
        "/data/file",
    ];
    env.rctr(read).ok().stdout_is("content");
    let shown = env.rctr(["volume", "inspect", "data"]).ok().json();
    let data = PathBuf::from(shown[0]["Mountpoint"].as_str().unwrap());
    assert!(label_of(&data.join("file")).ends_with(":container_file_t:s0"));
    env.rctr(read).ok().stdout_is("content");
    // So are those that are taken over, be it from a container that never ran.
    env.rctr(["create", "--name", "never", "-v", "/data", "filled"])
        .ok();
    let taken = |script: &str| env.sh(&["--volumes-from", "never"], script);
    taken("echo written > /data/file").ok();
    taken("cat /data/file").ok().stdout_is("written");
    let image = "type=image,src=filled,dst=/i";
    env.rctr([
        "run",
        "--rm",
        "--mount",
        image,
        "busybox",
        "cat",
        "/i/data/file",
    ])
    .ok()
    .stdout_is("content");
}

#[test]
fn layers_are_labelled_upon_those_that_are_already() {
    if !enabled() {
        return;
    }
    let env = Env::new();
    env.build_image(
        "made",
        "FROM busybox\nRUN mkdir /made && cp /bin/busybox /made/true\n",
    );
    let archive = env.path("made.tar").display().to_string();
    env.rctr(["save", "-o", &archive, "made"]).ok();
    env.rctr(["rmi", "made"]).ok();
    env.rctr(["builder", "prune", "-af"]).ok();
    env.rctr(["load", "-i", &archive]).ok();
    env.run_alone(&["made", "/made/true"]).ok();
    let layers = env.root().join("layers");
    let programs = rctr_tests::entries(&layers).into_iter();
    let programs = programs.map(|layer| layers.join(layer).join("diff/made/true"));
    let labels: Vec<String> = programs
        .filter(|p| p.exists())
        .map(|p| label_of(&p))
        .collect();
    assert_eq!(labels, ["system_u:object_r:container_ro_file_t:s0"]);
}

#[test]
fn steps_of_builds_have_levels_of_their_own() {
    if !enabled() {
        return;
    }
    let env = Env::new();
    // A program is run by the step that makes it, too.
    let dockerfile = env.dockerfile(
        "FROM busybox\n\
         RUN mkdir /made && cp /bin/busybox /made/true && /made/true && cat /proc/self/attr/current > /one\n\
         RUN --mount=type=tmpfs,target=/t /made/true && cat /proc/self/attr/current > /two && cat /proc/mounts > /mounts\n\
         RUN --security=insecure cat /proc/self/attr/current > /insecure\n",
    );
    let allow = ["-q", "-t", "built", "--allow", "security.insecure"];
    env.build(&allow, &dockerfile).ok();
    let written = |name: &str| plain(&env.run_alone(&["built", "cat", name]).ok().stdout());
    for name in ["/one", "/two"] {
        let label = written(name);
        let level = label.strip_prefix("system_u:system_r:container_t:s0:c");
        assert!(level.is_some_and(|level| level.contains(",c")), "{label}");
    }
    let context = format!("context=\"{}\"", files_of(&written("/two")));
    let shown = written("/mounts");
    for place in ["/", "/dev", "/t"] {
        let line = shown.lines().find(|l| l.split(' ').nth(1) == Some(place));
        let line = line.unwrap_or_else(|| panic!("{place} in {shown}"));
        assert!(line.contains(&context), "{line}");
    }
    assert_eq!(written("/insecure"), own());
}

#[test]
fn steps_of_builds_reach_what_is_mounted_for_them() {
    if !enabled() {
        return;
    }
    let env = Env::new();
    let dockerfile = "FROM busybox AS made\nRUN echo made > /file\nFROM scratch AS none\nFROM busybox\nCOPY host /h\n\
        RUN --mount=target=/context cat /context/file\n\
        RUN --mount=from=made,target=/made,rw cat /made/file && echo more > /made/more && cat /made/more\n\
        RUN --mount=from=none,target=/one --mount=from=none,target=/two ls /one /two\n\
        RUN --mount=type=secret,id=token cat /run/secrets/token\n\
        RUN --mount=type=cache,target=/cache echo kept > /cache/file\n\
        RUN --mount=type=cache,target=/cache cat /cache/file\n\
        RUN --mount=type=ssh /h/ld.so --library-path /h /h/ssh-add -l\n\
        RUN <<EOF\n#!/bin/sh\ntrue\nEOF\n";
    let context = env.context(&[("Dockerfile", dockerfile), ("file", "content\n")]);
    context.copy_program("host", "/usr/bin/ssh-add");
    let key = env.path("key");
    let generate = ["-q", "-t", "ed25519", "-N", "", "-f"];
    let generated = Command::new("ssh-keygen").args(generate).arg(&key).status();
    assert!(generated.expect("ssh-keygen").success());
    let secret = format!("id=token,src={}", context.file("file").display());
    let ssh = format!("default={}", key.display());
    env.build(&["--secret", &secret, "--ssh", &ssh], &context)
        .ok();
}

#[test]
fn labels_are_no_part_of_layers() {
    if !enabled() {
        return;
    }
    let made = |env: &Env| {
        let dockerfile = env.context(&[
            (
                "Dockerfile",
                "FROM busybox\nCOPY file /\nRUN mkdir /made && echo made > /made/file\n",
            ),
            ("file", "content\n"),
        ]);
        let reproducible = [
            "-q",
            "--build-arg",
            "SOURCE_DATE_EPOCH=1000000",
            "-o",
            "type=image,name=built,rewrite-timestamp=true",
        ];
        env.build(&reproducible, &dockerfile).ok();
        let change = "echo changed > /changed && touch -d @1000000 /changed";
        env.rctr(["run", "--name", "one", "built", "sh", "-c", change])
            .ok();
        env.rctr(["commit", "one", "committed"]).ok();
        let exported = env.rctr(["export", "one"]).ok().stdout_bytes().to_owned();
        let label = b"security.selinux";
        assert!(!exported.windows(label.len()).any(|found| found == label));
        env.inspect("committed")["RootFS"]["Layers"].clone()
    };
    let without = Env::builder()
        .config("[security]\nselinux = false\n")
        .build();
    assert_eq!(made(&Env::new()), made(&without));
}

#[test]
fn there_are_none_where_the_configuration_says_so() {
    if !enabled() {
        return;
    }
    let env = Env::builder()
        .config("[security]\nselinux = false\n")
        .build();
    assert_eq!(
        current(&env, &["--security-opt", "label=type:spc_t"]),
        own()
    );
    let place = place(&env, "place");
    let before = label_of(&place);
    env.sh(&["-v", &format!("{}:/v:z", place.display())], "true")
        .ok();
    assert_eq!(label_of(&place), before);
    env.rctr(["info"]).ok().stdout_lacks("selinux");
}

#[test]
fn what_has_another_label_is_out_of_reach() {
    let enforced = fs::read_to_string("/sys/fs/selinux/enforce");
    if enforced.is_ok_and(|answer| answer.trim() == "1") && enabled() {
        let env = Env::new();
        let place = place(&env, "place");
        let read = |options: &str, flags: &[&str]| {
            let volume = format!("{}:/v{options}", place.display());
            env.sh(&[&["-v", &volume], flags].concat(), "cat /v/file")
        };
        denied(&read("", &[]));
        read("", &["--security-opt", "label=disable"]).ok();
        read("", &["--privileged"]).ok();
        read(":z", &[]).ok().stdout_is("content");
        read("", &[]).ok().stdout_is("content");
        read(":Z", &[]).ok().stdout_is("content");
        denied(&read("", &[]));
        // By the time another one has it the first one does not.
        let volume = format!("{}:/v:Z", place.display());
        env.run_detached(["--name", "first", "-v", &volume, "busybox", "sleep", "1000"]);
        let first = || env.rctr(["exec", "first", "cat", "/v/file"]);
        first().ok();
        read(":Z", &[]).ok();
        denied(&first());
    } else {
        eprintln!("SELinux is not enforced here");
    }
}
