//! Registries that are wrong, gone or lie: one line names the thing, and nothing is left.

use std::net::TcpListener;

use rctr_tests::{Env, Machine, Output, Proxy, Request, Verdict};

/// True for the layer of busybox: its configuration is the smaller blob, asked for first.
fn is_layer(request: &Request, env_layer: &str) -> bool {
    request.is_blob() && request.path.ends_with(env_layer)
}

fn layer_of_busybox() -> String {
    let env = Env::new();
    env.rctr(["pull", "--quiet", "busybox"]).ok();
    let blobs = std::fs::read_dir(env.root().join("blobs/sha256")).expect("blobs");
    let biggest = blobs
        .flatten()
        .max_by_key(|blob| blob.metadata().map_or(0, |meta| meta.len()));
    let name = biggest.expect("a layer").file_name();
    name.into_string().expect("hexadecimal digits")
}

fn nothing_left(env: &Env) {
    env.rctr(["images", "--quiet"]).ok().stdout_is("");
    env.rctr(["ps", "--all", "--quiet"]).ok().stdout_is("");
    env.assert_no_leftovers();
}

fn fails(env: &Env, image: &str, word: &str) -> Output {
    env.rctr(["run", "--rm", image, "true"]).refused(125, word);
    let pull = env.rctr(["pull", image]);
    pull.refused(1, word);
    nothing_left(env);
    pull
}

#[test]
fn unknown_images_and_tags_are_named() {
    let env = Env::new();
    let host = rctr_tests::registry().trim_start_matches("http://");
    for name in ["library/nosuch", "library/busybox:nosuchtag"] {
        fails(&env, &format!("{host}/{name}"), name).stderr_has("not found");
    }
    fails(&env, "nosuch", "nosuch");
}

#[test]
fn registries_that_do_not_answer_are_named() {
    let env = Env::new();
    fails(&env, "no.such.host.invalid/x", "no.such.host.invalid").stderr_has("does not resolve");
    fails(&env, "127.0.0.1:1/x", "127.0.0.1:1").stderr_has("Connection refused");
}

#[test]
fn without_a_network_the_registry_is_named() {
    let env = Env::new();
    let machine = Machine::new(&env);
    machine.sh("ip link delete wan0");
    for image in ["192.0.2.1:5000/x", "registry.example/x"] {
        let host = image.split('/').next().expect("a host");
        machine
            .inside(|| env.rctr(["run", "--rm", image]))
            .refused(125, host);
    }
    // What is here runs.
    env.rctr(["pull", "--quiet", "busybox"]).ok();
    machine
        .inside(|| env.sh(&[], "echo ran"))
        .ok()
        .stdout_is("ran");
}

#[test]
fn a_host_that_is_no_registry_is_named() {
    let proxy = Proxy::start(|_| {
        Verdict::Answer(
            200,
            vec![("Content-Type".into(), "text/html".into())],
            b"<html>hello</html>".to_vec(),
        )
    });
    let env = Env::new();
    fails(&env, &format!("{}/x", proxy.host()), &proxy.host());
    let silent = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let host = silent.local_addr().expect("an address").to_string();
    let closer = std::thread::spawn(move || {
        // Says nothing, and hangs up.
        for stream in silent.incoming().flatten().take(40) {
            if stream.peer_addr().is_ok_and(|from| from.port() == 1) {
                return;
            }
        }
    });
    let pull = env.rctr(["pull", &format!("{host}/x")]);
    pull.refused(1, &host);
    drop(closer);
}

#[test]
fn damaged_content_is_fetched_again_and_then_refused() {
    let layer = layer_of_busybox();
    let wanted = layer.clone();
    let proxy = Proxy::start(move |request| match is_layer(request, &wanted) {
        true => Verdict::Corrupt,
        false => Verdict::Forward,
    });
    let env = Env::new();
    let image = format!("{}/library/busybox", proxy.host());
    fails(&env, &image, &layer);
    // Damaged on the first try only.
    let wanted = layer.clone();
    let proxy = Proxy::start(
        move |request| match (is_layer(request, &wanted), request.seen) {
            (true, 0) => Verdict::Corrupt,
            _ => Verdict::Forward,
        },
    );
    let image = format!("{}/library/busybox", proxy.host());
    env.rctr(["pull", "--quiet", &image]).ok();
}

#[test]
fn a_damaged_manifest_pulled_by_digest_is_refused() {
    let env = Env::new();
    env.rctr(["pull", "--quiet", "busybox"]).ok();
    let digests = env.inspect("busybox")["RepoDigests"].take();
    let digest = digests[0]
        .as_str()
        .and_then(|name| name.split('@').nth(1))
        .expect("a digest")
        .to_owned();
    env.rctr(["rmi", "busybox"]).ok();
    let proxy = Proxy::start(|request| match request.path.contains("/manifests/") {
        true => Verdict::Corrupt,
        false => Verdict::Forward,
    });
    env.rctr([
        "pull",
        &format!("{}/library/busybox@{digest}", proxy.host()),
    ])
    .refused(1, &digest);
    nothing_left(&env);
}

#[test]
fn a_connection_that_is_cut_goes_on_where_it_was() {
    let layer = layer_of_busybox();
    let wanted = layer.clone();
    let proxy = Proxy::start(
        move |request| match is_layer(request, &wanted) && request.seen < 3 {
            true => Verdict::Cut(200_000),
            false => Verdict::Forward,
        },
    );
    let env = Env::new();
    env.rctr([
        "pull",
        "--quiet",
        &format!("{}/library/busybox", proxy.host()),
    ])
    .ok();
    let asked: Vec<_> = proxy
        .requests()
        .iter()
        .filter(|request| is_layer(request, &layer))
        .map(|request| request.header("range").unwrap_or_default().to_owned())
        .collect();
    assert_eq!(
        asked,
        ["", "bytes=200000-", "bytes=400000-", "bytes=600000-"]
    );
}

#[test]
fn a_layer_that_never_comes_whole_is_given_up_by_name() {
    let layer = layer_of_busybox();
    let wanted = layer.clone();
    // No byte more than before: that is no progress.
    let proxy = Proxy::start(move |request| match is_layer(request, &wanted) {
        true => Verdict::Cut(0),
        false => Verdict::Forward,
    });
    let env = Env::new();
    env.rctr(["pull", &format!("{}/library/busybox", proxy.host())])
        .refused(1, &proxy.host());
    nothing_left(&env);
}
