//! Mirrors that fail, and the registry behind them too: the error leads with what was tried, in order.

use rctr_tests::{Env, Output, Proxy, Running, Verdict};

/// `pull` where every registry that is not on loopback is behind a proxy that lets nobody through.
fn pull(env: &Env, proxy: &Proxy, image: &str) -> Output {
    let mut command = env.command(["pull", image]);
    command.env("HTTPS_PROXY", proxy.url());
    Running::start(command, Some(b"")).finish()
}

fn in_order(out: &Output, words: &[&str]) {
    let line = out.refused(1, words[0]).stderr();
    let places: Vec<_> = words.iter().map(|word| line.find(word)).collect();
    assert!(
        places.iter().all(Option::is_some) && places.is_sorted(),
        "{words:?} in {line}"
    );
}

#[test]
fn each_failing_host_is_named_in_the_order_it_was_asked() {
    let wall = Proxy::start(|_| Verdict::status(403));
    let broken = Proxy::start(|_| Verdict::status(500));
    let lacking = Proxy::start(|_| Verdict::status(404));
    let mirrors = ["http://127.0.0.1:1", &broken.url(), &lacking.url()];
    let env = Env::builder().mirror(&mirrors.join("\", \"")).build();
    in_order(
        &pull(&env, &wall, "nosuch"),
        &[
            "cannot fetch docker.io/library/nosuch:latest: tried ",
            "mirror 127.0.0.1:1: cannot be reached: Connection refused",
            &format!("mirror {}: answered 500", broken.host()),
            &format!("mirror {}: not found", lacking.host()),
            "; then registry-1.docker.io: cannot be reached",
            "the proxy refuses to connect",
        ],
    );
    env.rctr(["images", "--quiet"]).ok().stdout_is("");
}

#[test]
fn a_layer_that_cannot_be_unpacked_is_the_images_fault_and_fetched_once() {
    let proxy = Proxy::start(|_| Verdict::Forward);
    let env = Env::builder().mirror(&proxy.url()).build();
    for image in ["bad-gzip", "bad-truncated"] {
        let before = proxy.blob_downloads();
        let out = env.rctr(["pull", image]);
        out.refused(1, "layer sha256:")
            .one_error("is broken")
            .one_error("pushed again");
        assert_eq!(
            out.stderr().matches("sha256:").count(),
            1,
            "{}",
            out.stderr()
        );
        assert_eq!(
            proxy.blob_downloads() - before,
            2,
            "configuration and layer"
        );
    }
}
