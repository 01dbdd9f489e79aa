//! What need not be done: stages that only known results need, layers nobody looks into, files that have not changed on
//! the web, and whose cache mounts are whose.

use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use rctr_tests::{Context, Env, Output, OwnRegistry, Proxy, Verdict, text};

const STAGES: &str = "FROM busybox AS made\nCOPY file /file\nRUN cat /proc/sys/kernel/random/uuid > /made\n\
     FROM busybox AS tool\nRUN cat /proc/sys/kernel/random/uuid > /tool\n\
     FROM busybox\nRUN cat /proc/sys/kernel/random/uuid > /when\nCOPY --from=made /made /file /\n\
     RUN --mount=from=tool,target=/t cat /t/tool > /tool\nCOPY --link --from=tool /tool /linked\n";

fn build(env: &Env, context: &Context, more: &[&str]) -> Output {
    let words = [&["--progress", "plain", "-t", "built"], more].concat();
    env.build(&words, context)
}

fn id(env: &Env) -> String {
    env.inspect("built")["Id"].to_string()
}

#[test]
fn a_cache_of_the_image_alone_brings_all_of_it() {
    let here = Env::new();
    let context = here.context(&[("Dockerfile", STAGES), ("file", "content")]);
    let registry = OwnRegistry::start(&here.path("registry"));
    let image = format!("{}/me/app:v1", registry.host());
    let cache = text(&here.path("cache"));
    let least = format!("type=local,dest={cache}");
    let words = [
        "--cache-to",
        &least,
        "--cache-to",
        "type=inline",
        "-t",
        &image,
    ];
    build(&here, &context, &words).ok();
    here.rctr(["push", "-q", &image]).ok();
    for from in [format!("type=local,src={cache}"), image] {
        let there = Env::new();
        let again = ["--cache-from", &from, "--cache-to", "type=inline"];
        let output = build(&there, &context, &again);
        assert_eq!(output.ok().cached().len(), 7, "{}", output.stderr());
        assert_eq!(id(&there), id(&here));
        let ran = there.run_alone(&["built", "sh", "-c", "cmp /tool /linked && cat /file"]);
        ran.ok().stdout_is("content");
    }
    // What has changed is still seen, wherever it is.
    context.write("file", "changed");
    let there = Env::new();
    let from = format!("type=local,src={cache}");
    let output = build(&there, &context, &["--cache-from", &from]);
    let cached = output.ok().cached();
    let unchanged = [
        "RUN cat /proc/sys/kernel/random/uuid > /when",
        "COPY --link --from=tool /tool /linked",
    ];
    assert_eq!(cached, unchanged);
    let ran = there.run_alone(&["built", "cat", "/file"]);
    ran.ok().stdout_is("changed");
}

#[test]
fn a_stage_that_is_made_anew_is_not_passed_over() {
    let env = Env::new();
    let context = env.context(&[("Dockerfile", STAGES), ("file", "content")]);
    build(&env, &context, &[]).ok();
    let first = id(&env);
    let output = build(&env, &context, &[]);
    assert_eq!(output.ok().cached().len(), 7, "{}", output.stderr());
    assert_eq!(id(&env), first);
    let output = build(&env, &context, &["--no-cache-filter", "made"]);
    assert_eq!(output.ok().cached().len(), 3, "{}", output.stderr());
    assert_ne!(id(&env), first);
    // A cache of everything has the stages that the image does not show.
    let cache = text(&env.path("cache"));
    let all = format!("type=local,dest={cache},mode=max");
    build(&env, &context, &["--cache-to", &all]).ok();
    let there = Env::new();
    let from = format!("type=local,src={cache}");
    let made = ["--target", "made", "--cache-from", &from];
    let output = build(&there, &context, &made);
    assert_eq!(output.ok().cached().len(), 2, "{}", output.stderr());
}

#[test]
fn layers_come_when_somebody_looks_into_them() {
    let proxy = Proxy::start(|_| Verdict::Forward);
    let env = Env::builder().mirror(&proxy.url()).build();
    // The configuration is a blob, too.
    let layers = || {
        let blobs = proxy.requests();
        let blobs = blobs.iter().filter(|request| request.is_blob());
        let mut paths: Vec<_> = blobs.map(|request| request.path.clone()).collect();
        paths.sort();
        paths.dedup();
        paths.len().saturating_sub(1)
    };
    let refused = env.dockerfile("FROM busybox\nRUN --network=nowhere true\n");
    env.build(&[], &refused).exits(1).stderr_has("nowhere");
    let missing = env.dockerfile("FROM busybox\nCOPY nothing /\n");
    env.build(&[], &missing).exits(1).stderr_has("nothing");
    assert_eq!(layers(), 0);
    let images = || env.rctr(["images", "-q"]).ok().lines();
    assert_eq!(images().len(), 0, "no image without its layers");

    let context = env.dockerfile("FROM busybox\nLABEL a=b\nRUN true\n");
    build(&env, &context, &[])
        .ok()
        .stderr_has("extracting sha256:");
    assert_eq!(layers(), 1);
    env.run_alone(&["built", "true"]).ok();
    assert_eq!(env.inspect("busybox")["RepoTags"][0], "busybox:latest");
    // Nothing of it is fetched again while a step has it.
    env.rctr(["rmi", "-f", "built", "busybox"]).ok();
    let before = proxy.blob_downloads();
    let output = build(&env, &context, &[]);
    assert_eq!(output.ok().cached(), ["RUN true"]);
    assert!(proxy.blob_downloads() <= before + 1, "no layer came");
    env.run_alone(&["built", "true"]).ok();

    // An image without steps is whole nevertheless.
    let env = Env::builder().mirror(&proxy.url()).build();
    build(
        &env,
        &env.dockerfile("FROM busybox\nCMD [\"echo\", \"hi\"]\n"),
        &[],
    )
    .ok();
    env.run_alone(&["built"]).ok().stdout_is("hi");
}

#[test]
fn a_layer_that_cannot_be_had_fails_the_build_at_its_base() {
    let proxy = Proxy::start(|request| {
        let is_layer = request.is_blob() && request.header("range").is_none() && request.seen > 0;
        match is_layer || request.path.contains("gone") {
            true => Verdict::status(404),
            false => Verdict::Forward,
        }
    });
    let blobs = Arc::new(AtomicUsize::new(0));
    let lacking = Proxy::before(&proxy.url(), {
        let blobs = Arc::clone(&blobs);
        move |request| match request.is_blob() && blobs.fetch_add(1, Ordering::SeqCst) > 0 {
            true => Verdict::status(404),
            false => Verdict::Forward,
        }
    });
    let env = Env::builder().mirror(&lacking.url()).build();
    let context = env.dockerfile("FROM busybox\nRUN true\n");
    build(&env, &context, &[])
        .exits(1)
        .stderr_has("Dockerfile:1")
        .stderr_has("not found");
    assert_eq!(env.rctr(["images", "-q"]).ok().stdout(), "");
}

#[test]
fn a_file_of_the_web_is_fetched_again_when_it_has_changed() {
    const OLD: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    let content = Arc::new(Mutex::new("one"));
    let answers = Arc::new(AtomicUsize::new(0));
    let server = Proxy::start({
        let (content, answers) = (Arc::clone(&content), Arc::clone(&answers));
        move |request| {
            let content = *content.lock().expect("no panic");
            let tag = format!("\"{content}\"");
            let (name, value, asked) = match request.path.as_str() {
                "/tagged" => ("ETag", tag.as_str(), request.header("if-none-match")),
                "/dated" => ("Last-Modified", OLD, request.header("if-modified-since")),
                "/plain" => ("X-Nothing", "", None),
                _ => return Verdict::status(404),
            };
            let date = (
                "Date".to_owned(),
                "Tue, 15 Nov 1994 08:12:31 GMT".to_owned(),
            );
            let headers = vec![(name.to_owned(), value.to_owned()), date];
            if asked == Some(value) {
                return Verdict::Answer(304, headers, Vec::new());
            }
            answers.fetch_add(1, Ordering::SeqCst);
            Verdict::Answer(200, headers, content.into())
        }
    });
    let env = Env::new();
    for (name, fetched_again) in [("tagged", 0), ("dated", 0), ("plain", 1)] {
        *content.lock().expect("no panic") = "one";
        let text = format!("FROM scratch\nADD {}/{name} /file\n", server.url());
        let context = env.dockerfile(&text);
        answers.store(0, Ordering::SeqCst);
        build(&env, &context, &[]).ok();
        let first = id(&env);
        assert_eq!(answers.load(Ordering::SeqCst), 1, "{name}");
        let output = build(&env, &context, &[]);
        assert_eq!(output.ok().cached().len(), 1, "{name}: {}", output.stderr());
        assert_eq!(answers.load(Ordering::SeqCst), 1 + fetched_again, "{name}");
        assert_eq!(id(&env), first);
        // The result is gone, the server's word is not.
        build(&env, &context, &["--no-cache"]).ok();
        if name != "dated" {
            *content.lock().expect("no panic") = "two";
            build(&env, &context, &[]).ok();
            assert_ne!(id(&env), first, "{name}");
        }
    }
    let out = text(&env.path("out"));
    let context = env.dockerfile(&format!(
        "FROM scratch\nADD {}/tagged /file\n",
        server.url()
    ));
    env.build(&["-o", &out], &context).ok();
    assert_eq!(
        fs::read_to_string(format!("{out}/file")).expect("a file"),
        "two"
    );
}

#[test]
fn a_cache_mount_is_one_s_own_by_owner_mode_and_beginning() {
    let env = Env::new();
    let run = |flags: &str, script: &str| {
        let text = format!(
            "FROM busybox AS seed\nRUN mkdir /seed && touch /seed/grain\nFROM busybox AS last\n\
             RUN --mount=type=cache,id=c,target=/c{flags} {script}\n"
        );
        build(&env, &env.dockerfile(&text), &["--no-cache-filter", "last"])
    };
    run("", "touch /c/usual && stat -c %u:%g:%a /c")
        .ok()
        .stderr_has("0:0:755");
    run(
        ",uid=7,gid=8,mode=0700",
        "stat -c %u:%g:%a /c; ls /c > /list; test ! -s /list; touch /c/own",
    )
    .ok()
    .stderr_has("7:8:700");
    run(
        ",from=seed,source=/seed",
        "test -e /c/grain -a ! -e /c/usual && touch /c/more",
    )
    .ok();
    run(",from=seed,source=/seed", "test -e /c/more").ok();
    run(",mode=0755", "test -e /c/usual -a ! -e /c/own").ok();
    run(",gid=8,uid=7,mode=700", "test -e /c/own").ok();
    let listed = env.rctr(["builder", "cache-mount", "ls"]).ok().lines();
    assert_eq!(
        listed.iter().filter(|line| line.starts_with("c ")).count(),
        3,
        "{listed:?}"
    );
    // The id alone is the usual one.
    let tar = env.rctr(["builder", "cache-mount", "export", "c"]);
    let tar = String::from_utf8_lossy(tar.ok().stdout_bytes()).into_owned();
    assert!(tar.contains("usual") && !tar.contains("grain"));
    // One step may have it twice, also where nobody else may.
    let text = "FROM busybox\nRUN --mount=type=cache,id=c,target=/c,sharing=locked \
                --mount=type=cache,id=c,target=/d,sharing=locked touch /c/x && test -e /d/x\n";
    build(&env, &env.dockerfile(text), &[]).ok();
}

#[test]
fn sharing_of_cache_mounts_holds_between_builds() {
    let env = Env::new();
    env.rctr(["pull", "-q", "busybox"]).ok();
    let both = |script: &str, sharing: &str| {
        let builds: Vec<_> = [("a", "b"), ("b", "a")]
            .iter()
            .map(|(me, other)| {
                let text = format!(
                    "FROM busybox\nENV me={me} other={other}\nRUN --mount=type=cache,id=meet-{sharing},target=/meet \
                     --mount=type=cache,id={sharing},target=/c,sharing={sharing} {script}\n"
                );
                let context = env.dockerfile(&text);
                env.spawn(["build", "--progress", "plain", context.path()])
            })
            .collect();
        for build in builds {
            build.finish().ok();
        }
    };
    let meet = "touch /meet/$me; until [ -e /meet/$other ]; do usleep 5000; done";
    // Both are in at the same time, and see one another.
    both(
        &format!("touch /c/$me; {meet}; test -e /c/$other"),
        "shared",
    );
    // Both are in at the same time, and alone.
    both(
        &format!("touch /c/$me; {meet}; test ! -e /c/$other"),
        "private",
    );
    // Never two at a time; who comes second finds what the first has left.
    both(
        "test ! -e /c/busy; touch /c/busy; usleep 300000; rm /c/busy; touch /c/$me",
        "locked",
    );
    let found =
        "FROM busybox\nRUN --mount=type=cache,id=locked,target=/c test -e /c/a -a -e /c/b\n";
    build(&env, &env.dockerfile(found), &[]).ok();
}

#[test]
fn a_step_has_the_environment_that_buildkit_gives_it() {
    let env = Env::new();
    let text = "FROM busybox\nARG A=1\nENV B=2\nRUN [\"cat\", \"/proc/self/environ\"]\nUSER 5\n\
                RUN [\"cat\", \"/proc/self/environ\"]\nENV HOSTNAME=mine\nRUN echo host=$HOSTNAME\n";
    let output = build(&env, &env.dockerfile(text), &[]);
    let path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    output
        .ok()
        .stderr_has(&format!(" {path}\0A=1\0B=2\0HOME=/root\0\n"))
        .stderr_has(&format!(" {path}\0A=1\0B=2\0HOME=/\0\n"))
        .stderr_has(" host=mine\n");
}
