//! `pull` of everything a registry may hold, and what it says meanwhile.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use rctr_tests::{Env, Proxy, Running, Verdict, wait_for};

/// The digest `images --digests` shows for a name.
fn digest_of(env: &Env, name: &str) -> String {
    let digests = env.inspect(name)["RepoDigests"].take();
    let first = digests[0].as_str().expect("a digest").to_owned();
    first.split_once('@').expect("name@digest").1.to_owned()
}

#[test]
fn every_compression_and_manifest_format_runs() {
    let env = Env::new();
    for image in ["busybox", "plain", "zstd", "v2s2"] {
        env.rctr(["pull", "--quiet", image])
            .ok()
            .quiet()
            .stdout_is(&format!("docker.io/library/{image}:latest"));
        env.run_alone(&[image, "echo", image])
            .ok()
            .stdout_is(image)
            .quiet();
    }
}

#[test]
fn an_image_of_128_layers_runs_with_the_topmost_on_top() {
    let env = Env::new();
    // Each layer overwrites /last, and every second one removes a file of the one below it.
    env.run_alone(&["layers128"]).ok().stdout_is("127\n64");
}

#[test]
fn an_index_gives_this_machines_image_and_platform_another() {
    let env = Env::new();
    let ours = match std::env::consts::ARCH {
        "aarch64" => "arm64",
        _ => "amd64",
    };
    for image in ["multiarch", "multiarch-docker"] {
        env.rctr(["run", "--rm", image]).ok().stdout_is(ours);
        env.rctr(["pull", "--quiet", "--platform", "linux/arm64", image])
            .ok();
        let inspected = env.inspect(image);
        assert_eq!(inspected["Architecture"], "arm64", "{inspected}");
        // Without --platform ours is meant again.
        env.rctr(["pull", "--quiet", image]).ok();
        assert_eq!(env.inspect(image)["Architecture"], ours);
    }
    env.rctr(["pull", "--platform", "linux/mips64le", "multiarch"])
        .refused(1, "linux/mips64le")
        .stderr_has("linux/arm64");
    env.rctr(["pull", "arm64index"])
        .refused(1, "only for linux/arm64");
    env.rctr(["pull", "--quiet", "--platform", "linux/arm64", "arm64index"])
        .ok();
}

#[test]
fn an_attestation_beside_the_image_is_passed_over() {
    let env = Env::new();
    env.run_alone(&["attested", "echo", "ran"])
        .ok()
        .stdout_is("ran");
}

#[test]
fn a_digest_pins_an_image() {
    let env = Env::new();
    env.rctr(["pull", "--quiet", "busybox"]).ok();
    let digest = digest_of(&env, "busybox");
    env.rctr(["rmi", "busybox"]).ok();
    let name = format!("busybox@{digest}");
    env.run_alone(&[&name, "echo", "pinned"])
        .ok()
        .stdout_is("pinned");
    let images = env.rctr(["images", "--format", "{{.Repository}}:{{.Tag}}"]);
    images.ok().stdout_is("busybox:<none>");
    // Tag and digest together: the digest counts.
    env.rctr(["pull", "--quiet", &format!("busybox:nosuchtag@{digest}")])
        .ok();
    let wrong = format!("busybox@sha256:{}", "0".repeat(64));
    env.rctr(["pull", &wrong]).refused(1, &wrong);
    env.rctr(["pull", "busybox@sha256:123"])
        .refused(1, "invalid digest");
}

#[test]
fn plain_lines_tell_each_step_once() {
    let env = Env::new();
    let first = env.rctr(["pull", "busybox"]);
    let digest = digest_of(&env, "busybox");
    let layer = first.ok().lines()[2]
        .split_once(':')
        .expect("layer: words")
        .0
        .to_owned();
    assert_eq!(layer.len(), 12, "{layer}");
    first.quiet().stdout_is(&format!(
        "Using default tag: latest\nlatest: Pulling from library/busybox\n{layer}: Pulling fs layer\n\
         {layer}: Download complete\n{layer}: Pull complete\nDigest: {digest}\n\
         Status: Downloaded newer image for busybox:latest\ndocker.io/library/busybox:latest"
    ));
    let again = env.rctr(["pull", "busybox:latest"]);
    again
        .ok()
        .stdout_has("Status: Image is up to date for busybox:latest")
        .stdout_lacks("Using default tag")
        .stdout_lacks("Pull complete");
    // Another name for the same content: nothing is fetched again.
    env.rctr(["pull", "busybox:1.35"])
        .ok()
        .stdout_has("Status: Downloaded newer image for busybox:1.35")
        .stdout_lacks(&layer);
    // What is not there is not pulled from.
    let missing = env.rctr(["pull", "busybox:nosuchtag"]);
    missing.refused(1, "nosuchtag").stdout_is("");
}

#[test]
fn pull_policies_of_run() {
    let proxy = Proxy::start(|_| Verdict::Forward);
    let env = Env::builder().mirror(&proxy.url()).build();
    env.rctr(["run", "--rm", "--pull", "never", "busybox", "true"])
        .refused(125, "busybox");
    assert!(proxy.requests().is_empty(), "{:?}", proxy.requests());
    env.run_alone(&["busybox", "true"])
        .ok()
        .stdout_is("")
        .stderr_has("Unable to find image 'busybox:latest' locally");
    let asked = proxy.requests().len();
    env.run_alone(&["busybox", "true"]).ok().quiet();
    assert_eq!(
        proxy.requests().len(),
        asked,
        "an image that is here is not asked for"
    );
    env.run_alone(&["--pull", "always", "busybox", "true"]).ok();
    assert!(proxy.requests().len() > asked, "always means always");
    assert_eq!(
        proxy.blob_downloads(),
        2,
        "configuration and layer, once each"
    );
}

#[test]
fn two_processes_that_pull_one_image_download_it_once() {
    let proxy = Proxy::start(|request| match request.is_blob() {
        true => Verdict::Slow(4_000_000),
        false => Verdict::Forward,
    });
    let env = Env::builder().mirror(&proxy.url()).build();
    let pulls: Vec<_> = (0..4)
        .map(|_| env.spawn(["pull", "--quiet", "busybox"]))
        .collect();
    for pull in pulls {
        pull.finish().ok().quiet();
    }
    let mut layers: Vec<_> = proxy
        .requests()
        .into_iter()
        .filter(|request| request.is_blob())
        .map(|request| request.path)
        .collect();
    layers.sort();
    let asked = layers.len();
    layers.dedup();
    // The configuration is small and not waited for; the layer is.
    assert!(asked <= layers.len() + 3, "{asked} downloads of {layers:?}");
    let biggest = layers
        .iter()
        .map(|path| count(&proxy, path))
        .min()
        .expect("a layer was asked for");
    assert_eq!(biggest, 1, "{:?}", proxy.requests());
    env.run_alone(&["busybox", "true"]).ok();
}

#[test]
fn layers_are_downloaded_side_by_side() {
    // The configuration comes first and alone. No layer is served before both have been asked for.
    let asked = Arc::new((Mutex::new(0), Condvar::new()));
    let together = asked.clone();
    let proxy = Proxy::start(move |request| {
        if !request.is_blob() {
            return Verdict::Forward;
        }
        let (count, more) = &*together;
        let mut count = count.lock().expect("no thread panics with the lock");
        *count += 1;
        more.notify_all();
        if *count > 1 {
            let limit = Duration::from_secs(20);
            let waited = more.wait_timeout_while(count, limit, |count| *count < 3);
            assert!(!waited.expect("no thread panics").1.timed_out());
        }
        Verdict::Forward
    });
    let env = Env::builder().mirror(&proxy.url()).build();
    env.rctr(["pull", "--quiet", "healthz"]).ok();
    assert_eq!(*asked.0.lock().expect("no thread panics"), 3);
}

fn count(proxy: &Proxy, path: &str) -> usize {
    let requests = proxy.requests();
    requests.iter().filter(|r| r.path == path).count()
}

#[test]
fn a_pull_that_was_killed_goes_on_where_it_stopped() {
    // The first download of a blob is slow, so that it can be killed in the middle.
    let proxy = Proxy::start(|request| match (request.is_blob(), request.seen) {
        (true, 0) => Verdict::Slow(400_000),
        _ => Verdict::Forward,
    });
    let env = Env::builder().mirror(&proxy.url()).build();
    let pull = env.spawn(["pull", "--quiet", "busybox"]);
    let partial = || {
        let entries = std::fs::read_dir(env.root().join("tmp"))
            .into_iter()
            .flatten();
        entries
            .flatten()
            .filter_map(|entry| entry.metadata().ok())
            .map(|meta| meta.len())
            .max()
            .unwrap_or_default()
    };
    wait_for("a part of the layer to be on disk", || partial() > 100_000);
    drop(pull);
    let kept = partial();
    env.rctr(["pull", "--quiet", "busybox"]).ok();
    let resumed: Vec<u64> = proxy
        .requests()
        .iter()
        .filter_map(|request| {
            request
                .header("range")?
                .strip_prefix("bytes=")?
                .strip_suffix('-')?
                .parse()
                .ok()
        })
        .collect();
    assert!(
        resumed.iter().any(|from| *from >= kept),
        "{kept} bytes were here, and these were asked for: {:?}",
        proxy.requests()
    );
    assert_eq!(partial(), 0, "nothing is left of the download");
    env.run_alone(&["busybox", "true"]).ok();
}

#[test]
fn a_mirror_that_fails_is_passed_over() {
    let proxy = Proxy::start(|_| Verdict::status(500));
    let dead = "http://127.0.0.1:1";
    let mirrors = format!(
        "[\"{dead}\", \"{}\", \"{}\"]",
        proxy.url(),
        rctr_tests::registry()
    );
    let env = Env::builder()
        .config(&format!(
            "[registry.\"mirrored.example\"]\nmirrors = {mirrors}\n"
        ))
        .build();
    env.rctr(["pull", "--quiet", "mirrored.example/library/busybox"])
        .ok()
        .stdout_is("mirrored.example/library/busybox:latest");
    assert!(
        !proxy.requests().is_empty(),
        "mirrors are asked in their order"
    );
}

#[test]
fn a_registry_on_loopback_may_speak_plain_http_without_a_word() {
    let proxy = Proxy::start(|_| Verdict::Forward);
    let env = Env::new();
    let port = proxy.host().rsplit(':').next().expect("a port").to_owned();
    for host in [proxy.host(), format!("localhost:{port}")] {
        env.rctr(["pull", "--quiet", &format!("{host}/library/busybox")])
            .ok()
            .stdout_is(&format!("{host}/library/busybox:latest"));
    }
}

#[test]
fn a_busy_registry_is_asked_again() {
    let proxy = Proxy::start(|request| match (request.is_blob(), request.seen) {
        (true, 0) => Verdict::Answer(429, vec![("Retry-After".into(), "0".into())], Vec::new()),
        (true, 1) => Verdict::Close,
        (false, 0) if request.path.contains("/manifests/") => Verdict::status(503),
        _ => Verdict::Forward,
    });
    // Mirrors are asked twice only: there is somebody else.
    let env = Env::new();
    env.rctr([
        "pull",
        "--quiet",
        &format!("{}/library/busybox", proxy.host()),
    ])
    .ok();
}

/// Takes the thirty seconds after which silence counts as a failure.
#[test]
fn a_registry_that_falls_silent_is_asked_again() {
    let silent = AtomicBool::new(true);
    let proxy = Proxy::start(move |request| {
        match request.is_blob() && silent.swap(false, Ordering::SeqCst) {
            true => Verdict::Delay(Duration::from_secs(60)),
            false => Verdict::Forward,
        }
    });
    let env = Env::new();
    let image = format!("{}/library/v2s2", proxy.host());
    let pull = env.rctr(["pull", "--quiet", &image]);
    pull.ok();
    assert!(pull.took() < Duration::from_secs(55), "{:?}", pull.took());
    let blobs = proxy.blob_downloads();
    assert_eq!(blobs, 3, "a configuration, asked for twice, and a layer");
}

#[test]
fn a_slow_registry_does_not_stop_other_commands() {
    let proxy = Proxy::start(|request| match request.is_blob() {
        true => Verdict::Delay(Duration::from_secs(3)),
        false => Verdict::Forward,
    });
    let env = Env::builder().mirror(&proxy.url()).build();
    let pull: Running = env.spawn(["pull", "--quiet", "busybox"]);
    wait_for("a blob to be asked for", || proxy.blob_downloads() > 0);
    let listed = env.rctr(["images"]);
    listed.ok();
    assert!(
        listed.took() < Duration::from_secs(2),
        "{:?}",
        listed.took()
    );
    env.rctr(["ps"]).ok();
    pull.finish().ok();
}
