//! rctr as an ordinary user.

mod oci;
mod ports;
mod user;
mod within;

use std::fs;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rctr_tests::{Env, http_get, registry, wait_for, wait_for_some};
use user::{User, View, uid_of};

#[test]
fn a_user_s_containers_run_with_the_user_s_ids_and_leave_nothing() {
    let user = User::new();
    let first = user.first_id.unwrap();
    let id = user.rctr(["run", "--rm", "--network", "none", "busybox", "id"]);
    id.ok().stdout_has("uid=0(root) gid=0(root)");
    wait_for("the keeper to end", || user.processes().is_empty());

    let pid = user.start(&["--name", "one", "busybox", "sleep", "1000"]);
    assert_eq!(uid_of(pid), user.uid);
    let other = user.start(&["--name", "two", "-u", "1000", "busybox", "sleep", "1000"]);
    assert_eq!(uid_of(other), first + 999);
    user.rctr(["exec", "-u", "7:8", "one", "id", "-u"])
        .ok()
        .stdout_is("7");
    user.rctr(["exec", "one", "touch", "/made"]).ok();
    assert!(user.root().join("containers").is_dir());
    let names = user.rctr(["ps", "--format", "{{.Names}}"]).ok().lines();
    assert_eq!(names, ["two", "one"]);
    user.rctr(["stop", "-t", "0", "one", "two"]).ok();
    wait_for("the keeper to end", || user.processes().is_empty());

    user.rctr(["start", "one"]).ok();
    user.rctr(["exec", "one", "ls", "/made"])
        .ok()
        .stdout_is("/made");
    let info = user.rctr([
        "info",
        "--format",
        "{{.SecurityOptions}} {{.DockerRootDir}}",
    ]);
    let info = info.ok().stdout();
    assert!(info.contains("name=rootless"), "{info}");
    assert!(info.ends_with(&*user.root().to_string_lossy()), "{info}");
    user.rctr(["rm", "-f", "one", "two"]).ok();
}

#[test]
fn containers_reach_each_other_and_names_resolve() {
    let user = User::new();
    let has_bridge =
        || rctr_tests::entries("/sys/class/net".as_ref()).contains(&"rctr0".to_owned());
    let before = has_bridge();
    user.start(&["--name", "web", "busybox", "httpd", "-f", "-h", "/etc"]);
    user.reaches_page_of("web");

    user.rctr(["network", "create", "inner"]).ok();
    user.start(&[
        "--name",
        "named",
        "--network",
        "inner",
        "busybox",
        "httpd",
        "-f",
        "-h",
        "/etc",
    ]);
    let got = user.rctr([
        "run",
        "--rm",
        "--network",
        "inner",
        "busybox",
        "wget",
        "-qO-",
        "http://named/passwd",
    ]);
    assert!(got.ok().stdout().contains("root:"));
    // The host's own network has none of it.
    assert_eq!(has_bridge(), before);
    user.rctr(["rm", "-f", "named"]).ok();
    user.rctr(["network", "rm", "inner"]).ok();
}

#[test]
fn images_are_built_and_pushed_with_the_owners_they_have_inside() {
    let user = User::new();
    user.write(
        "Dockerfile",
        "FROM busybox\nRUN mkdir -p /d/e /gone && touch /d/old /gone/x && chown 12:34 /d/old\n\
         RUN rm -rf /d /gone && mkdir /d && touch /d/new && chown 1000:1000 /d/new\n\
         COPY --chown=77:88 Dockerfile /copied\nRUN ls /d /gone 2>&1; stat -c '%u:%g %n' /d/new /copied\n",
    );
    let name = format!(
        "{}/rootless/{}:1",
        registry().trim_start_matches("http://"),
        user.uid
    );
    let built = user.rctr(["build", "--progress", "plain", "-t", &name, "."]);
    let log = built.ok().stderr();
    for line in ["1000:1000 /d/new", "77:88 /copied"] {
        assert!(log.contains(line), "{line}: {log}");
    }
    user.rctr(["push", &name]).ok();
    // For root they are the same.
    let env = Env::new();
    let script = "ls /d; ls /gone 2>&1; stat -c %u:%g /d/new /copied";
    let seen = env.rctr([
        "run",
        "--rm",
        "--network",
        "none",
        &name,
        "sh",
        "-c",
        script,
    ]);
    assert_eq!(
        seen.ok().lines(),
        [
            "new",
            "ls: /gone: No such file or directory",
            "1000:1000",
            "77:88"
        ]
    );
}

#[test]
fn root_and_users_do_not_see_each_other() {
    let (one, two, root) = (User::new(), User::new(), Env::new());
    one.start(&[
        "--name",
        "same",
        "--network",
        "none",
        "busybox",
        "sleep",
        "1000",
    ]);
    two.start(&[
        "--name",
        "same",
        "--network",
        "none",
        "busybox",
        "sleep",
        "1000",
    ]);
    root.run_detached([
        "--name",
        "same",
        "--network",
        "none",
        "busybox",
        "sleep",
        "1000",
    ]);
    two.rctr(["rm", "-f", "same"]).ok();
    one.rctr(["ps", "-q"])
        .ok()
        .lines()
        .first()
        .expect("still there");
    assert!(two.rctr(["ps", "-q"]).ok().stdout().is_empty());
    root.rctr(["exec", "same", "true"]).ok();
    let taken = two.rctr(["--root", &one.root().to_string_lossy(), "ps"]);
    assert_ne!(taken.status(), 0, "{}", taken.stdout());
}

#[test]
fn without_subordinate_ids_there_is_root_alone() {
    let user = User::without_ids();
    // An image with files of others.
    let pulled = user.rctr(["pull", "busybox"]);
    pulled.exits(1).stderr_has("no subordinate ids");
    pulled.stderr_has("hint:").stderr_has("/etc/subuid");
    // And one without.
    fs::copy("/bin/busybox", user.path("home/busybox")).unwrap();
    user.write("Dockerfile", "FROM scratch\nCOPY busybox /bin/sh\n");
    user.rctr(["build", "-q", "-t", "own", "."]).ok();
    let script = "while read -r line; do echo $line; done < /proc/self/uid_map";
    let run = [
        "run",
        "--rm",
        "--network",
        "none",
        "own",
        "/bin/sh",
        "-c",
        script,
    ];
    let map = user.rctr(run);
    map.ok().stdout_is(&format!("0 {} 1", user.uid));
    map.stderr_has("usermod --add-subuids");
    let other = user.rctr([
        "run",
        "--rm",
        "--network",
        "none",
        "-u",
        "1000",
        "own",
        "true",
    ]);
    assert_ne!(other.status(), 0);
}

#[test]
fn what_is_missing_is_named_with_the_way_out() {
    let user = User::new();
    user.rctr(["pull", "-q", "busybox"]).ok();
    let with = |view: View, network: &str| {
        user.rctr_with(
            view,
            ["run", "--rm", "--network", network, "busybox", "true"],
        )
    };
    let no_uidmap = View {
        without: &["newuidmap"],
        ..View::default()
    };
    with(no_uidmap, "none")
        .exits(125)
        .stderr_has("newuidmap is not installed")
        .stderr_has("hint: `apt-get install uidmap`");
    let no_helper = View {
        without: &["pasta", "slirp4netns"],
        ..View::default()
    };
    with(no_helper, "bridge")
        .exits(125)
        .stderr_has("neither pasta nor slirp4netns")
        .stderr_has("hint: `apt-get install passt`");
    with(no_helper, "none").ok();
    let no_tunnel = View {
        no_tunnel: true,
        ..View::default()
    };
    with(no_tunnel, "bridge")
        .exits(125)
        .stderr_has("/dev/net/tun")
        .stderr_has("hint: `chmod 666 /dev/net/tun`");
    with(no_tunnel, "host").ok();
    let powerless = View {
        powerless: &["newuidmap"],
        ..View::default()
    };
    with(powerless, "none")
        .exits(125)
        .stderr_has("newuidmap")
        .stderr_has("hint: `chmod u+s $(command -v newuidmap)`");
    fs::remove_dir_all(user.state()).unwrap();
    std::os::unix::fs::symlink("/tmp", user.state()).unwrap();
    with(View::default(), "none")
        .exits(125)
        .stderr_has("only you can write to");
    fs::remove_file(user.state()).unwrap();
}

#[test]
fn what_is_wrong_with_ranges_is_told() {
    let user = User::new();
    let run = ["run", "--rm", "--network", "none", "busybox", "true"];
    user.rctr(["pull", "-q", "busybox"]).ok();
    let name = user.name();
    // They are read when the first container starts.
    let try_with = |line: &str| {
        wait_for("the keeper to end", || user.processes().is_empty());
        user.set_ranges(line);
        user.rctr(run)
    };
    let hint = "usermod --add-subuids";
    try_with(&format!("{name}:100000"))
        .exits(125)
        .stderr_has("is not USER:FIRST:COUNT")
        .stderr_has(hint);
    try_with(&format!("{name}:600000000:1000"))
        .ok()
        .stderr_has("users above 1000 cannot be unpacked");
    try_with("").stderr_has(hint);
}

#[test]
fn slirp4netns_serves_where_it_alone_is_there() {
    let user = User::new();
    let port = user.port(0);
    let view = View {
        without: &["pasta"],
        ..View::default()
    };
    let publish = format!("{port}:80");
    let words = [
        "run", "-d", "--name", "web", "-p", &publish, "busybox", "httpd", "-f", "-h", "/etc",
    ];
    user.rctr_with(view, words).ok();
    let page = wait_for_some("an answer", || {
        http_get(format!("127.0.0.1:{port}"), "/passwd").ok()
    });
    assert!(page.body.contains("root:"));
    let lines: Vec<_> = user.processes().into_iter().map(|(_, line)| line).collect();
    assert!(
        lines.iter().any(|line| line.contains("slirp4netns")),
        "{lines:?}"
    );
}

#[test]
fn a_container_outlives_its_keeper() {
    let user = User::new();
    let port = user.port(0);
    let publish = format!("{port}:80");
    let words = [
        "--name", "one", "-p", &publish, "busybox", "httpd", "-f", "-h", "/etc",
    ];
    user.start(&words);
    let program = |name: &str| {
        let all = user.processes();
        let mut of_name = all.iter().filter(|(_, line)| line.contains(name));
        of_name.next().map(|(pid, _)| *pid)
    };
    let keeper = program("rctr-keeper").expect("a keeper");
    let pasta = program("pasta").expect("a way outside");
    kill(Pid::from_raw(keeper), Signal::SIGKILL).unwrap();
    user.rctr(["exec", "one", "true"]).ok();
    // The next one keeps the same namespaces: nothing of the network has gone.
    // Its name it gets a moment after it is there.
    wait_for_some("another keeper", || {
        program("rctr-keeper").filter(|next| *next != keeper)
    });
    assert_eq!(program("pasta"), Some(pasta));
    let page = wait_for_some("an answer", || {
        http_get(format!("127.0.0.1:{port}"), "/passwd").ok()
    });
    assert!(page.body.contains("root:"));
    user.reaches_page_of("one");
    // So does pasta's end: the next container starts another.
    kill(Pid::from_raw(pasta), Signal::SIGKILL).unwrap();
    wait_for("its end", || {
        let stat = fs::read_to_string(format!("/proc/{pasta}/stat"));
        stat.is_err() || stat.is_ok_and(|text| text.contains(") Z "))
    });
    user.start(&["--name", "two", "busybox", "sleep", "1000"]);
    assert!(program("pasta").is_some_and(|other| other != pasta));
    user.rctr(["rm", "-f", "one", "two"]).ok();
    assert!(user.rctr(["ps", "-aq"]).ok().stdout().is_empty());
    wait_for("the keeper to end", || user.processes().is_empty());
}

#[test]
fn limits_that_nobody_delegated_are_told() {
    let user = User::new();
    let out = user.rctr([
        "run",
        "--rm",
        "--network",
        "none",
        "-m",
        "64m",
        "busybox",
        "true",
    ]);
    out.ok().stderr_has("memory limit");
    out.stderr_has("loginctl enable-linger");
    let words = ["run", "--rm", "--network", "none", "--cpus", "1"];
    let refused = user.rctr([&words[..], &["busybox", "true"]].concat());
    refused.exits(125).stderr_has("NanoCPUs can not be set");
    refused.stderr_has("loginctl enable-linger");
    user.rctr([
        "run",
        "--rm",
        "--network",
        "none",
        "--privileged",
        "busybox",
        "true",
    ])
    .ok();
    user.rctr([
        "run",
        "--rm",
        "--network",
        "none",
        "--oom-score-adj",
        "-500",
        "busybox",
        "true",
    ])
    .ok();
}
