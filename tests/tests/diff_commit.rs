//! `diff`, `commit` and `import`.

use std::fs;
use std::io::Write;
use std::net::TcpListener;

use rctr_tests::{Env, parsed, text, tool};

fn diff(env: &Env, name: &str) -> Vec<String> {
    env.rctr(["diff", name]).ok().lines()
}

#[test]
fn changes_are_told_as_docker_tells_them() {
    let env = Env::new();
    let script = "echo x > /etc/new; rm /bin/vi; mkdir -p /made/deep; echo y > /made/deep/f; \
                  chmod 700 /root; rm -r /home; mkdir /home; echo z > /home/f; touch /tmp/gone; rm /tmp/gone";
    env.rctr(["run", "--name", "c1", "busybox", "sh", "-c", script])
        .ok();
    let found = diff(&env, "c1");
    for line in [
        "C /bin",
        "D /bin/vi",
        "C /etc",
        "A /etc/new",
        "A /made",
        "A /made/deep",
        "A /made/deep/f",
        "A /home/f",
    ] {
        assert!(found.contains(&line.to_owned()), "{line}: {found:?}");
    }
    let position = |line: &str| found.iter().position(|l| l == line);
    assert!(
        position("C /bin") < position("D /bin/vi"),
        "directories come first"
    );
    for hidden in ["/etc/hosts", "/dev", "/proc", "/etc/resolv.conf"] {
        let told = found.iter().any(|line| line.ends_with(hidden));
        assert!(!told, "{hidden} is made for a mount: {found:?}");
    }
    env.rctr(["create", "--name", "fresh", "busybox"]).ok();
    assert_eq!(diff(&env, "fresh"), Vec::<String>::new());
    env.rctr(["diff", "nosuch"])
        .refused(1, "No such container: nosuch");
}

#[test]
fn programs_find_docker_s_mark_and_it_is_no_change() {
    let env = Env::new();
    let script = "stat -c '%a %s' /.dockerenv";
    env.rctr(["run", "--name", "c1", "busybox", "sh", "-c", script])
        .ok()
        .stdout_is("755 0");
    assert!(diff(&env, "c1").is_empty());
    env.sh(&["--read-only"], "ls /.dockerenv").ok();
    let size = ["ps", "-a", "--format", "{{.Size}}", "-s", "-f", "name=c1"];
    env.rctr(size).ok().stdout_has("0B (virtual");
}

#[test]
fn a_container_becomes_an_image() {
    let env = Env::new();
    let script = "echo kept > /kept; rm /bin/vi; rm -r /etc; mkdir /etc; echo app:x:5:5::/: > /etc/passwd; echo v > /vol/f; sleep 1000";
    let flags = ["-e", "A=1", "-l", "of=me", "-w", "/srv", "-v", "data:/vol"];
    let args = [
        &["run", "-d", "--name", "c1"],
        &flags[..],
        &["busybox", "sh", "-c", script],
    ]
    .concat();
    env.rctr(args).ok();
    let ready = || env.rctr(["exec", "c1", "test", "-e", "/vol/f"]).status() == 0;
    rctr_tests::wait_for("the container's files", ready);
    let out = env.rctr([
        "commit",
        "-a",
        "me",
        "-m",
        "why",
        "-c",
        "ENV B=$A",
        "-c",
        "CMD [\"cat\", \"/kept\"]",
        "c1",
        "made:v1",
    ]);
    let id = out.ok().stdout();
    assert!(id.starts_with("sha256:"), "{id}");
    assert_eq!(
        env.inspect("c1")["State"]["Status"],
        "running",
        "it goes on"
    );
    env.rctr(["run", "--rm", "made:v1"]).ok().stdout_is("kept");
    let look =
        "ls /bin/vi /vol/f 2>/dev/null; ls /etc | grep -v host | grep -v resolv; pwd; echo $A $B";
    env.rctr(["run", "--rm", "made:v1", "sh", "-c", look])
        .ok()
        .stdout_is("passwd\n/srv\n1 1");
    let image = env.inspect("made:v1");
    assert_eq!(image["Id"], id.as_str());
    assert_eq!(
        (&image["Author"], &image["Comment"]),
        (&"me".into(), &"why".into()),
        "{image}"
    );
    assert_eq!(image["Config"]["Labels"]["of"], "me");
    let history = env.rctr([
        "history",
        "--no-trunc",
        "--format",
        "{{.CreatedBy}}|{{.Comment}}",
        "made:v1",
    ]);
    assert!(history.ok().lines()[0].ends_with("|why"));

    // Upon itself, without pausing, of a stopped one that changed nothing.
    env.rctr(["create", "--name", "same", "made:v1"]).ok();
    env.rctr(["commit", "--pause=false", "same", "made:v2"])
        .ok();
    env.rctr(["run", "--rm", "made:v2"]).ok().stdout_is("kept");
    let saved = env.path("saved.tar");
    env.rctr(["save", "-o", &text(&saved), "made:v2"]).ok();
    env.rctr(["rmi", "made:v2"]).ok();
    env.rctr(["load", "-i", &text(&saved)]).ok();
    env.rctr(["run", "--rm", "made:v2"]).ok().stdout_is("kept");

    env.rctr(["commit", "-c", "RUN true", "same"])
        .refused(1, "run is not a valid change command");
    env.rctr(["commit", "-c", "USER", "same"])
        .refused(1, "rctr: USER requires exactly one argument");
    env.rctr(["commit", "same", "Bad Name"]).exits(1);
    env.rctr(["commit", "nosuch"])
        .refused(1, "No such container: nosuch");
    env.rctr(["commit"])
        .exits(1)
        .stderr_has("requires at least 1 and at most 2 arguments");
}

/// Layers of an image, and which lines of its history have none, top first.
fn layers_of(env: &Env, image: &str) -> (Vec<String>, Vec<bool>) {
    let saved = env.path(&format!("{image}.tar"));
    env.rctr(["save", "-o", &text(&saved), image]).ok();
    let member = |name: &str| parsed(&tool("tar", &["-xOf", &text(&saved), name]));
    let manifest = member("manifest.json");
    let config = member(manifest[0]["Config"].as_str().expect("a name"));
    let diff_ids = config["rootfs"]["diff_ids"].as_array().expect("a list");
    let history = config["history"].as_array().expect("a list").iter().rev();
    (
        diff_ids.iter().map(ToString::to_string).collect(),
        history.map(|line| line["empty_layer"] == true).collect(),
    )
}

#[test]
fn a_container_that_changed_nothing_adds_no_layer() {
    let env = Env::new();
    let run = |name: &str, script: &str| {
        env.rctr(["run", "--name", name, "busybox", "sh", "-c", script])
            .ok();
        env.rctr(["commit", name, name]).ok();
        layers_of(&env, name)
    };
    env.rctr(["pull", "-q", "busybox"]).ok();
    let base = layers_of(&env, "busybox").0;
    let (layers, empty) = run("unchanged", "cat /etc/hosts");
    assert_eq!(layers, base);
    assert_eq!(empty, [true, false]);
    // What Docker takes for a change is one.
    for (name, script) in [
        ("mode", "chmod 700 /etc"),
        ("gone", "rm /etc/group"),
        ("new", "echo x > /etc/x"),
    ] {
        let (layers, empty) = run(name, script);
        assert_eq!(layers.len(), base.len() + 1, "{name}");
        assert_eq!(empty, [false, false], "{name}");
    }
    let look = ["run", "--rm", "mode", "stat", "-c", "%a", "/etc"];
    env.rctr(look).ok().stdout_is("700");
    env.rctr(["run", "--rm", "gone", "ls", "/etc/group"])
        .exits(1);
}

#[test]
fn a_paused_container_stays_so() {
    let env = Env::new();
    let id = env.run_detached(["busybox", "sleep", "1000"]);
    env.rctr(["pause", &id]).ok();
    env.rctr(["commit", &id, "made"]).ok();
    assert_eq!(env.inspect(&id)["State"]["Status"], "paused");
    env.rctr(["unpause", &id]).ok();
}

#[test]
fn archives_become_images() {
    let env = Env::new();
    env.rctr(["create", "--name", "c1", "busybox"]).ok();
    let tar = env.rctr(["export", "c1"]);
    let tar = tar.ok().stdout_bytes().to_vec();
    let file = env.path("root.tar");
    fs::write(&file, &tar).expect("a file");
    let change = ["-c", "CMD [\"echo\", \"imported\"]", "-m", "by hand"];
    let path = text(&file);
    let args = [&["import"], &change[..], &[path.as_str(), "mine:1"]].concat();
    let id = env.rctr(args).ok().stdout();
    assert!(id.starts_with("sha256:"), "{id}");
    env.rctr(["run", "--rm", "mine:1"])
        .ok()
        .stdout_is("imported");
    assert_eq!(env.inspect("mine:1")["Comment"], "by hand");

    let args = ["import", "--platform", "linux/arm64", "-", "mine:2"];
    env.rctr_with_input(args, &tar).ok();
    let image = env.inspect("mine:2");
    assert_eq!(
        (&image["Architecture"], &image["Comment"]),
        (&"arm64".into(), &"Imported from -".into())
    );

    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let served = tar.clone();
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a connection");
        let mut request = [0; 4096];
        let _ = std::io::Read::read(&mut stream, &mut request);
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            served.len()
        );
        stream
            .write_all(head.as_bytes())
            .and_then(|()| stream.write_all(&served))
            .expect("an answer");
    });
    let url = format!("http://{address}/root.tar");
    let out = env.rctr(["import", &url, "mine:3"]);
    assert_eq!(out.ok().lines()[0], format!("Downloading from {url}"));
    server.join().expect("the server ends");
    env.rctr(["run", "--rm", "mine:3", "echo", "hi"])
        .ok()
        .stdout_is("hi");

    env.rctr(["import", "/nonexistent"])
        .refused(1, "open /nonexistent");
    env.rctr_with_input(["import", "-"], b"no archive").exits(1);
    env.rctr(["import", "-c", "FROM x", "-"])
        .refused(1, "from is not a valid change command");
    assert_eq!(env.rctr(["images", "-q"]).ok().lines().len(), 4);
}
