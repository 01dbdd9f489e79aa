//! `rctr push` and `rctr tag`, against a real registry, and against one that breaks.

use std::sync::atomic::{AtomicUsize, Ordering};

use rctr_tests::{
    Env, OwnRegistry, Proxy, Request, Terminal, Verdict, entries, skopeo_inspect, wait_for,
};

/// What `skopeo` finds at a registry.
fn skopeo(name: &str) -> serde_json::Value {
    skopeo_inspect(&format!("docker://{name}"))
}

fn repo_digests(env: &Env, image: &str) -> Vec<String> {
    let digests = env.inspect(image)["RepoDigests"].take();
    serde_json::from_value(digests).expect("a list of names")
}

/// `busybox` under a name at `host`.
fn tagged(env: &Env, host: &str) -> String {
    env.rctr(["pull", "--quiet", "busybox"]).ok();
    let name = format!("{host}/me/app:v1");
    env.rctr(["tag", "busybox", &name])
        .ok()
        .quiet()
        .stdout_is("");
    name
}

#[test]
fn a_pulled_image_keeps_its_digest_and_what_is_there_is_not_sent_again() {
    let env = Env::new();
    let registry = OwnRegistry::start(&env.path("registry"));
    let name = tagged(&env, registry.host());
    let pulled = repo_digests(&env, "busybox")[0].clone();
    let digest = pulled.split_once('@').expect("a digest").1.to_owned();

    let pushed = env.rctr(["push", &name]);
    let repository = format!("{}/me/app", registry.host());
    pushed
        .ok()
        .stdout_has(&format!("The push refers to repository [{repository}]"))
        .stdout_has(": Pushed")
        .stdout_has(&format!("v1: digest: {digest} size: "));
    assert_eq!(skopeo(&name)["Digest"], digest.as_str());
    let recorded = format!("{repository}@{digest}");
    assert!(repo_digests(&env, &name).contains(&recorded));

    let again = env.rctr(["push", &name]);
    again
        .ok()
        .stdout_has(": Layer already exists")
        .stdout_lacks("Pushed");
    env.rctr(["push", "-q", &name]).ok().stdout_is(&name);

    // It comes back as it went.
    env.rctr(["rmi", "-f", "busybox", &name]).ok();
    env.rctr(["pull", "--quiet", &name]).ok();
    env.rctr(["run", "--rm", &name, "echo", "back"])
        .ok()
        .stdout_is("back");
}

#[test]
fn an_image_of_several_platforms_goes_as_the_one_that_is_here() {
    let env = Env::new();
    let registry = OwnRegistry::start(&env.path("registry"));
    let name = format!("{}/me/multi:v1", registry.host());
    env.rctr(["pull", "--quiet", "multiarch"]).ok();
    env.rctr(["tag", "multiarch", &name]).ok();
    let pushed = env.rctr(["push", &name]);
    pushed
        .ok()
        .stderr_has("only the available single-platform image was pushed");
    assert_eq!(skopeo(&name)["Architecture"], "amd64");
    env.rctr(["push", "--platform", "linux/arm64", &name])
        .refused(1, "does not provide the specified platform (linux/arm64)");
    env.rctr(["push", "--platform", "linux/amd64", &name])
        .ok()
        .quiet();

    // With all of it here, the index goes as well.
    for platform in ["linux/arm64", "linux/s390x", "linux/amd64"] {
        env.rctr(["pull", "--quiet", "--platform", platform, "multiarch"])
            .ok();
    }
    let all = format!("{}/me/multi:all", registry.host());
    env.rctr(["tag", "multiarch", &all]).ok();
    let digests = repo_digests(&env, "multiarch");
    let pulled = digests.iter().find(|name| name.starts_with("multiarch@"));
    let index = pulled.expect("the name it was pulled by");
    let digest = index.split_once('@').expect("a digest").1;
    env.rctr(["push", &all]).ok().quiet().stdout_has(digest);
}

#[test]
fn a_layer_that_is_here_from_another_archive_goes_as_the_image_had_it() {
    let env = Env::new();
    let registry = OwnRegistry::start(&env.path("registry"));
    let shared = rctr_tests::registry().trim_start_matches("http://");
    let zstd = format!("{shared}/library/zstd");
    // The same layer, packed with gzip and with zstd: only the first is kept.
    env.rctr(["pull", "--quiet", "busybox"]).ok();
    env.rctr(["pull", "--quiet", &zstd]).ok();
    let name = format!("{}/me/zstd", registry.host());
    env.rctr(["tag", &zstd, &name]).ok();
    let digests = repo_digests(&env, &zstd);
    let pulled = digests
        .iter()
        .find(|d| d.contains("zstd"))
        .expect("its own");
    let digest = pulled.split_once('@').expect("a digest").1;
    env.rctr(["push", &name]).ok().stdout_has(digest);
    assert_eq!(skopeo(&name)["Digest"], digest);
}

#[test]
fn all_tags_of_a_repository_go_with_one_command() {
    let env = Env::new();
    let registry = OwnRegistry::start(&env.path("registry"));
    let name = tagged(&env, registry.host());
    let repository = format!("{}/me/app", registry.host());
    env.rctr(["tag", "busybox", &repository]).ok();
    env.rctr(["tag", "busybox", &format!("{repository}2:other")])
        .ok();
    let pushed = env.rctr(["image", "push", "-a", &repository]);
    pushed
        .ok()
        .stdout_has("v1: digest: ")
        .stdout_has("latest: digest: ");
    assert_eq!(
        skopeo(&name)["RepoTags"],
        serde_json::json!(["latest", "v1"])
    );
    env.rctr(["push", "-a", &name])
        .refused(1, "tag can't be used with --all-tags/-a");
}

#[test]
fn all_tags_of_a_repository_come_with_one_command() {
    let env = Env::new();
    let registry = OwnRegistry::start(&env.path("registry"));
    let name = tagged(&env, registry.host());
    env.rctr(["tag", &name, &format!("{}/me/app", registry.host())])
        .ok();
    env.rctr(["push", "-a", &format!("{}/me/app", registry.host())])
        .ok();
    // Its list comes in pages of one tag.
    let paged = Proxy::before(registry.url(), |request| {
        let (page, more) = match request.path.split_once("/v2/me/app/tags/list") {
            Some((_, "?n=1&last=latest")) => (r#"{"name": "me/app", "tags": ["v1"]}"#, None),
            Some(_) => (
                r#"{"name": "me/app", "tags": ["latest"]}"#,
                Some("</v2/me/app/tags/list?n=1&last=latest>; rel=\"next\""),
            ),
            None => return Verdict::Forward,
        };
        let headers = more.map(|link| ("Link".to_owned(), link.to_owned()));
        Verdict::Answer(200, headers.into_iter().collect(), page.into())
    });
    for host in [registry.host(), &paged.host()] {
        let repository = format!("{host}/me/app");
        let all = env.rctr(["pull", "-a", &repository]);
        all.ok()
            .stdout_has("latest: Pulling from me/app")
            .stdout_has("v1: Pulling from me/app")
            .stdout_has(&format!("for {repository}:v1\n"));
        assert!(all.stdout().trim_end().ends_with(&repository));
        env.rctr([
            "run",
            "--rm",
            "--pull=never",
            &format!("{repository}:v1"),
            "true",
        ])
        .ok();
    }
    env.rctr(["pull", "--all-tags", &name])
        .refused(1, "tag can't be used with --all-tags/-a");
    env.rctr(["pull", "-a", &format!("{}/me/nothing", registry.host())])
        .refused(1, "me/nothing");
}

#[test]
fn another_repository_of_the_registry_hands_layers_over() {
    let env = Env::new();
    let registry = OwnRegistry::start(&env.path("registry"));
    let name = tagged(&env, registry.host());
    env.rctr(["push", "-q", &name]).ok();
    let other = format!("{}/you/copy", registry.host());
    env.rctr(["tag", &name, &other]).ok();
    let proxy = Proxy::before(registry.url(), |_| Verdict::Forward);
    env.rctr(["push", &other])
        .ok()
        .stdout_has(": Mounted from me/app");
    drop(proxy);
    assert_eq!(skopeo(&other)["Digest"], skopeo(&name)["Digest"]);
}

#[test]
fn what_cannot_be_pushed_is_named() {
    let env = Env::new();
    let registry = OwnRegistry::start(&env.path("registry"));
    let name = tagged(&env, registry.host());
    env.rctr(["push", "nosuch"])
        .refused(1, "An image does not exist locally with the tag: nosuch");
    env.rctr(["push", &repo_digests(&env, "busybox")[0]])
        .refused(1, "cannot push a digest reference");
    env.rctr(["push", "Bad Name"])
        .refused(1, "invalid reference format");
    env.rctr(["push"])
        .exits(1)
        .stderr_has("requires exactly 1 argument");
    env.rctr(["push", "--frob", &name])
        .exits(125)
        .stderr_has("unknown flag: --frob");
    env.rctr(["push", "--platform", "a/b/c/d", &name])
        .refused(1, "\"--platform\" flag");
    drop(registry);
    env.rctr(["push", &name])
        .refused(1, "cannot reach registry");
}

#[test]
fn tags_are_names_for_images() {
    let env = Env::new();
    env.rctr(["pull", "--quiet", "busybox"]).ok();
    let id = env.inspect("busybox")["Id"]
        .as_str()
        .expect("an id")
        .to_owned();
    env.rctr(["image", "tag", &id[7..19], "a/b"]).ok().quiet();
    assert_eq!(env.inspect("a/b:latest")["Id"], id.as_str());
    env.rctr(["tag", "nosuch", "x"])
        .refused(1, "No such image: nosuch");
    env.rctr(["tag", "busybox", "a/B"])
        .refused(1, "\"a/B\" is not a valid repository/tag");
    env.rctr(["tag", "busybox", &format!("x@{id}")])
        .refused(1, "refusing to create a tag with a digest reference");
    env.rctr(["tag", "busybox"])
        .exits(1)
        .stderr_has("requires exactly 2 arguments");
    // A tag moves.
    env.rctr(["pull", "--quiet", "entrypoint"]).ok();
    env.rctr(["tag", "entrypoint", "a/b"]).ok();
    assert_ne!(env.inspect("a/b")["Id"], id.as_str());
}

/// An image with a layer of twelve million bytes that do not pack, and its name at `host`.
fn large(env: &Env, host: &str) -> String {
    let context = env.path("context");
    std::fs::create_dir(&context).expect("a new directory");
    let mut state = 1u64;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1);
        (state >> 56) as u8
    })
    .take(12_000_000)
    .collect();
    std::fs::write(context.join("noise"), noise).expect("a new file");
    let dockerfile = "FROM busybox\nCOPY noise /noise\nCMD [\"wc\", \"-c\", \"/noise\"]\n";
    std::fs::write(context.join("Dockerfile"), dockerfile).expect("a new file");
    let name = format!("{host}/me/large:1");
    env.rctr(["build", "-t", &name, &context.display().to_string()])
        .ok();
    name
}

fn is_data(request: &Request) -> bool {
    request.method == "PATCH" && request.path.contains("/blobs/uploads/")
}

#[test]
fn a_built_image_is_packed_and_pushed_though_connections_break() {
    let env = Env::new();
    let registry = OwnRegistry::start(&env.path("registry"));
    let breaks = AtomicUsize::new(0);
    // The first two requests with data end after three million bytes.
    let proxy = Proxy::before(registry.url(), move |request| {
        match is_data(request) && breaks.fetch_add(1, Ordering::SeqCst) < 2 {
            true => Verdict::Swallow(3_000_000),
            false => Verdict::Forward,
        }
    });
    let name = large(&env, &proxy.host());
    let pushed = env.rctr(["push", &name]);
    pushed
        .ok()
        .stdout_has("Retrying (1)")
        .stdout_has(": Pushed");
    // Docker's registry 2 begins anew after a break; that others go on is tested in the registry client.
    let sent = proxy
        .requests()
        .iter()
        .filter(|request| is_data(request))
        .count();
    assert_eq!(sent, 3);

    let direct = name.replace(&proxy.host(), registry.host());
    env.rctr(["run", "--rm", &direct])
        .ok()
        .stdout_is("12000000 /noise");
    // The same packing again, and nothing to send.
    env.rctr(["push", &name]).ok().stdout_lacks("Pushed");
}

#[test]
fn a_killed_push_leaves_nothing_and_the_next_one_ends_it() {
    let env = Env::new();
    let registry = OwnRegistry::start(&env.path("registry"));
    let name = large(&env, registry.host());
    for signal in [
        nix::sys::signal::Signal::SIGKILL,
        nix::sys::signal::Signal::SIGINT,
    ] {
        let proxy = Proxy::before(registry.url(), |request| match is_data(request) {
            true => Verdict::Delay(std::time::Duration::from_secs(60)),
            false => Verdict::Forward,
        });
        let slow = name.replace(registry.host(), &proxy.host());
        env.rctr(["tag", &name, &slow]).ok();
        let push = env.spawn(["push", &slow]);
        wait_for("the push to send", || proxy.requests().iter().any(is_data));
        push.signal(signal);
        push.finish();
        env.rctr(["rmi", &slow]).ok();
        env.rctr(["internal", "gc"]).ok();
        assert_eq!(entries(&env.root().join("tmp")), Vec::<String>::new());
    }
    assert!(
        repo_digests(&env, &name).is_empty(),
        "nothing is recorded of a push that failed"
    );
    env.rctr(["push", &name]).ok().stdout_has("1: digest: ");
    assert_eq!(skopeo(&name)["Architecture"], "amd64");
}

#[test]
fn refusals_are_one_line() {
    let env = Env::new();
    for (status, body, words) in [
        (
            401,
            "",
            "denied: requested access to the resource is denied",
        ),
        (
            403,
            "",
            "denied: requested access to the resource is denied",
        ),
        (404, "so", "has no repository me/app"),
        (413, "", "too large"),
        (429, "", "allows no more requests now"),
        (500, "", "answered 500"),
    ] {
        let body = format!("{{\"errors\":[{{\"code\":\"X\",\"message\":\"{body}\"}}]}}");
        let proxy = Proxy::start(move |request| match request.method.as_str() {
            "HEAD" => Verdict::status(404),
            _ => Verdict::Answer(
                status,
                vec![("Retry-After".into(), "3600".into())],
                body.clone().into_bytes(),
            ),
        });
        let name = tagged(&env, &proxy.host());
        env.rctr(["push", &name])
            .refused(1, words)
            .one_error(&proxy.host());
    }
}

#[test]
fn bars_are_shown_on_a_terminal() {
    let env = Env::new();
    let registry = OwnRegistry::start(&env.path("registry"));
    let name = large(&env, registry.host());
    let mut command = env.command(["push", &name]);
    command.env("TERM", "xterm");
    let terminal = Terminal::start(command, 24, 120);
    terminal.wait_shown("Pushing [");
    terminal.wait_shown("1: digest: sha256:");
    assert_eq!(terminal.finish(), 0);
}
