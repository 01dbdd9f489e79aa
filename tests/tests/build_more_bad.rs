//! Builds that cannot be: the exit code, a message that names the thing and its place, and nothing left of them.

use std::fs;
use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nix::sys::signal::Signal;
use rctr_tests::{Context, Env, Output, OwnRegistry, Proxy, Verdict, entries, wait_for};

/// Nothing of a build but what is in the store for the next one.
fn assert_nothing_left(env: &Env, images: &str) {
    env.rctr(["images", "--format", "{{.Repository}}"])
        .ok()
        .stdout_is(images);
    assert_eq!(entries(&env.root().join("tmp")), Vec::<String>::new());
    let mut state = entries(&env.state());
    state.retain(|name| !name.starts_with('.'));
    assert_eq!(state, Vec::<String>::new());
    env.assert_no_leftovers();
}

fn fails(env: &Env, context: &Context, words: &[&str]) -> Output {
    let output = env.build(&["--progress", "plain", "-t", "built"], context);
    output.exits(1).stdout_is("");
    for word in words {
        output.stderr_has(word);
    }
    output
}

#[test]
fn what_is_wrong_with_a_build_is_named_and_nothing_is_left() {
    let env = Env::new();
    env.rctr(["pull", "-q", "busybox"]).ok();
    let bad: &[(&str, &[&str])] = &[
        (
            "FROM busybox\nRUNN true\n",
            &["line 2", "did you mean RUN?"],
        ),
        (
            "FROM busybox\nCOPY --chwon=1 a /\n",
            &["chwon", "did you mean", "chown"],
        ),
        (
            "FROM busybox AS build\nFROM busybox\nCOPY --from=biuld /x /\n",
            &[
                "Dockerfile:3",
                "no stage is called \"biuld\": did you mean \"build\"?",
            ],
        ),
        (
            "FROM later AS first\nFROM busybox AS later\nFROM first\n",
            &["Dockerfile:1", "stage \"later\" begins further down"],
        ),
        (
            "FROM busybox AS a\nCOPY --from=b /x /\nFROM busybox AS b\nCOPY --from=a /x /\n",
            &["circular dependency detected on stage"],
        ),
        (
            "FROM busybox\nCOPY thong.txt /\n",
            &["Dockerfile:2", "did you mean \"/thing.txt\"?"],
        ),
        (
            "FROM busybox\nCOPY hidden.txt /\n",
            &["Dockerfile:2", "excluded by .dockerignore"],
        ),
        (
            "FROM busybox\nRUN echo said; exit 42\n",
            &[
                "Dockerfile:2",
                "said",
                "exit code: 42",
                ">>> RUN echo said; exit 42",
            ],
        ),
        (
            "FROM busybox\nRUN [\"/nosuch\"]\n",
            &["Dockerfile:2", "\"/nosuch\": no such file"],
        ),
        (
            "FROM busybox\nUSER nobody-here\nRUN true\n",
            &["Dockerfile:3", "nobody-here"],
        ),
        (
            "FROM busybox\nRUN --mount=type=secret,id=token,required=true true\n",
            &[
                "Dockerfile:2",
                "secret token: not found: give it with --secret id=token",
            ],
        ),
        (
            "FROM busybox\nRUN --mount=type=ssh,required=true true\n",
            &["Dockerfile:2", "give it with --ssh default"],
        ),
        (
            "FROM busybox\nRUN --mount=type=bind,from=busybox,source=/nosuch,target=/x true\n",
            &["Dockerfile:2", "/nosuch"],
        ),
        (
            "FROM busybox\nRUN --mount=type=tmpfs,target=/ true\n",
            &["Dockerfile:2", "\"/\""],
        ),
        (
            "FROM busybox\nADD up.tar /\n",
            &["Dockerfile:2", "up.tar: ../../escaped"],
        ),
        (
            "FROM busybox\nADD hard.tar /\n",
            &["Dockerfile:2", "hard.tar: link"],
        ),
        (
            "FROM busybox\nCOPY --chown=nobody-here thing.txt /\n",
            &["nobody-here"],
        ),
        (
            "FROM busybox\nADD http://127.0.0.1:1/x /\n",
            &["Dockerfile:2", "127.0.0.1:1"],
        ),
        (
            "FROM busybox\nADD --checksum=sha256:12 http://127.0.0.1:1/x /\n",
            &["Dockerfile:2", "sha256:12"],
        ),
    ];
    for (dockerfile, words) in bad {
        let context = env.context(&[
            ("Dockerfile", dockerfile),
            ("thing.txt", "x"),
            ("hidden.txt", "x"),
            (".dockerignore", "hidden.txt\n"),
        ]);
        archive(&context, "up.tar", "../../escaped", None);
        archive(&context, "hard.tar", "link", Some("../../../etc/passwd"));
        fails(&env, &context, words);
        assert_nothing_left(&env, "busybox");
    }
    // Variables that double grow only so far.
    let doubling = "ENV A=$A$A\n".repeat(40);
    let context = env.dockerfile(&format!("FROM busybox\nENV A=0123456789abcdef\n{doubling}"));
    fails(
        &env,
        &context,
        &["Dockerfile:19", "longer by more than 1 MiB"],
    );
    let context = env.dockerfile("FROM busybox AS one\n");
    env.build(&["--target", "two"], &context)
        .exits(1)
        .stderr_has("target stage \"two\" could not be found; the stages are: one");
    // It is for `run` to find out what there is.
    let context = env.dockerfile("FROM busybox\nCMD [\"/nosuch\"]\n");
    env.build(&["-q", "-t", "built"], &context).ok();
    env.run_alone(&["built"]).exits(127).stderr_has("/nosuch");
}

fn archive(context: &Context, file: &str, member: &str, link: Option<&str>) {
    let mut header = [0u8; 512];
    let mut put = |at: usize, bytes: &[u8]| header[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, member.as_bytes());
    put(100, b"0000644\0");
    put(124, b"00000000000\0");
    put(136, b"00000000000\0");
    put(148, b"        ");
    put(156, if link.is_some() { b"1" } else { b"0" });
    put(157, link.unwrap_or_default().as_bytes());
    put(257, b"ustar\x0000");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    let bytes = [&header[..], &[0; 1024]].concat();
    fs::write(context.file(file), bytes).expect("written");
}

#[test]
fn a_context_that_changes_under_way_is_no_image() {
    let env = Env::new();
    env.rctr(["pull", "-q", "busybox"]).ok();
    let context = env.dockerfile("FROM busybox\nCOPY log /\n");
    let mut log = fs::File::create(context.file("log")).expect("a file");
    log.set_len(64 << 20).expect("room");
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                log.write_all(b"more").expect("written");
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        let output = env.build(&["--progress", "plain", "-t", "built"], &context);
        stop.store(true, Ordering::Relaxed);
        output
            .exits(1)
            .stderr_has("\"/log\" changed while it was being read");
    });
    assert_nothing_left(&env, "busybox");
    env.build(&["-q", "-t", "built"], &context).ok();
}

#[test]
fn registries_that_refuse_a_base_image() {
    for status in [401, 403, 404, 429, 500] {
        let proxy = Proxy::start(move |_| Verdict::status(status));
        let env = Env::new();
        let name = format!("{}/library/busybox", proxy.host());
        let context = env.dockerfile(&format!("FROM {name}\nRUN true\n"));
        fails(&env, &context, &["Dockerfile:1", &proxy.host()]);
        assert_nothing_left(&env, "");
    }
}

#[test]
fn registries_that_refuse_what_was_built() {
    let env = Env::new();
    env.rctr(["pull", "-q", "busybox"]).ok();
    let elsewhere = Env::new();
    let registry = OwnRegistry::start(&elsewhere.path("registry"));
    for status in [401, 403, 404, 413, 429, 503] {
        let proxy = Proxy::before(registry.url(), move |request| {
            match request.method.as_str() {
                "GET" | "HEAD" => Verdict::Forward,
                _ => Verdict::status(status),
            }
        });
        let name = format!("{}/me/app:v{status}", proxy.host());
        let context = env.dockerfile(&format!("FROM busybox\nRUN echo {status} > /x\n"));
        env.build(&["--progress", "plain", "--push", "-t", &name], &context)
            .exits(1)
            .stderr_has(&format!("pushing {name}"))
            .stderr_has(&proxy.host());
        // The image is whole, and can be pushed when the registry has come to its senses.
        env.run_alone(&[&name, "cat", "/x"]).ok();
        env.rctr(["rmi", &name]).ok();
        assert_nothing_left(&env, "busybox");
    }
}

#[test]
fn a_build_that_is_stopped_while_it_pushes_or_pulls_leaves_nothing() {
    let slow = Proxy::start(|request| match request.is_blob() {
        true => Verdict::Slow(100_000),
        false => Verdict::Forward,
    });
    let env = Env::builder().mirror(&slow.url()).build();
    // So that what comes next is the layer.
    let failing = env.dockerfile("FROM busybox\nCOPY nothing /\n");
    env.build(&[], &failing).exits(1);
    let context = env.dockerfile("FROM busybox\nRUN true\n");
    for signal in [Signal::SIGINT, Signal::SIGKILL] {
        let before = slow.blob_downloads();
        let build = env.spawn([
            "build",
            "--progress",
            "plain",
            "-t",
            "built",
            context.path(),
        ]);
        wait_for("a layer to come", || slow.blob_downloads() > before);
        build.signal(signal);
        assert_ne!(build.finish().status(), 0);
        env.rctr(["images", "-q"]).ok().stdout_is("");
        env.assert_no_leftovers();
    }
    let env = Env::new();
    env.rctr(["pull", "-q", "busybox"]).ok();
    let elsewhere = Env::new();
    let registry = OwnRegistry::start(&elsewhere.path("registry"));
    let stuck = Proxy::before(registry.url(), |request| match request.method.as_str() {
        "GET" | "HEAD" => Verdict::Forward,
        _ => Verdict::Delay(Duration::from_secs(60)),
    });
    let name = format!("{}/me/app:v1", stuck.host());
    let build = env.spawn(["build", "--push", "-t", &name, context.path()]);
    wait_for("the push to begin", || {
        stuck
            .requests()
            .iter()
            .any(|request| request.method == "POST")
    });
    build.signal(Signal::SIGINT);
    assert_ne!(build.finish().status(), 0);
    env.rctr(["rmi", &name]).ok();
    assert_nothing_left(&env, "busybox");
}
