//! URLs and repositories, served on loopback.

use std::io::{BufRead, BufReader, Read};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

/// Answers each request by its path until it is dropped.
struct Server {
    address: String,
    asked: Arc<AtomicUsize>,
}

fn serve(answer: impl Fn(&str, usize) -> String + Send + 'static) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream: TcpStream = stream.unwrap();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let mut line = String::new();
            reader.read_line(&mut line).unwrap();
            let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
            while reader.read_line(&mut line).unwrap() > 2 {
                line.clear();
            }
            let answer = answer(&path, count.fetch_add(1, Ordering::SeqCst));
            let _ = stream.write_all(answer.as_bytes());
            let _ = stream.shutdown(std::net::Shutdown::Write);
            let _ = stream.read(&mut [0; 16]);
        }
    });
    Server { address, asked }
}

fn ok(headers: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n{headers}\r\n{body}",
        body.len()
    )
}

const HELLO: &str = "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";

#[test]
fn a_fetched_file_has_mode_time_and_name() {
    let server = serve(|path, _| {
        match path {
        "/a%20dir/hello.txt?x=1" => ok("Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT\r\n", "hello"),
        "/moved" => "HTTP/1.1 302 Found\r\nLocation: /named\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".into(),
        "/dots/%2e%2e%2f" => ok("", "hello"),
        _ => ok("Content-Disposition: attachment; filename=\"../nice.txt\"\r\n", "hello"),
    }
    });
    let lab = Lab::new();
    let url = |path: &str| format!("http://{}{path}", server.address);
    let get = |path: &str| fetch(&url(path), None, lab.0.path()).unwrap();
    let fetched = get("/a%20dir/hello.txt?x=1");
    assert_eq!(
        (fetched.name.as_str(), fetched.digest.as_str()),
        ("hello.txt", HELLO)
    );
    let literal = SelectOptions {
        literal: true,
        ..SelectOptions::default()
    };
    lab.run_with(&fetched.tree, &[&fetched.name], &literal, "/x/", |_| {})
        .unwrap();
    assert_eq!(lab.seen(), ["x/ 755 0:0", "x/hello.txt 600 0:0 hello"]);
    assert_eq!(modified(&lab.at("to/x/hello.txt")), 784_111_777);
    assert_eq!(get("/moved").name, "moved");
    assert_eq!(get("/").name, "nice.txt");
    assert_eq!(get("/dots/%2e%2e%2f").name, "__unnamed__");
    assert_eq!(modified(&get("/moved").dir.join("moved")), 0);
}

#[test]
fn a_checksum_is_compared() {
    let server = serve(|_, _| ok("", "hello"));
    let lab = Lab::new();
    let url = format!("http://me:secret@{}/f", server.address);
    let get = |checksum: &str| fetch(&url, Some(checksum), lab.0.path());
    get(HELLO).unwrap();
    let wrong = HELLO.replace("cf", "cd");
    let error = message(get(&wrong));
    assert!(
        error.contains("digest mismatch") && error.contains(HELLO),
        "{error}"
    );
    assert!(!error.contains("secret"), "{error}");
    for bad in [
        "sha256:12",
        "md5:x",
        HELLO.trim_start_matches("sha256:"),
        "sha512:00",
    ] {
        assert!(message(get(bad)).starts_with("invalid checksum"), "{bad}");
    }
}

#[test]
fn refusals_are_told_and_passing_trouble_is_tried_again() {
    let server = serve(|path, asked| match path {
        "/missing" => {
            "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".into()
        }
        _ if asked < 2 => {
            "HTTP/1.1 503 Busy\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".into()
        }
        _ => ok("", "hello"),
    });
    let lab = Lab::new();
    let get = |path: &str| {
        fetch(
            &format!("http://{}{path}", server.address),
            None,
            lab.0.path(),
        )
    };
    let error = message(get("/missing"));
    assert!(
        error.ends_with("/missing: invalid response status 404"),
        "{error}"
    );
    assert_eq!(server.asked.load(Ordering::SeqCst), 1);
    get("/busy").unwrap();
    assert_eq!(server.asked.load(Ordering::SeqCst), 3);
    let closed = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let error = message(fetch(&format!("http://{closed}/x"), None, lab.0.path()));
    assert!(error.contains("Connection refused"), "{error}");
}

/// `git daemon` over the repositories below `from`.
struct Daemon {
    child: Child,
    port: u16,
}

impl Daemon {
    fn start(lab: &Lab) -> Daemon {
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        // Itself, not through `git`, so that it can be killed.
        let programs = Command::new("git")
            .arg("--exec-path")
            .output()
            .unwrap()
            .stdout;
        let programs = String::from_utf8(programs).unwrap();
        let mut child = Command::new(Path::new(programs.trim()).join("git-daemon"))
            .args([
                "--export-all",
                "--listen=127.0.0.1",
                "--verbose",
                "--informative-errors",
            ])
            .arg(format!("--port={port}"))
            .arg(format!("--base-path={}", lab.at("from").display()))
            .arg(lab.at("from"))
            .env("GIT_CONFIG_COUNT", "1")
            .env("GIT_CONFIG_KEY_0", "safe.directory")
            .env("GIT_CONFIG_VALUE_0", "*")
            .stdout(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let ready = lines.next().unwrap().unwrap();
        assert!(ready.contains("Ready to rumble"), "{ready}");
        std::thread::spawn(move || lines.count());
        Daemon { child, port }
    }

    fn get(&self, text: &str, options: &GitOptions, lab: &Lab) -> Result<Checkout> {
        checkout(&self.address(text), options, lab.0.path())
    }

    fn address(&self, text: &str) -> GitAddress {
        let text = format!("git://127.0.0.1:{}/{text}", self.port);
        GitAddress::of_source(&text).unwrap().unwrap()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn git(lab: &Lab, repository: &str, arguments: &[&str]) -> String {
    let output = Command::new("git")
        .args([
            "-c",
            "user.name=t",
            "-c",
            "user.email=t@t",
            "-c",
            "protocol.file.allow=always",
        ])
        .args([
            "-c",
            "init.defaultBranch=main",
            "-c",
            "commit.gpgsign=false",
        ])
        .args(arguments)
        .current_dir(lab.at("from").join(repository))
        .env("GIT_AUTHOR_DATE", "1000000000 +0000")
        .env("GIT_COMMITTER_DATE", "1000000000 +0000")
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

fn repository(lab: &Lab) -> (String, String) {
    lab.file("from/r/f", "one")
        .file("from/r/sub/g", "g")
        .link("from/r/evil", "/etc")
        .link("from/r/sub/up", "../..");
    git(lab, "r", &["init", "-q"]);
    git(lab, "r", &["add", "-A"]);
    git(lab, "r", &["commit", "-qm", "1"]);
    let first = git(lab, "r", &["rev-parse", "HEAD"]);
    git(lab, "r", &["tag", "-a", "v1", "-m", "v1"]);
    lab.file("from/r/f", "two");
    git(lab, "r", &["commit", "-qam", "2"]);
    (first, git(lab, "r", &["rev-parse", "HEAD"]))
}

fn copied(lab: &Lab, checkout: &Checkout, to: &str) -> Vec<String> {
    lab.run(&checkout.tree, &["."], to, |_| {}).unwrap();
    lab.list(&format!("to{to}"))
}

#[test]
fn references_commits_tags_and_subdirectories() {
    let lab = Lab::new();
    let (first, second) = repository(&lab);
    let daemon = Daemon::start(&lab);
    let plain = GitOptions::default();
    let get = |text: &str| daemon.get(text, &plain, &lab);
    let head = get("r").unwrap();
    assert_eq!(
        (head.commit.as_str(), head.time),
        (second.as_str(), 1_000_000_000)
    );
    assert_eq!(
        copied(&lab, &head, "/head"),
        [
            "evil -> /etc 0:0",
            "f 644 0:0 two",
            "sub/ 755 0:0",
            "sub/g 644 0:0 g",
            "sub/up -> ../.. 0:0"
        ]
    );
    assert_eq!(get("r#main").unwrap().commit, second);
    assert_eq!(get("r?branch=main").unwrap().commit, second);
    let tag = get("r#v1").unwrap();
    assert_eq!(tag.commit, first);
    assert!(copied(&lab, &tag, "/tag").contains(&"f 644 0:0 one".to_owned()));
    assert_eq!(get(&format!("r#{first}")).unwrap().commit, first);
    assert_eq!(
        resolve(&daemon.address("r#refs/tags/v1"), &plain).unwrap(),
        first
    );
    let sub = get("r#v1:sub").unwrap();
    assert_eq!(
        copied(&lab, &sub, "/sub"),
        ["g 644 0:0 g", "up -> ../.. 0:0"]
    );
    assert!(
        sub.tree
            .select(&["up"], &SelectOptions::default())
            .unwrap()
            .len()
            == 2,
        "clamped to the subdirectory"
    );
    for (text, says) in [
        ("r#none", "repository does not contain ref none"),
        ("nosuch", "failed to"),
        ("r#:evil", "\"/evil\": not a directory"),
        ("r#:sub/up/sub", "\"/sub/up"),
        ("r#:f", "\"/f\": not a directory"),
        ("r#:none", "\"/none\": not found"),
    ] {
        let error = message(get(text));
        assert!(error.contains(says), "{text}: {error}");
    }
    let checked = |checksum: &str| {
        let options = GitOptions {
            checksum: Some(checksum.into()),
            ..GitOptions::default()
        };
        daemon.get("r#main", &options, &lab)
    };
    assert_eq!(checked(&second[..12]).unwrap().commit, second);
    assert!(message(checked(&first)).contains("digest mismatch"));
}

#[test]
fn the_git_directory_is_kept_when_asked_for() {
    let lab = Lab::new();
    let (_, second) = repository(&lab);
    let daemon = Daemon::start(&lab);
    let options = GitOptions {
        keep_git_dir: true,
        commit_times: true,
        ..GitOptions::default()
    };
    let kept = daemon.get("r", &options, &lab).unwrap();
    let again = daemon.get("r", &options, &lab).unwrap();
    lab.run(&kept.tree, &["."], "/kept", |_| {}).unwrap();
    assert_eq!(
        git(
            &lab,
            "../to/kept",
            &["-c", "safe.directory=*", "log", "--format=%H"]
        ),
        second
    );
    assert_eq!(
        git(
            &lab,
            "../to/kept",
            &["-c", "safe.directory=*", "status", "--porcelain"]
        ),
        ""
    );
    assert_eq!(modified(&lab.at("to/kept/f")), 1_000_000_000);
    let digest = |checkout: &Checkout| {
        let selection = checkout
            .tree
            .select(&["f"], &SelectOptions::default())
            .unwrap();
        selection.digest().unwrap()
    };
    assert_eq!(digest(&kept), digest(&again));
    let without = daemon.get("r?keep-git-dir=false", &options, &lab).unwrap();
    assert!(
        !copied(&lab, &without, "/without")
            .iter()
            .any(|line| line.contains(".git"))
    );
}

#[test]
fn submodules_come_along_unless_they_name_files_of_this_machine() {
    let lab = Lab::new();
    repository(&lab);
    let daemon = Daemon::start(&lab);
    let url = format!("git://127.0.0.1:{}/r", daemon.port);
    lab.file("from/top/own", "1");
    git(&lab, "top", &["init", "-q"]);
    git(&lab, "top", &["submodule", "--quiet", "add", &url, "lib"]);
    git(&lab, "top", &["add", "-A"]);
    git(&lab, "top", &["commit", "-qm", "1"]);
    let plain = GitOptions::default();
    let files = copied(&lab, &daemon.get("top", &plain, &lab).unwrap(), "/top");
    assert!(files.contains(&"lib/f 644 0:0 two".to_owned()), "{files:?}");
    assert!(
        !files.iter().any(|line| line.starts_with("lib/.git")),
        "{files:?}"
    );
    let without = daemon.get("top?submodules=false", &plain, &lab).unwrap();
    assert!(
        !copied(&lab, &without, "/without")
            .iter()
            .any(|line| line.starts_with("lib/f"))
    );

    let local = lab.at("from/r").display().to_string();
    lab.file("from/sly/own", "1");
    git(&lab, "sly", &["init", "-q"]);
    git(&lab, "sly", &["submodule", "--quiet", "add", &local, "lib"]);
    git(&lab, "sly", &["add", "-A"]);
    git(&lab, "sly", &["commit", "-qm", "1"]);
    let error = message(daemon.get("sly", &plain, &lab));
    assert!(
        error.contains("update submodules") && error.contains("not allowed"),
        "{error}"
    );
}
